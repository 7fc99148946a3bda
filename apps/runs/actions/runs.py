"""The verbs of a run: open, claim, keep, put back, wait, finish, hand over."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from django.db.models import Count, F, Q

from apps.agents import queries as agents_queries
from apps.agents.models import ActionType, Agent, AgentVersion, Stage
from apps.approvals.actions.intake import ProposalRequest, propose
from apps.approvals.models import Decision, Proposal
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors import queries as connectors
from apps.connectors.errors import UnknownSystem
from apps.connectors.models import Connector
from apps.runs.actions.precedents import remember
from apps.runs.domain import lease
from apps.runs.domain.outcome import Outcome, TraceStep
from apps.runs.domain.workflow import Ask
from apps.runs.models import Precedent, Run, Step, WorkItem
from apps.runs.queries import OPEN, first_action_type

logger = structlog.get_logger(__name__)

START_TASK: Final = "runs.start"
IN_LINE: Final = 250
"""So many of an agent's runs stand in line for workers at most: a longer line would be sent again before its turn comes."""
SENT_AT_ONCE: Final = 500
"""One sweep sends so many lost runs again, so that its transaction stays short."""


def open_runs(*, at: datetime | None = None) -> int:
    """Open runs for new work of every agent that may work, each in a transaction of its own; return how many.

    An agent that fails stops no other.
    """
    busy = WorkItem.objects.filter(state=WorkItem.State.NEW).values("agent")
    opened = 0
    for agent in Agent.objects.filter(pk__in=busy).exclude(stage=Stage.RETIRED):
        try:
            opened += open_runs_of(agent, at=at)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            logger.exception("no runs opened", agent_id=agent.pk)
    return opened


@transaction.atomic
def open_runs_of(agent: Agent, *, at: datetime | None = None) -> int:
    """
    Open runs for an agent's new work, oldest first, within its quota (R19): our own runs wait before they start.

    None while a kill switch stands, without a current version, or without its system; and none while somebody else
    holds the agent: the next sweep comes in seconds.
    """
    # The agent's row orders two sweeps; the quota is counted under it. A full lock would wait for every foreign key.
    if not Agent.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=agent.pk).exists():
        return 0
    now = at or clock()
    version = AgentVersion.objects.filter(agent=agent, is_current=True).first()
    if version is None or _stopped(agent):
        return 0
    room = _room(agent, now)
    items = list(
        WorkItem.objects.select_for_update(skip_locked=True)
        .filter(agent=agent, state=WorkItem.State.NEW)
        .order_by("id")[: max(0, room)]
    )
    if not items:
        return 0
    runs = Run.objects.bulk_create(
        Run(
            work_item=item,
            agent=agent,
            agent_version=version,
            thread_id=uuid.uuid4().hex,
            created_at=now,
            sent_at=now,
        )
        for item in items
    )
    WorkItem.objects.filter(pk__in=[item.pk for item in items]).update(state=WorkItem.State.IN_WORK)
    audit.record(
        "runs.opened",
        subject=f"agent:{agent.pk}",
        actor="system",
        team_id=agent.team_id,
        agent_version=version.fingerprint,
        payload={"runs": len(runs), "first": runs[0].pk, "last": runs[-1].pk},
    )
    send(run.pk for run in runs)
    return len(runs)


def send(run_ids: Iterable[int]) -> None:
    """Wake workers for runs after commit. A dead broker costs time only: the sweep sends them again."""
    for run_id in run_ids:
        transaction.on_commit(partial(current_app.send_task, START_TASK, [run_id], retry=False), robust=True)


@transaction.atomic
def resend_due(*, at: datetime | None = None, limit: int = SENT_AT_ONCE) -> list[int]:
    """Send again what no worker has: queued runs the broker lost, paused ones whose pause is over, running ones whose lease ended."""
    now = at or clock()
    lost = Q(state=Run.State.QUEUED, lease_until=None, sent_at__lte=now - lease.RESEND_AFTER)
    late = Q(state__in=[Run.State.QUEUED, Run.State.RUNNING], lease_until__lte=now)
    just_sent = Q(sent_at__gt=now - lease.RESEND_AFTER)
    due = list(
        Run.objects.select_for_update(skip_locked=True)
        .filter(lost | late | Q(state=Run.State.QUEUED, sent_at=None))
        .exclude(just_sent & (Q(state=Run.State.RUNNING) | Q(sent_at__gt=F("lease_until"))))
        .order_by("id")
        .values_list("pk", flat=True)[:limit]
    )
    Run.objects.filter(pk__in=due).update(sent_at=now)
    send(due)
    return due


