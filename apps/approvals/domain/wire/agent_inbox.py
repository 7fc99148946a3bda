"""The older format of LangChain's Agent Inbox: HumanInterrupt in, a list of HumanResponse out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from apps.approvals.domain.wire.asked import (
    APPROVE,
    EDIT,
    REJECT,
    RESPOND,
    Asked,
    AskedAction,
    BadFormat,
    Outcome,
    a_list,
    a_text,
    an_object,
    ensure_answered,
    maybe_text,
    said,
)

FORMAT: Final = "agent_inbox"
_VERDICTS: Final = {"allow_accept": APPROVE, "allow_edit": EDIT, "allow_respond": RESPOND}


def read(payload: Any) -> Asked:
    """Read one HumanInterrupt, a list of them, or either as JSON text."""
    value = _parsed(payload) if isinstance(payload, str) else payload
    if isinstance(value, list):
        return Asked(FORMAT, tuple(_action(at, each, at) for at, each in enumerate(a_list(value))))
    return Asked(FORMAT, (_action(0, value),))


def write(asked: Asked, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return one HumanResponse for each action, always as a list: `interrupt(request)[0]` reads it."""
    ensure_answered(asked, outcomes)
    return [_response(action, outcome) for action, outcome in zip(asked.actions, outcomes, strict=True)]


def _response(action: AskedAction, outcome: Outcome) -> dict[str, Any]:
    match said(outcome):
        case "approve":
            return {"type": "accept", "args": None}
        case "edit":
            return {"type": "edit", "args": {"action": action.name, "args": dict(outcome.args or {})}}
        case "respond":
            return {"type": "response", "args": outcome.message}
        case _:
            # The format knows no refusal with a reason: where it takes text, the text tells the truth.
            if RESPOND in action.allowed:
                return {"type": "response", "args": outcome.message}
            return {"type": "ignore", "args": None}


def _action(at: int, payload: Any, *place: str | int) -> AskedAction:
    interrupt = an_object(payload, *place)
    request = an_object(interrupt.get("action_request"), *place, "action_request")
    config = an_object(interrupt.get("config"), *place, "config")
    return AskedAction(
        at,
        a_text(request.get("action"), *place, "action_request", "action"),
        an_object(request.get("args"), *place, "action_request", "args"),
        maybe_text(interrupt.get("description"), *place, "description"),
        _allowed(config, *place, "config"),
    )


def _allowed(config: Mapping[str, Any], *path: str | int) -> frozenset[str]:
    flags = {}
    for name in (*_VERDICTS, "allow_ignore"):
        flags[name] = config.get(name, False)
        if not isinstance(flags[name], bool):
            raise BadFormat("This must be true or false.", *path, name)
    if not flags["allow_respond"] and not flags["allow_ignore"]:
        raise BadFormat("Nobody could say no to this: allow_respond or allow_ignore must be true.", *path)
    return frozenset({REJECT, *(verdict for name, verdict in _VERDICTS.items() if flags[name])})


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise BadFormat("This text is not JSON.") from error


def _no_number(name: str) -> Any:
    raise ValueError(name)
