"""S7: what a token looks like, what each kind of token may do, and whether one that was shown opens the door."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network
from re import compile as pattern
from typing import Final

AGENT: Final = "agent"
MONITOR: Final = "monitor"
AUDITOR: Final = "auditor"

# What each kind may be given; deciding, signing, raising a level and releasing a switch are in no list.
SCOPES: Final = {
    AGENT: ("traces:write", "proposals:write", "events:write"),
    MONITOR: (
        "slo:read",
        "cells:read",
        "programs:read",
        "portfolio:read",
        "events:write",
        "incidents:write",
        "measurements:write",
        "kill:engage",
    ),
    AUDITOR: ("audit:read",),
}
# A token that nobody renews stops working within a quarter.
LONGEST_LIFE: Final = timedelta(days=90)
# The time of the last use is for people who tidy up; a row per call would cost more than it tells.
NOTE_USE_EVERY: Final = timedelta(minutes=1)
KEY_ID_CHARS: Final = 8
# 32 random bytes in base64url without padding.
SECRET_CHARS: Final = 43

_SHAPE: Final = pattern(rf"pp_([A-Za-z0-9]{{{KEY_ID_CHARS}}})_[A-Za-z0-9_-]{{{SECRET_CHARS}}}")


class BadNetwork(ValueError):
    """A text that names no network."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a token."""

    sha256: str
    scopes: tuple[str, ...]
    cidr: str
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a token does not open a door. `is_known`: the secret was right, so its holder may be told what is wrong."""

    code: str
    message: str
    is_known: bool = True


def spell(key_id: str, secret: str) -> str:
    return f"pp_{key_id}_{secret}"


def key_id_of(text: str) -> str | None:
    """Return the part of a token that finds its row, or None if the text is no token of ours."""
    found = _SHAPE.fullmatch(text)
    return found[1] if found else None


def digest_of_token(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def network(text: str) -> str:
    """Return a network in its one spelling; empty stays empty. Raises BadNetwork."""
    if not text.strip():
        return ""
    try:
        return str(ip_network(text.strip()))
    except ValueError as error:
        raise BadNetwork(f"{text.strip()[:60]} is no network. One reads like 203.0.113.0/24.") from error


def refusal(known: Known | None, *, shown: str, address: str, scope: str, now: datetime) -> Refusal | None:
    """Say why a token opens no door now, or None if it does.

    An unknown key costs the same comparison as a known one, so that the time of the answer tells nothing.
    """
    expected = known.sha256 if known is not None else "0" * 64
    if not hmac.compare_digest(digest_of_token(shown), expected) or known is None:
        return Refusal("bad_token", "This token is not known here. Nothing changed.", is_known=False)
    if known.revoked_at is not None:
        return Refusal("token_revoked", "This token was revoked. Nothing changed. An administrator can issue another.")
    if known.expires_at <= now:
        return Refusal("token_expired", "This token has expired. Nothing changed. An administrator can issue another.")
    if known.cidr and not _lies_in(address, known.cidr):
        return Refusal("wrong_network", "This token may not be used from this network. Nothing changed.")
    if scope not in known.scopes:
        return Refusal("out_of_scope", f"This token lacks the scope {scope}. Nothing changed.")
    return None


def _lies_in(address: str, cidr: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in ip_network(cidr)
