"""The budget left over time: a rolling window moved along the hour rows."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from apps.slo.domain.budget import Budget, Counts


@dataclass(frozen=True, slots=True)
class Point:
    """The state of the budget at one instant (epoch seconds); `remaining` is None where the window holds no event."""

    at: int
    remaining: Fraction | None
    counts: Counts


def burn_down(
    rows: Sequence[tuple[int, int, int]], *, target: Fraction, period: int, instants: Sequence[int]
) -> list[Point]:
    """Return the budget left at each instant over the window (instant − period, instant].

    `rows` are (key, good, total) in the order of their keys, each holding what happened up to its key.
    """
    keys = [key for key, _, _ in rows]
    good = [0, *accumulate(row[1] for row in rows)]
    total = [0, *accumulate(row[2] for row in rows)]
    points = []
    for at in instants:
        first, last = bisect_right(keys, at - period), bisect_right(keys, at)
        counts = Counts(good[last] - good[first], total[last] - total[first])
        points.append(Point(at, Budget(target, counts).remaining, counts))
    return points
