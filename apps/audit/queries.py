import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from django.db import connection
from django.db.models import QuerySet

from apps.audit.domain.check import Bytes, Recomputed, recompute
from apps.audit.models import AuditEvent
from apps.audit.names import names_of

# Ids are bigint; a larger number in an address names no event.
MAX_ID = 2**63 - 1


class Searcher(Protocol):
    """What this floor knows of a person: in which teams a right holds."""

    def team_ids_with(self, right: str) -> Collection[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to search for. An action that ends in a dot means all that begin so: "proposal."."""

    object: str = ""
    actor: str = ""
    action: str = ""
    team: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: the next one holds only older events, however many are written meanwhile."""

    recorded_at: datetime
    id: int

    def __str__(self) -> str:
        return f"{self.recorded_at.isoformat()}~{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """Read it back; anything else is no place, and the search starts at the newest event."""
        moment, _, number = text.partition("~")
        try:
            place = cls(datetime.fromisoformat(moment), int(number))
        except ValueError:
            return None
        return place if place.recorded_at.tzinfo and 0 < place.id <= MAX_ID else None


@dataclass(frozen=True, slots=True)
class Row:
    id: int
    recorded_at: datetime
    action: str
    object: str
    object_name: str
    actor: str
    actor_name: str
    team: str
    team_name: str


@dataclass(frozen=True, slots=True)
class Found:
    rows: list[Row]
    older: Place | None


@dataclass(frozen=True, slots=True)
class EventPage:
    event: AuditEvent
    fields: list[tuple[str, str, str]]
    """Key, value and name of each header field that has a value."""
    payload: str | None
    checked: Recomputed


def visible_to(searcher: Searcher) -> "QuerySet[AuditEvent]":
    """Return the events of the teams where the person may search, and those of no team if there is such a team."""
    team_ids = searcher.team_ids_with("audit.search")
    return AuditEvent.objects.of_teams(team_ids) if team_ids else AuditEvent.objects.none()


def search(searcher: Searcher, filters: Filters, *, before: Place | None = None, limit: int = 50) -> Found:
    """Return events, newest first, and where the next page begins. 1 query, and 1 per kind of name; any length."""
    events = AuditEvent.objects.of_teams(searcher.team_ids_with("audit.search")).between(filters.since, filters.until)
    for column in ("object", "actor", "team"):
        if value := getattr(filters, column):
            events = events.filter(**{column: value})
    if filters.action:
        events = events.filter(**{"action__startswith" if filters.action.endswith(".") else "action": filters.action})
    if before:
        events = events.filter(pk__lt=(before.recorded_at, before.id))
    found = list(events.newest_first().defer("header", "salt", "payload", "pc", "leaf")[: limit + 1])
    names = names_of(text for event in found for text in (event.actor, event.object, event.team))
    rows = [_row(event, names) for event in found[:limit]]
    return Found(rows, Place(rows[-1].recorded_at, rows[-1].id) if len(found) > limit else None)


def event_page(event: AuditEvent) -> EventPage:
    """Show everything about one event, its hashes computed anew. 1 query per kind of name."""
    header = {key: str(value) for key, value in json.loads(event.header).items() if value is not None}
    names = names_of(header.values())
    checked = recompute(
        Bytes(
            header=event.header,
            salt=None if event.salt is None else bytes(event.salt),
            payload=event.payload,
            pc=bytes(event.pc),
            leaf=bytes(event.leaf),
        )
    )
    payload = None if event.payload is None else json.dumps(json.loads(event.payload), indent=2, ensure_ascii=False)
    return EventPage(event, [(key, value, names.get(value, "")) for key, value in header.items()], payload, checked)


def _row(event: AuditEvent, names: dict[str, str]) -> Row:
    team = event.team or ""
    return Row(
        id=event.id,
        recorded_at=event.recorded_at,
        action=event.action,
        object=event.object,
        object_name=names.get(event.object, ""),
        actor=event.actor,
        actor_name=names.get(event.actor, ""),
        team=team,
        team_name=names.get(team, ""),
    )


def stray_events() -> int:
    """Count the events that found no partition of their month. The default partition should stay empty."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM audit_auditevent_default")
        (count,) = cursor.fetchone()
    return int(count)
