"""`make bench`: the whole way of the work on this machine, measured, with workers killed and the broker emptied.

BENCH_QUERIES shortens it (5,500 is everything), BENCH_ONLY=flow, BENCH_ONLY=inbox or BENCH_ONLY=keys runs one part of it, and
BENCH_PROPOSALS makes the inbox smaller (1,000,000 is everything). It ends with exit code 1 if anything was lost, done twice or not told.
"""

import os
import subprocess
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
ALL_PROPOSALS: Final = 1_000_000
OPEN_PROPOSALS: Final = 10_000


def main(half: str | None = None) -> int:
    """Run both halves, each in a process and a database of its own; or the one that is named."""
    plain_output()
    if half is None:
        halves = _halves()
        _number("BENCH_QUERIES", ALL, least=20)
        _number("BENCH_PROPOSALS", ALL_PROPOSALS, least=20_000)
        if "flow" in halves and not clinc.is_there():
            raise Trouble(f"{clinc.WHY_NOT} Nothing was measured. BENCH_ONLY=inbox does without.")
        command = [sys.executable, "-W", "ignore", "-m", "tests.bench"]
        return max([subprocess.run([*command, each], check=False).returncode for each in halves])
    with tempfile.TemporaryDirectory(prefix="pastpilot-bench-") as name:
        return _HALVES[half](Path(name))


def _flow(folder: Path) -> int:
    began = time.monotonic()
    with step("Start the house with its demo twice, and weigh it"):
        house = idle.measure(folder / "house")
    with _django():
        # Needs the settings that were just named.
        from tests.bench.measure import measure

        queries = _number("BENCH_QUERIES", ALL, least=20)
        return measure(folder, queries=queries, house=house, deadline=began + LONGEST - 30)


def _inbox(folder: Path) -> int:
    with _django():
        from tests.bench.inbox.measure import measure

        return measure(folder, total=_number("BENCH_PROPOSALS", ALL_PROPOSALS, least=20_000), opened=OPEN_PROPOSALS)


def _keys(folder: Path) -> int:
    with _django():
        from tests.bench.inbox.keys import measure

        return measure(folder / "keys")


_HALVES: Final = {"inbox": _inbox, "keys": _keys, "flow": _flow}


@contextmanager
def _django() -> Iterator[None]:
    """Start the servers and an empty database, and set Django up on them."""
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
        yield


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


def _number(name: str, everything: int, *, least: int) -> int:
    text = os.environ.get(name) or str(everything)
    if not text.isdigit() or not least <= int(text) <= everything:
        raise Trouble(f"{name} is {text!r}; use a whole number from {least:,} to {everything:,}.")
    return int(text)


def _halves() -> list[str]:
    only = os.environ.get("BENCH_ONLY", "")
    if only and only not in _HALVES:
        raise Trouble(f"BENCH_ONLY is {only!r}; use one of: {', '.join(_HALVES)}.")
    return [only] if only else list(_HALVES)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Trouble as trouble:
        sys.exit(str(trouble))
    except KeyboardInterrupt:
        say("\nStopped; nothing was left behind.")
        sys.exit(130)
