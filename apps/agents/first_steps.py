"""What else an empty house needs before an agent works in it; the app that can do it registers its step in AppConfig.ready()."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the guide. `url_name` leads there who holds `right`; `who` tells everybody else whom to ask."""

    title: str
    text: str
    action: str
    url_name: str
    right: str
    who: str
    is_done: Callable[[], bool]


_steps: list[Step] = []


def register(step: Step) -> None:
    """Add a step behind those that are there; the same twice counts once."""
    if step not in _steps:
        _steps.append(step)


def steps() -> list[Step]:
    """Return the registered steps in their order."""
    return list(_steps)
