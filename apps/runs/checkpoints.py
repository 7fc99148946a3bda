"""Where threads are kept: LangGraph's PostgreSQL saver on its own pool, one of each per process."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Connection, OperationalError, connect
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from apps.audit.direct import conninfo

LOCK_WAIT_S: Final = 2.0
"""R14: a busy thread is waited for so long; then the answer comes back later."""
LOCK_POLL_S: Final = 0.05
LOOK_EVERY_S: Final = 1.0
MIGRATION_LOCK: Final = "runs.migrate_checkpoints"
MIGRATION_WAIT_S: Final = 120.0
APPLICATION: Final = "pastpilot checkpoints"

Pool = ConnectionPool[Connection[DictRow]]


@dataclass(slots=True)
class _Store:
    pid: int
    database: str
    pool: Pool
    locks: Pool
    saver: PostgresSaver


_store: _Store | None = None


def saver() -> PostgresSaver:
    """Return this process's saver; opened at the first use, and anew after a fork."""
    return _opened().saver


def close() -> None:
    """Give the connections back; the next use opens new ones."""
    global _store  # noqa: PLW0603  # one saver per process is the rule
    if _store is not None and _store.pid == os.getpid():
        _store.pool.close()
        _store.locks.close()
    _store = None


@contextmanager
def thread_lock(thread_id: str, *, wait_s: float = LOCK_WAIT_S) -> Iterator[bool]:
    """Say whether this process may move the thread now. The lock belongs to a connection of its own and dies with it."""
    with _opened().locks.connection() as conn:
        got = _try_lock(conn, thread_id, wait_s)
        try:
            yield got
        finally:
            if got and not conn.closed:
                _unlock(conn, thread_id)


def migrate() -> int:
    """Make or update LangGraph's tables; return their version. Several at once: one works, the others wait and find it done."""
    database = settings.DIRECT_DATABASE or connection.settings_dict
    with connect(conninfo(database, application_name=APPLICATION), autocommit=True, row_factory=dict_row) as conn:
        # Polls: a blocked SELECT would hold a snapshot, and CREATE INDEX CONCURRENTLY of the holder would wait for it.
        if not _try_lock(conn, MIGRATION_LOCK, MIGRATION_WAIT_S):
            raise TimeoutError(
                "Another migrate_checkpoints has been at work for two minutes. Nothing was changed here."
            )
        try:
            PostgresSaver(conn).setup()
            row = conn.execute("SELECT max(v) AS v FROM checkpoint_migrations").fetchone()
        finally:
            _unlock(conn, MIGRATION_LOCK)
    return int(row["v"]) if row else -1


def _opened() -> _Store:
    global _store  # noqa: PLW0603  # see close()
    database = str(connection.settings_dict["NAME"])
    if _store is None or _store.pid != os.getpid() or _store.database != database:
        if settings.DIRECT_DATABASE:
            # Behind a pooler a session is another server's at each transaction: it may hold neither a lock nor a setting.
            pool = _pool(connection.settings_dict, name="checkpoints")
            locks = _pool(settings.DIRECT_DATABASE, name="thread locks")
        else:
            # Nobody waits for the disk at each checkpoint. The log is flushed in order, and every fact that speaks of a
            # checkpoint (proposal, hand-over, ledger, end) is committed after it and waits: a crash of the database can
            # only lose what a killed worker would have lost too.
            pool = locks = _pool(connection.settings_dict, name="checkpoints", options="-c synchronous_commit=off")
        _store = _Store(os.getpid(), database, pool, locks, PostgresSaver(pool))
    return _store


def _pool(database: Mapping[str, Any], *, name: str, options: str = "") -> Pool:
    # autocommit: a rollback would erase the run, and setup() cannot run inside a transaction.
    kwargs: dict[str, Any] = {"autocommit": True, "row_factory": dict_row}
    given = database.get("OPTIONS", {})
    if "prepare_threshold" in given:
        kwargs["prepare_threshold"] = given["prepare_threshold"]
    elif settings.DIRECT_DATABASE:
        # R13: a statement that was prepared on one server is unknown on the next.
        kwargs["prepare_threshold"] = None
    return ConnectionPool(
        conninfo(database, application_name=APPLICATION, options=options),
        min_size=1,
        max_size=4,
        num_workers=1,
        kwargs=kwargs,
        check=_check,
        name=name,
        open=True,
    )


def _check(conn: Connection[DictRow]) -> None:
    """Find connections that PostgreSQL closed, for example by a restart; a run takes a dozen, and one look a second is enough."""
    now = time.monotonic()
    if now - _looked_at.get(conn, 0.0) > LOOK_EVERY_S:
        ConnectionPool.check_connection(conn)
        _looked_at[conn] = now


_looked_at: WeakKeyDictionary[Connection[DictRow], float] = WeakKeyDictionary()


def _try_lock(conn: Connection[DictRow], name: str, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while True:
        row = conn.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS got", [name]).fetchone()
        if row is not None and row["got"]:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(LOCK_POLL_S)


def _unlock(conn: Connection[DictRow], name: str) -> None:
    try:
        conn.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
    except OperationalError:
        # The connection is gone, and the lock with it.
        conn.close()
