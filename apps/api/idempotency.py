"""The same key with the same body is answered the same, once: also if both arrive together, and if the first died."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction

from apps.accounts.models import ApiToken
from apps.api.models import IdempotencyRecord
from apps.approvals.errors import Refused
from apps.audit.clock import clock
from apps.audit.domain.hashing import digest_of

# A client that has not repeated within a day has given up.
KEPT_FOR: Final = timedelta(hours=24)
LONGEST_KEY: Final = 120
KEY_WANTED: Final = f"Send an Idempotency-Key of 1 to {LONGEST_KEY} characters, the same for every try of one request. Nothing was done."


class KeyMissing(Refused):
    """Without a key a repeat after a cut connection would ask people twice."""

    code, status = "idempotency_key_missing", 400


class KeyReused(Refused):
    """The key belongs to another request."""

    code, status = "idempotency_key_reused", 422


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request was answered; `is_replay`: it was answered before, and nothing was done now."""

    status: int
    body: Any
    is_replay: bool = False


def ensure_key(key: str | None) -> str:
    """Return a key that may be used. Raises KeyMissing."""
    given = (key or "").strip()
    if not given or len(given) > LONGEST_KEY:
        raise KeyMissing(KEY_WANTED)
    return given


def answer_once(
    token: ApiToken, key: str, asked: Mapping[str, Any], act: Callable[[], tuple[int, dict[str, Any]]]
) -> Answered:
    """Do what `act` does and keep its answer, in one transaction; or return what it answered before.

    A second request with the key waits for the first: the unique row makes it. What `act` refuses is not kept, so that
    it can be tried again. Raises KeyReused if the key came with something else in it, and whatever `act` raises.
    """
    body_hash = digest_of(asked)
    refusal: Refused | None = None
    with transaction.atomic():
        record = _take(token, key, body_hash)
        if record.body_hash != body_hash:
            raise KeyReused("This Idempotency-Key was used for another request. Nothing was done.", pointer="")
        if record.status is not None:
            return Answered(record.status, record.response, is_replay=True)
        try:
            record.status, record.response = act()
        except Refused as no:
            # A refusal may have moved the proposal, as an expiry does: that stays.
            refusal = no
            record.delete()
        else:
            record.save(update_fields=["status", "response"])
    if refusal is not None:
        raise refusal
    return Answered(record.status or 0, record.response)


# An expired row is taken over in place; a living one is only locked, after waiting for whoever holds it.
_TAKE: Final = """
INSERT INTO api_idempotencyrecord AS kept (token_id, key, body_hash, status, response, expires_at)
VALUES (%(token)s, %(key)s, %(hash)s, NULL, NULL, %(until)s)
ON CONFLICT (token_id, key) DO UPDATE SET
    body_hash = CASE WHEN kept.expires_at <= %(now)s THEN excluded.body_hash ELSE kept.body_hash END,
    status = CASE WHEN kept.expires_at <= %(now)s THEN NULL ELSE kept.status END,
    response = CASE WHEN kept.expires_at <= %(now)s THEN NULL ELSE kept.response END,
    expires_at = CASE WHEN kept.expires_at <= %(now)s THEN excluded.expires_at ELSE kept.expires_at END
RETURNING id
"""


def _take(token: ApiToken, key: str, body_hash: str) -> IdempotencyRecord:
    now = clock()
    IdempotencyRecord.objects.filter(token=token, expires_at__lte=now).exclude(key=key).delete()
    with connection.cursor() as cursor:
        facts: dict[str, Any] = {"token": token.pk, "key": key, "hash": body_hash, "until": now + KEPT_FOR, "now": now}
        cursor.execute(_TAKE, facts)
        (pk,) = cursor.fetchone()
    return IdempotencyRecord.objects.get(pk=pk)
