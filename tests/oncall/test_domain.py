from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.oncall.domain.resolve import Layer, Turn, answering, turns
from apps.oncall.domain.rotation import UNITS, Rotation
from apps.oncall.domain.wall import instant


def wall(text):
    return datetime.fromisoformat(text)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rotation(zone, unit, start, length=1):
    return Rotation(zone=ZoneInfo(zone), unit=unit, start=wall(start), length=length)


# slo.md 8.7: zone, unit, wall start; the first hand-offs in UTC.
HAND_OFFS = [
    (
        "Europe/Berlin daily 2027-03-26 02:30",
        ["2027-03-26 01:30", "2027-03-27 01:30", "2027-03-28 01:00", "2027-03-29 00:30"],
    ),
    ("Europe/Berlin daily 2027-10-30 02:30", ["2027-10-30 00:30", "2027-10-31 00:30", "2027-11-01 01:30"]),
    ("America/New_York weekly 2027-03-01 09:00", ["2027-03-01 14:00", "2027-03-08 14:00", "2027-03-15 13:00"]),
    ("America/New_York weekly 2027-11-01 09:00", ["2027-11-01 13:00", "2027-11-08 14:00", "2027-11-15 14:00"]),
    (
        "America/New_York hourly 2027-03-14 00:00",
        ["2027-03-14 05:00", "2027-03-14 06:00", "2027-03-14 07:00", "2027-03-14 07:00", "2027-03-14 08:00"],
    ),
    ("Pacific/Chatham daily 2027-09-25 03:00", ["2027-09-24 14:15", "2027-09-25 14:00", "2027-09-26 13:15"]),
    ("America/Santiago daily 2026-09-05 00:00", ["2026-09-05 04:00", "2026-09-06 04:00", "2026-09-07 03:00"]),
    (
        "Europe/Paris monthly 2027-12-31 18:00",
        ["2027-12-31 17:00", "2028-01-31 17:00", "2028-02-29 17:00", "2028-03-31 16:00", "2028-04-30 16:00"],
    ),
    ("Pacific/Apia daily 2011-12-29 09:00", ["2011-12-29 19:00", "2011-12-30 10:00", "2011-12-30 19:00"]),
]


@pytest.mark.parametrize(("name", "expected"), HAND_OFFS)
def test_hand_offs_follow_the_wall_clock(name, expected):
    zone, unit, *start = name.split()
    subject = rotation(zone, unit, " ".join(start))

    assert [subject.boundary(k) for k in range(len(expected))] == [utc(each) for each in expected]


# Hours of the shifts at the change of the clock, as 8.7 names them.
@pytest.mark.parametrize(
    ("name", "first", "hours"),
    [
        ("Europe/Berlin daily 2027-03-26 02:30", 1, [23.5, 23.5]),
        ("Europe/Berlin daily 2027-10-30 02:30", 1, [25]),
        ("America/New_York weekly 2027-03-01 09:00", 1, [167]),
        ("America/New_York weekly 2027-11-01 09:00", 0, [169]),
        ("Pacific/Chatham daily 2027-09-25 03:00", 0, [23.75, 23.25]),
        ("America/Santiago daily 2026-09-05 00:00", 1, [23]),
        ("Pacific/Apia daily 2011-12-29 09:00", 0, [15, 9]),
    ],
)
def test_shifts_at_a_change_of_the_clock_have_their_own_length(name, first, hours):
    zone, unit, *start = name.split()
    subject = rotation(zone, unit, " ".join(start))

    lengths = [subject.boundary(k + 1) - subject.boundary(k) for k in range(first, first + len(hours))]

    assert lengths == [timedelta(hours=each) for each in hours]


def test_a_turn_of_no_length_is_lost():
    subject = rotation("America/New_York", "hourly", "2027-03-14 00:00")

    turns_taken = ["ABC"[subject.index(utc(f"2027-03-14 {hour:02}:00")) % 3] for hour in (5, 6, 7, 8)]

    assert turns_taken == ["A", "B", "A", "B"]


def test_a_repeated_hour_belongs_to_who_had_its_first_pass():
    subject = rotation("Europe/London", "hourly", "2027-10-30 12:30")

    assert [subject.boundary(k) for k in (12, 13, 14)] == [
        utc("2027-10-30 23:30"),
        utc("2027-10-31 00:30"),
        utc("2027-10-31 02:30"),
    ]
    assert subject.index(utc("2027-10-31 02:29")) == 13


def test_hand_offs_reach_back_before_the_start():
    subject = rotation("Europe/Berlin", "weekly", "2027-03-29 09:00")

    assert subject.boundary(-1) == utc("2027-03-22 08:00")
    assert subject.index(utc("2027-03-22 08:00")) == -1
    assert subject.index(utc("2027-03-22 07:59")) == -2


