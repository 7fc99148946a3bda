"""Sentences for people and agents, made from typed facts and never from an agent's prose."""

from datetime import datetime, timedelta

from apps.approvals.domain import window


def nobody_answered(window_s: int, policy: str) -> str:
    """R7: what the agent hears when nobody decided; silence is not a refusal."""
    return (
        f"Nobody answered within {window.in_words(window_s)}. This is not a refusal. Nothing was executed. "
        f"Policy {policy}."
    )


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
