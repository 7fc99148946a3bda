"""R6: how long a person may hide a card from themselves."""

from datetime import datetime, timedelta
from typing import Final

# It comes back while this share of its window is left: late enough to be worth it, early enough to decide.
LEFT: Final = 0.1
# What the card offers; a form may name any other length up to the window's own.
LENGTHS: Final = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4))


def latest(created_at: datetime, due: datetime) -> datetime:
    """Return the moment from which a card cannot stay hidden: a tenth of its window before its end."""
    return due - LEFT * max(due - created_at, timedelta(0))


def until(now: datetime, length: timedelta, *, created_at: datetime, due: datetime) -> datetime | None:
    """Return when a snooze that starts now ends, or None if too little of the window is left to hide the card at all."""
    last = latest(created_at, due)
    if length <= timedelta(0) or last <= now:
        return None
    # Added only where it is shorter: a length of centuries would leave the calendar.
    return now + length if length < last - now else last
