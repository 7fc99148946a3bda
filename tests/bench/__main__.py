"""`make bench`: the whole way of the work on this machine, measured, with workers killed and the broker emptied.

BENCH_QUERIES shortens it (5,500 is everything). It ends with exit code 1 if anything was lost, done twice or not told.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from config.stack import embedded
from config.stack.folders import ROOT
from config.stack.terminal import Trouble, plain_output, say, step
from tests.bench import idle
from tests.flows import clinc

LONGEST: Final = 15 * 60
"""Seconds after which the whole ends, come what may."""
ALL: Final = 5_500


def main() -> int:
    plain_output()
    began = time.monotonic()
    queries = _queries()
    if not clinc.is_there():
        raise Trouble(f"{clinc.WHY_NOT} Nothing was measured.")
    with tempfile.TemporaryDirectory(prefix="pastpilot-bench-") as name:
        folder = Path(name)
        with step("Start the house with its demo twice, and weigh it"):
            house = idle.measure(folder / "house")
        defaults = {
            "VAR_DIR": str(ROOT / ".var" / "bench"),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "STATICFILES_BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
            "LOG_LEVEL": "WARNING",
            "DEMO": "0",
        }
        os.environ.update({name: value for name, value in defaults.items() if not os.environ.get(name)})
        with embedded.servers(make_keys=True), _own_database():
            import django

            django.setup()
            # Needs the settings that were just named.
            from tests.bench.measure import measure

            return measure(folder, queries=queries, house=house, deadline=began + LONGEST - 30)


@contextmanager
def _own_database() -> Iterator[None]:
    """Make a database beside the named one, and drop it at the end."""
    given = os.environ["DATABASE_URL"]
    address, mark, options = given.partition("?")
    folder, _, own = address.rpartition("/")
    name = f"{own}_bench"
    with psycopg.connect(given, autocommit=True) as server:
        _drop(server, name)
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    os.environ["DATABASE_URL"] = f"{folder}/{name}{mark}{options}"
    try:
        yield
    finally:
        os.environ["DATABASE_URL"] = given
        with psycopg.connect(given, autocommit=True) as server:
            _drop(server, name)


def _drop(server: psycopg.Connection, name: str) -> None:
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _queries() -> int:
    text = os.environ.get("BENCH_QUERIES") or str(ALL)
    if not text.isdigit() or not 20 <= int(text) <= ALL:
        raise Trouble(f"BENCH_QUERIES is {text!r}; use a whole number from 20 to {ALL:,}.")
    return int(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(str(trouble))
    except KeyboardInterrupt:
        say("\nStopped; nothing was left behind.")
        sys.exit(130)
