"""The ends of a proposal that no reviewer gave: nobody answered, it was withdrawn, its time to run passed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import moves, outbox, tiers
from apps.approvals.actions.moves import Step
from apps.approvals.domain import answer, outside, states, window, wording
from apps.approvals.domain.digest import MovedField
from apps.approvals.models import ApprovalPolicy, Decision, Proposal
from apps.approvals.queries.outside import awaited_until
from apps.audit.clock import clock

# One tick of the sweep closes at most so many, so that it never holds a worker for long.
BATCH: Final = 500


def expire_if_over(row: Proposal, now: datetime) -> bool:
    """Close a locked, open proposal whose deadline has come (T10), or extend it once if its policy says so."""
    if not row.is_open or not window.is_over(row.deadline, now):
        return False
    if _may_extend(row):
        return not _extend(row, now)
    _expire(row, now)
    return True


def expire_overdue(at: datetime | None = None) -> int:
    """Close every open proposal whose deadline has come; return how many. Silence is not consent (R7)."""
    now = at or clock()
    overdue = Proposal.objects.overdue(now).order_by("deadline").values_list("pk", flat=True)[:BATCH]
    return sum(_expire_one(pk, at=at) for pk in list(overdue))


def expire_unexecuted(at: datetime | None = None) -> int:
    """Close approved actions that could not run in their time (T15); return how many."""
    now = at or clock()
    late = Proposal.objects.filter(state=states.QUEUED, execute_after__lte=now, valid_until__lte=now)
    return sum(_lapse_one(pk, at=at) for pk in list(late.values_list("pk", flat=True)[:BATCH]))


def lapse(row: Proposal, target: str, told: str, now: datetime, *, cause: str = "executor") -> None:
    """T15: an approved action that may not run any more. The thread hears it unless it was told to go on already."""
    step = Step("T15", cause, target)
    moves.move(row, step, closed_at=now, hold_reason=told[:200])
    outbox.replace(row, answer.refuse(told), at=now)
    moves.announce(row)
    moves.tell(
        row, f"proposal.{target}", step, actor="timer" if cause == "timer" else "system", payload={"reason": told}
    )


def go_stale(
    row: Proposal,
    moved: Sequence[MovedField],
    found: Mapping[str, Any],
    now: datetime,
    *,
    actor: User | None = None,
    on_behalf_of: int | None = None,
    channel: str = "system",
) -> str:
    """T12: close a locked, open proposal whose target moved; its thread hears old and new values, which are returned.

    `actor` is the person who asked for a new proposal; without one it is the house that found it before a verdict.
    """
    step = Step("T12", "system")
    told = wording.moved(moved)
    moves.move(row, step, closed_at=now)
    row.body.state_found = dict(found)
    row.body.save(update_fields=["state_found"])
    Decision.objects.create(
        proposal=row,
        verdict=Decision.Verdict.STALE,
        by_kind=Decision.By.SYSTEM if actor is None else Decision.By.PERSON,
        actor=actor,
        on_behalf_of_id=on_behalf_of,
        channel=channel,
        digest=row.digest,
        policy_version=row.policy.version if row.policy else None,
        reason=told[:2000],
        decided_at=now,
    )
    outbox.write(row, answer.refuse(wording.stale(moved)), not_before=now, at=now)
    moves.announce(row)
    moves.tell(
        row,
        "proposal.stale",
        step,
        actor=actor.actor if actor else "system",
        on_behalf_of=f"user:{on_behalf_of}" if on_behalf_of else None,
        payload={
            "reason": told,
            "moved": [{"field": each.field, "proposed": each.proposed, "now": each.now} for each in moved],
        },
    )
    return told


@transaction.atomic
def withdraw(proposal_id: int, *, reason: str, actor: str, at: datetime | None = None) -> Proposal:
    """Take a proposal back (T11): by its agent, because its run was cancelled, or by an administrator with a reason.

    Withdrawn twice is the same as once. Raises AlreadyDecided once it is decided against, and AlreadyExecuting once it runs.
    """
    row = moves.lock(proposal_id)
    now = at or clock()
    if row.state == states.WITHDRAWN:
        return row
    if row.state not in {states.PROPOSED, states.QUEUED, *states.OPEN}:
        if row.state in states.UNEXECUTED:
            raise errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}. Nothing was executed.")
        raise errors.AlreadyExecuting("It has started and cannot be withdrawn.")
    was_queued = row.state == states.QUEUED
    step = Step("T11", {"user": "person", "agent": "agent"}.get(actor.partition(":")[0], "system"))
    moves.move(row, step, closed_at=now)
    # After consent the live final decision is the approval; this one only tells what became of it.
    _close(row, Decision.Verdict.WITHDRAW, actor=actor, reason=reason, now=now, final=not was_queued)
    outbox.replace(row, answer.refuse(wording.withdrawn(reason)), at=now)
    moves.announce(row)
    moves.tell(row, "proposal.withdrawn", step, actor=actor, payload={"reason": reason})
    return row


@transaction.atomic
def _expire_one(proposal_id: int, *, at: datetime | None) -> bool:
    row = moves.lock(proposal_id)
    return expire_if_over(row, at or clock())


@transaction.atomic
def _lapse_one(proposal_id: int, *, at: datetime | None) -> bool:
    row = moves.lock(proposal_id)
    now = at or clock()
    if row.state != states.QUEUED or not window.is_over(row.valid_until, now):
        return False
    why = f" It was held back: {row.hold_reason}" if row.hold_reason else ""
    lapse(
        row,
        states.EXPIRED,
        f"It was approved, but could not run in time. Nothing was executed.{why}",
        now,
        cause="timer",
    )
    return True


def _may_extend(row: Proposal) -> bool:
    wants = row.policy is not None and row.policy.on_expiry == ApprovalPolicy.OnExpiry.EXTEND_ONCE
    if not wants or row.extended_at is not None or row.deadline is None or _is_shortened(row):
        return False
    until = awaited_until(row)
    return until is None or until > row.deadline


def _is_shortened(row: Proposal) -> bool:
    """Say whether the agent waits for less than the policy's window; then more time would be time for nobody."""
    full = window.deadline(row.created_at, window_s=_window_s(row))
    return row.deadline is not None and row.deadline < full and outside.is_outside(row.thread_id)


