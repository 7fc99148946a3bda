"""The shapes that pass between a workflow and the machine that runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing a reviewer may check: what it is, its words, and where they came from."""

    label: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A write as people will see it. `args` is the exact action; `confidence` None means that none was stated."""

    args: Mapping[str, Any]
    target: str
    subject: str
    title: str
    confidence: float | None
    state_proposed: Mapping[str, Any] = field(default_factory=dict)
    state_if_approved: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    agent_text: str = ""
