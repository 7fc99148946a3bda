"""A person ends a run: cancels one that is not wanted any more, or gives up one that cannot go on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db import transaction

from apps.accounts.access import ensure
from apps.accounts.models import User
from apps.approvals.actions import outbox
from apps.approvals.actions.closing import withdraw
from apps.approvals.models import Proposal, ResumeOutbox, State
from apps.audit.clock import clock
from apps.audit.locks import try_xact_lock
from apps.runs.actions.runs import lock, tell
from apps.runs.domain.limits import MAX_REASON, MIN_REASON
from apps.runs.errors import BadReason, NotEnded
from apps.runs.models import Run, WorkItem
from apps.runs.queries import END, OPEN

WITHDRAWABLE: Final = (State.PROPOSED, State.PENDING, State.CLAIMED, State.QUEUED)
"""Nobody has acted on a proposal in these states yet (T11)."""


@transaction.atomic
def cancel(run: Run, *, reason: str, actor: User, at: datetime | None = None) -> Run:
    """
    Stop an open run because somebody wants it so (T11): its questions are withdrawn, its case is closed without a change.

    Raises Forbidden, BadReason, and NotEnded with what is safe: it ended already, a worker has it in hand, or its write
    is under way, has no known outcome, or has happened.
    """
    row, proposals = _to_be_ended(run, reason, actor)
    if any(each.state == State.SUCCEEDED for each in proposals):
        raise NotEnded("Its change has been made, so there is nothing left to cancel. Nothing was changed now.")
    return _end_by_hand(row, proposals, Run.State.CANCELLED, reason=reason, actor=actor, at=at)


@transaction.atomic
def give_up(run: Run, *, reason: str, actor: User, at: datetime | None = None) -> Run:
    """
    End a run as failed that can neither go on nor hand its case over, as when its workflow or its thread is broken.

    Its questions are withdrawn; its case is closed: done if its change has been made, else without a change.
    Raises as `cancel`, and NotEnded for a run that has not failed at anything.
    """
    row, proposals = _to_be_ended(run, reason, actor)
    answers = ResumeOutbox.objects.undelivered().filter(thread_id=row.thread_id)
    if not row.last_error and not answers.exclude(last_error="").exists():
        raise NotEnded("This run has not failed at anything; it can only be cancelled. Nothing was changed.")
    return _end_by_hand(row, proposals, Run.State.FAILED, reason=reason, actor=actor, at=at)


@transaction.atomic
def silence(thread_id: str, *, why: str) -> None:
    """Let a thread hear nothing more: an answer it has not heard is taken back, one that was handed over is set aside."""
    undelivered = ResumeOutbox.objects.undelivered().filter(thread_id=thread_id).order_by("proposal_id")
    for answer_id in list(undelivered.values_list("pk", flat=True)):
        answer = outbox.lock_answer(answer_id)
        if not outbox.cancel_new(answer.proposal):
            outbox.park(answer_id, error=why)


def _to_be_ended(run: Run, reason: str, actor: User) -> tuple[Run, list[Proposal]]:
    """Lock the thread, the run and its proposals for the rest of the transaction, and see that it may be ended by hand."""
    ensure(actor, END, run.agent.team_id)
    if not MIN_REASON <= len(reason.strip()) <= MAX_REASON:
        raise BadReason(f"Say why in {MIN_REASON} to {MAX_REASON:,} characters. Nothing was changed.")
    # The lock that a worker holds for as long as it moves the thread; here it ends with the transaction.
    with try_xact_lock(run.thread_id) as is_free:
        if not is_free:
            raise NotEnded("A worker has this run in hand at this moment. Nothing was changed. Try again in a minute.")
    row = lock(run)
    if row.state not in OPEN:
        raise NotEnded(f"This run is {row.get_state_display().lower()} already. Nothing was changed.")
    proposals = list(Proposal.objects.select_for_update().filter(thread_id=row.thread_id).order_by("pk"))
    states = {each.state for each in proposals}
    if State.UNKNOWN in states:
        raise NotEnded(
            "It is not known whether this run's change was made. Look in the system and close the unknown outcome first. "
            "Nothing was changed."
        )
    if State.EXECUTING in states:
        raise NotEnded("This run's change is being made at this moment. Nothing was changed. Try again in a minute.")
    return row, proposals


def _end_by_hand(
    row: Run, proposals: Sequence[Proposal], state: Run.State, *, reason: str, actor: User, at: datetime | None
) -> Run:
    now, why = at or clock(), reason.strip()
    withdrawn = [each.pk for each in proposals if each.state in WITHDRAWABLE]
    for proposal_id in withdrawn:
        withdraw(proposal_id, reason=why, actor=actor.actor, at=at)
    silence(row.thread_id, why="Its run was ended by hand.")
    is_done = any(each.state == State.SUCCEEDED for each in proposals)
    row.state, row.reason_text, row.ended_at, row.lease_until = state, why, now, None
    row.save(update_fields=["state", "reason_text", "ended_at", "lease_until"])
    WorkItem.objects.filter(pk=row.work_item_id).update(
        state=WorkItem.State.DONE if is_done else WorkItem.State.CANCELLED, closed_at=now, closed_by=actor
    )
    tell(row, f"run.{state}", {"reason": why, "withdrawn": withdrawn}, actor=actor.actor)
    return row
