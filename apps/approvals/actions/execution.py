"""R10 and R11: an approved action is consumed once, runs at most once, and its outcome is told honestly."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Q

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.accounts.queries import users_with
from apps.agents import queries as agents
from apps.approvals import errors
from apps.approvals.actions import closing, compensation, moves, outbox
from apps.approvals.actions.moves import Step
from apps.approvals.card import barred
from apps.approvals.domain import outside, policy, states, window, wording
from apps.approvals.domain.digest import moved_fields
from apps.approvals.errors import NotConsumable
from apps.approvals.models import Decision, Proposal
from apps.approvals.queries.reviewers import is_still_lawful
from apps.approvals.queries.rules import connector_id, facts_of, is_read_here, policy_in_force
from apps.approvals.redacting import redacted
from apps.audit.clock import clock
from apps.audit.domain.canonical import CanonicalError
from apps.connectors import actions as ledger
from apps.connectors.errors import AlreadyExecuted
from apps.connectors.models import ActionExecution

# A call has ended one way or the other long before this (10 s, three tries): whoever held it is gone.
STUCK_AFTER: Final = timedelta(seconds=60)
BATCH: Final = 200
# Only a low-risk action may run although its target could not be read again.
_MAY_RUN_UNREAD: Final = "low"
_HELD: Final = "held"
_CONSENT: Final = ("approve", "edit")


def consume(
    proposal_id: int,
    *,
    args: Mapping[str, Any] | None = None,
    fingerprint: str = "",
    digest: str = "",
    worker: str,
    state_now: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> ActionExecution:
    """Turn an approval into the one permission to act (T16): the ledger row exists before anything is sent.

    `args` is what is about to be sent, `fingerprint` the agent that is loaded, `state_now` the target's watched fields
    as just read (None: unreadable). An agent in another process says by `digest` what it is about to do.
    Raises NotConsumable: `too_early`, `held`, `unreadable` and `not_connected` leave the row queued; `expired`, `stale` and `withdrawn` moved it (T15); `already_executed` carries the earlier execution.
    """
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        _ensure_queued(row)
        no = _objection(row, _Sending(args, fingerprint, digest), state_now, now)
        if no is None:
            return _start(row, worker, now)
        if no.code == _HELD and row.hold_reason != no.message[:200]:
            row.hold_reason = no.message[:200]
            row.save(update_fields=["hold_reason"])
        if no.target is not None:
            closing.lapse(row, no.target, no.message, now)
    raise NotConsumable(no.code, no.message, proposal=row)


@transaction.atomic
def record_outcome(
    proposal_id: int,
    *,
    state: str,
    note: str = "",
    execution: ActionExecution | None = None,
    result: Mapping[str, Any] | None = None,
    external_ref: str = "",
    at: datetime | None = None,
) -> Proposal:
    """Say how an execution ended (T17): succeeded, failed or unknown; with `execution`, its ledger row says the same.

    The same outcome again changes nothing. Raises Conflict for another one.
    """
    row = compensation.lock_with_original(proposal_id)
    now = at or clock()
    if row.state == state:
        return row
    if row.state != states.EXECUTING:
        raise errors.Conflict(f"This is {row.get_state_display().lower()}, so no outcome can be recorded.")
    step = Step("T17", "executor", state)
    moves.move(row, step)
    if execution is not None:
        ledger.finish_execution(execution, state=_LEDGER[state], result=result, external_ref=external_ref, at=now)
    moves.announce(row)
    moves.tell(row, f"proposal.{state}", step, actor=_agent(row), payload={"note": note[:500], "ref": external_ref})
    compensation.roll_back_original(row)
    return row


@transaction.atomic
def reconcile(proposal_id: int, *, happened: bool, note: str, actor: User, at: datetime | None = None) -> Proposal:
    """Close an unknown outcome by what an operator found out (T18); the waiting thread goes on. It is never run again.

    Raises Forbidden without the right or for an approver of a high-risk action, BadVerdict without a note,
    NotQueued if the outcome is known.
    """
    row = compensation.lock_with_original(proposal_id)
    now = at or clock()
    if not actor.has_perm("approvals.view", row.team_id) and not actor.has_perm("runs.repair", row.team_id):
        raise errors.NotFound
    if not actor.has_perm("runs.repair", row.team_id) or (row.risk_class == "high" and _approved(row, actor)):
        raise Forbidden("runs.repair", row.team_id)
    target = states.SUCCEEDED if happened else states.FAILED
    if row.state != states.UNKNOWN:
        raise errors.Conflict(f"This is {row.get_state_display().lower()}; there is nothing to reconcile.")
    if not 3 <= len(note.strip()) <= 2000:  # noqa: PLR2004  # the same bounds as a reason
        raise errors.BadVerdict("Say in 3 to 2,000 characters how you know.", code="bad_reason", pointer="/note")
    step = Step("T18", "person", target)
    moves.move(row, step)
    execution = execution_of(row)
    if execution is not None:
        ledger.finish_execution(
            execution,
            state=_LEDGER[target],
            result={"reconciled": note.strip(), "by": actor.actor},
            # Seen by a person in the system of record: the target is the reference that this person can vouch for.
            external_ref=row.target if happened else "",
            actor=actor.actor,
            at=now,
        )
    for answer_id in row.outbox.filter(state="handed").values_list("pk", flat=True):
        outbox.send(answer_id)
    moves.announce(row)
    moves.tell(
        row, "proposal.reconciled", step, actor=actor.actor, payload={"happened": happened, "note": note.strip()}
    )
    compensation.roll_back_original(row)
    return row


def mark_stuck_executions(at: datetime | None = None) -> int:
    """Mark what lost its worker as unknown (T17): started long ago, and nobody holds its thread. Return how many.

    An agent in another process has longer: it says itself how its action ended.
    """
    now = at or clock()
    elsewhere = Q(thread_id__startswith=outside.THREAD_PREFIX)
    late = (~elsewhere & Q(started_at__lte=now - STUCK_AFTER)) | Q(
        elsewhere, started_at__lte=now - outside.OUTCOME_WITHIN
    )
    started = ActionExecution.objects.filter(
        late, state=ActionExecution.State.STARTED, proposal_id_value__isnull=False
    ).order_by("started_at")
    return sum(_mark_if_abandoned(pk, at=at) for pk in list(started.values_list("pk", flat=True)[:BATCH]))


def execution_of(row: Proposal) -> ActionExecution | None:
    return ActionExecution.objects.filter(thread_id=row.thread_id, tool_call_id=row.tool_call_id).first()


_LEDGER: Final = {
    states.SUCCEEDED: ActionExecution.State.DONE,
    states.FAILED: ActionExecution.State.FAILED,
    states.UNKNOWN: ActionExecution.State.UNKNOWN,
}


def _ensure_queued(row: Proposal) -> None:
    if row.state == states.QUEUED and row.consumed_at is None:
        return
    execution = execution_of(row)
    if execution is not None:
        raise NotConsumable("already_executed", "This was executed before.", proposal=row, execution=execution)
    code = row.state if row.state in states.UNEXECUTED else "not_queued"
    told = row.hold_reason or f"This is {row.get_state_display().lower()}. Nothing was executed."
    raise NotConsumable(code, told, proposal=row)


@dataclass(frozen=True, slots=True)
class _No:
    """Why an action may not run, and the state that this leads to; without one it stays queued."""

    code: str
    message: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class _Sending:
    """What is about to be sent: by a run of ours its arguments and fingerprint, by an agent elsewhere their digest."""

    args: Mapping[str, Any] | None
    fingerprint: str
    digest: str

    def digest_for(self, row: Proposal) -> str:
        if self.args is None:
            return self.digest
        return row.action.with_args(self.args).with_fingerprint(self.fingerprint).digest


def _objection(row: Proposal, sending: _Sending, state_now: Mapping[str, Any] | None, now: datetime) -> _No | None:
    """Return the first reason why the action may not run, in the order of rule R10, or None."""
    return (
        _time_objection(row, now)
        or _content_objection(row, sending)
        or _switch_objection(row)
        or _approver_objection(row)
        or _level_objection(row, now)
        or _policy_objection(row)
        or _state_objection(row, state_now)
    )


def _time_objection(row: Proposal, now: datetime) -> _No | None:
    if row.execute_after is None or now < row.execute_after:
        return _No("too_early", "The undo window is still open.")
    if window.is_over(row.valid_until, now):
        told = "It was approved, but could not run in time. Nothing was executed."
        return _No("expired", told, states.EXPIRED)
    return None


def _content_objection(row: Proposal, sending: _Sending) -> _No | None:
    told = "What was about to be sent is not what was approved. Nothing was executed."
    try:
        # Both what the row says now and what is about to be sent: either may have been altered after the approval.
        is_same = row.action.digest == row.digest == sending.digest_for(row)
        return None if is_same else _No("stale", told, states.STALE)
    except CanonicalError:
        return _No("stale", told, states.STALE)


def _switch_objection(row: Proposal) -> _No | None:
    system, runs_elsewhere = connector_id(row.target), outside.is_outside(row.thread_id)
    if system is None and not runs_elsewhere:
        return _No("not_connected", "The target's system is not connected.")
    stopped = agents.blocking_switch(
        team_id=row.team_id,
        connector_id=system,
        agent_id=row.agent_version.agent_id,
        action_type_id=row.action_type_id,
        lock=True,
        is_elsewhere=system is None,
    )
    if stopped is not None and runs_elsewhere:
        # Nothing was handed over yet: consuming is the hand-over, so it waits until the switch is off or its time is up.
        return _No(_HELD, stopped)
    return None if stopped is None else _withdrawn(f"Stopped: {stopped}")


def _approver_objection(row: Proposal) -> _No | None:
    """R2: whoever consented must still be one who may; a role taken away acts at once (S6)."""
    may_decide = users_with("approvals.decide", row.team_id).exclude(pk__in=barred(row))
    consents = Decision.objects.filter(proposal=row, voided_at__isnull=True, verdict__in=_CONSENT, by_kind="person")
    by_others = consents.exclude(actor__in=may_decide, on_behalf_of__isnull=True).select_related("actor")
    if not all(is_still_lawful(row, each) for each in by_others):
        return _withdrawn("Its approver may not decide here any more.")
    return None


def _level_objection(row: Proposal, now: datetime) -> _No | None:
    """R12 and R21 of autonomy: the agent must still stand where its actions are executed, and alone where nobody consented."""
    agent, kind = row.agent_version.agent, row.action_type
    advice = agents.advice(agent, kind)
    if advice is not None:
        return _No("withdrawn", wording.recorded(advice.why), states.WITHDRAWN)
    if row.approvals_given:
        return None
    earned = agents.autonomy(agent, kind, at=now)
    if earned.may_act_alone:
        return None
    told = f"It may not act alone any more: {' '.join(earned.why)} Nothing was executed."
    return _No("stale", told, states.STALE)


def _policy_objection(row: Proposal) -> _No | None:
    """Judge by the policy of now: it may deny or want more people, but it never loosens a decision."""
    rules = policy_in_force(row.action_type)
    if rules is None or rules.pk == row.policy_id:
        return None
    found = policy.assess(rules.conditions, facts_of(row), approvals=rules.approvals_needed)
    if not found.is_readable:
        return _withdrawn(f"Policy {rules} cannot be evaluated.")
    if found.outcome == policy.DENY:
        return _withdrawn(f"Policy {rules} now refuses this. {found.in_words}")
    # Nobody approved it: it ran on the policy's word, which must still hold.
    alone = row.approvals_given == 0 and found.outcome == policy.ALONE
    if alone or row.approvals_given >= found.approvals:
        return None
    return _withdrawn(f"Policy {rules} now wants more approvals. {found.in_words}")


def _withdrawn(why: str) -> _No:
    return _No("withdrawn", f"{why} Nothing was executed.", states.WITHDRAWN)


def _state_objection(row: Proposal, state_now: Mapping[str, Any] | None) -> _No | None:
    """Compare the watched fields with what the agent saw (R9)."""
    watched = row.action_type.watch_fields
    if not watched:
        return None
    if state_now is None:
        told = "The target cannot be read now, so nothing was executed."
        return None if row.risk_class == _MAY_RUN_UNREAD else _No("unreadable", told)
    moved = moved_fields(row.body.state_proposed, redacted(state_now), watched)
    if not moved:
        return None
    return _No("stale", wording.moved(moved), states.STALE)


def _start(row: Proposal, worker: str, now: datetime) -> ActionExecution:
    step = Step("T16", "executor")
    system = _system(row)
    try:
        execution = ledger.start_execution(
            thread_id=row.thread_id,
            tool_call_id=row.tool_call_id,
            proposal_id=row.pk,
            agent_id=row.agent_version.agent_id,
            connector_key=system,
            team=row.team if system is None else None,
            digest=row.digest,
            actor=_agent(row),
            worker=worker,
            at=now,
        )
    except AlreadyExecuted as taken:
        raise NotConsumable(
            "already_executed", "This was executed before.", proposal=row, execution=taken.execution
        ) from taken
    moves.move(row, step, consumed_at=now, hold_reason="")
    moves.tell(row, "proposal.executing", step, actor=_agent(row), payload={"worker": worker})
    return execution


def _system(row: Proposal) -> str | None:
    """Return the key of the system that is written to, or None if its agent's team connected none."""
    is_elsewhere = outside.is_outside(row.thread_id) and not is_read_here(row.target, team_id=row.team_id)
    return None if is_elsewhere else row.target.partition(":")[0]


