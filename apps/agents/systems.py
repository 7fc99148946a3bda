"""Which outside systems an agent may be given. The app that knows them registers how to list them in AppConfig.ready()."""

from collections.abc import Callable, Sequence

from apps.accounts.models import User

# (key, name) of the systems that a person may give to an agent.
Listing = Callable[[User], Sequence[tuple[str, str]]]

_listings: list[Listing] = []


def register(listing: Listing) -> None:
    """Add a way to list systems; the same twice counts once."""
    if listing not in _listings:
        _listings.append(listing)


def systems(user: User) -> list[tuple[str, str]]:
    """Return key and name of every system this person may choose, by name."""
    found = {key: name for listing in _listings for key, name in listing(user)}
    return sorted(found.items(), key=lambda each: each[1])
