"""Bands of a budget policy: the vectors of the specification, then what must hold for any numbers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.slo.domain.budget import BudgetState
from apps.slo.domain.policy import BANDS, Band, Standing, move

STATES = [BudgetState.OK, *(band.state for band in BANDS)]
shares = st.fractions(min_value=-2, max_value=1, max_denominator=400)


def test_the_walk_of_the_specification():
    walk = [
        ("0.50", True, "watch"),
        ("0.54", True, "watch"),
        ("0.55", True, "ok"),
        ("0.25", True, "restrict"),
        ("0.29", True, "restrict"),
        ("0.30", True, "watch"),
        ("0", True, "frozen"),
        ("0.10", False, "frozen"),
        ("0.10", True, "restrict"),
        (None, True, "restrict"),
        ("-0.5", True, "frozen"),
        ("0.60", True, "ok"),
    ]
    state = BudgetState.OK
    for remaining, is_filed, expected in walk:
        left = None if remaining is None else Fraction(remaining)
        state = move(state, remaining=left, bad=3, is_filed=is_filed).state
        assert state == expected, remaining


def test_one_failure_only_watches_and_says_why():
    assert move(BudgetState.OK, remaining=Fraction(-4), bad=1) == Standing(BudgetState.WATCH, is_small_sample=True)


def test_what_was_frozen_with_reason_is_not_thawed_by_a_smaller_sample():
    assert move(BudgetState.FROZEN, remaining=Fraction(-1), bad=2).state is BudgetState.FROZEN


def test_before_there_are_data_a_line_is_ok():
    assert move(BudgetState.NO_DATA, remaining=Fraction(1), bad=0).state is BudgetState.OK


def test_a_band_without_hysteresis_is_refused():
    with pytest.raises(ValueError, match="left at more"):
        Band(BudgetState.WATCH, Fraction(1, 2), Fraction(1, 2))


@given(st.sampled_from(STATES), shares, st.integers(0, 9), st.booleans())
def test_the_same_number_again_changes_nothing(state, remaining, bad, is_filed):
    once = move(state, remaining=remaining, bad=bad, is_filed=is_filed)

    assert move(once.state, remaining=remaining, bad=bad, is_filed=is_filed).state is once.state


@given(st.sampled_from(STATES), shares, st.integers(3, 9), st.booleans())
def test_with_enough_failures_no_state_is_better_than_the_band_entered(state, remaining, bad, is_filed):
    entered = max((place for place, band in enumerate(BANDS, 1) if remaining <= band.enter), default=0)

    assert STATES.index(move(state, remaining=remaining, bad=bad, is_filed=is_filed).state) >= entered


@given(st.sampled_from(STATES), shares, st.integers(0, 9))
def test_a_freeze_with_open_items_is_never_left(state, remaining, bad):
    after = move(BudgetState.FROZEN, remaining=remaining, bad=bad, is_filed=False)

    assert after.state is BudgetState.FROZEN
