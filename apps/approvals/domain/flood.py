"""How much one agent may ask of people before its intake has to wait."""

from dataclasses import dataclass
from typing import Final

# Outside agents are told to come back after a minute: that is the longest window below.
RETRY_AFTER_S: Final = 60


@dataclass(frozen=True, slots=True)
class Load:
    """What one agent has put before people: open now, and proposed in the last 60 s."""

    open: int
    last_minute: int


@dataclass(frozen=True, slots=True)
class Quota:
    max_open: int
    max_new_per_minute: int

    def has_room(self, load: Load) -> bool:
        """One more fits: the 200th open card is still allowed, the 201st is not."""
        return load.open < self.max_open and load.last_minute < self.max_new_per_minute

    def room(self, load: Load) -> int:
        """How many more fit now; never negative."""
        return max(0, min(self.max_open - load.open, self.max_new_per_minute - load.last_minute))
