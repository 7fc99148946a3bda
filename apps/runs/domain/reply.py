"""The reply that goes with a routed case: a decided case's own words where one is near, else a plain sentence."""

import re

from apps.runs.domain.limits import MAX_REPLY
from apps.runs.domain.nearest import Answer

NEAR_ENOUGH = 0.45
"""From this similarity a past reply answers the new case too; below it would promise things about another problem."""
NAME = "{name}"
"""Where a stored reply takes the customer's name."""


def draft(answer: Answer, *, queue_name: str, customer_name: str) -> str:
    """Word the reply from the nearest case of the same queue that has one and is near enough, or plainly."""
    words = next(
        (
            each.case.reply
            for each in answer.neighbours
            if each.case.queue == answer.queue and each.case.reply and each.similarity >= NEAR_ENOUGH
        ),
        _PLAIN.replace("{queue}", queue_name),
    )
    # A reply that a person sent greets the customer of that case.
    return fill(words if NAME in words else template_of(words), customer_name)


def fill(words: str, customer_name: str) -> str:
    """Put the customer's name where the reply takes it; without a name the greeting stands alone."""
    name = " ".join(customer_name.split())[:80].strip()
    return (words.replace(NAME, name) if name else words.replace(f" {NAME}", "").replace(NAME, ""))[:MAX_REPLY]


def template_of(reply: str, customer_name: str = "") -> str:
    """Take the customer's name out of a sent reply: the next customer must not be greeted by this one's name."""
    name = " ".join(customer_name.split())
    if name:
        reply = reply.replace(name, NAME)
        first = name.split()[0]
        reply = re.sub(rf"\b{re.escape(first)}\b", NAME, reply)
    return _GREETING.sub(rf"\1 {NAME}\3", reply, count=1)[:MAX_REPLY]


_PLAIN = (
    "Hello {name},\n\nthank you for your message. It is now with our team for {queue}, who will look at it and come back to you.\n"
    "You need not do anything until then."
)
_GREETING = re.compile(
    r"\A(\s*(?:Hello|Hi|Dear|Good (?:morning|afternoon|day)))\s+((?:(?:Dr|Prof|Mr|Mrs|Ms)\.?\s+)*[^,.!:\n]{1,80})([,.!:])"
)
