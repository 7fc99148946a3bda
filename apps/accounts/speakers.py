"""Whom a token may speak for. The app that knows agents registers how to list them in AppConfig.ready()."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Speaker:
    """An agent that may be given a token, by what this floor may know of it."""

    id: int
    name: str
    team_id: int


Listing = Callable[[Collection[int]], Sequence[Speaker]]

_listings: list[Listing] = []


def register(listing: Listing) -> None:
    """Add a way to list the agents of teams; the same twice counts once."""
    if listing not in _listings:
        _listings.append(listing)


def speakers(team_ids: Collection[int]) -> list[Speaker]:
    """Return the agents of the teams by name. One query for each way of listing."""
    return sorted((each for listing in _listings for each in listing(team_ids)), key=lambda each: (each.name, each.id))
