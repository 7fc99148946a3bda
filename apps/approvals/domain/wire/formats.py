"""The wire formats by name: each reads a message of its own and answers in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from apps.approvals.domain.wire import ag_ui, agent_inbox, langchain, plain
from apps.approvals.domain.wire.asked import Asked, BadFormat, Outcome


@dataclass(frozen=True, slots=True)
class Format:
    """How a message of one format is read, and how its answer is written."""

    read: Callable[[Any], Asked]
    write: Callable[[Asked, Sequence[Outcome]], Any]


FORMATS: Final[dict[str, Format]] = {
    plain.FORMAT: Format(plain.read, plain.write),
    langchain.PER_CALL: Format(langchain.read_call, langchain.write_call),
    langchain.BATCHED: Format(langchain.read_batch, langchain.write_batch),
    agent_inbox.FORMAT: Format(agent_inbox.read, agent_inbox.write),
    ag_ui.FORMAT: Format(ag_ui.read, ag_ui.write),
}


def read(name: str, payload: Any) -> Asked:
    """Read a message in the format it names. Raises BadFormat, also for a format nobody knows."""
    if name not in FORMATS:
        raise BadFormat(f"There is no such format. There are: {', '.join(FORMATS)}.")
    return FORMATS[name].read(payload)


def write(asked: Asked, outcomes: Sequence[Outcome]) -> Any:
    """Write the answer in the format that the message came in. Raises BadAnswer before anything goes out."""
    return FORMATS[asked.format].write(asked, outcomes)


def ensure_sayable(asked: Asked, position: int, outcome: Outcome) -> None:
    """Raise BadAnswer if the agent could not take this outcome of one action, before anybody decides so."""
    action = asked.actions[position]
    FORMATS[asked.format].write(Asked(asked.format, (action,), asked.shape), [outcome])
