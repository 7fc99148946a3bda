"""R19: which card comes first. The queue's SQL says the same; a test holds the two together."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# What a wrong action of this class costs, relative to a low one.
WEIGHT: Final = {"low": 1, "medium": 2, "high": 4}
# A fresh card is not worth nothing: its risk alone already gives it a place.
FRESH: Final = 0.1
# Cards this close to their end come before all others.
URGENT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the order needs to know of one open proposal."""

    id: int
    risk: str
    created_at: datetime
    deadline: datetime
    sla_due: datetime | None = None

    @property
    def due(self) -> datetime:
        """D: the inbox's deadline or the customer's, whichever comes first."""
        return self.deadline if self.sla_due is None else min(self.deadline, self.sla_due)

    def urgency(self, now: datetime) -> float:
        """u: the share of its time that has passed, in [0, 1]; 1 where it had no time at all."""
        length = (self.due - self.created_at).total_seconds()
        passed = (now - self.created_at).total_seconds()
        return 1.0 if length <= 0 else min(max(passed / length, 0.0), 1.0)

    def score(self, now: datetime) -> float:
        return WEIGHT[self.risk] * (self.urgency(now) + FRESH)

    def is_urgent(self, now: datetime) -> bool:
        return self.due - now <= URGENT


def in_order(cards: Iterable[Waiting], *, now: datetime) -> list[Waiting]:
    """First what ends within ten minutes, then score down, D up, id up."""
    return sorted(cards, key=lambda card: (not card.is_urgent(now), -card.score(now), card.due, card.id))


def age_in_words(age: timedelta) -> str:
    """Say how long something waits, in one unit: "under 1 m", "31 m", "4 h", "2 d"."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "under 1 m"
    if minutes < 60:  # noqa: PLR2004  # minutes of an hour
        return f"{minutes} m"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"
