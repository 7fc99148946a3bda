from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import CharField, Count, Exists, Min, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat, Now
from django.http import Http404

from apps.accounts.access import object_or_404, scoped
from apps.accounts.models import User
from apps.accounts.queries import team_ids_with, who_can_grant
from apps.agents import queries as agents
from apps.agents.models import ActionType, Agent
from apps.approvals.models import Proposal, ResumeOutbox
from apps.approvals.models import State as Proposed
from apps.audit.clock import clock
from apps.connectors import client
from apps.connectors.errors import ConnectorError, NotFound
from apps.connectors.models import ActionExecution
from apps.runs.models import HAND_OVER_THREAD, Run, Step, WorkItem
from apps.runs.queries_asked import asked_by
from apps.runs.workflow import part

# In these states somebody or something still owes the thread an answer.
_AWAITED: Final = (Proposed.PENDING, Proposed.CLAIMED, Proposed.QUEUED, Proposed.EXECUTING, Proposed.UNKNOWN)
KEEP_CHECKPOINTS: Final = timedelta(hours=1)
"""A finished thread keeps all its checkpoints for so long, for whoever looks into it."""
SEEN_AFTER: Final = timedelta(minutes=2)
"""An answer that fails is sent again by itself; once it is due for so long, operators see it."""
PAGE: Final = 50
NEWEST: Final = 5
READ_WITHIN_S: Final = 2.0
"""A page waits so long for the system of record; then it says so and shows what is known here."""
VIEW: Final = "runs.view"
READ: Final = "traces.read"
STUCK: Final = "repairs.view"
CLOSE: Final = "work.close_hand_over"
END: Final = "runs.repair"
"""The right to end a run by hand."""

OPEN: Final = (Run.State.QUEUED, Run.State.RUNNING, Run.State.WAITING)

STATUS: Final[Mapping[str, str]] = {
    Run.State.QUEUED: "idle",
    Run.State.RUNNING: "idle",
    Run.State.WAITING: "wait",
    Run.State.DONE: "ok",
    Run.State.HANDED_OVER: "warn",
    Run.State.FAILED: "bad",
    Run.State.CANCELLED: "idle",
}


@dataclass(frozen=True, slots=True)
class RunRow:
    id: int
    case: str
    agent_name: str
    state: str
    state_words: str
    status: str
    reason: str
    reason_words: str
    reason_text: str
    created_at: datetime
    ended_at: datetime | None
    is_demo: bool


@dataclass(frozen=True, slots=True)
class RunList:
    rows: tuple[RunRow, ...]
    older: int | None
    agents: tuple[tuple[str, str], ...]


def run_list(user: User, *, state: str = "", agent: str = "", before: int | None = None) -> RunList:  # 2 queries
    """Return a page of the runs this person may see, newest first."""
    rows = scoped(Run.objects.select_related("agent", "work_item"), user, VIEW, team="agent__team")
    if state in Run.State.values:
        rows = rows.filter(state=state)
    if agent:
        rows = rows.filter(agent__slug=agent)
    if before:
        rows = rows.filter(pk__lt=before)
    page = list(rows.order_by("-pk")[: PAGE + 1])
    older = page[PAGE - 1].pk if len(page) > PAGE else None
    return RunList(tuple(_row(each) for each in page[:PAGE]), older, _agents(user, VIEW))


@dataclass(frozen=True, slots=True)
class StepRow:
    number: int
    kind: str
    kind_words: str
    name: str
    text: str
    lines: tuple[tuple[str, str], ...]
    proposal_id: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RunPage:
    run: Run
    row: RunRow
    steps: tuple[StepRow, ...]
    proposals: tuple[Proposal, ...]
    took: timedelta | None
    may_close: bool
    may_end: bool
    may_read: bool
    who_grants: str


