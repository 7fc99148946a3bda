"""Pastpilot's own format: one action in, one answer out, in the words of the REST door."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from apps.approvals.domain.wire.asked import (
    APPROVE,
    EDIT,
    Asked,
    AskedAction,
    BadFormat,
    Outcome,
    a_text,
    an_object,
    ensure_answered,
)

FORMAT: Final = "plain"


def read(payload: Any) -> Asked:
    """Read {"action_type", "args"}; what else the request says is about the card, not about the action."""
    asked = an_object(payload)
    if "args" not in asked:
        raise BadFormat("An action has arguments; none is {}.", "args")
    action = AskedAction(0, a_text(asked.get("action_type"), "action_type"), an_object(asked["args"], "args"))
    return Asked(FORMAT, (action,))


def write(asked: Asked, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return {"type", "args"?, "message"?}: consent carries the arguments that it is about, everything else its text."""
    ensure_answered(asked, outcomes)
    action, outcome = asked.actions[0], outcomes[0]
    if outcome.verdict in {APPROVE, EDIT}:
        args: Mapping[str, Any] = outcome.args if outcome.args is not None else action.args
        return {"type": outcome.verdict, "args": dict(args)}
    return {"type": outcome.verdict, "message": outcome.message}
