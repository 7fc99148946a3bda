"""What an agent can do is a package higher up; here is only its name, and what a registry must know of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Workflow:
    """
    `action_types` answers, for the settings of a version, the keyword arguments of actions.define_action_type.

    Its schemas may depend on the settings: a queue that is not the version's cannot be proposed.
    """

    name: str
    title: str
    default_settings: Settings
    action_types: Callable[[Settings], Sequence[Mapping[str, Any]]]


# An agent in another process has no workflow here; its owner defines what it may propose on a page.
OUTSIDE: Final = "outside"
RUNS_ELSEWHERE: Final = Workflow(OUTSIDE, "It runs elsewhere and asks here", {}, lambda _settings: [])

_workflows: dict[str, Workflow] = {}


def register(
    name: str,
    title: str,
    default_settings: Settings,
    action_types: Callable[[Settings], Sequence[Mapping[str, Any]]],
) -> None:
    """Offer a workflow to those who register agents; called in AppConfig.ready() of the app that can run it."""
    _workflows[name] = Workflow(name, title, default_settings, action_types)


def workflow(name: str) -> Workflow | None:
    """Return a workflow that can run here, or None."""
    return _workflows.get(name)


def workflows() -> list[Workflow]:
    """Return all that can run here, by title."""
    return sorted(_workflows.values(), key=lambda each: each.title)
