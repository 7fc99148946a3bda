"""Who answers at an instant: the highest layer with anybody, equal priorities together (rule 31)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from apps.oncall.domain.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Layer:
    """One rotation in force in [valid_from, valid_to). Each position holds the ids of those on call together."""

    rotation: Rotation
    positions: Sequence[frozenset[int]]
    valid_from: datetime
    valid_to: datetime | None = None
    priority: int = 1

    def is_in_force(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)

    def people(self, at: datetime) -> frozenset[int]:
        if not self.positions or not self.is_in_force(at):
            return frozenset()
        return self.positions[self.rotation.index(at) % len(self.positions)]

    def next_change(self, at: datetime) -> datetime | None:
        """Return the first instant after `at` at which this layer may name somebody else."""
        if at < self.valid_from:
            return self.valid_from
        if not self.is_in_force(at) or not self.positions:
            return None
        hand_off = self.rotation.boundary(self.rotation.index(at) + 1)
        return hand_off if self.valid_to is None else min(hand_off, self.valid_to)


@dataclass(frozen=True, slots=True)
class Turn:
    """People on call together until an instant; nobody means a gap, `until` None means for good."""

    people: frozenset[int]
    since: datetime
    until: datetime | None


def answering(layers: Sequence[Layer], at: datetime) -> frozenset[int]:
    """Return the ids of those on call."""
    manned = [(layer.priority, people) for layer in layers if (people := layer.people(at))]
    top = max((priority for priority, _ in manned), default=0)
    return frozenset().union(*(people for priority, people in manned if priority == top))


def turns(layers: Sequence[Layer], at: datetime, *, count: int) -> list[Turn]:
    """Return the turn at an instant, seen from there, and those that follow it."""
    return list(islice(_turns(layers, at), count))


def _turns(layers: Sequence[Layer], at: datetime) -> Iterator[Turn]:
    since: datetime | None = at
    while since is not None:
        changes = [change for layer in layers if (change := layer.next_change(since))]
        until = min(changes, default=None)
        yield Turn(people=answering(layers, since), since=since, until=until)
        since = until
