from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Case, Count, F, FloatField, Func, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest, Least

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.approvals.domain import order, states
from apps.approvals.models import OPEN, Decision, Proposal
from apps.approvals.queries.last_words import by, final_decisions, verdict_words
from apps.approvals.queries.visible import visible
from apps.audit.clock import clock


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """One card in the queue. `left` is negative once it is overdue; `duplicates` counts other open cards with its digest."""

    id: int
    version: int
    digest: str
    title: str
    agent_name: str
    action_name: str
    risk: str
    state: str
    created_at: datetime
    age: timedelta
    due: datetime
    left: timedelta
    is_urgent: bool
    claimed_by: str
    claimed_by_me: bool
    confidence: Decimal | None
    approvals_given: int
    approvals_needed: int
    duplicates: int
    may_decide: bool
    is_demo: bool


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """A card that was shown and was decided meanwhile: "Decided by Kim at 10:04"."""

    id: int
    version: int
    state: str
    words: str
    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to the cards that a page shows, and how many new ones wait."""

    rows: tuple[InboxRow, ...]
    closed: tuple[ClosedRow, ...]
    new: int
    as_of: datetime

    @property
    def has_any(self) -> bool:
        return bool(self.rows or self.closed or self.new)


@dataclass(frozen=True, slots=True)
class Queue:
    """What the left side of the inbox shows, and how much of today's work is done."""

    rows: tuple[InboxRow, ...]
    as_of: datetime
    decided_today: int
    unknown: int
    has_more: bool

    @property
    def sentence(self) -> str:
        """Say how much waits, and for how long: the so-what of the page."""
        if not self.rows:
            return "Nothing waits for a human."
        count = f"{len(self.rows)}{'+' if self.has_more else ''}"
        oldest = max(row.age for row in self.rows)
        waits = "action waits" if len(self.rows) == 1 else "actions wait"
        return f"{count} {waits} for a human, oldest {_in_words(oldest)}"

    @property
    def share_done(self) -> float:
        return self.decided_today / (self.decided_today + len(self.rows)) if self.decided_today else 0.0


