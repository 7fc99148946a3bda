"""Forecasts: the vectors of the specification, then against a window that is really rolled on."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from apps.slo.domain.budget import Budget, Counts
from apps.slo.domain.forecast import forecast, poisson_interval

HOURS = 720
TARGET = Fraction("0.99")


def window(bad_at_age):
    """Make 30 days of 100 events an hour; the newest row is 1 hour old."""
    return [Counts(100 - bad_at_age.get(age, 0), 100) for age in range(HOURS, 0, -1)]


def test_old_failures_that_leave_in_time_are_no_exhaustion():
    rows = window(dict.fromkeys(range(695, 701), 100) | dict.fromkeys(range(1, 13), 1))

    assert Budget(TARGET, sum(rows, Counts())).remaining == Fraction(15, 100)
    assert forecast(rows, target=TARGET, hours=HOURS).exhaustion is None


def test_a_steady_burn_runs_out_in_its_interval():
    found = forecast(window(dict.fromkeys(range(1, 25), 10)), target=TARGET, hours=HOURS)

    assert (found.exhaustion, found.soonest, found.latest) == (48, 45, 53)
    assert (found.recovery, found.exit) == (None, None)


def test_a_spent_budget_says_when_it_comes_back():
    rows = window(dict.fromkeys(range(91, 111), 45))

    found = forecast(rows, target=TARGET, hours=HOURS)

    assert Budget(TARGET, sum(rows, Counts())).remaining == Fraction(-25, 100)
    assert (found.exhaustion, found.recovery, found.exit) == (0, 615, 616)


def test_in_a_calendar_period_nothing_leaves():
    rows = window(dict.fromkeys(range(91, 111), 45))

    found = forecast(rows, target=TARGET, hours=200, rolls=False)

    # 18,000 more events allow 180 more failures: 900 of them, and then one more hour for the first that is left over.
    assert (found.recovery, found.exit) == (181, None)


def test_after_a_silent_day_the_week_tells_the_pace():
    rows = [Counts(100, 100)] * (HOURS - 168) + [Counts(90, 100)] * 144 + [Counts()] * 24

    assert forecast(rows, target=TARGET, hours=HOURS).exhaustion == 0


def test_after_a_silent_week_there_is_no_forecast():
    assert forecast([Counts(90, 100)] * 552 + [Counts()] * 168, target=TARGET, hours=HOURS) is None


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0, 2.303), (3, 1.102, 6.681), (12, 7.829, 17.782), (240, 220.373, 261.097)],
)
def test_the_interval_is_the_one_of_the_tables(count, low, high):
    assert poisson_interval(count) == pytest.approx((low, high), abs=5e-4)


@given(st.integers(0, 5000))
def test_the_interval_equals_the_one_by_chi_squared(count):
    low = chi2.ppf(0.1, 2 * count) / 2 if count else 0.0

    assert poisson_interval(count) == pytest.approx((low, chi2.ppf(0.9, 2 * count + 2) / 2), rel=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), min_size=24, max_size=60))
def test_exhaustion_is_the_hour_at_which_a_rolled_window_is_spent(pairs):
    rows = [Counts(good, good + bad) for good, bad in pairs]
    last = sum(rows[-24:], Counts())
    target, hours = Fraction("0.9"), len(rows)
    found = forecast(rows, target=target, hours=hours)
    if found is None or found.exhaustion == 0:
        return

    def spent_after(hour):
        held = rows[hour:]
        total = sum(each.total for each in held) + Fraction(last.total, 24) * hour
        bad = sum(each.bad for each in held) + Fraction(last.bad, 24) * hour
        return total > 0 and bad >= (1 - target) * total

    assert found.exhaustion == next((hour for hour in range(1, hours + 1) if spent_after(hour)), None)
