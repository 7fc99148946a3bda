"""Pages of one app show panels of others; each app registers its own in AppConfig.ready()."""

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """A fragment loaded by htmx when it scrolls into view. `url_name` takes the slot object's id."""

    title: str
    url_name: str
    order: int = 50


_panels: dict[str, list[Panel]] = defaultdict(list)


def register(slot: str, panel: Panel) -> None:
    """Add a panel to a slot ("agent", "proposal", …); the same panel twice counts once."""
    if panel not in _panels[slot]:
        _panels[slot].append(panel)
        _panels[slot].sort(key=lambda each: (each.order, each.title))


def panels(slot: str) -> list[Panel]:
    """Return the panels of a slot in their order."""
    return list(_panels[slot])
