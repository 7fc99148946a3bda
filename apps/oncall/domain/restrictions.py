"""The hours in which a layer answers: weekdays and wall times, which may run overnight (rule 30)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from apps.oncall.domain.rotation import Rotation
from apps.oncall.domain.wall import instant

_DAY: Final = timedelta(days=1)
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True)
class Restriction:
    """From `start` to `end` on some weekdays (Monday is 0); `end` before `start` is on the next day, equal is 24 hours."""

    weekdays: frozenset[int]
    start: time
    end: time

    def __post_init__(self) -> None:
        if not self.weekdays or not self.weekdays <= set(range(7)):
            raise ValueError("A restriction names at least one weekday, from 0 for Monday to 6 for Sunday.")

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """Return the hours that begin on a day, as [start, end) in UTC; None where that day has none."""
        if day.weekday() not in self.weekdays:
            return None
        until = day if self.end > self.start else day + _DAY
        begin, end = (instant(datetime.combine(each, at), zone) for each, at in ((day, self.start), (until, self.end)))
        return (begin, end) if begin < end else None


def hours(
    restrictions: Sequence[Restriction], zone: ZoneInfo, begin: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """Return when a layer answers within [begin, end), in order and without overlaps; always, if nothing restricts it."""
    if not restrictions:
        return [(begin, end)] if begin < end else []
    first, last = begin.astimezone(zone).date() - _DAY, end.astimezone(zone).date()
    days = [first + _DAY * n for n in range((last - first).days + 1)]
    found = sorted(span for day in days for each in restrictions if (span := each.on(day, zone)))
    merged: list[tuple[datetime, datetime]] = []
    for start, stop in ((max(start, begin), min(stop, end)) for start, stop in found):
        if start >= stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def is_within(restrictions: Sequence[Restriction], zone: ZoneInfo, at: datetime) -> bool:
    """Say whether a layer answers at an instant."""
    today = at.astimezone(zone).date()
    spans = (each.on(day, zone) for each in restrictions for day in (today - _DAY, today))
    return not restrictions or any(span is not None and span[0] <= at < span[1] for span in spans)


def worked(rotation: Rotation, restrictions: tuple[Restriction, ...], k: int) -> int:
    """Return the place of shift k among those in which the restrictions leave time; negative before shift 0."""
    block, rest = divmod(k, _BLOCK)
    whole = range(block) if block >= 0 else range(block, 0)
    before = sum(_worked_in(rotation, restrictions, each) for each in whole)
    within = sum(_has_time(rotation, restrictions, each) for each in range(block * _BLOCK, block * _BLOCK + rest))
    return before + within if block >= 0 else within - before


@lru_cache(maxsize=4096)
def _worked_in(rotation: Rotation, restrictions: tuple[Restriction, ...], block: int) -> int:
    return sum(_has_time(rotation, restrictions, k) for k in range(block * _BLOCK, (block + 1) * _BLOCK))


def _has_time(rotation: Rotation, restrictions: tuple[Restriction, ...], k: int) -> bool:
    return bool(hours(restrictions, rotation.zone, rotation.boundary(k), rotation.boundary(k + 1)))
