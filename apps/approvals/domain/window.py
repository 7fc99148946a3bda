"""The times of a proposal: how long people have, how long an approval can be undone, until when it may run."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# A lease long enough to read a card, short enough that a forgotten one does not block the team.
CLAIM_FOR: Final = timedelta(minutes=5)
# An approval that could not run for this long describes a world that has moved on.
VALID_FOR: Final = timedelta(minutes=15)
# R7: nobody decides in less, whatever an agent says of its own patience.
SHORTEST: Final = timedelta(seconds=60)
# Whoever undoes an approval needs this much time to decide again.
AFTER_UNDO: Final = timedelta(minutes=5)
# People who have to answer get 4 hours unless a policy says otherwise.
WINDOW_S: Final = 4 * 3600
# The worse a mistake can be repaired, the longer it can be taken back.
UNDO_S: Final = {"reversible": 5, "compensable": 15, "irreversible": 30}


@dataclass(frozen=True, slots=True)
class Execution:
    """From when and until when an approved action may run: execute_after <= clock < valid_until."""

    execute_after: datetime
    valid_until: datetime


def deadline(created_at: datetime, *, window_s: int, answer_by: datetime | None = None) -> datetime:
    """Return until when people may decide. An agent that waits until `answer_by` shortens it, never below 60 s."""
    full = created_at + timedelta(seconds=window_s)
    return full if answer_by is None else min(full, max(answer_by, created_at + SHORTEST))


def extended(deadline_at: datetime, *, window_s: int, answer_by: datetime | None = None) -> datetime:
    """Return the end of a second window; an agent that waits until `answer_by` shortens that one too."""
    full = deadline_at + timedelta(seconds=window_s)
    return full if answer_by is None else min(full, max(answer_by, deadline_at))


def is_over(deadline_at: datetime | None, now: datetime) -> bool:
    """Say whether the time is up. One millisecond before the deadline counts; at the deadline does not."""
    return deadline_at is not None and now >= deadline_at


def execution(decided_at: datetime, *, undo_s: int) -> Execution:
    after = decided_at + timedelta(seconds=undo_s)
    return Execution(execute_after=after, valid_until=after + VALID_FOR)


def claim_until(now: datetime, deadline_at: datetime) -> datetime:
    """Return the end of a lease that starts now; it never outlives the deadline."""
    return min(now + CLAIM_FOR, deadline_at)


def deadline_after_undo(deadline_at: datetime | None, now: datetime, *, answer_by: datetime | None = None) -> datetime:
    """Return until when people may decide again. It ends no sooner than before, and lengthens no agent's patience."""
    floor = now + AFTER_UNDO if answer_by is None else min(now + AFTER_UNDO, answer_by)
    return floor if deadline_at is None else max(deadline_at, floor)


def in_words(seconds: int) -> str:
    """Say a window as people do: "4 h", "90 min", "45 s", "2 d"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds // 60} min" if seconds >= 60 * 10 else f"{seconds} s"
