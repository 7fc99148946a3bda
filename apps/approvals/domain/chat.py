"""Messages for a chat's incoming webhook, in Slack's Block Kit. Text of ours only, escaped; the button opens the card."""

import re
from collections.abc import Mapping
from typing import Any, Final

from apps.approvals.domain.notices import NEVER_DECIDES, Message

# Slack cuts or refuses longer texts; ours are shorter, but a name is a person's to choose.
LONGEST_TEXT: Final = 2000
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escape(text: str) -> str:
    """Escape the three characters by which Slack tells links and mentions from text."""
    return text[:LONGEST_TEXT].translate(_ESCAPED)


def asking(message: Message) -> dict[str, Any]:
    """Return the message of a card that waits, or of a test: text, and a button that opens it."""
    button = {
        "type": "button",
        "action_id": "open",
        "text": _plain("Open the card" if message.is_asking else "Open"),
        "url": message.link,
    }
    return {
        **_quiet(message.headline),
        "blocks": [*_said(message.headline, *message.lines), {"type": "actions", "elements": [button]}, _foot()],
    }


def closing(message: Message, *, reference: str = "") -> dict[str, Any]:
    """Return what follows once a card needs nobody any more.

    With a `reference` to the first message that one is edited, so that its button is gone; else a short line follows.
    """
    if not reference:
        return _quiet(message.short)
    return {
        **_quiet(message.short),
        "blocks": _said(message.short, *message.lines),
        "replace_original": True,
        "ts": reference,
    }


def reference_in(answer: object) -> str:
    """Return what the chat calls the message that it took, or nothing: plain incoming webhooks answer "ok"."""
    if not isinstance(answer, Mapping):
        return ""
    inner = answer.get("message")
    found = answer.get("ts") or (inner.get("ts") if isinstance(inner, Mapping) else None)
    return found if isinstance(found, str) and _REFERENCE.fullmatch(found) else ""


def _quiet(text: str) -> dict[str, Any]:
    """The fallback text, without formatting, and without previews that would load a page."""
    return {"text": escape(text), "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def _said(headline: str, *lines: str) -> list[dict[str, Any]]:
    return [{"type": "section", "text": _plain(headline)}, {"type": "section", "text": _plain("\n".join(lines))}]


def _foot() -> dict[str, Any]:
    return {"type": "context", "elements": [_plain(NEVER_DECIDES)]}


def _plain(text: str) -> dict[str, Any]:
    # Plain text: a title may not format itself, mention anybody or turn into a link.
    return {"type": "plain_text", "text": escape(text), "emoji": False}
