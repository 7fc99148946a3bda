"""Which outside systems an agent may be given. The app that knows them registers how to list them in AppConfig.ready()."""

from collections.abc import Callable, Sequence

from apps.accounts.models import User

# (key, name) of the systems that a person may give to an agent.
Listing = Callable[[User], Sequence[tuple[str, str]]]

# Whether a system is connected under a key, whoever's it is.
Check = Callable[[str], bool]

_listings: list[Listing] = []
_checks: list[Check] = []


def register(listing: Listing, check: Check | None = None) -> None:
    """Add a way to list systems and to know them; the same twice counts once."""
    if listing not in _listings:
        _listings.append(listing)
    if check is not None and check not in _checks:
        _checks.append(check)


def is_connected(key: str) -> bool:
    """Say whether there is a system under this key, also if the person may not choose it."""
    return any(check(key) for check in _checks)


def systems(user: User) -> list[tuple[str, str]]:
    """Return key and name of every system this person may choose, by name."""
    found = {key: name for listing in _listings for key, name in listing(user)}
    return sorted(found.items(), key=lambda each: each[1])