@pytest.mark.parametrize(
    "fields",
    [{"unit": "yearly"}, {"length": 0}, {"start": datetime(2027, 1, 1, tzinfo=UTC)}],
)
def test_it_refuses_what_is_no_rotation(fields):
    given_fields = {"zone": ZoneInfo("UTC"), "start": wall("2027-01-01"), "unit": "daily", "length": 1, **fields}

    with pytest.raises(ValueError, match="A rotation needs"):
        Rotation(**given_fields)


# Zones with whole-hour, half-hour, quarter-hour and whole-day jumps, and one that never jumps.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia", "Asia/Kolkata"]
walls = st.builds(
    datetime.combine,
    st.one_of(
        st.dates(date(2011, 12, 28), date(2012, 1, 2)),
        st.dates(date(2027, 3, 10), date(2027, 4, 6)),
        st.dates(date(2027, 9, 20), date(2027, 11, 10)),
    ),
    st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 15, 29, 30, 45, 59])),
)


@settings(deadline=None)
@given(zone=st.sampled_from(ZONES).map(ZoneInfo), at=walls)
def test_a_wall_time_becomes_the_earliest_instant_that_reads_it_or_later(zone, at):
    # All offsets on earth lie within 15 hours; one minute is the finest step in which these clocks jump.
    first = at.replace(tzinfo=UTC) - timedelta(hours=15)
    minutes = [first + timedelta(minutes=step) for step in range(30 * 60)]
    earliest = next(each for each in minutes if each.astimezone(zone).replace(tzinfo=None) >= at)

    assert instant(at, zone) == earliest


@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    unit=st.sampled_from(UNITS),
    length=st.integers(1, 4),
    start=walls,
    at=walls,
)
def test_every_instant_lies_in_the_one_shift_that_is_on(zone, unit, length, start, at):
    subject = Rotation(zone=zone, start=start, unit=unit, length=length)
    moment = at.replace(tzinfo=UTC)

    k = subject.index(moment)

    assert subject.boundary(k) <= moment < subject.boundary(k + 1)


@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    unit=st.sampled_from(UNITS),
    length=st.integers(1, 3),
    start=walls,
    first=st.integers(-50, 50),
)
def test_neighbouring_shifts_neither_overlap_nor_leave_a_hole(zone, unit, length, start, first):
    subject = Rotation(zone=zone, start=start, unit=unit, length=length)

    hand_offs = [subject.boundary(first + step) for step in range(60)]

    assert hand_offs == sorted(hand_offs)


ANN, BOB, CY = 1, 2, 3
MONDAY = utc("2027-05-03 09:00")
WEEK = timedelta(weeks=1)


def layer(*positions, valid_from=MONDAY, valid_to=None, priority=1):
    return Layer(
        rotation=rotation("UTC", "weekly", "2027-05-03 09:00"),
        positions=[frozenset(each) for each in positions],
        valid_from=valid_from,
        valid_to=valid_to,
        priority=priority,
    )


def test_people_take_turns():
    subject = [layer([ANN], [BOB])]

    assert turns(subject, MONDAY + timedelta(days=1), count=3) == [
        Turn(frozenset({ANN}), MONDAY + timedelta(days=1), MONDAY + WEEK),
        Turn(frozenset({BOB}), MONDAY + WEEK, MONDAY + 2 * WEEK),
        Turn(frozenset({ANN}), MONDAY + 2 * WEEK, MONDAY + 3 * WEEK),
    ]


def test_a_position_may_hold_several_people():
    assert answering([layer([ANN, BOB])], MONDAY) == {ANN, BOB}


def test_the_highest_layer_with_anybody_answers():
    layers = [layer([ANN]), layer([BOB], [], priority=2)]

    assert answering(layers, MONDAY) == {BOB}
    assert answering(layers, MONDAY + WEEK) == {ANN}


def test_layers_of_equal_priority_answer_together():
    assert answering([layer([ANN]), layer([BOB])], MONDAY) == {ANN, BOB}


def test_a_layer_acts_from_its_first_instant_to_before_its_last():
    subject = [layer([ANN], valid_to=MONDAY + timedelta(days=2))]

    assert not answering(subject, MONDAY - timedelta(microseconds=1))
    assert answering(subject, MONDAY) == {ANN}
    assert not answering(subject, MONDAY + timedelta(days=2))


def test_a_gap_before_the_first_shift_is_shown_as_one():
    subject = [layer([ANN], valid_to=MONDAY + timedelta(days=2))]

    assert turns(subject, MONDAY - timedelta(days=1), count=9) == [
        Turn(frozenset(), MONDAY - timedelta(days=1), MONDAY),
        Turn(frozenset({ANN}), MONDAY, MONDAY + timedelta(days=2)),
        Turn(frozenset(), MONDAY + timedelta(days=2), None),
    ]


def test_without_any_layer_nobody_answers():
    assert turns([], MONDAY, count=3) == [Turn(frozenset(), MONDAY, None)]
