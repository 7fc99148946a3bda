from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import (
    Case,
    Count,
    DateTimeField,
    Exists,
    F,
    FloatField,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest, Least

from apps.accounts.access import object_or_404
from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.agents import queries as agents
from apps.agents.models import ActionType, Agent
from apps.approvals.card import Card, PastDecisions, assemble, kind_field, shown
from apps.approvals.domain import order, states
from apps.approvals.domain.flood import Load
from apps.approvals.models import OPEN, ApprovalPolicy, Decision, Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors import queries as connectors
from apps.connectors.errors import UnknownSystem
from apps.oncall import queries as oncall

# "Past decisions of its kind" looks at so many; older ones say little about the agent of today.
PAST_DECISIONS: Final = 200


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentDecision:
    """One of a person's own last decisions; `undo_until` only while it can still be taken back."""

    proposal_id: int
    title: str
    words: str
    state: str
    decided_at: datetime
    undo_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    id: int
    title: str
    agent_name: str
    action_name: str
    risk: str
    state: str
    state_words: str
    verdict: str
    verdict_words: str
    by: str
    reason: str
    closed_at: datetime
    is_demo: bool


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """One page of what was decided, newest first. `after` goes into the next call; None at the end."""

    rows: tuple[HistoryRow, ...]
    after: tuple[datetime, int] | None


@dataclass(frozen=True, slots=True)
class DecidedCounts:
    """What people decided about one agent."""

    approved: int = 0
    edited: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.approved + self.edited + self.rejected


def inbox_rows(user: User, *, limit: int = 50, offset: int = 0, at: datetime | None = None) -> list[InboxRow]:
    """Return what waits in the person's teams, in the order of R19. `at` fixes the order while paging.

    2 queries (3 with the person's rights), any length.
    """
    now = at or clock()
    return _rows(_visible(user).waiting(), user, now, slice(offset, offset + limit))


def inbox_row(user: User, proposal_id: int, *, at: datetime | None = None) -> InboxRow | None:
    """Return one open card as the queue shows it, or None if it is closed or not this person's. 2 queries."""
    now = at or clock()
    return next(iter(_rows(_visible(user).waiting().filter(pk=proposal_id), user, now, slice(1))), None)


def card(user: User, proposal_id: int, *, at: datetime | None = None) -> Card:
    """Return everything that the card of a proposal shows. Raises 404 for outsiders, 403 for members without the right.

    5 queries besides the person's rights and who answers.
    """
    rows = Proposal.objects.select_related(
        "action_type", "agent_version__agent", "policy", "body", "claimed_by", "team__lead"
    )
    row = object_or_404(rows, user, "approvals.view", proposal_id)
    now = at or clock()
    on_duty = oncall.on_duty(row.team_id, at=now) if row.is_open else []
    return assemble(
        row,
        reader=user,
        decisions=list(row.decisions.select_related("actor").order_by("decided_at", "pk")),
        past=_past(row),
        answer_is_new=row.state == states.QUEUED and _answer_is_new(row.pk),
        on_duty=on_duty,
        stand_ins=oncall.stand_ins(row.team) if row.is_open and not on_duty else None,
        now=now,
    )


def changed_since(
    user: User, shown: Mapping[int, int], *, as_of: datetime | None = None, at: datetime | None = None
) -> Changes:
    """Compare the ids and versions on a page with now; `as_of` is when the page was drawn, to count what is new since.

    3 queries when nothing changed.
    """
    now = at or clock()
    mine = _visible(user)
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


def recent_decisions(user: User, *, limit: int = 10, at: datetime | None = None) -> list[RecentDecision]:
    """Return a person's own last decisions, newest first, with the time until which each can be undone. 1 query."""
    now = at or clock()
    rows = (
        Decision.objects.filter(actor=user, voided_at__isnull=True)
        .select_related("proposal")
        .annotate(
            is_new=Exists(ResumeOutbox.objects.filter(proposal=OuterRef("proposal"), state=ResumeOutbox.State.NEW))
        )
        .order_by("-decided_at", "-pk")[:limit]
    )
    return [
        RecentDecision(
            proposal_id=each.proposal_id,
            title=each.proposal.title,
            words=each.get_verdict_display(),
            state=each.proposal.state,
            decided_at=each.decided_at,
            undo_until=_undo_until(each.proposal, now) if each.is_new else None,
        )
        for each in rows
    ]


def history_rows(
    user: User, *, after: tuple[datetime, int] | None = None, agent_id: int | None = None, limit: int = 50
) -> HistoryPage:
    """Return what was closed in the person's teams, newest first, a page at a time. 2 queries besides rights."""
    # Advice was decided by nobody, and a shadow's is shown to nobody.
    rows = _visible(user).filter(closed_at__isnull=False).exclude(kind=Proposal.Kind.ADVICE)
    if agent_id is not None:
        rows = rows.filter(agent_version__agent_id=agent_id)
    if after is not None:
        closed_at, pk = after
        # The first condition lets the index start at the right place; the second is exact.
        rows = rows.filter(Q(closed_at__lt=closed_at) | Q(closed_at=closed_at, pk__lt=pk), closed_at__lte=closed_at)
    page = list(rows.select_related("agent_version__agent", "action_type").order_by("-closed_at", "-pk")[: limit + 1])
    last = _final_decisions(row.pk for row in page)
    shown = tuple(_history_row(row, last.get(row.pk)) for row in page[:limit])
    end = page[limit - 1] if len(page) > limit else None
    return HistoryPage(shown, (end.closed_at, end.pk) if end is not None and end.closed_at else None)


def decided_counts(
    agent_ids: Iterable[int], *, since: datetime | None = None, with_synthetic: bool = True
) -> dict[int, DecidedCounts]:
    """Count what people decided about each agent, by its last word. Agents nobody judged are absent. 1 query.

    Drills and second looks are about the people, not about the agent: only what was live counts.
    """
    rows = Decision.objects.filter(
        proposal__kind=Proposal.Kind.LIVE,
        proposal__agent_version__agent__in=list(agent_ids),
        by_kind=Decision.By.PERSON,
        final=True,
        voided_at__isnull=True,
        verdict__in=["approve", "edit", "reject"],
    )
    rows = rows if since is None else rows.filter(decided_at__gt=since)
    rows = rows if with_synthetic else rows.filter(synthetic=False)
    counts: dict[int, dict[str, int]] = {}
    for agent_id, verdict, n in rows.values_list("proposal__agent_version__agent", "verdict").annotate(n=Count("pk")):
        counts.setdefault(agent_id, {})[_FIELD_OF_VERDICT[verdict]] = n
    return {agent_id: DecidedCounts(**found) for agent_id, found in counts.items()}


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
    unknown = _visible(user).filter(state=states.UNKNOWN).count()
    return Queue(tuple(rows[:limit]), now, decided, unknown, has_more=len(rows) > limit)


def claims_of(user: User) -> list[int]:
    """Return the open cards that a person holds. 1 query."""
    return list(Proposal.objects.filter(state=states.CLAIMED, claimed_by=user).values_list("pk", flat=True))


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """A write that may or may not have happened; `args` and the title that is made of them for those who may read them."""

    id: int
    title: str
    target: str
    args: tuple[tuple[str, str], ...]
    started_at: datetime
    may_open: bool
    may_reconcile: bool


def unknown_outcomes(user: User) -> list[UnknownOutcome]:
    """Return the writes without a known outcome in the person's teams, oldest first. 1 query."""
    rows = Proposal.objects.filter(team__in=team_ids_with(user, "repairs.view"), state=states.UNKNOWN)
    rows = rows.select_related("agent_version__agent", "action_type").order_by("consumed_at", "pk")
    return [_unknown(row, user) for row in rows]


def _unknown(row: Proposal, user: User) -> UnknownOutcome:
    may_read = agents.may(user, "traces.read", row.agent_version.agent)
    return UnknownOutcome(
        id=row.pk,
        title=row.title if may_read else row.action_type.name,
        target=row.target,
        args=tuple((name, shown(value)) for name, value in row.args.items()) if may_read else (),
        started_at=row.consumed_at or row.created_at,
        may_open=user.has_perm("approvals.view", row.team_id),
        may_reconcile=user.has_perm("runs.repair", row.team_id),
    )


def policy_in_force(action_type: ActionType) -> ApprovalPolicy | None:
    """Return the newest version that is active, or None if the action type has no policy yet. 1 query."""
    return (
        ApprovalPolicy.objects.filter(action_type=action_type, active_from__lte=ClockTimestamp())
        .order_by("-version")
        .first()
    )


def load(agent: Agent, *, since: datetime) -> Load:
    """Return what an agent has before people now, and how much it proposed since then. 1 query."""
    # A drill or a second look was planted: no agent fills its quota with them.
    own = [Proposal.Kind.LIVE, Proposal.Kind.ADVICE]
    rows = Proposal.objects.filter(
        Q(state__in=OPEN) | Q(created_at__gt=since), agent_version__agent=agent, kind__in=own
    )
    counts = rows.aggregate(
        open=Count("pk", filter=Q(state__in=OPEN)), recent=Count("pk", filter=Q(created_at__gt=since))
    )
    return Load(open=counts["open"], last_minute=counts["recent"])


def connector_id(target: str) -> int | None:
    """Return the id of the system that a target such as "desk:tickets/T-1001" lies in, or None. 1 query."""
    try:
        return connectors.connector(target.partition(":")[0]).pk
    except UnknownSystem:
        return None


class ClockTimestamp(Func):
    """The database's clock at this row, not at the start of the transaction."""

    function = "clock_timestamp"
    arity = 0
    output_field = DateTimeField()


class _Seconds(Func):
    template = "EXTRACT(EPOCH FROM (%(expressions)s))::float8"
    output_field = FloatField()


_FIELD_OF_VERDICT: Final = {"approve": "approved", "edit": "edited", "reject": "rejected"}
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


def _visible(user: User) -> Any:
    return Proposal.objects.filter(team__in=team_ids_with(user, "approvals.view"))


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
    last = _final_decisions(ids)
    return [
        ClosedRow(
            id=row.pk,
            version=row.version,
            state=row.state,
            words=_verdict_words(last.get(row.pk), row),
            by=_by(last.get(row.pk)),
            at=row.closed_at,
        )
        for row in Proposal.objects.filter(pk__in=ids)
    ]


def _final_decisions(ids: Iterable[int]) -> dict[int, Decision]:
    rows = Decision.objects.filter(proposal__in=list(ids), final=True, voided_at__isnull=True)
    return {each.proposal_id: each for each in rows.select_related("actor")}


def _history_row(row: Proposal, decision: Decision | None) -> HistoryRow:
    return HistoryRow(
        id=row.pk,
        title=row.title,
        agent_name=row.agent_version.agent.name,
        action_name=row.action_type.name,
        risk=row.risk_class,
        state=row.state,
        state_words=row.get_state_display(),
        verdict=decision.verdict if decision else "",
        verdict_words=_verdict_words(decision, row),
        by=_by(decision),
        reason=decision.reason if decision else row.hold_reason,
        closed_at=row.closed_at or row.created_at,
        is_demo=row.agent_version.agent.is_demo,
    )


def _verdict_words(decision: Decision | None, row: Proposal) -> str:
    return decision.get_verdict_display() if decision else row.get_state_display()


def _by(decision: Decision | None) -> str:
    if decision is None:
        return ""
    nobody = {Decision.By.POLICY: "the policy", Decision.By.TIMER: "the clock"}.get(Decision.By(decision.by_kind))
    return str(decision.actor) if decision.actor else nobody or "the agent"


def _undo_until(row: Proposal, now: datetime) -> datetime | None:
    is_open = row.state == states.QUEUED and row.execute_after is not None and row.execute_after > now
    return row.execute_after if is_open else None


def _answer_is_new(proposal_id: int) -> bool:
    return ResumeOutbox.objects.filter(proposal_id=proposal_id, state=ResumeOutbox.State.NEW).exists()


def _past(row: Proposal) -> PastDecisions:
    """Count the last decided proposals of the same action type that share its weightiest short argument."""
    field = kind_field(row.action_type, row.args)
    alike = Proposal.objects.filter(
        kind=Proposal.Kind.LIVE, team_id=row.team_id, action_type_id=row.action_type_id, closed_at__isnull=False
    ).exclude(pk=row.pk)
    if field is not None:
        alike = alike.filter(args__contains={field: row.args[field]})
    last = alike.order_by("-closed_at", "-pk").values("pk")[:PAST_DECISIONS]
    verdicts = (
        Decision.objects.filter(proposal__in=last, by_kind=Decision.By.PERSON, final=True, voided_at__isnull=True)
        .values_list("verdict")
        .annotate(n=Count("pk"))
    )
    counts = {_FIELD_OF_VERDICT[verdict]: n for verdict, n in verdicts if verdict in _FIELD_OF_VERDICT}
    what = row.action_type.name if field is None else f"{row.action_type.name} · {field} {row.args[field]}"
    return PastDecisions(what, **{name: counts.get(name, 0) for name in _FIELD_OF_VERDICT.values()})
