"""How far the roll-ups reach, and when that is too far behind to be told as now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# The collector runs every five seconds; behind by more than this, a page says so (slo.md section 6).
STALE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Freshness:
    """What is counted at `now`: everything up to `until`, or nothing yet."""

    until: datetime | None
    now: datetime

    @property
    def as_of(self) -> datetime | None:
        """The newest instant that the counts speak of, or None before the first collection."""
        return None if self.until is None else min(self.now, self.until)

    @property
    def shown_at(self) -> datetime:
        """The instant whose numbers a page shows; before the first collection there is no better one than now."""
        return self.as_of or self.now

    @property
    def is_stale(self) -> bool:
        return self.until is None or self.now - self.until > STALE_AFTER

    @property
    def why(self) -> str:
        """Say why the numbers are not of now, in the words of the stale state."""
        return "nothing has been collected yet" if self.until is None else "the roll-up is late"
