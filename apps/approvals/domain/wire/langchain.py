"""LangChain's HumanInTheLoopMiddleware: `per_call` (one interrupt a call) and `batched` (one a turn).

Its shapes: ToolApprovalRequest and HITLRequest in, Decision and HITLResponse out
(langchain.agents.middleware.human_in_the_loop of langchain 1.4).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from apps.approvals.domain.wire.asked import (
    APPROVE,
    EDIT,
    REJECT,
    RESPOND,
    SAYABLE,
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
    maybe_text,
    said,
    unique,
)

PER_CALL: Final = "langchain.call"
BATCHED: Final = "langchain.batch"
# Without a response schema nobody said what else the call would take.
_LEAST: Final = frozenset({APPROVE, REJECT})


def read_call(payload: Any) -> Asked:
    """Read one surfaced interrupt {id, value, response_schema}, or a list of those that are open together."""
    surfaced = payload if isinstance(payload, list) else [payload]
    places: list[tuple[str | int, ...]] = [(at,) if isinstance(payload, list) else () for at in range(len(surfaced))]
    a_list(surfaced)
    actions = tuple(
        _call(at, an_object(each, *place), place) for at, (each, place) in enumerate(zip(surfaced, places, strict=True))
    )
    unique(str(each.shape["id"]) for each in actions)
    return Asked(PER_CALL, actions)


def write_call(asked: Asked, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return {interrupt id: decision}, as `Command(resume=…)` takes it. Raises BadAnswer before anything goes out."""
    ensure_answered(asked, outcomes)
    return {
        str(action.shape["id"]): decision(action, outcome)
        for action, outcome in zip(asked.actions, outcomes, strict=True)
    }


def read_batch(payload: Any) -> Asked:
    """Read a HITLRequest: its calls and, by position or by name, the decisions allowed for each."""
    request = an_object(payload)
    calls = a_list(request.get("action_requests"), "action_requests")
    configs = [
        an_object(each, "review_configs", at)
        for at, each in enumerate(a_list(request.get("review_configs"), "review_configs"))
    ]
    actions = []
    for at, each in enumerate(calls):
        call = an_object(each, "action_requests", at)
        name = a_text(call.get("name"), "action_requests", at, "name")
        allowed = _allowed(_config_of(name, at, configs, parallel=len(configs) == len(calls)), name, at)
        args = an_object(call.get("args"), "action_requests", at, "args")
        text = maybe_text(call.get("description"), "action_requests", at, "description")
        actions.append(AskedAction(at, name, args, text, allowed))
    return Asked(BATCHED, tuple(actions))


def write_batch(asked: Asked, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return a HITLResponse, one decision for each call by position. Raises BadAnswer: a wrong one bricks the thread."""
    ensure_answered(asked, outcomes)
    return {"decisions": [decision(action, outcome) for action, outcome in zip(asked.actions, outcomes, strict=True)]}


def decision(action: AskedAction, outcome: Outcome) -> dict[str, Any]:
    """Return one Decision. The name stays that of the call: an edit can change its arguments, never its tool."""
    match said(outcome):
        case "approve":
            told: dict[str, Any] = {"type": APPROVE}
        case "edit":
            told = {"type": EDIT, "edited_action": {"name": action.name, "args": dict(outcome.args or {})}}
        case "respond":
            told = {"type": RESPOND, "message": outcome.message}
        case _:
            # Where no refusal is on offer the text stands in for the tool, which does not run either.
            told = {"type": REJECT if REJECT in action.allowed else RESPOND, "message": outcome.message}
    schema = action.shape.get("schema")
    if schema and not fits(schema, told):
        raise BadAnswer(f"The call's own schema does not take this {told['type']}.")
    return told


def _call(at: int, surfaced: Mapping[str, Any], place: tuple[str | int, ...]) -> AskedAction:
    value = an_object(surfaced.get("value"), *place, "value")
    if value.get("type") != "tool_approval":
        raise BadFormat("A call that waits says tool_approval here.", *place, "value", "type")
    ident = a_text(surfaced.get("id"), *place, "id")
    schema = surfaced.get("response_schema")
    allowed = _LEAST
    shape: dict[str, Any] = {"id": ident, "tool_call_id": str(value.get("tool_call_id", ""))}
    if schema is not None:
        schema = a_schema(schema, *place, "response_schema")
        allowed = frozenset(_types(schema)) & SAYABLE
        shape["schema"] = dict(schema)
    _ensure_deniable(allowed, *place, "response_schema")
    return AskedAction(
        at,
        a_text(value.get("name"), *place, "value", "name"),
        an_object(value.get("args"), *place, "value", "args"),
        maybe_text(value.get("description"), *place, "value", "description"),
        allowed,
        shape,
    )


def _types(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the decision types that a response schema names: one object, or a union of objects."""
    for branch in schema.get("oneOf") or schema.get("anyOf") or [schema]:
        kind = _resolved(branch, schema).get("properties", {}).get("type", {})
        yield from [kind["const"]] if "const" in kind else kind.get("enum", ())


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(part.get("$ref", "")).removeprefix("#/$defs/")
    found = schema.get("$defs", {}).get(name, part)
    return found if isinstance(found, Mapping) else {}


def _config_of(
    name: str, at: int, configs: Sequence[Mapping[str, Any]], *, parallel: bool
) -> tuple[Mapping[str, Any], int]:
    """Find the configuration of a call: beside it, as the middleware sends them, or the one of its name."""
    order = [at, *range(len(configs))] if parallel else range(len(configs))
    for place in order:
        if configs[place].get("action_name") == name:
            return configs[place], place
    raise BadFormat(f"No review configuration is for {name[:60]}.", "review_configs")


def _allowed(found: tuple[Mapping[str, Any], int], name: str, at: int) -> frozenset[str]:
    config, place = found
    path = ("review_configs", place, "allowed_decisions")
    given = a_list(config.get("allowed_decisions"), *path)
    for each in given:
        if each not in SAYABLE:
            raise BadFormat("A decision is approve, edit, reject or respond.", *path)
    allowed = frozenset(given)
    _ensure_deniable(allowed, *path)
    return allowed


def _ensure_deniable(allowed: frozenset[str], *path: str | int) -> None:
    if not allowed & {REJECT, RESPOND}:
        raise BadFormat("Nobody could say no to this: offer reject or respond.", *path)