def run_page(user: User, pk: int, *, card_id: int | None = None) -> RunPage:  # 3 queries, 1 more from a card
    """
    Return a run with everything it did. Outsiders get 404.

    Who may not read raw traces gets its state and outcome, without steps, arguments and what was said. Who comes from a
    card that waits sees the run as it stood when it asked.
    """
    runs = Run.objects.select_related("agent", "agent_version", "work_item")
    run = object_or_404(runs, user, VIEW, pk, team="agent__team")
    may_read = agents.may(user, READ, run.agent)
    steps: Sequence[Step] = list(run.steps.order_by("position")) if may_read else []
    asked = asked_by(user, pk, card_id)
    if asked is None:
        proposals = tuple(Proposal.objects.filter(thread_id=run.thread_id).order_by("pk"))
    else:
        run, steps, proposals = asked.run_then(run), asked.steps_then(steps), (asked.card,)
    end = run.ended_at or max((each.created_at for each in proposals), default=None)
    is_open = run.state == Run.State.HANDED_OVER and run.work_item.state == WorkItem.State.HANDED_OVER
    return RunPage(
        run=run,
        row=_row(run),
        steps=tuple(_step(number, each) for number, each in enumerate(steps, start=1)),
        proposals=proposals if may_read else (),
        took=end - run.started_at if end and run.started_at else None,
        may_close=is_open and user.has_perm(CLOSE, run.agent.team_id),
        may_end=run.state in OPEN and user.has_perm(END, run.agent.team_id),
        may_read=may_read,
        who_grants="" if may_read else who_can_grant(run.agent.team_id),
    )


def run_to_end(user: User, pk: int) -> Run:  # 1 query
    """Return a run that this person may end by hand. Outsiders get 404, members without the right 403."""
    runs = Run.objects.select_related("agent", "agent_version", "work_item")
    return object_or_404(runs, user, END, pk, team="agent__team")


@dataclass(frozen=True, slots=True)
class HandOverRow:
    work_item_id: int
    run_id: int
    case: str
    agent_name: str
    reason: str
    reason_words: str
    text: str
    since: datetime | None
    sla_due: datetime | None
    is_demo: bool
    is_unsettled: bool
    """An earlier write of a person has no known outcome."""


@dataclass(frozen=True, slots=True)
class HandOverList:
    """A page of cases; `total` and `oldest` are of all pages, `later` is the run after which the next page begins."""

    rows: tuple[HandOverRow, ...]
    total: int
    oldest: datetime | None
    later: int | None
    agents: tuple[tuple[str, str], ...]
    reasons: tuple[tuple[str, str, int], ...]


def hand_overs(user: User, *, reason: str = "", agent: str = "", after: int | None = None) -> HandOverList:  # 3 queries
    """Return a page of the cases that wait for a person, oldest first, with how many there are for each reason."""
    waiting = _waiting(user)
    if agent:
        waiting = waiting.filter(agent__slug=agent)
    told = list(waiting.values_list("reason").annotate(n=Count("pk"), oldest=Min("ended_at")).order_by())
    counts = Counter({each: n for each, n, _ in told})
    chosen = {reason} if reason in Run.Reason.values else set(counts)
    shown = _with_unsettled(waiting.filter(reason__in=chosen)).select_related("agent", "work_item")
    if after:
        # The last case of a page may have been closed meanwhile; its run still marks the place.
        last = Subquery(Run.objects.filter(pk=after).values("ended_at"))
        shown = shown.filter(Q(ended_at__gt=last) | Q(ended_at=last, pk__gt=after))
    page = list(shown.order_by("ended_at", "pk")[: PAGE + 1])
    return HandOverList(
        rows=tuple(_hand_over(each) for each in page[:PAGE]),
        total=sum(counts[each] for each in chosen),
        oldest=min((oldest for each, _, oldest in told if each in chosen and oldest), default=None),
        later=page[PAGE - 1].pk if len(page) > PAGE else None,
        agents=_agents(user, CLOSE),
        reasons=tuple((each.value, str(each.label), counts[each]) for each in Run.Reason if counts[each]),
    )


