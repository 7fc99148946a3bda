"""AG-UI 1.0: a run that ended with the interrupt outcome in, the `resume` list of the next run out.

An interrupt names a tool call and not its arguments; they are found in `messages` (assistant tool calls, as in
MESSAGES_SNAPSHOT) or in the interrupt's own `metadata`: {"name", "args"}, or LangGraph's interrupt value as
ag-ui-langgraph puts it there.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from apps.approvals.domain.wire.asked import (
    APPROVE,
    EDIT,
    REJECT,
    RESPOND,
    WITHDRAWN,
    Asked,
    AskedAction,
    BadAnswer,
    BadFormat,
    Outcome,
    a_list,
    a_schema,
    a_text,
    an_object,
    ensure_answered,
    fits,
    maybe_moment,
    maybe_text,
    said,
    unique,
)

FORMAT: Final = "ag_ui"
# Payload shapes are tried with this text and these arguments to learn what a response schema takes.
_SOME_TEXT: Final = "Rejected by a reviewer: a reason."


def read(payload: Any) -> Asked:
    """Read a RUN_FINISHED event, or its outcome alone, with `messages` beside it where they hold the arguments."""
    event = an_object(payload)
    inner: tuple[str | int, ...] = ("outcome",) if "outcome" in event else ()
    outcome = an_object(event["outcome"], "outcome") if inner else event
    if outcome.get("type") != "interrupt":
        raise BadFormat("Only a run that ended with the interrupt outcome asks something.", *inner, "type")
    calls = _calls(event.get("messages"))
    interrupts = a_list(outcome.get("interrupts"), *inner, "interrupts")
    actions = tuple(
        _action(at, an_object(each, *inner, "interrupts", at), calls, (*inner, "interrupts", at))
        for at, each in enumerate(interrupts)
    )
    unique((str(each.shape["id"]) for each in actions), *inner, "interrupts")
    return Asked(FORMAT, actions)


def write(asked: Asked, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return {"resume": […]} that covers every interrupt. Only what was withdrawn is cancelled."""
    ensure_answered(asked, outcomes)
    return {"resume": [_entry(action, outcome) for action, outcome in zip(asked.actions, outcomes, strict=True)]}


def payload_for(action: AskedAction, outcome: Outcome) -> Any:
    """Return the payload by which one interrupt is resolved. Raises BadAnswer if its schema takes none."""
    for candidate in _candidates(action.shape, action.name, outcome):
        if _takes(action.shape, candidate):
            return candidate
    raise BadAnswer(f"The interrupt's own schema does not take this {said(outcome)}.")


def _entry(action: AskedAction, outcome: Outcome) -> dict[str, Any]:
    ident = str(action.shape["id"])
    if outcome.verdict == WITHDRAWN:
        return {"interruptId": ident, "status": "cancelled"}
    return {"interruptId": ident, "status": "resolved", "payload": payload_for(action, outcome)}


def _action(
    at: int, interrupt: Mapping[str, Any], calls: Mapping[str, tuple[str, Any]], place: tuple[str | int, ...]
) -> AskedAction:
    ident = a_text(interrupt.get("id"), *place, "id")
    reason = a_text(interrupt.get("reason"), *place, "reason")
    shape: dict[str, Any] = {"id": ident, "reason": reason}
    call_id = maybe_text(interrupt.get("toolCallId"), *place, "toolCallId")
    if interrupt.get("responseSchema") is not None:
        shape["schema"] = dict(a_schema(interrupt["responseSchema"], *place, "responseSchema"))
    fingerprint = _fingerprint(interrupt)
    if fingerprint:
        shape["fingerprint"] = fingerprint
    if "schema" not in shape and _raw(interrupt).get("type") == "tool_approval":
        # LangChain's own middleware waits behind this interrupt: it reads a decision, not a payload of AG-UI's.
        shape["is_langchain"] = True
    name, args = _call_of(interrupt, call_id, calls, place)
    allowed = frozenset(
        verdict
        for verdict in (APPROVE, EDIT, REJECT, RESPOND)
        if any(_takes(shape, each) for each in _candidates(shape, name, Outcome(verdict, _SOME_TEXT, args)))
    )
    if REJECT not in allowed:
        raise BadFormat("Nobody could say no to this: its response schema takes no refusal.", *place, "responseSchema")
    description = maybe_text(interrupt.get("message"), *place, "message")
    answer_by = maybe_moment(interrupt.get("expiresAt"), *place, "expiresAt")
    return AskedAction(at, name, args, description, allowed, shape, answer_by)


