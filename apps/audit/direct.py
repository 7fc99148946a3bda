"""The way to the database beside Django's own connection, for what a session holds: locks, and listening."""

from collections.abc import Mapping
from typing import Any

from psycopg.conninfo import make_conninfo


def conninfo(database: Mapping[str, Any], *, application_name: str, options: str = "") -> str:
    """Write Django's settings of a database as libpq reads them. `options` are added to the server's."""
    given: dict[str, Any] = {
        key: value for key, value in database.get("OPTIONS", {}).items() if isinstance(value, str | int)
    }
    # An argument of psycopg, not of the server.
    given.pop("prepare_threshold", None)
    if options:
        given["options"] = f"{given.get('options', '')} {options}".strip()
    named = {
        "dbname": database["NAME"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "host": database["HOST"],
        "port": database["PORT"],
    }
    spelt = {key: value for key, value in named.items() if value}
    return make_conninfo(**{"application_name": application_name, **given, **spelt})