def stopped_by(agent: Agent) -> str | None:  # 3 queries
    """Say which kill switch keeps an agent's runs from starting, or None.

    An agent without a system or an action is kept by none: its runs fail, say why, and reach a person.
    """
    means = _means(agent)
    return None if means is None else _switch(agent, *means)


def claim(run_id: int, *, worker: str, at: datetime | None = None) -> int | None:
    """Take a run for this worker; return how often it had been started before, or None if it is not to be started.

    Of two workers one wins: the condition and the change are one statement.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"id": run_id, "worker": worker, "lease": lease.LEASE.total_seconds(), "at": at})
        row = cursor.fetchone()
    return None if row is None else int(row[0]) - 1


_CLAIM: Final = """
UPDATE runs_run AS run SET state = 'running', attempts = attempts + 1, worker = %(worker)s, heartbeat_at = now.at,
    lease_until = now.at + make_interval(secs => %(lease)s), started_at = COALESCE(started_at, now.at)
FROM (SELECT COALESCE(%(at)s::timestamptz, clock_timestamp()) AS at) AS now
WHERE run.id = %(id)s AND (
    (run.state = 'queued' AND (run.lease_until IS NULL OR run.lease_until <= now.at))
    OR (run.state = 'running' AND run.lease_until <= now.at))
RETURNING run.attempts
"""


def renew(run_id: int, *, at: datetime | None = None) -> None:
    """The worker of a run lives."""
    now = at or clock()
    Run.objects.filter(pk=run_id, state=Run.State.RUNNING).update(heartbeat_at=now, lease_until=now + lease.LEASE)


@transaction.atomic
def put_back(run: Run, *, error: str, at: datetime | None = None) -> timedelta | None:
    """After a technical failure: try again later, or hand over after the last try. Return the pause, if there is one.

    A waiting run goes on waiting; its failure is kept for the operators' list until somebody got through to its thread.
    """
    row = lock(run)
    now = at or clock()
    if row.state == Run.State.WAITING:
        row.last_error = error[:500]
        row.save(update_fields=["last_error"])
    if row.state != Run.State.RUNNING:
        return None
    pause = lease.pause_after(row.attempts)
    if pause is None:
        _hand_over(row, Outcome(Run.Reason.TECHNICAL, f"It failed {row.attempts} times, last with: {error}"), [], now)
        return None
    row.state, row.last_error, row.lease_until = Run.State.QUEUED, error[:500], now + pause
    row.save(update_fields=["state", "last_error", "lease_until"])
    return pause


@transaction.atomic
def wait(
    run: Run, *, questions: Sequence["Question"], steps: Sequence[TraceStep], at: datetime | None = None
) -> list[Proposal]:
    """Put the open questions of a thread before people. Safe to say twice: a question has one proposal.

    A run that has ended, as when somebody cancelled it, asks nothing any more.
    """
    row = lock(run)
    if row.state not in OPEN:
        return []
    made = [_propose(row, each, at=at) for each in questions]
    _write_steps(row, steps, made)
    if row.state != Run.State.WAITING or row.last_error:
        row.state, row.lease_until, row.model, row.last_error = Run.State.WAITING, None, run.model or row.model, ""
        row.save(update_fields=["state", "lease_until", "model", "last_error"])
    return made


@transaction.atomic
def end(
    run: Run,
    outcome: Outcome,
    *,
    steps: Sequence[TraceStep],
    proposals: Sequence[Proposal] = (),
    text: str = "",
    at: datetime | None = None,
) -> None:
    """A thread ended: the case is done, or a person takes over. What a person decided becomes a precedent. Safe to say twice."""
    row = lock(run)
    now = at or clock()
    if row.state not in OPEN:
        return
    row.model = run.model or row.model
    if not outcome.is_done:
        _hand_over(row, outcome, steps, now)
        return
    done = next(each for each in proposals if each.tool_call_id == outcome.call_id)
    _write_steps(row, steps, [])
    row.state, row.ended_at, row.lease_until = Run.State.DONE, now, None
    row.save(update_fields=["state", "ended_at", "lease_until", "model"])
    WorkItem.objects.filter(pk=row.work_item_id).update(state=WorkItem.State.DONE, closed_at=now)
    if Decision.objects.filter(proposal=done, by_kind=Decision.By.PERSON, final=True, voided_at=None).exists():
        args = {key: str(done.args.get(key) or "") for key in ("queue", "priority", "reply")}
        remember(row, text=text, **args, source=Precedent.Source.DECISION)
    tell(row, "run.done", {"proposal": done.pk})


def mark_pruned(thread_id: str, *, at: datetime | None = None) -> None:
    Run.objects.filter(thread_id=thread_id).update(pruned_at=at or clock())


def tell_repaired(run: Run, *, actor: str) -> None:
    """Record who had a thread's last turn planned anew."""
    tell(run, "thread.repaired", {"thread": run.thread_id}, actor=actor)


