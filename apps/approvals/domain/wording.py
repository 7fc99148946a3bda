"""Sentences for people and agents, made from typed facts and never from an agent's prose."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from apps.approvals.domain import window


def nobody_answered(window_s: int, policy: str) -> str:
    """R7: what the agent hears when nobody decided; silence is not a refusal."""
    return (
        f"Nobody answered within {window.in_words(window_s)}. This is not a refusal. Nothing was executed. "
        f"Policy {policy}."
    )


def recorded(why: str) -> str:
    """R12: what the agent hears of advice, and of an approved action that may only be advice by now."""
    return f"Recorded, not executed: {why}"


def who_answers(on_duty: Sequence[str], stand_ins: Sequence[str], *, is_lead: bool) -> str:
    """Name who answers if nobody decides: whoever is on call, else the team's lead, else who can add a rotation."""
    if on_duty:
        return f"On duty now: {', '.join(on_duty)}."
    if is_lead and stand_ins:
        return f"Nobody is on call: {stand_ins[0]} leads the team and answers."
    if stand_ins:
        return f"Nobody is on call: {' or '.join(stand_ins)} answers, and can add a rotation."
    return "Nobody is on call, and nobody of the team can add a rotation: an administrator can name an operator."


def cost_of_delay(due: datetime | None, now: datetime) -> str:
    """Say what waiting costs, or nothing if no promise to a customer hangs on it."""
    if due is None:
        return ""
    left = due - now
    if left <= timedelta(0):
        return f"The promise to the customer broke {_span(-left)} ago."
    return f"The promise to the customer breaks in {_span(left)}."


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
