"""What a wall clock reads, and when: the arithmetic that hand-offs, restrictions and calendar periods share (rule 12)."""

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """
    Return the earliest instant, in UTC, at which the zone's clock reads `wall` or later (rule 12).

    A repeated time is its first pass; a time in a gap is the moment after the gap.
    """
    late = (wall - _offset(wall, zone, fold=0)).replace(tzinfo=UTC)
    if _reads(late, zone) == wall:
        return late
    # In a gap: fold 1 counts with the offset after it, and so lands before the gap.
    early = (wall - _offset(wall, zone, fold=1)).replace(tzinfo=UTC)
    while late - early > timedelta.resolution:
        middle = early + (late - early) // 2
        if _reads(middle, zone) >= wall:
            late = middle
        else:
            early = middle
    return late


def _offset(wall: datetime, zone: ZoneInfo, *, fold: int) -> timedelta:
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset()
    return offset if offset is not None else timedelta()


def _reads(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def months_later(start: datetime, months: int) -> datetime:
    """Return the same day of the month that many months on, or the last day of a month that is shorter."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last_day))
