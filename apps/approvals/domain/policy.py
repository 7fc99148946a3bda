"""What a policy makes of a proposal: refuse it, let it through, or ask people; when in doubt, ask two."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from apps.audit.domain.canonical import canonical

# Two people look wherever a mistake is dear or cannot be taken back, and wherever a policy cannot be read.
FOUR_EYES: Final = 2


class Unevaluable(Exception):
    """The stored conditions make no sense, so nobody can say what they allow."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """auto_from_confidence: a number in [0, 1] or None; deny: refused values by top-level field."""

    auto_from_confidence: float | None = None
    deny: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, stored: object) -> "Conditions":
        """Read what a policy row holds; unknown keys are refused, as ignoring a rule would be worse than asking."""
        if not isinstance(stored, Mapping) or set(stored) - {"auto_from_confidence", "deny"}:
            raise Unevaluable("the conditions hold something this version does not know")
        threshold, deny = stored.get("auto_from_confidence"), stored.get("deny", {})
        is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold is not None and not (is_number and math.isfinite(threshold) and 0 <= threshold <= 1):
            raise Unevaluable("auto_from_confidence must be a number from 0 to 1, or absent")
        if not isinstance(deny, Mapping) or not all(isinstance(values, list) for values in deny.values()):
            raise Unevaluable("deny must name fields, each with a list of refused values")
        return cls(threshold, {name: tuple(values) for name, values in deny.items()})

    def denied(self, args: Mapping[str, Any]) -> str | None:
        """Return the first field whose value the policy refuses."""
        for name, values in self.deny.items():
            if name in args and canonical(args[name]) in {canonical(value) for value in values}:
                return name
        return None

    def is_sure(self, confidence: float | None) -> bool:
        """No stated confidence is never enough."""
        return None not in (confidence, self.auto_from_confidence) and confidence >= self.auto_from_confidence  # type: ignore[operator]  # both are numbers here


def approvals_needed(stated: int, *, risk: str, reversibility: str) -> int:
    """How many people must agree: at least one, at least two for high risk or what cannot be taken back."""
    floor = FOUR_EYES if risk == "high" or reversibility == "irreversible" else 1
    return max(stated, floor)


def default_key(agent: str, action_type: str, number: int) -> str:
    """Return the key of the policy an action type starts with: a slug of at most 50 characters, its own by the number."""
    words = f"{agent}-{action_type}".replace(".", "-").replace("_", "-").lower()
    return f"{words[:38].strip('-')}-{number}"