@dataclass(frozen=True, slots=True)
class HandOverPage:
    """
    `ticket` is empty and `problem` says why if the system of record cannot be read now, or has no such ticket.

    In the latter case there is nothing to route: a person keeps the case.
    """

    item: WorkItem
    run: Run
    row: HandOverRow
    ticket: Mapping[str, Any]
    text: str
    etag: str
    problem: str
    is_missing: bool
    queues: Sequence[Mapping[str, Any]]
    priorities: Sequence[str]
    guess: Mapping[str, str]
    closed_by: str
    is_open: bool


def hand_over_page(user: User, pk: int) -> HandOverPage:  # 4 queries, 1 for what was advised, 1 read of the system
    """Return one handed-over case as it stands now, with what the agent would have done."""
    items = WorkItem.objects.select_related("agent", "closed_by")
    item = object_or_404(items, user, CLOSE, pk, team="agent__team")
    runs = _with_unsettled(Run.objects.select_related("agent", "agent_version", "work_item"))
    run = runs.filter(work_item=item, state=Run.State.HANDED_OVER).order_by("-pk").first()
    if run is None:
        raise Http404("No run handed this case over.")
    scope, cards = part(item.agent.workflow, "scope"), part(item.agent.workflow, "cards")
    found = _read(cards.target(item.agent.connector_key, item.external_id))
    proposals = Proposal.objects.filter(thread_id=run.thread_id).select_related("action_type")
    proposed = proposals.order_by("-pk").first()
    return HandOverPage(
        item=item,
        run=run,
        row=_hand_over(run),
        ticket=found.fields,
        text=str(found.fields.get("text") or item.payload.get("text") or ""),
        etag=found.etag,
        problem=found.problem,
        is_missing=found.is_missing,
        queues=scope.queues_of(run.agent_version.settings),
        priorities=scope.priorities_of(run.agent_version.settings),
        guess=_guess(item.agent, proposed),
        closed_by=item.closed_by.name if item.closed_by else "",
        is_open=item.state == WorkItem.State.HANDED_OVER,
    )


def _guess(agent: Agent, proposed: Proposal | None) -> Mapping[str, str]:
    """Return what the agent would have done, unless its advice is to be shown to nobody: a shadow is compared, not followed."""
    if proposed is None:
        return {}
    if proposed.kind == Proposal.Kind.ADVICE:
        advice = agents.advice(agent, proposed.action_type)
        if advice is not None and not advice.is_shown:
            return {}
    return {key: str(value) for key, value in proposed.args.items()}


def next_hand_over(user: User) -> int | None:  # 1 query
    """Return the case that has waited longest, for the person's next look."""
    return _waiting(user).order_by("ended_at", "pk").values_list("work_item_id", flat=True).first()


@dataclass(frozen=True, slots=True)
class StuckThread:
    run_id: int
    case: str
    agent_name: str
    thread_id: str
    what: str
    error: str
    since: datetime
    proposal_id: int | None
    may_give_up: bool
    may_repair: bool
    is_being_repaired: bool


def stuck_threads(user: User) -> list[StuckThread]:  # 5 queries
    """Return the open runs that do not go on by themselves, each once: with an answer that fails, failing, or unasked."""
    runs = scoped(Run.objects.select_related("agent", "work_item"), user, STUCK, team="agent__team")
    runs = runs.filter(state__in=OPEN).order_by("pk")
    answers = {each.thread_id: each for each in _failing_answers(user)}
    answered = [(run, answers[run.thread_id]) for run in runs.filter(thread_id__in=answers)]
    found = [_stuck(user, run, _WHY_UNHEARD[answer.state], answer) for run, answer in answered]
    found += [_stuck(user, run, _WHY_FAILING[run.state]) for run in runs.exclude(last_error="")[:PAGE]]
    found += [_stuck(user, run, "Waits, but nobody was asked") for run in runs.filter(pk__in=unasked_run_ids())]
    seen: dict[int, StuckThread] = {}
    for each in found:
        seen.setdefault(each.run_id, each)
    return list(seen.values())


