"""R9: what the target of a proposal is now in its system of record, beside what the agent saw."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from apps.accounts.models import User
from apps.approvals.card import Card, shown
from apps.approvals.domain import outside, wording
from apps.approvals.domain.digest import MovedField, moved_fields
from apps.approvals.models import OPEN, Proposal
from apps.approvals.queries import cards
from apps.approvals.queries.rules import is_read_here
from apps.approvals.redacting import redacted
from apps.audit.domain.canonical import CanonicalError, canonical
from apps.connectors import client
from apps.connectors.errors import ConnectorError, NotFound

# A person waits for this; a system that takes longer counts as one that cannot be read.
READ_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class NothingWatched:
    """The kind of action watches no field, or its system is no connected one of its team: the agent reads it before it acts."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The system of record did not say; `problem` is why, in words."""

    problem: str


@dataclass(frozen=True, slots=True)
class Found:
    """The record as it is now. A record that is gone is one without fields."""

    fields: Mapping[str, Any]
    watched: tuple[str, ...] = ()
    moved: tuple[MovedField, ...] = field(default=())

    @property
    def watched_fields(self) -> dict[str, Any]:
        return {name: self.fields.get(name) for name in self.watched}


TargetNow = NothingWatched | Unreadable | Found


def target_now(row: Proposal, *, down: set[str] | None = None) -> TargetNow:
    """Read a proposal's target again, within 2 s. Never inside a transaction: a lock must not wait for a network.

    2 queries at most. What was planted describes a past that nobody can read again, so it counts as unmoved.
    `down` holds, for whoever reads many, the systems that did not answer one of them: they are not waited for again.
    """
    watched = tuple(row.action_type.watch_fields)
    if not watched:
        return NothingWatched()
    if row.kind != Proposal.Kind.LIVE:
        return Found(row.body.state_proposed, watched)
    if outside.is_outside(row.thread_id) and not is_read_here(row.target, team_id=row.team_id):
        return NothingWatched()
    fields = _read(row.target, down)
    if isinstance(fields, Unreadable):
        return fields
    try:
        canonical({name: fields.get(name) for name in watched})
    except CanonicalError:
        return Unreadable("It answered with a value that cannot be compared.")
    now = redacted(fields)
    return Found(now, watched, tuple(moved_fields(row.body.state_proposed, now, watched)))


def _read(target: str, down: set[str] | None) -> Mapping[str, Any] | Unreadable:
    system = target.partition(":")[0]
    if down is not None and system in down:
        return Unreadable("Its system could not be read a moment ago.")
    try:
        return client.read(target, timeout=READ_WITHIN_S).fields
    except NotFound:
        return {}
    except ConnectorError as error:
        if down is not None:
            down.add(system)
        return Unreadable(str(error))


def target_of_open(user: User, proposal_id: int, *, down: set[str] | None = None) -> TargetNow | None:
    """Read the target of a card that a person may see and that still waits; None for any other. 1 query and the reading."""
    rows = Proposal.objects.select_related("action_type", "body").filter(pk=proposal_id, state__in=OPEN)
    row = rows.exclude(action_type__watch_fields=[]).first()
    if row is None or not user.has_perm("approvals.view", row.team_id):
        return None
    return target_now(row, down=down)


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One field of the target: as read when proposed, now, and as it would be."""

    field: str
    proposed: str
    now: str
    if_approved: str
    is_watched: bool
    is_changed: bool
    has_moved: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """A card with its target read again. `problem`: why it could not be read; then `now` is empty in every row."""

    card: Card
    rows: tuple[ComparedRow, ...]
    moved: tuple[MovedField, ...]
    problem: str
    was_read: bool

    @property
    def has_moved(self) -> bool:
        return bool(self.moved)

    @property
    def moved_words(self) -> list[str]:
        return [wording.moved_field(each) for each in self.moved]


def comparison(user: User, proposal_id: int, *, at: datetime | None = None) -> Comparison:
    """Return when proposed, now and if approved of a card's target. Raises as `cards.card`; its queries and 3 more."""
    card = cards.card(user, proposal_id, at=at)
    row = Proposal.objects.select_related("action_type", "body").get(pk=proposal_id)
    seen = target_now(row) if row.is_open else NothingWatched()
    problem = seen.problem if isinstance(seen, Unreadable) else ""
    if not isinstance(seen, Found):
        return Comparison(card, _rows(row, None), (), problem, was_read=False)
    return Comparison(card, _rows(row, seen), seen.moved, "", was_read=True)


def _rows(row: Proposal, seen: Found | None) -> tuple[ComparedRow, ...]:
    """Fields that moved come first, then those that would change, then the watched ones, then the rest."""
    proposed, after = row.body.state_proposed, row.body.state_if_approved
    watched = row.action_type.watch_fields
    moved = {each.field for each in seen.moved} if seen else set()
    now = seen.fields if seen else {}
    rows = [
        ComparedRow(
            field=name,
            proposed=shown(proposed.get(name)),
            now=shown(now.get(name)) if seen else "",
            if_approved=shown(after.get(name, now.get(name) if seen else proposed.get(name))),
            is_watched=name in watched,
            is_changed=name in after and canonical(after[name]) != canonical(proposed.get(name)),
            has_moved=name in moved,
        )
        for name in dict.fromkeys([*proposed, *after, *watched])
    ]
    return tuple(sorted(rows, key=lambda each: (not each.has_moved, not each.is_changed, not each.is_watched)))
