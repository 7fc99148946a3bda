"""What a waiting thread is told, in the words of LangChain's per-call approval (format D)."""

from collections.abc import Mapping
from typing import Any


def approve() -> dict[str, Any]:
    return {"type": "approve"}


def edit(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": name, "args": dict(args)}}


def refuse(message: str) -> dict[str, Any]:
    """Also for expired, stale, withdrawn and policy: the format knows only a refusal, so the text tells the truth."""
    return {"type": "reject", "message": message}


def respond(message: str) -> dict[str, Any]:
    return {"type": "respond", "message": message}
