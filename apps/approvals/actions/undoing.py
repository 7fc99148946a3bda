from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import moves, outbox, tiers
from apps.approvals.actions.moves import Step
from apps.approvals.actions.verdicts import ensure_member, local_time
from apps.approvals.domain import states, window, wording
from apps.approvals.models import Decision, Proposal
from apps.approvals.queries.outside import awaited_until
from apps.audit.clock import clock

_CONSENT = ("approve", "edit")


@transaction.atomic
def undo(proposal_id: int, *, actor: User, at: datetime | None = None) -> Proposal:
    """Take an approval back (T14) as long as the thread has not heard it, by one of its approvers or by an operator.

    An approver's own approval and the final one become void, an operator's undo voids all of them. An undone edit
    gives the agent's own arguments back. The card waits again, for 5 more minutes at least if its agent waits so long.
    Raises AlreadyExecuting after the hand-over, NotQueued if there is nothing to undo.
    """
    row = moves.lock(proposal_id)
    now = at or clock()
    is_operator = actor.has_perm("runs.repair", row.team_id)
    consents = Decision.objects.filter(proposal=row, voided_at__isnull=True, verdict__in=_CONSENT)
    gave_one = consents.filter(actor=actor).exists()
    if not is_operator:
        # Whoever gave an approval may take it back, also a delegate whose time is over: never the risky direction.
        ensure_member(row, actor, "approvals.view" if gave_one else "approvals.undo")
    if row.state in (states.EXECUTING, states.SUCCEEDED, states.FAILED, states.UNKNOWN, states.ROLLED_BACK):
        raise _too_late(row, row.consumed_at, actor)
    if row.state != states.QUEUED:
        raise errors.NotQueued(f"There is nothing to undo: this is {row.get_state_display().lower()}.")
    if not is_operator and not gave_one:
        raise Forbidden("runs.repair", row.team_id)
    if not outbox.cancel_new(row):
        raise _too_late(row, _handed_at(row), actor)
    voided = _void(row, consents, actor, everything=is_operator, now=now)
    row.deadline = window.deadline_after_undo(row.deadline, now, answer_by=awaited_until(row))
    step = Step("T14", "person")
    moves.move(
        row,
        step,
        approvals_given=_left(row),
        args=row.args,
        digest=row.digest,
        deadline=row.deadline,
        # It waits again, and may have to be escalated again.
        next_escalation_at=tiers.next_at(row),
        execute_after=None,
        valid_until=None,
        closed_at=None,
        hold_reason="",
    )
    moves.announce(row)
    moves.tell(row, "proposal.undone", step, actor=actor.actor, payload={"voided": voided})
    return row


def _void(row: Proposal, consents: QuerySet[Decision], actor: User, *, everything: bool, now: datetime) -> list[int]:
    """Void what the undo takes back; if the edit falls, every approval of the edited arguments falls with it."""
    live = list(consents)
    gone = [each for each in live if everything or each.final or each.actor_id == actor.pk]
    if any(each.verdict == "edit" for each in gone):
        gone = live
        row.args = row.args_original
        row.digest = row.action.digest
    ids = [each.pk for each in gone]
    Decision.objects.filter(pk__in=ids).update(voided_at=now)
    return ids


def _too_late(row: Proposal, started_at: datetime | None, actor: User) -> errors.AlreadyExecuting:
    """Say when it started, and what can still be done about it."""
    told = f"Started at {local_time(started_at, actor, seconds=True)}. It cannot be taken back here. {_instead(row)}"
    return errors.AlreadyExecuting(told.rstrip())


def _instead(row: Proposal) -> str:
    """Name the way to undo what was done or is being done, and promise no other."""
    undone_by = row.action_type.compensated_by
    if not undone_by or row.state in (states.FAILED, states.ROLLED_BACK):
        return ""
    if row.agent_version.agent.is_outside:
        return wording.undone_elsewhere(undone_by, row.target)
    if row.state == states.SUCCEEDED:
        return "It can be rolled back by a compensation."
    return "Once it has succeeded it can be rolled back by a compensation."


def _left(row: Proposal) -> int:
    return Decision.objects.filter(
        proposal=row, voided_at__isnull=True, verdict__in=_CONSENT, by_kind=Decision.By.PERSON
    ).count()


def _handed_at(row: Proposal) -> datetime | None:
    return row.outbox.order_by("-pk").values_list("handed_at", flat=True).first()
