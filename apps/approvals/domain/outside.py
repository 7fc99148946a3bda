"""An agent in another process: how its threads are named, and the few words in which it hears where its request stands."""

from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from apps.approvals.domain import states

# Its threads are not ours: nobody here resumes them, so they carry a mark that no run's thread has.
THREAD_PREFIX: Final = "ext:"
# Who consumed and does not say how it ended within this time has probably died: it may or may not have happened.
OUTCOME_WITHIN: Final = timedelta(minutes=15)

PENDING: Final = "pending"
APPROVED: Final = "approved"
DENIED: Final = "denied"
EXPIRED: Final = "expired"
CANCELLED: Final = "cancelled"
STATUSES: Final = (PENDING, APPROVED, DENIED, EXPIRED, CANCELLED)

_BY_STATE: Final = {
    **dict.fromkeys((states.PROPOSED, *states.OPEN), PENDING),
    **dict.fromkeys((*states.CONSENTED, *states.AFTER_CONSENT), APPROVED),
    states.REJECTED: DENIED,
    states.ANSWERED: DENIED,
    states.EXPIRED: EXPIRED,
    states.WITHDRAWN: CANCELLED,
    states.STALE: CANCELLED,
}


def source_of(agent_id: int, thread: str) -> str:
    """Name where requests of one thread of one agent come from: never another agent's, however both call their threads."""
    return f"{agent_id}:{sha256(thread.encode()).hexdigest()[:24]}"


def thread_of(source: str) -> str:
    return f"{THREAD_PREFIX}{source}"


def is_outside(thread_id: str) -> bool:
    return thread_id.startswith(THREAD_PREFIX)


def status(state: str, execute_after: datetime | None, now: datetime) -> str:
    """Say where one action stands; an approval that can still be undone is not one yet."""
    if state == states.QUEUED and execute_after is not None and now < execute_after:
        return PENDING
    return _BY_STATE[state]


def overall(each: Collection[str]) -> str:
    """Say where a message of several actions stands: approved only if all of them are."""
    return next(status for status in (PENDING, DENIED, CANCELLED, EXPIRED, APPROVED) if status in each)