class Question:
    """An open interrupt of a thread with the card that people will see."""

    __slots__ = ("action_type", "ask", "interrupt_id", "tool", "tool_call_id")

    def __init__(self, *, interrupt_id: str, tool_call_id: str, tool: str, action_type: ActionType, ask: Ask) -> None:
        self.interrupt_id = interrupt_id
        self.tool_call_id = tool_call_id
        self.tool = tool
        self.action_type = action_type
        self.ask = ask


def lock(run: Run) -> Run:
    """Lock the row and read it anew; its neighbours do not change while it is open."""
    row = Run.objects.select_for_update().get(pk=run.pk)
    row.agent, row.agent_version, row.work_item = run.agent, run.agent_version, run.work_item
    return row


def _propose(run: Run, question: Question, *, at: datetime | None) -> Proposal:
    ask = question.ask
    return propose(
        ProposalRequest(
            agent_version=run.agent_version,
            action_type=question.action_type,
            args=ask.args,
            target=ask.target,
            subject=ask.subject,
            title=ask.title,
            run_id=run.pk,
            work_item_id=run.work_item_id,
            thread_id=run.thread_id,
            tool_call_id=question.tool_call_id,
            tool_name=question.tool,
            interrupt_id=question.interrupt_id,
            state_proposed=ask.state_proposed,
            state_if_approved=ask.state_if_approved,
            evidence=[{"label": each.label, "text": each.text, "source": each.source} for each in ask.evidence],
            agent_text=ask.agent_text,
            confidence=ask.confidence,
            sla_due=run.work_item.sla_due,
            trace_ref=f"run/{run.pk}",
        ),
        at=at,
    )


def _hand_over(run: Run, outcome: Outcome, steps: Sequence[TraceStep], now: datetime) -> None:
    _write_steps(run, steps, [])
    run.state, run.reason, run.reason_text = Run.State.HANDED_OVER, outcome.reason, outcome.text[:500]
    run.ended_at, run.lease_until = now, None
    run.save(update_fields=["state", "reason", "reason_text", "ended_at", "lease_until", "model"])
    WorkItem.objects.filter(pk=run.work_item_id).update(state=WorkItem.State.HANDED_OVER)
    tell(run, "run.handed_over", {"reason": str(outcome.reason)})


def _write_steps(run: Run, steps: Sequence[TraceStep], made: Sequence[Proposal]) -> None:
    ids: dict[str, Any] = {"proposal": made[0].pk} if made else {}
    Step.objects.bulk_create(
        [
            Step(
                run=run,
                position=step.position,
                kind=step.kind,
                name=step.name[:80],
                detail={**step.detail, **(ids if step.kind == Step.Kind.PROPOSE else {})},
            )
            for step in steps
        ],
        ignore_conflicts=True,
    )


def tell(run: Run, action: str, payload: dict[str, object], *, actor: str = "") -> None:
    audit.record(
        action,
        subject=f"run:{run.pk}",
        actor=actor or f"agent:{run.agent_id}",
        team_id=run.agent.team_id,
        agent_version=run.agent_version.fingerprint,
        payload={"work_item": run.work_item_id, **payload},
    )


def _room(agent: Agent, now: datetime) -> int:
    runs = Run.objects.filter(agent=agent)
    found = runs.filter(state__in=OPEN).aggregate(
        open=Count("pk"), in_line=Count("pk", filter=Q(state=Run.State.QUEUED))
    )
    new = runs.filter(created_at__gt=now - timedelta(minutes=1)).count()
    room: int = min(agent.max_open - found["open"], agent.max_new_per_minute - new, IN_LINE - found["in_line"])
    return room


def _stopped(agent: Agent) -> bool:
    """A stopped agent opens nothing, nor does one that could not act."""
    means = _means(agent)
    return means is None or _switch(agent, *means) is not None


def _means(agent: Agent) -> tuple[Connector, ActionType] | None:
    """Return the system that an agent works on and what it does there, or None if one is missing."""
    action_type = first_action_type(agent.pk)
    if action_type is None:
        return None
    try:
        return connectors.connector(agent.connector_key), action_type
    except UnknownSystem:
        return None


def _switch(agent: Agent, connector: Connector, action_type: ActionType) -> str | None:
    return agents_queries.blocking_switch(
        team_id=agent.team_id,
        connector_id=connector.pk,
        agent_id=agent.pk,
        action_type_id=action_type.pk,
        lock=False,
    )
