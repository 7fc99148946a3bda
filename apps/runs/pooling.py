"""Tools run on short-lived threads; without a pool each would open and close a database connection of its own."""

from typing import Final

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

MAX_SIZE: Final = 6
"""The task itself, the heartbeat, and a few tools of one turn at once."""


def pool_this_process() -> None:
    """Let the threads of this process share connections. Only after the fork: a pool that is shared by processes breaks both."""
    connections["default"].close()
    given = connections.settings["default"]
    if given["OPTIONS"].get("pool"):
        return
    options = {**given["OPTIONS"], "pool": {"min_size": 1, "max_size": MAX_SIZE, "timeout": 10}}
    # A copy: where the project's own settings name a pool, Celery closes it before and after each task.
    connections.settings = {**connections.settings, "default": {**given, "OPTIONS": options, "CONN_MAX_AGE": 0}}
    del connections["default"]


def close_pool() -> None:
    connection = connections["default"]
    connection.close()
    if isinstance(connection, DatabaseWrapper) and connection.settings_dict["OPTIONS"].get("pool"):
        connection.close_pool()
