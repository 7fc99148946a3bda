"""The side bar's nouns; each app registers its own in AppConfig.ready()."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Nouns below this order stand in the upper group (the first four with a key also at the bottom of a phone); Audit and Settings below.
SETTINGS_FROM = 100


@dataclass(frozen=True, slots=True)
class Item:
    """One noun. `right` is asked of request.user; `count` gives the chip's number, or None for no chip.

    With `is_due` the noun shows only while that answers yes for the person.
    """

    label: str
    url_name: str
    icon: str
    right: str
    order: int
    key: str = ""
    count: Callable[[Any], int | None] | None = None
    is_due: Callable[[Any], bool] | None = None


_items: list[Item] = []


def register(item: Item) -> None:
    """Add a noun; the same twice counts once."""
    if item not in _items:
        _items.append(item)
        _items.sort(key=lambda each: each.order)


def items() -> list[Item]:
    """Return the nouns in their order."""
    return list(_items)


def visible_to(user: Any) -> list[Item]:
    """Return the nouns this person may see."""
    if not user.is_authenticated:
        return []
    return [item for item in _items if user.has_perm(item.right) and (item.is_due is None or item.is_due(user))]
