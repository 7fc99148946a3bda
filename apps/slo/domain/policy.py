"""What a budget lets an agent do: bands with hysteresis, so that a number on the edge does not switch anything to and fro (rule 26)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from apps.slo.domain.budget import FEWEST_FAILURES_THAT_RESTRICT, BudgetState


@dataclass(frozen=True, slots=True)
class Band:
    """A state that is entered with `enter` of the budget left or less, and left with `leave` or more."""

    state: BudgetState
    enter: Fraction
    leave: Fraction

    def __post_init__(self) -> None:
        if self.leave <= self.enter:
            raise ValueError(f"{self.state}: a band is left at more than it is entered at.")


# Worst last.
BANDS: Final = (
    Band(BudgetState.WATCH, Fraction(1, 2), Fraction(55, 100)),
    Band(BudgetState.RESTRICT, Fraction(1, 4), Fraction(30, 100)),
    Band(BudgetState.FROZEN, Fraction(0), Fraction(10, 100)),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a line; `is_small_sample` where too few failures kept it from a worse one."""

    state: BudgetState
    is_small_sample: bool = False


def move(
    state: BudgetState,
    *,
    remaining: Fraction | None,
    bad: int,
    is_filed: bool = True,
    bands: Sequence[Band] = BANDS,
) -> Standing:
    """Return the state that follows: down to the worst band entered, up by what each band asks to be left, step by step.

    No data changes nothing. `is_filed` says that every action item that a freeze asks for is filed. A small sample
    enters no worse band than the first, but what was entered with enough failures is left by its own rule.
    """
    if remaining is None:
        return Standing(state)
    order = [BudgetState.OK, *(band.state for band in bands)]
    here = order.index(state) if state in order else 0
    entered = max((place for place, band in enumerate(bands, 1) if remaining <= band.enter), default=0)
    allowed = entered if bad >= FEWEST_FAILURES_THAT_RESTRICT else min(entered, 1)
    if allowed > here:
        return Standing(order[allowed], is_small_sample=allowed < entered)
    while here > allowed and _may_leave(bands[here - 1], remaining, is_filed=is_filed):
        here -= 1
    return Standing(order[here], is_small_sample=here < entered)


def _may_leave(band: Band, remaining: Fraction, *, is_filed: bool) -> bool:
    return remaining >= band.leave and (is_filed or band.state is not BudgetState.FROZEN)
