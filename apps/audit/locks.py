"""Named locks of the database, so that of several beats or workers exactly one acts."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def try_xact_lock(name: str) -> Iterator[bool]:
    """Say whether this transaction got the lock; it ends with the transaction, which must be open."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"The lock {name!r} would end at once: open a transaction first.")
    yield _ask("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", name)


@contextmanager
def try_advisory_lock(name: str) -> Iterator[bool]:
    """Say whether this connection got the lock; it is given back at the end of the block."""
    got = _ask("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", name)
    try:
        yield got
    finally:
        if got:
            _ask("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", name)


def _ask(sql: str, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, [name])
        (answer,) = cursor.fetchone()
    return bool(answer)