def _candidates(shape: Mapping[str, Any], name: str, outcome: Outcome) -> list[Any]:
    """Return the ways to say an outcome, the most telling first; which one fits, the interrupt's schema says."""
    known = shape.get("schema", {}).get("properties", {})
    is_yes_or_no = "schema" not in shape and shape["reason"] == "confirmation"
    signed = {"approvedActionFingerprint": shape["fingerprint"]} if "fingerprint" in shape else {}
    signed = signed if "approvedActionFingerprint" in known else {}
    text = outcome.message
    if shape.get("is_langchain"):
        return {APPROVE: [{"type": APPROVE}], REJECT: [{"type": REJECT, "message": text}]}.get(said(outcome), [])
    match said(outcome):
        case "approve":
            return [True] if is_yes_or_no else [{"approved": True, **signed}, {"type": APPROVE}, True]
        case "edit":
            args = dict(outcome.args or {})
            of_langchain = {"type": EDIT, "edited_action": {"name": name, "args": args}}
            # Its presence in the schema is what says that an edit is understood.
            return [{"approved": True, "editedArgs": args}] if "editedArgs" in known else _if_typed(shape, of_langchain)
        case "respond":
            return _if_typed(shape, {"type": RESPOND, "message": text})
        case _:
            if is_yes_or_no:
                return [False]
            words = [word for word in ("reason", "message") if word in known] or ["message"]
            told = [{"approved": False, word: text, **signed} for word in words]
            return [*told, {"approved": False, **signed}, {"type": REJECT, "message": text}, False]


def _if_typed(shape: Mapping[str, Any], candidate: dict[str, Any]) -> list[Any]:
    """Offer a typed decision only where the schema tells decisions apart by their type."""
    return [candidate] if "schema" in shape and not fits(shape["schema"], {**candidate, "type": "?"}) else []


def _takes(shape: Mapping[str, Any], candidate: Any) -> bool:
    return "schema" not in shape or fits(shape["schema"], candidate)


def _call_of(
    interrupt: Mapping[str, Any],
    call_id: str,
    calls: Mapping[str, tuple[str, Any]],
    place: tuple[str | int, ...],
) -> tuple[str, Mapping[str, Any]]:
    metadata = an_object(interrupt.get("metadata") or {}, *place, "metadata")
    if call_id and call_id in calls:
        name, args = calls[call_id]
        return name, an_object(args, "messages")
    if "name" in metadata:
        name = a_text(metadata["name"], *place, "metadata", "name")
        return name, an_object(metadata.get("args"), *place, "metadata", "args")
    raw = _raw(interrupt)
    if "name" in raw:
        path = (*place, "metadata", "langgraph", "raw")
        return a_text(raw["name"], *path, "name"), an_object(raw.get("args"), *path, "args")
    told = (
        "What would be done is not in this message: send the tool call in messages, or its name and args in metadata."
    )
    raise BadFormat(told, *place, "toolCallId" if call_id else "metadata")


def _calls(messages: Any) -> dict[str, tuple[str, Any]]:
    """Find the tool calls of the assistant's messages by their id; arguments are JSON text there."""
    found: dict[str, tuple[str, Any]] = {}
    for at, each in enumerate(messages if isinstance(messages, list) else []):
        calls = an_object(each, "messages", at).get("toolCalls") or []
        if not isinstance(calls, list):
            raise BadFormat("This must be a list.", "messages", at, "toolCalls")
        for place, each_call in enumerate(calls):
            path = ("messages", at, "toolCalls", place)
            call = an_object(each_call, *path)
            function = an_object(call.get("function"), *path, "function")
            name = a_text(function.get("name"), *path, "function", "name")
            found[a_text(call.get("id"), *path, "id")] = (name, _arguments(function, *path, "function", "arguments"))
    return found


def _arguments(function: Mapping[str, Any], *path: str | int) -> Mapping[str, Any]:
    given = function.get("arguments")
    try:
        return an_object(json.loads(given) if isinstance(given, str) else given, *path)
    except ValueError as error:
        if isinstance(error, BadFormat):
            raise
        raise BadFormat("The arguments are not JSON.", *path) from error


def _raw(interrupt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the value of LangGraph's interrupt where ag-ui-langgraph keeps it, or nothing."""
    found: Any = interrupt
    for name in ("metadata", "langgraph", "raw"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _fingerprint(interrupt: Mapping[str, Any]) -> str:
    """Return what the agent binds an approval to, where it says so (metadata.governance.actionFingerprint)."""
    metadata = interrupt.get("metadata")
    governance = metadata.get("governance") if isinstance(metadata, Mapping) else None
    found = governance.get("actionFingerprint") if isinstance(governance, Mapping) else None
    return found if isinstance(found, str) else ""
