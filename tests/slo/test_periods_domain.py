"""Periods of an objective: the vectors of the specification, then what must hold in any zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.slo.domain.periods import UNITS, Calendar, Rolling, Span

ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham", "America/Santiago", "UTC"]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def seconds(text):
    return int(at(text).timestamp())


def calendar(unit, anchor, zone, count=1):
    return Calendar(unit, date.fromisoformat(anchor), ZoneInfo(zone), count)


@pytest.mark.parametrize(
    ("unit", "anchor", "zone", "t", "begin", "end", "hours"),
    [
        ("month", "2027-01-01", "Europe/Berlin", "2027-10-31 23:00", "2027-09-30 22:00", "2027-10-31 23:00", 745),
        ("month", "2027-01-01", "Europe/Berlin", "2027-10-31 23:01", "2027-10-31 23:00", "2027-11-30 23:00", 720),
        ("month", "2027-01-01", "Europe/Berlin", "2027-03-15 00:00", "2027-02-28 23:00", "2027-03-31 22:00", 743),
        ("month", "2026-01-31", "Europe/Madrid", "2026-03-01 00:00", "2026-02-27 23:00", "2026-03-30 22:00", None),
        ("month", "2026-01-31", "Europe/Madrid", "2026-04-01 00:00", "2026-03-30 22:00", "2026-04-29 22:00", None),
        ("quarter", "2026-02-01", "America/New_York", "2027-03-20 00:00", "2027-02-01 05:00", "2027-05-01 04:00", None),
        ("quarter", "2026-11-30", "Asia/Kathmandu", "2027-03-01 00:00", "2027-02-27 18:15", "2027-05-29 18:15", None),
        ("year", "2024-02-29", "UTC", "2025-06-01 00:00", "2025-02-28 00:00", "2026-02-28 00:00", 8_760),
    ],
)
def test_a_calendar_period_is_the_one_of_the_specification(unit, anchor, zone, t, begin, end, hours):
    span = calendar(unit, anchor, zone).span(seconds(t))

    assert span == Span(at(begin), at(end))
    assert hours is None or span.length == timedelta(hours=hours)


def test_a_rolling_period_is_seconds_whatever_the_clock_does():
    assert Rolling(2_592_000).span(seconds("2027-04-01 00:00")).length == timedelta(days=30)


@given(
    st.sampled_from(UNITS),
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.sampled_from(ZONES),
    st.integers(1, 4),
    st.integers(seconds("2019-01-01 00:00"), seconds("2031-01-01 00:00")),
)
def test_every_instant_lies_in_exactly_one_period(unit, anchor, zone, count, t):
    period = Calendar(unit, anchor, ZoneInfo(zone), count)

    span = period.span(t)

    assert span.begin < datetime.fromtimestamp(t, UTC) <= span.end
    assert period.span(int(span.end.timestamp())) == span
    assert period.span(int(span.end.timestamp()) + 1).begin == span.end


@pytest.mark.parametrize(("unit", "count"), [("fortnight", 1), ("day", 0)])
def test_a_period_that_no_calendar_knows_is_refused(unit, count):
    with pytest.raises(ValueError, match="whole number of"):
        calendar(unit, "2026-01-01", "UTC", count)


def test_a_rolling_period_of_nothing_is_refused():
    with pytest.raises(ValueError, match="longer than 0"):
        Rolling(0)