@transaction.atomic
def _mark_if_abandoned(execution_id: int, *, at: datetime | None) -> bool:
    execution = ActionExecution.objects.get(pk=execution_id)
    if not _thread_is_free(execution.thread_id) or execution.proposal_id_value is None:
        return False
    row = moves.lock(execution.proposal_id_value)
    execution.refresh_from_db()
    if row.state != states.EXECUTING or execution.state != ActionExecution.State.STARTED:
        return False
    step = Step("T17", "timer", states.UNKNOWN)
    moves.move(row, step)
    ledger.finish_execution(execution, state=ActionExecution.State.UNKNOWN, result=None, at=at)
    moves.announce(row)
    note = "Its agent never said how it ended." if outside.is_outside(row.thread_id) else "Its worker is gone."
    moves.tell(row, "proposal.unknown", step, actor="timer", payload={"note": note})
    return True


def _thread_is_free(thread_id: str) -> bool:
    """Try the lock that a resuming worker holds for the time of its work."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [thread_id])
        return bool(cursor.fetchone()[0])


def _approved(row: Proposal, actor: User) -> bool:
    return Decision.objects.filter(proposal=row, actor=actor, voided_at__isnull=True, verdict__in=_CONSENT).exists()


def _agent(row: Proposal) -> str:
    return f"agent:{row.agent_version.agent_id}"
