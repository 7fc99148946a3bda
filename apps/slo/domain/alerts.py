"""When a budget burns fast enough to call somebody: the multi-window rules of the SRE Workbook (chapter 5), made exact for low counts.

Counts are integers, targets and factors fractions of decimal strings. Nothing is rounded before it is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import MIN_EMIN, Context, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from apps.slo.domain.budget import Counts

HOUR: Final = 3600
DAY: Final = 24 * HOUR
# Above a half, "more fails than succeeds" says enough: without this cap a page for a target below 93.06 % could never fire.
CAP: Final = Fraction(1, 2)
# Two failures in a quiet hour are bad luck, not a reason to wake somebody.
FEWEST_BAD_TO_PAGE: Final = 3
FEWEST_BAD_FOR_A_TICKET: Final = 2
# A service that keeps its target exactly would show so many failures less often than this.
SURPRISE: Final = Decimal("0.001")
# Enough digits that a tail of exactly 0.001 is seen to be exactly that; exponents as small as any count can make them.
_EXACTLY: Final = Context(prec=50, Emin=MIN_EMIN)


class Tier(StrEnum):
    """What an alert does: a page wakes somebody, a ticket waits for the next working day."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Both windows, in seconds, must burn the budget more than `factor` times as fast as would just spend it."""

    tier: Tier
    long_s: int
    short_s: int
    factor: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.short_s < self.long_s:
            raise ValueError("The short window of a burn rule is shorter than its long one.")
        if self.factor <= 0:
            raise ValueError("The factor of a burn rule is above 0.")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of two windows, with the numbers it was said from.

    `fires` is the tier that holds, None for none; `tail` is P(X ≥ bad) for X ~ Binomial(total, 1 − target) in the long
    window, None where it was not needed.
    """

    fires: Tier | None
    threshold: Fraction
    tail: Decimal | None = None


_WINDOWS: Final = (
    (Tier.PAGE, HOUR, HOUR // 12),
    (Tier.PAGE, 6 * HOUR, HOUR // 2),
    (Tier.TICKET, DAY, 2 * HOUR),
    (Tier.TICKET, 3 * DAY, 6 * HOUR),
)
_SHORT_PERIOD: Final = 10 * DAY
_LONG_PERIOD: Final = 45 * DAY
# Percent of the budget that is gone when the rule fires; a week is too short for the shares of a month.
_PERCENT_OF_A_WEEK: Final = (Fraction(8), Fraction("12.5"), Fraction(20), Fraction(42))
_PERCENT_OF_A_MONTH: Final = (Fraction(2), Fraction(5), Fraction(10), Fraction(10))
# Over a quarter the shares would make rules that fire on noise, so these factors stay as they are for 30 days.
_FACTORS_FROM_LONG: Final = (Fraction("14.4"), Fraction(6), Fraction(3), Fraction(1))


def default_rules(period_s: int) -> tuple[BurnRule, ...]:
    """Return the four rules for a period in seconds; a calendar month counts as 30 days."""
    if period_s <= 0:
        raise ValueError("A period is longer than 0 seconds.")
    if period_s > _LONG_PERIOD:
        factors: Sequence[Fraction] = _FACTORS_FROM_LONG
    else:
        percents = _PERCENT_OF_A_WEEK if period_s <= _SHORT_PERIOD else _PERCENT_OF_A_MONTH
        factors = [
            percent / 100 * Fraction(period_s, long_s)
            for percent, (_, long_s, _) in zip(percents, _WINDOWS, strict=True)
        ]
    return tuple(
        BurnRule(tier, long_s, short_s, factor)
        for (tier, long_s, short_s), factor in zip(_WINDOWS, factors, strict=True)
    )


def judge(rule: BurnRule, *, target: Fraction, long: Counts, short: Counts) -> Judgement:
    """Say whether a rule holds (rule 16). A window without events never fires anything.

    A page also needs three failures, and so many that a service on target would show them less than once in a
    thousand windows; what burns fast enough but lacks these is worth a ticket. Equality fires nothing.
    """
    allowed = 1 - target
    threshold = min(rule.factor * allowed, CAP)
    if not (_exceeds(long, threshold) and _exceeds(short, threshold)):
        return Judgement(None, threshold)
    if rule.tier is Tier.TICKET:
        return Judgement(Tier.TICKET if long.bad >= FEWEST_BAD_FOR_A_TICKET else None, threshold)
    if long.bad < FEWEST_BAD_TO_PAGE:
        return Judgement(_as_ticket(long), threshold)
    tail = upper_tail(long.bad, long.total, allowed)
    return Judgement(Tier.PAGE if tail < SURPRISE else _as_ticket(long), threshold, tail)


def upper_tail(bad: int, total: int, p: Fraction) -> Decimal:
    """Return P(X ≥ bad) for X ~ Binomial(total, p), to 50 digits; 0 ≤ bad ≤ total and 0 < p < 1.

    It is below 0.001 exactly where the one-sided 99.9 % Clopper-Pearson lower bound lies above p.
    """
    if not 0 <= bad <= total or not 0 < p < 1:
        raise ValueError(f"There is no tail of {bad} of {total} at {p}.")
    if bad == 0:
        return Decimal(1)
    if bad <= total * p:
        # Below the mean the upper tail has most of the terms; what is left out of it has few that count.
        return _EXACTLY.subtract(Decimal(1), _sum_from(total - bad + 1, total, 1 - p))
    return _sum_from(bad, total, p)


def _sum_from(k: int, n: int, p: Fraction) -> Decimal:
    """Sum the probabilities of k, k + 1, … n, which fall from term to term as k lies above the mean."""
    divide, multiply = _EXACTLY.divide, _EXACTLY.multiply
    share, rest = (divide(Decimal(each.numerator), Decimal(each.denominator)) for each in (p, 1 - p))
    term = _EXACTLY.power(rest, Decimal(n - k))
    for i in range(1, k + 1):
        term = multiply(term, divide(multiply(Decimal(n - k + i), share), Decimal(i)))
    odds, total = divide(share, rest), Decimal(0)
    for i in range(k, n + 1):
        grown = _EXACTLY.add(total, term)
        if grown == total:
            break
        total = grown
        term = multiply(term, divide(multiply(Decimal(n - i), odds), Decimal(i + 1)))
    return total


def _exceeds(counts: Counts, threshold: Fraction) -> bool:
    return counts.total > 0 and Fraction(counts.bad, counts.total) > threshold


def _as_ticket(long: Counts) -> Tier | None:
    return Tier.TICKET if long.bad >= FEWEST_BAD_FOR_A_TICKET else None


class Reach(StrEnum):
    """How far a rule can reach its threshold at a target (rule 17)."""

    FREE = "free"
    CAPPED = "capped"
    DEAD = "dead"


def reach(rule: BurnRule, *, target: Fraction) -> Reach:
    """Say whether a rule could fire without the cap: dead where no share of failures is large enough, capped above a half."""
    asked = rule.factor * (1 - target)
    if asked >= 1:
        return Reach.DEAD
    return Reach.CAPPED if asked > CAP else Reach.FREE
