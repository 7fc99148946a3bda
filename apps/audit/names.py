"""The log knows people and things by id. Each app that has names for its ids registers how to look them up."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

Lookup = Callable[[Collection[int]], Mapping[int, str]]

_lookups: dict[str, Lookup] = {}


def register(kind: str, lookup: Lookup) -> None:
    """Say how to name the ids of one kind: the kind "user" serves "user:81". Called in AppConfig.ready()."""
    _lookups[kind] = lookup


def names_of(references: Iterable[str | None]) -> dict[str, str]:
    """Return the names that are known. One query per kind at most."""
    ids: dict[str, set[int]] = defaultdict(set)
    for reference in references:
        kind, _, number = (reference or "").partition(":")
        if kind in _lookups and number.isascii() and number.isdigit():
            ids[kind].add(int(number))
    return {f"{kind}:{number}": name for kind, wanted in ids.items() for number, name in _lookups[kind](wanted).items()}