@dataclass(frozen=True, slots=True)
class WorkPanel:
    """One agent's work in numbers; `share_handed_over` is of all that ended, None before the first."""

    agent: Agent
    counts: tuple[tuple[str, str, int], ...]
    new: int
    share_handed_over: float | None
    newest: tuple[RunRow, ...]


def work_panel(user: User, agent_id: int) -> WorkPanel:  # 4 queries
    """Return an agent's runs by state, its share of hand-overs and its newest runs."""
    agent = object_or_404(Agent.objects.all(), user, VIEW, agent_id)
    by_state = Counter(dict(Run.objects.filter(agent=agent).values_list("state").annotate(n=Count("pk")).order_by()))
    ended = by_state[Run.State.DONE] + by_state[Run.State.HANDED_OVER]
    newest = (
        Run.objects.filter(agent=agent).select_related("agent", "work_item").order_by("-created_at", "-pk")[:NEWEST]
    )
    return WorkPanel(
        agent=agent,
        counts=tuple((STATUS[each], str(each.label), by_state[each]) for each in Run.State if by_state[each]),
        new=WorkItem.objects.filter(agent=agent, state=WorkItem.State.NEW).count(),
        share_handed_over=by_state[Run.State.HANDED_OVER] / ended if ended else None,
        newest=tuple(_row(each) for each in newest),
    )


def first_action_type(agent_id: int) -> ActionType | None:  # 1 query
    """Return what an agent itself does, the first of it; what only undoes another action is asked for by people."""
    kinds = ActionType.objects.filter(agent=agent_id)
    undoing = kinds.exclude(compensated_by="").values("compensated_by")
    return kinds.exclude(key__in=undoing).order_by("pk").first()


def hand_over_count(user: User) -> int | None:  # 1 query
    """Return the number on the side bar's chip; no chip without cases."""
    return _waiting(user).count() or None


def unasked_run_ids(*, limit: int = 200) -> list[int]:  # 1 query
    """Return waiting runs for which nobody owes an answer: their question was not projected, or their thread stalled."""
    of_thread = Proposal.objects.filter(thread_id=OuterRef("thread_id"))
    undelivered = ResumeOutbox.objects.undelivered().filter(proposal__thread_id=OuterRef("thread_id"))
    return list(
        Run.objects.filter(state=Run.State.WAITING, synthetic=False)
        .exclude(Exists(of_thread.filter(state__in=_AWAITED)))
        .exclude(Exists(undelivered))
        .order_by("id")
        .values_list("pk", flat=True)[:limit]
    )


def prunable_thread_ids(*, limit: int = 1000) -> list[str]:  # 2 queries
    """Return finished threads whose older checkpoints nobody needs any more, oldest first."""
    return list(
        Run.objects.filter(pruned_at=None, synthetic=False, ended_at__lte=clock() - KEEP_CHECKPOINTS)
        .order_by("ended_at")
        .values_list("thread_id", flat=True)[:limit]
    )


def _waiting(user: User) -> QuerySet[Run]:
    rows = scoped(Run.objects.all(), user, CLOSE, team="agent__team")
    return rows.filter(Q(state=Run.State.HANDED_OVER) & Q(work_item__state=WorkItem.State.HANDED_OVER))


def _with_unsettled(runs: QuerySet[Run]) -> QuerySet[Run]:
    thread = Concat(Value(HAND_OVER_THREAD), Cast(OuterRef("work_item_id"), CharField()))
    open_writes = ActionExecution.objects.filter(
        thread_id=thread, state__in=[ActionExecution.State.STARTED, ActionExecution.State.UNKNOWN]
    )
    return runs.annotate(is_unsettled=Exists(open_writes))


def _agents(user: User, right: str) -> tuple[tuple[str, str], ...]:
    return tuple(scoped(Agent.objects.all(), user, right).order_by("name").values_list("slug", "name"))


