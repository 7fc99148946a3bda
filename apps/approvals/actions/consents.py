"""What a yes needs and a no does not: that it is meant (R3), and that its target is still what the agent saw (R9)."""

from datetime import datetime

from apps.agents.models import RiskClass
from apps.approvals import errors
from apps.approvals.card import needs_confirm
from apps.approvals.domain import confirmation
from apps.approvals.models import Proposal
from apps.approvals.queries.targets import Found, NothingWatched, TargetNow


def ensure_meant(row: Proposal, *, confirm: str | None, signed_in_at: datetime | None, now: datetime) -> None:
    """Raise BadVerdict unless what the card asks for was typed, SignInAgain where a dear action needs a recent sign-in."""
    if needs_confirm(row) and confirm is None:
        wanted = confirmation.last_part(row.target)
        told = f"Type {wanted} or the amount, to show that you know what you decide. Nothing was decided."
        raise errors.BadVerdict(told, code="bad_confirm", pointer="/confirm")
    if row.risk_class == RiskClass.HIGH and not confirmation.is_fresh(signed_in_at, now):
        raise errors.SignInAgain(row)


def moved(row: Proposal, seen: TargetNow | None) -> Found | None:
    """Return what was found if a watched field is not what the agent saw. Raises Unreadable unless the risk is low."""
    if not row.action_type.watch_fields or isinstance(seen, NothingWatched):
        return None
    if isinstance(seen, Found):
        return seen if seen.moved else None
    if row.risk_class != RiskClass.LOW:
        raise errors.Unreadable
    return None
