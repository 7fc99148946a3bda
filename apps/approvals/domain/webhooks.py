"""Signed webhooks after Standard Webhooks 1.0 (standardwebhooks.com): a receiver can prove who sent a body, and when."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from apps.approvals.domain.notices import LONGEST_RETRY_AFTER, Message, stamp

PREFIX: Final = "whsec_"
# The specification asks for 24 to 64 bytes.
SECRET_BYTES: Final = 32
# After a rotation receivers have a day to learn the new secret; until then both signatures are sent.
BOTH_VALID_FOR: Final = timedelta(hours=24)


class BadSecret(ValueError):
    """Not a signing secret of this form."""


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret and until when it signs; without an end it is the present one."""

    text: str
    until: datetime | None = None


def spell_secret(raw: bytes) -> str:
    """Write random bytes as the secret that a person hands to the receiver."""
    return PREFIX + base64.b64encode(raw).decode()


def body_of(message: Message) -> bytes:
    """Return the exact bytes that are signed and sent."""
    told = {"type": message.type, "timestamp": stamp(message.at), "data": message.data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def signed_headers(body: bytes, *, message_id: str, secrets: Sequence[SigningSecret], now: datetime) -> dict[str, str]:
    """Return the three headers. The timestamp is of this attempt; each secret that still signs adds a signature."""
    seconds = str(int(now.timestamp()))
    signatures = [_signature(each.text, message_id, seconds, body) for each in valid(secrets, now)]
    return {"webhook-id": message_id, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}


def valid(secrets: Sequence[SigningSecret], now: datetime) -> list[SigningSecret]:
    """Return the secrets that sign at this moment, the present one first."""
    return sorted(
        (each for each in secrets if each.until is None or now < each.until), key=lambda each: bool(each.until)
    )


def rotated(secrets: Sequence[SigningSecret], new: str, now: datetime) -> list[SigningSecret]:
    """Put a new secret in front; the one before signs on for a day, older ones end now."""
    before = next((each for each in secrets if each.until is None), None)
    return [SigningSecret(new)] + ([SigningSecret(before.text, now + BOTH_VALID_FOR)] if before else [])


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """Read Retry-After, seconds or a date (RFC 9110 §10.2.3); None where it says nothing usable. At most 6 h."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        wanted = timedelta(seconds=min(int(text[:9]), int(LONGEST_RETRY_AFTER.total_seconds())))
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        wanted = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(wanted, LONGEST_RETRY_AFTER) if wanted > timedelta(0) else None


def _signature(secret: str, message_id: str, seconds: str, body: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret("The signing secret is not base64.") from None
    signed = f"{message_id}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