def queue(user: User, *, limit: int = 50, at: datetime | None = None) -> Queue:
    """Return the queue of a person with its figures: 4 queries, any length."""
    now = at or clock()
    rows = inbox_rows(user, limit=limit + 1, at=now)
    midnight = now.astimezone(ZoneInfo(user.time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    decided = Decision.objects.filter(
        proposal__kind=Proposal.Kind.LIVE, actor=user, voided_at__isnull=True, decided_at__gte=midnight
    ).count()
    unknown = visible(user).filter(state=states.UNKNOWN).count()
    return Queue(tuple(rows[:limit]), now, decided, unknown, has_more=len(rows) > limit)


def inbox_rows(user: User, *, limit: int = 50, offset: int = 0, at: datetime | None = None) -> list[InboxRow]:
    """Return what waits in the person's teams, in the order of R19. `at` fixes the order while paging.

    2 queries (3 with the person's rights), any length.
    """
    now = at or clock()
    return _rows(visible(user).waiting(), user, now, slice(offset, offset + limit))


def inbox_row(user: User, proposal_id: int, *, at: datetime | None = None) -> InboxRow | None:
    """Return one open card as the queue shows it, or None if it is closed or not this person's. 2 queries."""
    now = at or clock()
    return next(iter(_rows(visible(user).waiting().filter(pk=proposal_id), user, now, slice(1))), None)


def changed_since(
    user: User, shown: Mapping[int, int], *, as_of: datetime | None = None, at: datetime | None = None
) -> Changes:
    """Compare the ids and versions on a page with now; `as_of` is when the page was drawn, to count what is new since.

    3 queries when nothing changed.
    """
    now = at or clock()
    mine = visible(user)
    current = dict(mine.filter(pk__in=list(shown)).values_list("pk", "version"))
    changed = [pk for pk, version in current.items() if version != shown[pk]]
    new = 0
    if as_of is not None:
        new = mine.waiting().filter(created_at__gt=as_of).exclude(pk__in=list(shown)).count()
    if not changed:
        return Changes((), (), new, now)
    rows = _rows(mine.waiting().filter(pk__in=changed), user, now, slice(len(changed)))
    still_open = {row.id for row in rows}
    return Changes(tuple(rows), tuple(_closed([pk for pk in changed if pk not in still_open])), new, now)


def next_waiting(user: User, *, after: int | None = None, at: datetime | None = None) -> int | None:
    """Return the id of the first card this person may decide now, other than the one just decided."""
    rows = inbox_rows(user, limit=20, at=at)
    return next((row.id for row in rows if row.may_decide and row.id != after and not _is_held(row)), None)


def waiting_count(user: User) -> int:
    """Count what waits in the teams for which this person decides. 1 query besides the person's rights."""
    teams = team_ids_with(user, "approvals.decide")
    return Proposal.objects.waiting().filter(team__in=teams).count() if teams else 0


def claims_of(user: User) -> list[int]:
    """Return the open cards that a person holds. 1 query."""
    return list(Proposal.objects.filter(state=states.CLAIMED, claimed_by=user).values_list("pk", flat=True))


class _Seconds(Func):
    template = "EXTRACT(EPOCH FROM (%(expressions)s))::float8"
    output_field = FloatField()


_WEIGHT: Final = Case(*[When(risk_class=risk, then=Value(w)) for risk, w in order.WEIGHT.items()], default=Value(4))
_COLUMNS: Final = (
    "pk",
    "version",
    "digest",
    "title",
    "agent_version__agent__name",
    "agent_version__agent__is_demo",
    "agent_version__agent__owner",
    "agent_version__author",
    "action_type__name",
    "risk_class",
    "state",
    "team",
    "created_at",
    "due",
    "claimed_by",
    "claimed_by__name",
    "claim_until",
    "confidence",
    "approvals_given",
    "approvals_needed",
    "same",
)


def _rows(waiting: "QuerySet[Proposal]", user: User, now: datetime, part: slice) -> list[InboxRow]:
    same = (
        Proposal.objects.filter(digest=OuterRef("digest"), state__in=OPEN)
        .order_by()
        .values("digest")
        .annotate(n=Count("pk"))
        .values("n")
    )
    found = (
        waiting.annotate(due=Least("deadline", "sla_due"))
        .annotate(
            urgent=Case(When(due__lte=now + order.URGENT, then=Value(0)), default=Value(1)),
            score=_WEIGHT * (_urgency(now) + Value(order.FRESH)),
            same=Coalesce(Subquery(same), Value(1)),
        )
        .order_by("urgent", F("score").desc(), "due", "pk")
        .values(*_COLUMNS)[part]
    )
    deciding = team_ids_with(user, "approvals.decide")
    return [_row(facts, user, now, deciding) for facts in found]


def _urgency(now: datetime) -> Case:
    share = _Seconds(Value(now) - F("created_at")) / _Seconds(F("due") - F("created_at"))
    bounded = Greatest(Value(0.0), Least(Value(1.0), share))
    return Case(When(due__lte=F("created_at"), then=Value(1.0)), default=bounded, output_field=FloatField())


def _row(facts: Mapping[str, Any], user: User, now: datetime, deciding: frozenset[int]) -> InboxRow:
    is_held = facts["state"] == states.CLAIMED and facts["claim_until"] > now
    is_own = user.pk in (facts["agent_version__agent__owner"], facts["agent_version__author"])
    return InboxRow(
        id=facts["pk"],
        version=facts["version"],
        digest=facts["digest"],
        title=facts["title"],
        agent_name=facts["agent_version__agent__name"],
        action_name=facts["action_type__name"],
        risk=facts["risk_class"],
        state=facts["state"],
        created_at=facts["created_at"],
        age=now - facts["created_at"],
        due=facts["due"],
        left=facts["due"] - now,
        is_urgent=facts["due"] - now <= order.URGENT,
        claimed_by=facts["claimed_by__name"] or "" if is_held else "",
        claimed_by_me=is_held and facts["claimed_by"] == user.pk,
        confidence=facts["confidence"],
        approvals_given=facts["approvals_given"],
        approvals_needed=facts["approvals_needed"],
        duplicates=facts["same"] - 1,
        may_decide=facts["team"] in deciding and not is_own,
        is_demo=facts["agent_version__agent__is_demo"],
    )


def _in_words(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 60:  # noqa: PLR2004  # minutes of an hour
        return f"{minutes} m"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def _is_held(row: InboxRow) -> bool:
    return bool(row.claimed_by) and not row.claimed_by_me


def _closed(ids: list[int]) -> list[ClosedRow]:
    last = final_decisions(ids)
    return [
        ClosedRow(
            id=row.pk,
            version=row.version,
            state=row.state,
            words=verdict_words(last.get(row.pk), row),
            by=by(last.get(row.pk)),
            at=row.closed_at,
        )
        for row in Proposal.objects.filter(pk__in=ids)
    ]
