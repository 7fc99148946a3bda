"""How long a worker may be silent, and when a run that failed is tried again."""

from datetime import timedelta
from typing import Final

LEASE: Final = timedelta(seconds=45)
"""A running run whose worker was silent for so long is taken over by the sweep."""
HEARTBEAT: Final = timedelta(seconds=15)
"""A living worker renews its lease so often: two beats may get lost."""
RESEND_AFTER: Final = timedelta(seconds=30)
"""A queued run that no worker took for so long is sent again: the broker may have lost it."""
MAX_ATTEMPTS: Final = 4
"""After so many starts that ended in a failure a person takes over."""
FIRST_PAUSE: Final = timedelta(seconds=10)
"""After the first failure; each further pause is three times as long."""


def pause_after(attempts: int) -> timedelta | None:
    """Return how long to wait after this many failed attempts, or None if a person must take over."""
    if attempts >= MAX_ATTEMPTS:
        return None
    growth: int = 3 ** max(0, attempts - 1)
    return FIRST_PAUSE * growth
