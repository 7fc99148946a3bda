from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import closing, moves
from apps.approvals.actions.verdicts import LONGEST_REASON, SHORTEST_REASON, ensure_member
from apps.approvals.models import Proposal

RIGHT = "approvals.withdraw"


@transaction.atomic
def withdraw_by_hand(proposal_id: int, *, reason: str, actor: User, at: datetime | None = None) -> Proposal:
    """Take a card back in place of its agent (T11): nothing is executed, and its thread hears the reason.

    It is no verdict of a reviewer, and counts for none. Raises NotFound (404) for outsiders, Forbidden (403) without the
    right, BadVerdict `bad_reason` (422), and AlreadyDecided or AlreadyExecuting (409) where there is nothing to take back.
    """
    ensure_member(moves.lock(proposal_id), actor, RIGHT)
    told = reason.strip()
    if not SHORTEST_REASON <= len(told) <= LONGEST_REASON:
        raise errors.BadVerdict(
            "Give a reason of 3 to 2,000 characters. Nothing was withdrawn.", code="bad_reason", pointer="/reason"
        )
    return closing.withdraw(proposal_id, reason=told, actor=actor.actor, at=at)
