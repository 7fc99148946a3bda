"""Waiting for an answer without holding up anybody: a thread of its own, no connection between two looks, few per token."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from django.db import connection, transaction

from apps.accounts.models import ApiToken
from apps.api.models import Wait
from apps.approvals.errors import TooMany
from apps.audit.clock import clock

# Proxies cut what is silent for longer.
LONGEST_WAIT_S: Final = 20
PLACES: Final = 4
# Short enough to feel at once, long enough that a hundred waits are two hundred small queries a second.
LOOK_EVERY_S: Final = 0.5
# A place outlives its wait by this much, for the last look.
_GRACE: Final = timedelta(seconds=5)

T = TypeVar("T")


def wait_until(
    look: Callable[[], T],
    is_done: Callable[[T], bool],
    *,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> T:
    """Look until it is done or the time is up, and return the last look."""
    end = now() + seconds
    found = look()
    while not is_done(found) and now() < end:
        _let_go()
        sleep(min(LOOK_EVERY_S, max(0.0, end - now())))
        found = look()
    return found


@contextmanager
def place(token: ApiToken, *, seconds: float) -> Iterator[None]:
    """Take one of the few places in which a token may wait. Raises TooMany if all are taken."""
    number = _take(token, seconds)
    try:
        yield
    finally:
        Wait.objects.filter(token=token, place=number).update(until=clock())


@transaction.atomic
def _take(token: ApiToken, seconds: float) -> int:
    # The token's own row orders those who come together.
    ApiToken.objects.select_for_update().get(pk=token.pk)
    now = clock()
    taken = set(Wait.objects.filter(token=token, until__gt=now).values_list("place", flat=True))
    free = next((number for number in range(PLACES) if number not in taken), None)
    if free is None:
        raise TooMany(f"This token waits {PLACES} times already. Nothing changed.", retry_after=LONGEST_WAIT_S)
    Wait.objects.update_or_create(
        token=token, place=free, defaults={"until": now + timedelta(seconds=seconds) + _GRACE}
    )
    return free


def _let_go() -> None:
    """Give the connection back while nothing is asked of it, unless a transaction around us needs it."""
    if not connection.in_atomic_block:
        connection.close()
