"""When shifts change hands. Wall-clock arithmetic of rules 12 and 29: a pure function of every instant, past and future."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from apps.oncall.domain.wall import instant, months_later

_STEP = {"hourly": timedelta(hours=1), "daily": timedelta(days=1), "weekly": timedelta(weeks=1)}
UNITS = (*_STEP, "monthly")


@dataclass(frozen=True, slots=True)
class Rotation:
    """Hand-off k happens at wall time `start` + k · length · unit of the zone; k may be negative."""

    zone: ZoneInfo
    start: datetime  # naive: what the wall clock reads at hand-off 0
    unit: str
    length: int = 1

    def __post_init__(self) -> None:
        if self.unit not in UNITS or self.length < 1 or self.start.tzinfo is not None:
            raise ValueError("A rotation needs a known unit, a length of at least 1, and a start without a zone.")

    def boundary(self, k: int) -> datetime:
        """Return the instant of hand-off k in UTC. Months count from the start, clamped to their last day."""
        return instant(self._wall(k), self.zone)

    def index(self, at: datetime) -> int:
        """Return the k whose shift holds the instant: the last hand-off at or before it. Shifts of no length are skipped."""
        k = self._guess(at)
        while self.boundary(k) > at:
            k -= 1
        while self.boundary(k + 1) <= at:
            k += 1
        return k

    def _wall(self, k: int) -> datetime:
        if self.unit == "monthly":
            return months_later(self.start, k * self.length)
        return self.start + k * self.length * _STEP[self.unit]

    def _guess(self, at: datetime) -> int:
        local = at.astimezone(self.zone).replace(tzinfo=None)
        if self.unit == "monthly":
            months = (local.year - self.start.year) * 12 + local.month - self.start.month
            return months // self.length
        return (local - self.start) // (self.length * _STEP[self.unit])
