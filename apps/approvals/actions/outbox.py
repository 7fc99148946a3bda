"""R14 to R16: what a waiting thread must be told. The row is the truth; the broker only carries its id."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from celery import current_app
from django.db import transaction

from apps.agents import queries as agents
from apps.approvals import errors
from apps.approvals.actions import moves
from apps.approvals.domain import states
from apps.approvals.models import UNDELIVERED, Proposal, ResumeOutbox
from apps.approvals.queries.rules import connector_id
from apps.audit.clock import clock

RESUME_TASK: Final = "runs.resume"
# An answer that was not delivered for this long is sent again.
RESEND_AFTER: Final = timedelta(seconds=30)
# Longer waits are left to the sweep: a broker redelivers what a worker holds for longer than its visibility timeout.
LONGEST_ETA: Final = timedelta(seconds=60)
# The thread may hear its answer in these states: it may run now, or nothing can run any more, or the outcome is known.
_TELLABLE: Final = (states.QUEUED, states.SUCCEEDED, states.FAILED, states.ROLLED_BACK, *sorted(states.UNEXECUTED))


def write(row: Proposal, told: Mapping[str, Any], *, not_before: datetime, at: datetime) -> ResumeOutbox | None:
    """Put an answer beside the decision it tells, in its transaction, and wake a worker on commit.

    A proposal that nobody waits for on a thread (no interrupt) has none.
    """
    if not row.interrupt_id:
        return None
    soon = not_before - at <= LONGEST_ETA
    answer_row = ResumeOutbox.objects.create(
        proposal=row,
        thread_id=row.thread_id,
        interrupt_id=row.interrupt_id,
        answer=dict(told),
        not_before=not_before,
        sent_at=not_before if soon else None,
    )
    if soon:
        send(answer_row.pk, eta=not_before if not_before > at else None)
    return answer_row


def replace(row: Proposal, told: Mapping[str, Any], *, at: datetime) -> None:
    """Tell the thread something else, unless an answer was handed over already: that one is final."""
    undelivered = ResumeOutbox.objects.select_for_update().filter(proposal=row, state__in=UNDELIVERED).first()
    if undelivered is not None and undelivered.state != ResumeOutbox.State.NEW:
        return
    if undelivered is not None:
        _cancel(undelivered)
    elif ResumeOutbox.objects.filter(proposal=row, state=ResumeOutbox.State.DELIVERED).exists():
        return
    write(row, told, not_before=at, at=at)


def cancel_new(row: Proposal) -> bool:
    """Take back an answer that no thread has heard; False if it is too late for that."""
    waiting = ResumeOutbox.objects.select_for_update().filter(proposal=row).order_by("-pk").first()
    if waiting is not None and waiting.state != ResumeOutbox.State.NEW:
        return False
    if waiting is not None:
        _cancel(waiting)
    return True


def move_to_interrupt(row: Proposal, *, at: datetime) -> None:
    """Let the answer follow a question that came back under a new id, unchanged, also if it was given before."""
    last = ResumeOutbox.objects.select_for_update().filter(proposal=row).order_by("-pk").first()
    if last is None or last.state == ResumeOutbox.State.CANCELLED:
        return
    if last.state == ResumeOutbox.State.DELIVERED:
        write(row, last.answer, not_before=max(at, last.not_before), at=at)
        return
    last.interrupt_id = row.interrupt_id
    if last.state == ResumeOutbox.State.PARKED:
        # What was handed over once stays final, whatever id it is asked under.
        handed = last.handed_at is not None
        last.state, last.last_error = ResumeOutbox.State.HANDED if handed else ResumeOutbox.State.NEW, ""
    last.sent_at = None
    last.save(update_fields=["interrupt_id", "state", "last_error", "sent_at"])
    send(last.pk)


def resend_due(*, at: datetime | None = None, limit: int = 500) -> list[int]:
    """Return the ids of answers that should have arrived 30 s ago, and note that they are sent again."""
    with transaction.atomic():
        now = at or clock()
        late = now - RESEND_AFTER
        rows = list(
            ResumeOutbox.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(
                state__in=[ResumeOutbox.State.NEW, ResumeOutbox.State.HANDED],
                not_before__lte=now,
                proposal__state__in=_TELLABLE,
            )
            .exclude(sent_at__gt=late)
            .order_by("not_before")
            .values_list("pk", flat=True)[:limit]
        )
        ResumeOutbox.objects.filter(pk__in=rows).update(sent_at=now)
        return rows


def send(outbox_id: int, *, eta: datetime | None = None) -> None:
    """Wake a worker for one answer after commit. A dead broker costs time only: the sweep sends it again."""
    tell = partial(current_app.send_task, RESUME_TASK, [outbox_id], eta=eta, retry=False)
    transaction.on_commit(tell, robust=True)


def lock_answer(outbox_id: int) -> ResumeOutbox:
    """Lock a proposal and then its answer, in the order that undo takes. Raises NotReady if there is no such row."""
    proposal_id = ResumeOutbox.objects.filter(pk=outbox_id).values_list("proposal_id", flat=True).first()
    if proposal_id is None:
        raise errors.NotReady("There is no such answer.", code="gone")
    proposal = moves.lock(proposal_id)
    answer_row = ResumeOutbox.objects.select_for_update(of=("self",)).get(pk=outbox_id)
    answer_row.proposal = proposal
    return answer_row


def ready_answer(outbox_id: int, *, at: datetime | None = None) -> ResumeOutbox:
    """Return an answer that its thread may hear now, without changing it. Raises NotReady with the reason.

    Call it under the thread's lock before looking at the thread; `mark_handed` checks the same again.
    """
    with transaction.atomic():
        row = lock_answer(outbox_id)
        _ensure_ready(row, at or clock())
    return row


def mark_handed(outbox_id: int, *, at: datetime | None = None) -> ResumeOutbox:
    """Note that the thread is about to hear this answer: from here on it is final and cannot be undone.

    A second call for the same answer counts another attempt and is otherwise the same. Raises NotReady; if a kill
    switch is on, the proposal stays queued with `hold_reason`.
    """
    refusal: errors.NotReady | None = None
    with transaction.atomic():
        row = lock_answer(outbox_id)
        now = at or clock()
        try:
            _ensure_ready(row, now)
            _ensure_not_held(row)
        except errors.NotReady as not_now:
            refusal = not_now
        else:
            row.state = ResumeOutbox.State.HANDED
            row.attempts += 1
            row.handed_at = row.handed_at or now
            row.sent_at = now
            row.save(update_fields=["state", "attempts", "handed_at", "sent_at"])
    if refusal is not None:
        raise refusal
    return row


@transaction.atomic
def mark_delivered(outbox_id: int, *, at: datetime | None = None) -> ResumeOutbox:
    """Note that the thread went on with this answer, also if it had been set aside meanwhile. Safe to say twice."""
    row = lock_answer(outbox_id)
    if row.handed_at is not None and row.state in (ResumeOutbox.State.HANDED, ResumeOutbox.State.PARKED):
        row.state = ResumeOutbox.State.DELIVERED
        row.save(update_fields=["state"])
    return row


@transaction.atomic
def park(outbox_id: int, *, error: str, at: datetime | None = None) -> ResumeOutbox:
    """Set an answer aside whose question is not open on the thread; it goes on when the question comes back."""
    row = lock_answer(outbox_id)
    if row.state in (ResumeOutbox.State.NEW, ResumeOutbox.State.HANDED):
        row.state, row.last_error = ResumeOutbox.State.PARKED, error[:500]
        row.save(update_fields=["state", "last_error"])
        moves.tell(row.proposal, "answer.parked", actor="system", payload={"answer": row.pk, "error": error[:500]})
    return row


@transaction.atomic
def note_failure(outbox_id: int, *, error: str, counts: bool = False) -> ResumeOutbox:
    """Remember why a resume failed; the same answer is sent again later. `counts`: as an attempt that `mark_handed` did not see."""
    row = lock_answer(outbox_id)
    row.last_error = error[:500]
    row.attempts += counts
    row.save(update_fields=["last_error", "attempts"])
    return row


def _ensure_ready(row: ResumeOutbox, now: datetime) -> None:
    state = row.proposal.state
    if row.state not in (ResumeOutbox.State.NEW, ResumeOutbox.State.HANDED):
        raise errors.NotReady(f"This answer is {row.get_state_display().lower()}.", code=row.state)
    if row.not_before > now:
        raise errors.NotReady("The undo window is still open.", code="too_early")
    if state not in _TELLABLE:
        raise errors.NotReady(f"The proposal is {row.proposal.get_state_display().lower()}.", code=state)


def _ensure_not_held(row: ResumeOutbox) -> None:
    """Hold the action back while a switch is on; nothing is lost."""
    proposal = row.proposal
    if proposal.state != states.QUEUED or row.state != ResumeOutbox.State.NEW:
        return
    reason = agents.blocking_switch(
        team_id=proposal.team_id,
        connector_id=connector_id(proposal.target),
        agent_id=proposal.agent_version.agent_id,
        action_type_id=proposal.action_type_id,
        lock=False,
    )
    if (reason or "") != proposal.hold_reason:
        proposal.hold_reason = (reason or "")[:200]
        proposal.save(update_fields=["hold_reason"])
    if reason:
        raise errors.NotReady(reason, code="held")


def _cancel(row: ResumeOutbox) -> None:
    row.state = ResumeOutbox.State.CANCELLED
    row.save(update_fields=["state"])