def _extend(row: Proposal, now: datetime) -> bool:
    """Give the window once more, counted from the old deadline; False if even that is over."""
    row.deadline = window.extended(row.deadline or now, window_s=_window_s(row), answer_by=awaited_until(row))
    row.extended_at = now
    row.save(update_fields=["deadline", "extended_at"])
    moves.tell(row, "proposal.extended", actor="timer", payload={"deadline": row.deadline})
    if not window.is_over(row.deadline, now):
        # R7: the second window belongs to the next tier.
        tiers.step_up(row, now, actor="timer", reason="Nobody answered in the first window.")
        return True
    _expire(row, now)
    return False


def _expire(row: Proposal, now: datetime) -> None:
    step = Step("T10", "timer")
    told = wording.nobody_answered(_waited_s(row), str(row.policy))
    moves.move(row, step, closed_at=now)
    _close(row, Decision.Verdict.EXPIRE, actor="timer", reason=told, now=now, final=True)
    outbox.replace(row, answer.refuse(told), at=now)
    moves.announce(row)
    moves.tell(row, "proposal.expired", step, actor="timer")


def _close(row: Proposal, verdict: str, *, actor: str, reason: str, now: datetime, final: bool) -> None:
    kind, _, number = actor.partition(":")
    kinds = {"user": Decision.By.PERSON, "timer": Decision.By.TIMER, "system": Decision.By.SYSTEM}
    by = kinds.get(kind, Decision.By.AGENT)
    Decision.objects.create(
        proposal=row,
        verdict=verdict,
        by_kind=by,
        actor_id=int(number) if by == Decision.By.PERSON else None,
        channel="system",
        digest=row.digest,
        policy_version=row.policy.version if row.policy else None,
        reason=reason[:2000],
        decided_at=now,
        final=final,
    )


def _waited_s(row: Proposal) -> int:
    """Return how long people had: what the policy gives, or what an agent elsewhere waited if that was less."""
    given = _window_s(row) * (2 if row.extended_at else 1)
    if row.deadline is None or not outside.is_outside(row.thread_id):
        return given
    return min(given, round((row.deadline - row.created_at).total_seconds()))


def _window_s(row: Proposal) -> int:
    return row.policy.window_s if row.policy else window.WINDOW_S
