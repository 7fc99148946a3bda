import datetime as dt
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from uuid import UUID, uuid4

import structlog
from django.db import connection

from apps.audit.domain.canonical import canonical
from apps.audit.domain.hashing import SALT_BYTES
from apps.audit.domain.headers import VERSION, around_the_moment

# A larger payload stays with the object it tells about; the event then holds its hash. The database refuses more.
MAX_PAYLOAD_BYTES = 64 * 1024
# So many months have their partition before they begin; a longer outage of the daily task fills the default one.
MONTHS_AHEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact to record. Only `payload` may name people; everything else is ids and words of ours."""

    action: str
    subject: str
    actor: str
    team_id: int | None = None
    payload: Mapping[str, object] = field(default_factory=dict)
    on_behalf_of: str | None = None
    agent_version: str | None = None
    policy: str | None = None
    proposal_id: int | None = None
    digest: str | None = None
    outcome: str | None = None
    trace_id: str | None = None


def record(
    action: str,
    *,
    subject: str,
    actor: str,
    team_id: int | None = None,
    payload: Mapping[str, object] | None = None,
    on_behalf_of: str | None = None,
    agent_version: str | None = None,
    policy: str | None = None,
    proposal_id: int | None = None,
    digest: str | None = None,
    outcome: str | None = None,
    trace_id: str | None = None,
) -> None:
    """Write one event in the caller's transaction. A fact told later carries `happened_at` in its payload.

    Raises CanonicalError, with a JSON pointer, for a value without a canonical text; the caller's change rolls back.
    """
    event = Event(
        action=action,
        subject=subject,
        actor=actor,
        team_id=team_id,
        payload=payload or {},
        on_behalf_of=on_behalf_of,
        agent_version=agent_version,
        policy=policy,
        proposal_id=proposal_id,
        digest=digest,
        outcome=outcome,
        trace_id=trace_id,
    )
    with connection.cursor() as cursor:
        cursor.execute(f"{_INSERT} VALUES (%s::text || {_MOMENT} || %s, %s, %s)", _row(event, _request_ids()))


def record_many(events: Iterable[Event]) -> None:
    """Write many events in the caller's transaction and one round trip, in their order."""
    ids = _request_ids()
    rows = [_row(event, ids) for event in events]
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(
                f"{_INSERT} SELECT before || {_MOMENT} || after, salt, payload"  # noqa: S608  # constants of this file
                " FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::text[]) AS told (before, after, salt, payload)",
                columns,
            )


def make_partitions(*, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions of this month and the next ones; return the names of the new ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT audit_make_partition(((now() AT TIME ZONE 'UTC') + make_interval(months => ahead))::date)"
            " FROM generate_series(0, %s) AS ahead",
            [months_ahead],
        )
        return [name for (name,) in cursor.fetchall() if name]


_INSERT = "INSERT INTO audit_auditevent (header, salt, payload)"
# The header's ts is the database's clock at the row, in the one spelling of rule A2.
_MOMENT = "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

# Callers may choose their request id; what does not look like one is no pseudonym and stays out of the header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_Row = tuple[str, str, bytes, str]


def _row(event: Event, ids: tuple[str | None, str | None]) -> _Row:
    request_id, trace_id = ids
    before, after = around_the_moment(
        {
            "v": VERSION,
            "id": str(uuid4()),
            "team": None if event.team_id is None else f"team:{event.team_id}",
            "actor": event.actor,
            "on_behalf_of": event.on_behalf_of,
            "action": event.action,
            "object": event.subject,
            "agent_version": event.agent_version,
            "policy": event.policy,
            "proposal": None if event.proposal_id is None else str(event.proposal_id),
            "digest": event.digest,
            "outcome": event.outcome,
            "request_id": request_id,
            "trace_id": event.trace_id or trace_id,
        }
    )
    return before, after, secrets.token_bytes(SALT_BYTES), _payload_text(event)


def _payload_text(event: Event) -> str:
    text = canonical(_plain(event.payload))
    size = len(text.encode())
    if size <= MAX_PAYLOAD_BYTES:
        return text
    return canonical(
        {"bytes": size, "kept_with": event.subject, "sha256": "sha256:" + sha256(text.encode()).hexdigest()}
    )


def _plain(value: object) -> object:
    """Spell the types that our rows are made of; the canonicaliser itself knows JSON only."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | UUID) else value


def _request_ids() -> tuple[str | None, str | None]:
    bound = structlog.contextvars.get_contextvars()
    return _clean(bound.get("request_id")), _clean(bound.get("trace_id"))


def _clean(value: object) -> str | None:
    text = str(value or "")
    return text if _REQUEST_ID.fullmatch(text) else None
