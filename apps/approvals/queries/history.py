from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, OuterRef, Q

from apps.accounts.models import User
from apps.approvals.domain import states
from apps.approvals.domain.search import Search
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.approvals.queries.last_words import FIELD_OF_VERDICT, by, final_decisions, verdict_words
from apps.approvals.queries.searching import matching
from apps.approvals.queries.visible import visible
from apps.audit.clock import clock

EVERYTHING = Search()


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


def history_rows(
    user: User,
    *,
    after: tuple[datetime, int] | None = None,
    agent_id: int | None = None,
    search: Search = EVERYTHING,
    limit: int = 50,
    at: datetime | None = None,
) -> HistoryPage:
    """Return what was closed in the person's teams and is searched for, newest first, a page at a time.

    2 queries besides rights, and the clock's with a search.
    """
    # Advice was decided by nobody, and a shadow's is shown to nobody. Planted cards did not happen: they have their own page.
    rows = visible(user).filter(closed_at__isnull=False, kind=Proposal.Kind.LIVE)
    if agent_id is not None:
        rows = rows.filter(agent_version__agent_id=agent_id)
    if search:
        rows = rows.filter(matching(search, reader=user, at=at or clock(), hides_snoozed=False))
    if after is not None:
        closed_at, pk = after
        # The first condition lets the index start at the right place; the second is exact.
        rows = rows.filter(Q(closed_at__lt=closed_at) | Q(closed_at=closed_at, pk__lt=pk), closed_at__lte=closed_at)
    page = list(rows.select_related("agent_version__agent", "action_type").order_by("-closed_at", "-pk")[: limit + 1])
    last = final_decisions(row.pk for row in page)
    shown = tuple(_history_row(row, last.get(row.pk)) for row in page[:limit])
    end = page[limit - 1] if len(page) > limit else None
    return HistoryPage(shown, (end.closed_at, end.pk) if end is not None and end.closed_at else None)


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


def decided_counts(
    agent_ids: Iterable[int],
    *,
    since: datetime | None = None,
    with_synthetic: bool = True,
    as_evidence: bool = False,
) -> dict[int, DecidedCounts]:
    """Count what people decided about each agent, by its last word. Agents nobody judged are absent. 1 query.

    Drills and second looks are about the people, not about the agent: only what was live counts. `as_evidence` leaves
    out approvals of somebody whose vigilance was in doubt (R18): they happened, and are no ground for more autonomy.
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
    rows = rows.filter(is_evidence=True) if as_evidence else rows
    counts: dict[int, dict[str, int]] = {}
    for agent_id, verdict, n in rows.values_list("proposal__agent_version__agent", "verdict").annotate(n=Count("pk")):
        counts.setdefault(agent_id, {})[FIELD_OF_VERDICT[verdict]] = n
    return {agent_id: DecidedCounts(**found) for agent_id, found in counts.items()}


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
        verdict_words=verdict_words(decision, row),
        by=by(decision),
        reason=decision.reason if decision else row.hold_reason,
        closed_at=row.closed_at or row.created_at,
        is_demo=row.agent_version.agent.is_demo,
    )


def _undo_until(row: Proposal, now: datetime) -> datetime | None:
    is_open = row.state == states.QUEUED and row.execute_after is not None and row.execute_after > now
    return row.execute_after if is_open else None
