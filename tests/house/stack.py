"""Starts embedded servers in folders of their own, as other processes do, and ends them as roughly as a test asks for."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from config.stack import children
from config.stack.folders import is_locked

ROOT = Path(__file__).resolve().parent.parent.parent
# What the suite sets for itself; a fresh start must find its own.
OF_THE_SUITE = (
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "VAR_DIR",
    "SECRET_KEY",
    "CREDENTIAL_KEY",
    "PLAIN_HTTP",
    "STATICFILES_BACKEND",
    "HOST",
    "PORT",
    "DEMO",
)
HOLD = """
import json, os, sys
from config.stack import embedded
with embedded.servers() as joined:
    print(json.dumps([os.environ["DATABASE_URL"], os.environ["CELERY_BROKER_URL"], joined.names]), flush=True)
    sys.stdin.read()
"""


def environment(folder, **changes):
    """Return the environment of a person who typed nothing but these settings."""
    plain = {name: value for name, value in os.environ.items() if name not in OF_THE_SUITE}
    return plain | {"VAR_DIR": str(folder)} | changes


class Holder:
    """A process that uses the embedded servers until it is told to let go."""

    def __init__(self, folder, *, prefix=(), python=sys.executable, **changes):
        self.folder = Path(folder)
        self.process = subprocess.Popen(
            [*prefix, python, "-c", HOLD],
            cwd=ROOT,
            env=environment(folder, **changes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.stderr.read())
        self.database, self.broker, self.names = json.loads(line)
        return self

    def __exit__(self, *_):
        self.let_go()

    def let_go(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()

    def query(self, text):
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    @property
    def keeper(self):
        return json.loads((self.folder / "postgres.json").read_text())["keeper"]

    @property
    def postmaster(self):
        return json.loads((self.folder / "postgres.json").read_text())["pid"]

    def kill_everything(self):
        """Send -9 to every process at once, as a machine that fails does."""
        victims = [self.process.pid, self.keeper, *inhabitants(self.folder)]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.let_go()
        wait_until(lambda: not inhabitants(self.folder))


def inhabitants(folder):
    return children.inhabitants(Path(folder) / "pg") + children.inhabitants(Path(folder) / "valkey")


def is_quiet(folder):
    """Tell whether the servers have ended and their keeper has left nothing half done."""
    return not inhabitants(folder) and not list(Path(folder).glob("*.json.part")) and not _is_kept(Path(folder))


def _is_kept(folder):
    locks = folder / "lock"
    return locks.exists() and any(is_locked(locks / f"kept-{name}") for name in ("postgres", "valkey"))


def processes_of(folder):
    """Return the living processes that were started with this VAR_DIR, and the servers in it."""
    mark = f"VAR_DIR={folder}\0".encode()
    found = set(inhabitants(folder))
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found


def wait_until(holds, seconds=15.0):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)
