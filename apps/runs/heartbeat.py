"""Tells the database that the worker of a run lives. One sleeping thread per process; a short run costs nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.db import DatabaseError, connection

from apps.runs.actions import runs
from apps.runs.domain.lease import HEARTBEAT

logger = structlog.get_logger(__name__)


class _Heart:
    def __init__(self) -> None:
        self.run_id: int | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT.total_seconds()):
            run_id = self.run_id
            if run_id is None:
                continue
            try:
                runs.renew(run_id)
            except DatabaseError:
                logger.warning("heartbeat missed", run_id=run_id)
            finally:
                connection.close()


_heart = _Heart()


def start() -> None:
    """Begin to beat; called once in each worker process, after the fork."""
    _heart.start()


def stop() -> None:
    _heart.stop()


@contextmanager
def of(run_id: int) -> Iterator[None]:
    """Keep the lease of a run while the block lasts. A worker process does one thing at a time."""
    _heart.run_id = run_id
    try:
        yield
    finally:
        _heart.run_id = None
