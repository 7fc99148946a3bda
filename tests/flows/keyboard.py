"""A reviewer at a real browser who never touches the mouse, clearing the queue card by card."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from playwright.sync_api import Page

PATIENCE: Final = 30.0
REASON: Final = "This belongs to the night shift."
# What the person does with each kind of card; what is of high risk is never a single key.
WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "low": ("approve",),
    "medium": ("approve", "approve", "reject", "edit"),
    "high": ("confirm",),
}
# The title of the open card, and whether this person can approve it.
_LOOK: Final = """() => [
  document.querySelector("#detail h2[data-focus]")?.textContent ?? "",
  document.querySelector("#detail form.verdict [data-key=a]") !== null,
]"""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What one person decided, by title, and how long they sat there."""

    verdicts: Mapping[str, str]
    seconds: float


def clear(page: Page, *, cards: int, risk_of: Callable[[str], str]) -> Cleared:
    """Decide so many cards that stand open in the inbox, by keys alone. `risk_of` reads a card's risk from its title."""
    began = time.monotonic()
    ways = {risk: cycle(each) for risk, each in WAYS.items()}
    verdicts: dict[str, str] = {}
    while len(verdicts) < cards:
        title = _next_card(page, verdicts)
        way = next(ways[risk_of(title)])
        _GIVE[way](page, title)
        verdicts[title] = way
    return Cleared(verdicts, time.monotonic() - began)


def _next_card(page: Page, done: Mapping[str, str]) -> str:
    """Wait for a card that is still to be decided; from one that is decided already the person goes on by `j`."""
    end = time.monotonic() + PATIENCE
    stepped_from = ""
    while time.monotonic() < end:
        title, can_approve = page.evaluate(_LOOK)
        if can_approve and title not in done:
            return str(title)
        if title in done and not can_approve and stepped_from != title:
            stepped_from = title
            page.keyboard.press("j")
        page.wait_for_timeout(10)
    raise TimeoutError(f"No further card came after {len(done)}; {page.evaluate(_LOOK)} stands there.")


def _approve(page: Page, _title: str) -> None:
    page.keyboard.press("a")


def _reject(page: Page, _title: str) -> None:
    page.keyboard.press("r")
    page.locator("#reject-reason:focus").wait_for()
    page.keyboard.type(REASON)
    page.keyboard.press("Control+Enter")


def _edit(page: Page, _title: str) -> None:
    page.keyboard.press("e")
    page.locator("#edit [name=arg-queue]:focus").wait_for()
    page.keyboard.type("network")
    page.keyboard.press("Control+Enter")


def _confirm(page: Page, title: str) -> None:
    """Type what the dialog asks for, as it says it, and stay until the approval is counted."""
    page.keyboard.press("a")
    page.locator("#approve-confirm:focus").wait_for()
    asked = page.locator("label[for=approve-confirm]").inner_text()
    page.keyboard.type(asked.removeprefix("Type ").strip())
    page.keyboard.press("Enter")
    page.locator("#detail form.verdict [data-key=a]").wait_for(state="detached")
    if page.evaluate(_LOOK)[0] != title:
        raise AssertionError(f"{title} was left before its approval was counted.")


_GIVE: Final = {"approve": _approve, "reject": _reject, "edit": _edit, "confirm": _confirm}
