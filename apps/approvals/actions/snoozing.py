from datetime import datetime, timedelta

from django.db import transaction

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import moves
from apps.approvals.actions.moves import Step
from apps.approvals.actions.verdicts import ensure_member
from apps.approvals.domain import snooze as rules
from apps.approvals.domain import states
from apps.approvals.models import Proposal, Snooze
from apps.audit.clock import clock


@transaction.atomic
def snooze(proposal_id: int, *, length: timedelta, actor: User, at: datetime | None = None) -> Snooze:
    """Hide a card from one person for a while: neither yes nor no, and nobody else notices. Their own claim ends (T6).

    It is back with a tenth of its window left. Raises NotFound, Forbidden, AlreadyDecided, or TooLate (409).
    """
    row = moves.lock(proposal_id)
    now = at or clock()
    ensure_member(row, actor, "approvals.view")
    if not row.is_open:
        raise errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}.")
    until = rules.until(now, length, created_at=row.created_at, due=_due(row))
    if until is None:
        raise errors.TooLate("Too little of its time is left to put it aside. Decide it, escalate it or hand it over.")
    steps = [Step("T6", "person")] if row.state == states.CLAIMED and row.claimed_by_id == actor.pk else []
    if steps:
        moves.move(row, *steps)
    hidden, _ = Snooze.objects.update_or_create(user=actor, proposal=row, defaults={"until": until})
    moves.tell(row, "proposal.snoozed", *steps, actor=actor.actor, payload={"until": until})
    return hidden


@transaction.atomic
def unsnooze(proposal_id: int, *, actor: User) -> bool:
    """Bring a card back before its time; say whether it was hidden. Raises NotFound or Forbidden."""
    row = moves.lock(proposal_id)
    ensure_member(row, actor, "approvals.view")
    gone, _ = Snooze.objects.filter(user=actor, proposal=row).delete()
    if gone:
        moves.tell(row, "proposal.unsnoozed", actor=actor.actor)
    return bool(gone)


def _due(row: Proposal) -> datetime:
    """The inbox's deadline or the customer's, whichever comes first; what waits has a deadline."""
    if row.deadline is None:
        raise errors.AlreadyDecided("This waits for nobody.")
    return row.deadline if row.sla_due is None else min(row.deadline, row.sla_due)
