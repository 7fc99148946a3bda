"""R6: whom a card calls when it waits too long, and when."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from apps.approvals.domain.policy import Tier, Unevaluable, escalation_tiers

ON_DUTY: Final = "on_duty"
LEAD: Final = "lead"
DEPUTY: Final = "deputy"
# Half of the window is a hint, four fifths an alarm; a policy may say otherwise.
DEFAULT: Final = (Tier(Decimal("0.5"), ON_DUTY), Tier(Decimal("0.8"), LEAD))


def tiers_of(stored: object) -> tuple[Tier, ...]:
    """Read a policy's tiers; where it names none, or what cannot be read, the two that everybody has."""
    try:
        return escalation_tiers(stored) or DEFAULT
    except Unevaluable:
        return DEFAULT


def called_by(tiers: Sequence[Tier], step: int) -> str:
    """Return whom the step calls that leads to this tier, counted from 1; beyond the last, the last again."""
    return tiers[min(step, len(tiers)) - 1].to


def next_at(tiers: Sequence[Tier], reached: int, *, created_at: datetime, deadline: datetime | None) -> datetime | None:
    """Return when the next tier is due after `reached` of them, or None: no tier left, or no window."""
    if deadline is None or reached >= len(tiers) or deadline <= created_at:
        return None
    return created_at + float(tiers[reached].at) * (deadline - created_at)
