"""Budgets, windows and burn-downs: the vectors of the specification, then the same rules under hypothesis."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.slo.domain.budget import Budget, BudgetState, Counts, failures_to_the_worse, percent_to_the_worse
from apps.slo.domain.burndown import burn_down
from apps.slo.domain.freshness import Freshness
from apps.slo.domain.windows import HOUR, MINUTE, evaluated_at, hour_key, minute_key, moment, pieces


def budget(target: str, bad: int, total: int) -> Budget:
    return Budget(Fraction(target), Counts(total - bad, total))


@pytest.mark.parametrize(
    ("target", "bad", "total", "remaining", "may_still_fail"),
    [
        ("0.999", 1, 7200, Fraction(31, 36), 6),
        ("0.999", 7, 7200, Fraction(1, 36), 0),
        ("0.999", 8, 7200, Fraction(-1, 9), 0),
        ("0.999", 1000, 1_000_000, Fraction(0), 0),
        ("0.95", 1, 1001, Fraction(981, 1001), 49),
        ("0.90", 150, 1000, Fraction(-1, 2), 0),
        ("0.9999", 1, 9999, Fraction(-1, 9999), 0),
        ("0.9999", 1, 10000, Fraction(0), 0),
        ("0", 3, 10, Fraction(7, 10), 7),
    ],
)
def test_the_budget_left_is_exact(target, bad, total, remaining, may_still_fail):
    subject = budget(target, bad, total)

    assert subject.remaining == remaining
    assert subject.may_still_fail == may_still_fail


def test_without_events_there_is_no_number():
    empty = budget("0.95", 0, 0)

    assert (empty.remaining, empty.ratio, empty.may_still_fail, empty.is_met, empty.is_spent) == (None,) * 5
    assert empty.state is BudgetState.NO_DATA


def test_a_budget_can_be_met_and_spent_at_once():
    subject = budget("0.999", 1000, 1_000_000)

    assert subject.is_met
    assert subject.is_spent


@pytest.mark.parametrize("target", ["1", "1.5", "-0.1"])
def test_a_target_outside_zero_to_one_is_refused(target):
    with pytest.raises(ValueError, match="target"):
        budget(target, 0, 1)


@pytest.mark.parametrize(
    ("bad", "total", "state"),
    [
        (0, 100, BudgetState.OK),
        (49, 1000, BudgetState.OK),
        (50, 1000, BudgetState.WATCH),
        (74, 1000, BudgetState.WATCH),
        (75, 1000, BudgetState.RESTRICT),
        (99, 1000, BudgetState.RESTRICT),
        (100, 1000, BudgetState.FROZEN),
        (500, 1000, BudgetState.FROZEN),
    ],
)
def test_the_state_is_the_worst_band_entered(bad, total, state):
    assert budget("0.9", bad, total).state is state


def test_one_failure_of_two_only_watches():
    assert budget("0.9", 1, 2).state is BudgetState.WATCH


def test_a_share_prints_to_the_worse_side():
    assert percent_to_the_worse(Fraction(9999, 10000), places=1) == "99.9 %"
    assert percent_to_the_worse(Fraction(1), places=1) == "100 %"
    assert percent_to_the_worse(Fraction(-1, 3), places=1) == "-33.4 %"
    assert failures_to_the_worse(Fraction(1, 1000), places=0) == "1 %"


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 999_999_999))
def test_remaining_and_spent_agree_for_any_counts(good, bad, nano):
    subject = Budget(Fraction(nano, 10**9), Counts(good, good + bad))

    if good + bad == 0:
        assert subject.remaining is None
    else:
        assert subject.remaining == 1 - Fraction(bad) / ((1 - subject.target) * (good + bad))
        assert subject.is_met == (bad <= subject.allowed)
        assert bad + subject.may_still_fail <= max(subject.allowed, bad)


@pytest.mark.parametrize(("seconds", "is_stale"), [(0, False), (300, False), (301, True)])
def test_numbers_are_stale_when_the_roll_up_is_more_than_five_minutes_behind(seconds, is_stale):
    now = datetime(2027, 5, 4, 10, 2, tzinfo=UTC)
    until = now - timedelta(seconds=seconds)

    fresh = Freshness(until, now)

    assert (fresh.is_stale, fresh.as_of, fresh.shown_at) == (is_stale, until, until)


def test_counts_never_speak_of_later_than_now():
    now = datetime(2027, 5, 4, 10, 2, tzinfo=UTC)

    assert Freshness(now + timedelta(seconds=3), now).as_of == now


def test_before_the_first_collection_the_counts_speak_of_no_time():
    now = datetime(2027, 5, 4, 10, 2, tzinfo=UTC)

    fresh = Freshness(None, now)

    assert (fresh.as_of, fresh.is_stale, fresh.shown_at) == (None, True, now)


@pytest.mark.parametrize(
    ("wall", "minute", "hour"),
    [
        ("10:00:00.000000", "10:00", "10:00"),
        ("10:00:00.000001", "10:01", "11:00"),
        ("10:59:59.999999", "11:00", "11:00"),
        ("10:17:30.000000", "10:18", "11:00"),
    ],
)
def test_a_row_is_keyed_by_the_end_of_its_minute_and_hour(wall, minute, hour):
    at = datetime.fromisoformat(f"2027-05-04T{wall}+00:00")

    m = minute_key(at)

    assert f"{moment(m):%H:%M}" == minute
    assert f"{moment(hour_key(m)):%H:%M}" == hour


def test_the_instant_evaluated_lies_a_settled_minute_behind():
    now = datetime(2027, 5, 4, 10, 2, 30, tzinfo=UTC)

    assert moment(evaluated_at(now)) == datetime(2027, 5, 4, 10, 1, tzinfo=UTC)


@given(st.integers(10**6, 10**7), st.integers(1, 60 * 24 * 40))
def test_the_pieces_of_a_window_cover_each_minute_once(t_minutes, length_minutes):
    t, length = t_minutes * MINUTE, length_minutes * MINUTE

    split = pieces(t, length)

    covered = list(range(split.head[0] + MINUTE, split.head[1] + 1, MINUTE))
    for hour in range(split.hours[0] + HOUR, split.hours[1] + 1, HOUR):
        covered += range(hour - HOUR + MINUTE, hour + 1, MINUTE)
    covered += range(split.tail[0] + MINUTE, split.tail[1] + 1, MINUTE)
    assert covered == list(range(t - length + MINUTE, t + 1, MINUTE))


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001  # hypothesis wants bare bounds
def test_a_minute_key_is_the_first_whole_minute_not_before(naive):
    at = naive.replace(tzinfo=UTC)

    key = moment(minute_key(at))

    assert timedelta(0) <= key - at < timedelta(minutes=1)
    assert key.second == 0


@st.composite
def hour_rows(draw) -> Sequence[tuple[int, int, int]]:
    keys = sorted(draw(st.sets(st.integers(1, 100), max_size=40)))
    rows = []
    for key in keys:
        total = draw(st.integers(1, 50))
        rows.append((key * HOUR, draw(st.integers(0, total)), total))
    return rows


@given(hour_rows(), st.integers(1, 60), st.integers(1, 120))
def test_a_burn_down_point_equals_a_direct_count(rows, period_hours, at_hour):
    target, period, at = Fraction("0.9"), period_hours * HOUR, at_hour * HOUR

    [point] = burn_down(rows, target=target, period=period, instants=[at])

    inside = [row for row in rows if at - period < row[0] <= at]
    counts = Counts(sum(row[1] for row in inside), sum(row[2] for row in inside))
    assert point.counts == counts
    assert point.remaining == Budget(target, counts).remaining
