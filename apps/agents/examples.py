"""One message of each wire format for one action type, so that an owner can copy it and begin."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_SOME: Final = {"string": "text", "number": 1.5, "integer": 1, "boolean": True, "array": [], "object": {}, "null": None}


@dataclass(frozen=True, slots=True)
class Example:
    """What to post in one format, as JSON text."""

    title: str
    what: str
    body: str


def examples(action_type: str, schema: Mapping[str, Any], target: str) -> list[Example]:
    """Return an example of each format for an action type."""
    args = some_args(schema)
    allowed = ["approve", "edit", "reject", "respond"]
    call = {"type": "tool_approval", "tool_call_id": "c1", "name": action_type, "args": args, "description": ""}
    config = {f"allow_{word}": True for word in ("ignore", "respond", "edit", "accept")}
    bodies = [
        (
            "Plain",
            "For any program: answered as {type, args or message}.",
            {"action_type": action_type, "args": args, "target": target},
        ),
        (
            "LangChain, one call",
            "What HumanInTheLoopMiddleware(interrupt_mode=“per_call”) surfaces; resume with the answer as it is.",
            {
                "format": "langchain.call",
                "payload": {
                    "id": "0123456789abcdef0123456789abcdef",
                    "value": call,
                    "response_schema": _union(allowed),
                },
            },
        ),
        (
            "LangChain, batched",
            "The middleware's default: one message a turn, answered once all of it is decided.",
            {
                "format": "langchain.batch",
                "payload": {
                    "action_requests": [{"name": action_type, "args": args, "description": ""}],
                    "review_configs": [{"action_name": action_type, "allowed_decisions": allowed}],
                },
            },
        ),
        (
            "Agent Inbox",
            "LangChain's older HumanInterrupt; answered as a list.",
            {
                "format": "agent_inbox",
                "payload": {
                    "action_request": {"action": action_type, "args": args},
                    "config": config,
                    "description": "",
                },
            },
        ),
        (
            "AG-UI 1.0",
            "A run that ended with the interrupt outcome; answered as the resume list of the next run.",
            {
                "format": "ag_ui",
                "payload": {
                    "outcome": {
                        "type": "interrupt",
                        "interrupts": [
                            {"id": "int-1", "reason": "tool_call", "metadata": {"name": action_type, "args": args}}
                        ],
                    }
                },
            },
        ),
    ]
    return [Example(title, what, json.dumps(body, indent=2, ensure_ascii=False)) for title, what, body in bodies]


def some_args(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the right types; their values are for the owner to fill in."""
    described = schema.get("properties", {})
    return {name: _some(described[name]) for name in described if name in schema.get("required", described)}


def _some(part: Mapping[str, Any]) -> Any:
    if "const" in part:
        return part["const"]
    if part.get("enum"):
        return part["enum"][0]
    named = part.get("type")
    return _SOME.get(str(named[0] if isinstance(named, list) and named else named), "…")


def _union(allowed: list[str]) -> dict[str, Any]:
    return {"oneOf": [{"type": "object", "properties": {"type": {"const": each}}} for each in allowed]}
