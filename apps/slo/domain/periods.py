"""The period of an objective: seconds that roll with the clock, or calendar periods of a time zone (rule 11)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from apps.oncall.domain.wall import instant, months_later
from apps.slo.domain.windows import moment

_MONTHS: Final[Mapping[str, int]] = {"month": 1, "quarter": 3, "year": 12}
_DAYS: Final[Mapping[str, int]] = {"day": 1, "week": 7}
UNITS: Final = (*_DAYS, *_MONTHS)


@dataclass(frozen=True, slots=True)
class Span:
    """The time (begin, end]: an event at `begin` belongs to the span before."""

    begin: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Rolling:
    """The last so many seconds, whatever the wall clock does meanwhile."""

    seconds: int

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError("A rolling period is longer than 0 seconds.")

    def span(self, t: int) -> Span:
        """Return the period that ends at t, in epoch seconds."""
        return Span(moment(t - self.seconds), moment(t))


@dataclass(frozen=True, slots=True)
class Calendar:
    """Periods of so many days, weeks, months, quarters or years on a zone's wall clock, counted from an anchor day.

    Boundary k is always reckoned from the anchor, never from boundary k − 1: 31 January leads to 28 February and then
    to 31 March. A day may have 23 or 25 hours.
    """

    unit: str
    anchor: date
    zone: ZoneInfo
    count: int = 1

    def __post_init__(self) -> None:
        if self.unit not in UNITS or self.count < 1:
            raise ValueError(f"A calendar period is a whole number of: {', '.join(UNITS)}.")

    def boundary(self, k: int) -> datetime:
        """Return the instant at which period k begins, in UTC; k may be negative."""
        return instant(self._wall(k), self.zone)

    def span(self, t: int) -> Span:
        """Return the period that holds t, in epoch seconds; a boundary ends its period."""
        at = moment(t)
        k = self._guess(at)
        while self.boundary(k) >= at:
            k -= 1
        while self.boundary(k + 1) < at:
            k += 1
        return Span(self.boundary(k), self.boundary(k + 1))

    def _wall(self, k: int) -> datetime:
        start = datetime.combine(self.anchor, time())
        if self.unit in _MONTHS:
            return months_later(start, k * self.count * _MONTHS[self.unit])
        return start + timedelta(days=k * self.count * _DAYS[self.unit])

    def _guess(self, at: datetime) -> int:
        local = at.astimezone(self.zone).date()
        if self.unit in _MONTHS:
            months = (local.year - self.anchor.year) * 12 + local.month - self.anchor.month
            return months // (self.count * _MONTHS[self.unit])
        return (local - self.anchor).days // (self.count * _DAYS[self.unit])


Period = Rolling | Calendar
