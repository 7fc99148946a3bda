"""When a budget runs out, and when it comes back: the window rolled on hour by hour, as it will really roll (rule 22).

A straight line forgets that old failures leave the window; here each hour the oldest row leaves and one of the last day's kind enters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import exp, lgamma, log
from typing import Final

from apps.slo.domain.budget import Budget, Counts

_DAY: Final = 24
_WEEK: Final = 7 * 24
# The interval in which four of five days like the last one would lie.
CONFIDENCE: Final = 0.8
EXIT_AT: Final = Fraction(1, 10)


@dataclass(frozen=True, slots=True)
class Pace:
    """What enters in an hour: events and failures, as means."""

    total: Fraction
    bad: Fraction


@dataclass(frozen=True, slots=True)
class Forecast:
    """Hours from now; None means not within the period.

    `exhaustion` at the pace of now, `soonest` and `latest` at the ends of its 80 % interval. `recovery` and `exit` are
    when, without further failures, something is left again and when a freeze may be left; None while nothing is spent.
    """

    exhaustion: int | None
    soonest: int | None
    latest: int | None
    recovery: int | None
    exit: int | None


def forecast(rows: Sequence[Counts], *, target: Fraction, hours: int, rolls: bool = True) -> Forecast | None:
    """Roll the window on for `hours`; `rows` are its hours, the oldest first, one for each, empty ones too.

    In a rolling window a row leaves with each hour, in a calendar period none does, and `hours` are those left of it.
    None where nothing tells the pace: no traffic for a week.
    """
    pace, failed, over = _pace(rows)
    if pace is None:
        return None
    low, high = (Fraction(each) / over for each in poisson_interval(failed))
    window = _Window(rows, target, hours, rolls=rolls)

    def spent(bad: Fraction) -> int | None:
        return window.first(Pace(pace.total, bad), lambda left: left <= 0)

    calm = Pace(pace.total, Fraction(0))
    now = Budget(target, sum(rows, Counts())).remaining
    is_spent = now is not None and now <= 0
    return Forecast(
        exhaustion=0 if is_spent else spent(pace.bad),
        soonest=0 if is_spent else spent(high),
        latest=0 if is_spent else spent(low),
        recovery=window.first(calm, lambda left: left > 0) if is_spent else None,
        exit=window.first(calm, lambda left: left >= EXIT_AT) if is_spent else None,
    )


def poisson_interval(count: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of a Poisson mean that showed so many events (Garwood 1936)."""
    if count < 0:
        raise ValueError("Nothing happens less than 0 times.")
    aside = (1 - confidence) / 2
    # Far enough on either side that less than the wanted share lies beyond.
    far = count + 10 * (count + 1) ** 0.5 + 10
    low = _where(lambda mean: _at_least(count, mean) - aside, 0.0, float(count)) if count else 0.0
    return low, _where(lambda mean: aside - _at_most(count, mean), float(count), far)


class _Window:
    def __init__(self, rows: Sequence[Counts], target: Fraction, hours: int, *, rolls: bool) -> None:
        self.rows, self.allowed, self.hours, self.rolls = rows, 1 - target, hours, rolls
        held = sum(rows, Counts())
        self.total, self.bad = held.total, held.bad

    def first(self, pace: Pace, holds: Callable[[Fraction], bool]) -> int | None:
        """Return the first hour after which it holds of the share that remains."""
        total, bad = Fraction(self.total), Fraction(self.bad)
        for hour in range(1, self.hours + 1):
            leaving = self.rows[hour - 1] if self.rolls and hour <= len(self.rows) else Counts()
            total += pace.total - leaving.total
            bad += pace.bad - leaving.bad
            if total > 0 and holds(1 - bad / (self.allowed * total)):
                return hour
        return None


def _pace(rows: Sequence[Counts]) -> tuple[Pace | None, int, int]:
    """Return the mean hour of the last day, or of the last week if that was silent; its failures, and its hours."""
    for over in (_DAY, _WEEK):
        lately = sum(rows[-over:], Counts())
        if lately.total:
            return Pace(Fraction(lately.total, over), Fraction(lately.bad, over)), lately.bad, over
    return None, 0, _WEEK


def _term(k: int, mean: float) -> float:
    return exp(k * log(mean) - mean - lgamma(k + 1)) if mean > 0 else float(k == 0)


def _at_least(k: int, mean: float) -> float:
    """P(X ≥ k) for k above the mean: the terms fall from the first."""
    term, total, i = _term(k, mean), 0.0, k
    while total + term > total:
        total += term
        i += 1
        term *= mean / i
    return total


def _at_most(k: int, mean: float) -> float:
    """P(X ≤ k) for k below the mean: the terms fall from the last."""
    term, total, i = _term(k, mean), 0.0, k
    while i >= 0 and total + term > total:
        total += term
        term *= i / mean
        i -= 1
    return total


def _where(rises: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function passes 0, as closely as floats can tell."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if rises(middle) > 0 else (middle, high)
    return high
