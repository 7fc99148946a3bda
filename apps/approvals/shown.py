"""What a page showed one person, signed: only that may be decided together, and not for long (R3)."""

from collections.abc import Sequence

from django.core import signing
from django.utils.crypto import salted_hmac

from apps.approvals.domain.bulk import SHOWN_FOR_SECONDS, Shown

_SALT = "approvals.shown"


def sign(shown: Sequence[Shown], *, user_id: int) -> str:
    """Return a token that says what was shown to whom, and when."""
    cards = [[each.id, each.version, each.digest] for each in shown]
    return signing.dumps({"user": user_id, "cards": cards}, salt=_SALT, compress=True)


def read(token: str, *, user_id: int) -> tuple[Shown, ...]:
    """Return what the token says was shown to this person; nothing if it is forged, somebody else's or too old."""
    try:
        told = signing.loads(token, salt=_SALT, max_age=SHOWN_FOR_SECONDS)
    except signing.BadSignature:
        return ()
    return tuple(Shown(*each) for each in told["cards"]) if told["user"] == user_id else ()


def sample_key(user_id: int) -> bytes:
    """Return the key by which the cards that a person must open are chosen; nobody outside can work it out."""
    return salted_hmac(f"{_SALT}.sample", str(user_id), algorithm="sha256").digest()