def _row(run: Run) -> RunRow:
    return RunRow(
        id=run.pk,
        case=run.work_item.external_id,
        agent_name=run.agent.name,
        state=run.state,
        state_words=run.get_state_display(),
        status=STATUS[Run.State(run.state)],
        reason=run.reason,
        reason_words=run.get_reason_display(),
        reason_text=run.reason_text,
        created_at=run.created_at,
        ended_at=run.ended_at,
        is_demo=run.agent.is_demo,
    )


def _hand_over(run: Run) -> HandOverRow:
    return HandOverRow(
        work_item_id=run.work_item_id,
        run_id=run.pk,
        case=run.work_item.external_id,
        agent_name=run.agent.name,
        reason=run.reason,
        reason_words=run.get_reason_display(),
        text=run.reason_text,
        since=run.ended_at,
        sla_due=run.work_item.sla_due,
        is_demo=run.agent.is_demo,
        is_unsettled=getattr(run, "is_unsettled"),  # noqa: B009  # the annotation is unknown to the model's type
    )


_WHY_UNHEARD: Final[Mapping[str, str]] = {
    ResumeOutbox.State.NEW: "Its answer does not get through",
    ResumeOutbox.State.HANDED: "Cannot go on with its answer",
    ResumeOutbox.State.PARKED: "Its answer could not be delivered",
}
_WHY_FAILING: Final[Mapping[str, str]] = {
    Run.State.QUEUED: "Fails and is tried again",
    Run.State.RUNNING: "Fails and is tried again",
    Run.State.WAITING: "Waits, and its thread cannot go on",
}


def _failing_answers(user: User) -> list[ResumeOutbox]:
    """Return the answers that were set aside, and those that fail although they are due for a while, of open runs only."""
    is_failing = Q(
        state__in=[ResumeOutbox.State.NEW, ResumeOutbox.State.HANDED], not_before__lte=Now() - SEEN_AFTER
    ) & ~Q(last_error="")
    open_runs = Run.objects.filter(thread_id=OuterRef("thread_id"), state__in=OPEN)
    rows = ResumeOutbox.objects.filter(
        Q(state=ResumeOutbox.State.PARKED) | is_failing,
        Exists(open_runs),
        proposal__team__in=team_ids_with(user, STUCK),
    )
    return list(rows.order_by("pk")[:PAGE])


def _stuck(user: User, run: Run, what: str, answer: ResumeOutbox | None = None) -> StuckThread:
    error = answer.last_error if answer else run.last_error
    return StuckThread(
        run_id=run.pk,
        case=run.work_item.external_id,
        agent_name=run.agent.name,
        thread_id=run.thread_id,
        what=what,
        error=error,
        since=answer.not_before if answer else run.heartbeat_at or run.created_at,
        proposal_id=answer.proposal_id if answer else None,
        may_give_up=bool(error) and user.has_perm(END, run.agent.team_id),
        may_repair=run.state == Run.State.WAITING and user.has_perm(END, run.agent.team_id),
        is_being_repaired=run.repair_asked_at is not None,
    )


def _step(number: int, step: Step) -> StepRow:
    detail = step.detail
    calls = [(call["name"], call["args"]) for call in detail.get("calls", ())]
    lines = [(f"calls {name}", _in_words(args)) for name, args in calls]
    if detail.get("args"):
        lines.append(("asks for", _in_words(detail["args"])))
    return StepRow(
        number=number,
        kind=step.kind,
        kind_words=step.get_kind_display(),
        name=step.name,
        text=str(detail.get("text") or ""),
        lines=tuple(lines),
        proposal_id=detail.get("proposal"),
        at=step.at,
    )


def _in_words(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in args.items())


@dataclass(frozen=True, slots=True)
class _Found:
    fields: Mapping[str, Any]
    etag: str = ""
    problem: str = ""
    is_missing: bool = False


def _read(target: str) -> _Found:
    try:
        record = client.read(target, timeout=READ_WITHIN_S)
    except ConnectorError as error:
        return _Found({}, problem=str(error), is_missing=isinstance(error, NotFound))
    return _Found(record.fields, record.etag)
