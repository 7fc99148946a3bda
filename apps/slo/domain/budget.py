"""Error budgets in exact arithmetic. Counts are integers, targets are fractions of decimal strings; nothing is rounded before it is compared."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction
from math import floor

# Shares of the budget left at which a state begins (slo.md rule 26). Data of a budget policy later; constants until then.
WATCH_FROM = Fraction(1, 2)
RESTRICT_FROM = Fraction(1, 4)
FROZEN_FROM = Fraction(0)
# Below this many failures a small sample may not restrict or freeze: one failure of ten would freeze a newborn agent.
FEWEST_FAILURES_THAT_RESTRICT = 3


class BudgetState(StrEnum):
    """What the budget allows, best first."""

    NO_DATA = "no_data"
    OK = "ok"
    WATCH = "watch"
    RESTRICT = "restrict"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Counts:
    """Good and total events of one window; 0 ≤ good ≤ total."""

    good: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.good <= self.total:
            raise ValueError(f"good must lie in 0 … total, not {self.good} of {self.total}")

    @property
    def bad(self) -> int:
        return self.total - self.good

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.good + other.good, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Budget:
    """The failures that a target allows over a window, against those that happened.

    Source: Google SRE Workbook, chapters 2 and 5. Without events every ratio is None: never 0 % or 100 %.
    """

    target: Fraction
    counts: Counts

    def __post_init__(self) -> None:
        if self.target == 1:
            raise ValueError("A target of 100 % leaves no budget; use less than 1.")
        if not 0 <= self.target < 1:
            raise ValueError(f"A target lies in 0 ≤ target < 1, not {self.target}.")

    @property
    def allowed(self) -> Fraction:
        """Failures that the target allows over the events seen; may be a fraction of one."""
        return (1 - self.target) * self.counts.total

    @property
    def ratio(self) -> Fraction | None:
        """Good / total, or None without events."""
        return Fraction(self.counts.good, self.counts.total) if self.counts.total else None

    @property
    def remaining(self) -> Fraction | None:
        """Share of the allowed failures not yet spent; negative when overspent, None without events."""
        return 1 - self.counts.bad / self.allowed if self.counts.total else None

    @property
    def may_still_fail(self) -> int | None:
        """Whole failures left before the budget is overspent; None without events."""
        return max(0, floor(self.allowed - self.counts.bad)) if self.counts.total else None

    @property
    def is_met(self) -> bool | None:
        return self.counts.bad <= self.allowed if self.counts.total else None

    @property
    def is_spent(self) -> bool | None:
        remaining = self.remaining
        return None if remaining is None else remaining <= 0

    @property
    def state(self) -> BudgetState:
        """The worst band entered; restrict and frozen also need enough failures, else at most watch."""
        remaining = self.remaining
        if remaining is None:
            return BudgetState.NO_DATA
        if remaining > WATCH_FROM:
            return BudgetState.OK
        if remaining > RESTRICT_FROM or self.is_small_sample:
            return BudgetState.WATCH
        return BudgetState.RESTRICT if remaining > FROZEN_FROM else BudgetState.FROZEN

    @property
    def is_small_sample(self) -> bool:
        return self.counts.bad < FEWEST_FAILURES_THAT_RESTRICT


def percent_to_the_worse(share: Fraction, *, places: int = 1) -> str:
    """Print a share of what is left as a percentage, rounded down, so that 100 % appears only when nothing failed."""
    quantum = Decimal(1).scaleb(-places)
    exact = Decimal(share.numerator * 100) / Decimal(share.denominator)
    return f"{exact.quantize(quantum, rounding=ROUND_FLOOR).normalize():f} %"


def failures_to_the_worse(share: Fraction, *, places: int = 1) -> str:
    """Print a share of failures as a percentage, rounded up."""
    quantum = Decimal(1).scaleb(-places)
    exact = Decimal(share.numerator * 100) / Decimal(share.denominator)
    return f"{exact.quantize(quantum, rounding=ROUND_CEILING).normalize():f} %"
