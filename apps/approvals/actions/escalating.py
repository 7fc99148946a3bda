from datetime import datetime
from typing import Final

from django.db import transaction

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import closing, drills, moves, tiers, vigilance
from apps.approvals.actions.verdicts import ensure_free_for, ensure_may_decide
from apps.approvals.domain import states
from apps.approvals.models import Proposal
from apps.audit.clock import clock

# One tick of the sweep escalates at most so many.
BATCH: Final = 200


def escalate(
    proposal_id: int, *, reason: str = "", actor: User, at: datetime | None = None
) -> tuple[Proposal, list[User]]:
    """Call the next tier on a card by hand (R6) and return who was called; a claim of one's own on it ends (T6).

    It is no verdict: the card waits on. Raises NotFound, Forbidden, AlreadyDecided, Expired or Claimed.
    """
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        ensure_may_decide(row, actor, now)
        if not row.is_open:
            raise errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}.")
        if not closing.expire_if_over(row, now):
            ensure_free_for(row, actor, now)
            # Whoever calls for help on a drill has caught it: nobody is called away for it.
            if drills.settle_escalated(row, actor=actor, at=now) is not None:
                vigilance.measure_all(row, at=now)
                return row, []
            return row, tiers.step_up(row, now, actor=actor.actor, reason=reason.strip()[:300])
    raise errors.Expired


def escalate_due(at: datetime | None = None) -> int:
    """Escalate every card whose time for it has come; return how many. A claimed one waits for its claim to end."""
    now = at or clock()
    due = Proposal.objects.filter(state=states.PENDING, next_escalation_at__lte=now).order_by("next_escalation_at")
    return sum(_escalate_one(pk, at=at) for pk in list(due.values_list("pk", flat=True)[:BATCH]))


@transaction.atomic
def _escalate_one(proposal_id: int, *, at: datetime | None) -> bool:
    row = moves.lock(proposal_id)
    now = at or clock()
    if row.state != states.PENDING or row.next_escalation_at is None or row.next_escalation_at > now:
        return False
    # What is over is closed by the sweep of that: nobody is called for it any more.
    if closing.expire_if_over(row, now):
        return False
    tiers.step_up(row, now, actor="timer")
    return True
