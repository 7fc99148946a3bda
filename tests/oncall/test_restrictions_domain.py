"""The hours of a layer: the vectors of the specification, then against a walk minute by minute."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.oncall.domain.restrictions import Restriction, hours, is_within, worked
from apps.oncall.domain.rotation import Rotation

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
MONDAY = datetime.fromisoformat("2027-03-22")
ZONES = ["Europe/Berlin", "America/New_York", "Pacific/Chatham", "America/Santiago", "Asia/Kathmandu", "UTC"]


def restriction(start, end, weekdays=EVERY_DAY):
    return Restriction(weekdays, time.fromisoformat(start), time.fromisoformat(end))


def length(spans):
    return sum((end - start for start, end in spans), timedelta())


@pytest.mark.parametrize(
    ("day", "start", "end", "expected"),
    [
        ("2027-03-27", "22:00", "06:00", 7),
        ("2027-10-30", "22:00", "06:00", 9),
        ("2027-03-28", "02:15", "02:45", 0),
        ("2027-10-31", "01:00", "02:30", 1.5),
        ("2027-10-31", "02:30", "06:00", 4.5),
        ("2027-05-04", "08:00", "08:00", 24),
    ],
)
def test_a_restriction_is_as_long_as_the_clock_makes_it(day, start, end, expected):
    span = restriction(start, end).on(date.fromisoformat(day), BERLIN)

    assert length([span] if span else []) == timedelta(hours=expected)


def test_office_hours_of_the_week_of_the_change_cover_forty_of_its_hours():
    begin, end = (datetime(2027, 3, day, tzinfo=BERLIN).astimezone(UTC) for day in (22, 29))

    found = hours([restriction("09:00", "17:00", WEEKDAYS)], BERLIN, begin, end)

    assert (length(found), end - begin) == (timedelta(hours=40), timedelta(hours=167))


def test_a_turn_is_worked_only_where_there_is_time():
    rotation = Rotation(BERLIN, MONDAY, "daily")
    office = (restriction("00:00", "00:00", WEEKDAYS),)
    days = [0, 1, 2, 3, 4, 7, 8, 9]

    elapsed = ["ABC"[k % 3] for k in days]
    assert elapsed == list("ABCABBCA")
    assert ["ABC"[worked(rotation, office, k) % 3] for k in days] == list("ABCABCAB")


def test_what_was_worked_is_counted_backwards_as_well():
    rotation = Rotation(BERLIN, MONDAY, "daily")
    office = (restriction("00:00", "00:00", WEEKDAYS),)

    counted = [worked(rotation, office, k) for k in range(-200, 200)]

    assert [after - before for before, after in pairwise(counted)] == [
        int((rotation.start + timedelta(days=k)).weekday() < 5) for k in range(-200, 199)
    ]
    assert counted[200] == 0


@pytest.mark.parametrize("weekdays", [frozenset(), frozenset({7})])
def test_a_restriction_without_a_weekday_is_refused(weekdays):
    with pytest.raises(ValueError, match="weekday"):
        restriction("09:00", "17:00", weekdays)


times = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
restrictions = st.lists(
    st.builds(Restriction, st.frozensets(st.integers(0, 6), min_size=1), times, times), min_size=0, max_size=3
)


@settings(max_examples=40, deadline=None)
@given(restrictions, st.sampled_from(ZONES), st.integers(0, 364))
def test_the_hours_are_those_of_a_walk_in_quarters_of_an_hour(limits, zone_name, day):
    zone = ZoneInfo(zone_name)
    begin = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=day)
    end = begin + timedelta(days=2)

    found = hours(limits, zone, begin, end)

    step = timedelta(minutes=15)
    walk = [begin + step * n for n in range(2 * 96)]
    inside = [any(start <= at < stop for start, stop in found) for at in walk]
    assert inside == [is_within(limits, zone, at) for at in walk]
    assert length(found) == step * sum(inside)
