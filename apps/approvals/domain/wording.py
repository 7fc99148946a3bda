"""Sentences for people and agents, made from typed facts and never from an agent's prose."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

from apps.approvals.domain import window
from apps.approvals.domain.digest import MovedField
from apps.approvals.domain.hidden import reveal
from apps.approvals.domain.vigilance import Attention

# A glance at a value, not the whole field: the card and the log hold all of it.
GLANCE: Final = 60
# R5: why a card is escalated the moment it comes in.
ASKED_ENOUGH: Final = "It came back three times already."

# §5.4: why a card has no approve; a format that carries no consent can still carry a refusal.
NO_APPROVAL: Final = "It cannot be approved here: the request that its agent sent takes no approval."


def nobody_answered(window_s: int, policy: str) -> str:
    """R7: what the agent hears when nobody decided; silence is not a refusal."""
    return (
        f"Nobody answered within {window.in_words(window_s)}. This is not a refusal. Nothing was executed. "
        f"Policy {policy}."
    )


def recorded(why: str) -> str:
    """R12: what the agent hears of advice, and of an approved action that may only be advice by now."""
    return f"Recorded, not executed: {why}"


def rejected(reason: str) -> str:
    """What the agent hears of a person's no."""
    return f"Rejected by a reviewer: {reason}"


def asked_back(question: str) -> str:
    """R5: what the agent hears of a question; it is neither yes nor no."""
    return f"A reviewer asks: {question} This is not a refusal. Nothing was executed."


def withdrawn(reason: str) -> str:
    """What the agent hears of a proposal that was taken back."""
    return f"Withdrawn: {reason} Nothing was executed."


def refused_by_policy(policy: str, reason: str) -> str:
    """What the agent hears of an action that nobody was woken for."""
    return f"Refused by policy {policy}: {reason} Nothing was executed."


def moved(fields: Sequence[MovedField]) -> str:
    """R9: which watched fields of the target are not what the agent saw, with both values."""
    return f"The target changed after it was proposed: {'; '.join(map(moved_field, fields))}. Nothing was executed."


def moved_field(field: MovedField) -> str:
    return f"{field.field} was {_glance(field.proposed)} and is now {_glance(field.now)}"


def stale(fields: Sequence[MovedField]) -> str:
    """R9: what the agent hears when people found that its target moved."""
    return f"{moved(fields)} This is not a refusal: read the target again, and propose anew if it still holds."


def who_answers(on_duty: Sequence[str], stand_ins: Sequence[str], *, is_lead: bool) -> str:
    """Name who answers if nobody decides: whoever is on call, else the team's lead, else who can add a rotation."""
    if on_duty:
        return f"On duty now: {', '.join(on_duty)}."
    if is_lead and stand_ins:
        return f"Nobody is on call: {stand_ins[0]} leads the team and answers."
    if stand_ins:
        return f"Nobody is on call: {' or '.join(stand_ins)} answers, and can add a rotation."
    return "Nobody is on call, and nobody of the team can add a rotation: an administrator can name an operator."


def once_approved(needed: int, given: int, undo_s: int) -> str:
    """Say what one more approval sets off, and until when it can be taken back."""
    left = needed - given - 1
    if left > 0:
        others = "one more person" if left == 1 else f"{left} more people"
        return f"Your approval alone runs nothing: after you, {others} must approve."
    if undo_s:
        return f"Your approval is enough. It runs {window.in_words(undo_s)} later, and can be undone until then."
    return "Your approval is enough. It runs at once, and cannot be undone."


def cost_of_delay(due: datetime | None, now: datetime) -> str:
    """Say what waiting costs, or nothing if no promise to a customer hangs on it."""
    if due is None:
        return ""
    left = due - now
    if left <= timedelta(0):
        return f"The promise to the customer broke {_span(-left)} ago."
    return f"The promise to the customer breaks in {_span(left)}."


def undone_elsewhere(action_type: str, target: str) -> str:
    """Say how what an agent in another process did is undone: not from here, as nothing here writes for it."""
    system = target.partition(":")[0]
    return (
        f"Its agent runs elsewhere, so it is not rolled back from here: let that agent ask for {action_type},"
        f" or put it right in {system} itself."
    )


def asked_of_you(attention: Attention, now: datetime, zone: tzinfo) -> str:
    """R18: what a person's last weeks ask of them on this card; nothing of whoever looks as people do."""
    if attention.is_cooling_down(now) and attention.cool_down_until is not None:
        until = attention.cool_down_until.astimezone(zone)
        return f"Take ten minutes away from approving: until {until:%H:%M}. Rejecting, asking and escalating work all the time."
    if attention.includes("slow"):
        return "Approving opens once this card can have been read, and asks for your reason. Rejecting and asking work at once."
    if attention.includes("reason"):
        return "Approving asks for your reason in a few words for now."
    return ""


def _glance(value: object) -> str:
    text = "empty" if value is None else reveal(str(value))
    return text if len(text) <= GLANCE else f"{text[: GLANCE - 1]}…"


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
