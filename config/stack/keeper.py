"""The process that keeps the embedded servers up while anybody uses them, and stops them after the last.

Users hold a shared lock, so a user that is killed lets go as surely as one that ends. Standard library only, to stay small.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from config.stack.folders import Folders, locked, locked_at_once
from config.stack.postgres import Postgres
from config.stack.terminal import Trouble
from config.stack.valkey import Valkey

Server = Postgres | Valkey
_KINDS: dict[str, type[Postgres] | type[Valkey]] = {"postgres": Postgres, "valkey": Valkey}
_LOOK_EVERY = 0.25
# A server that dies this often within a minute has a reason that another start does not cure.
_MOST_RESTARTS = 5


class Keeper:
    """Keeps some servers of one .var folder."""

    def __init__(self, folders: Folders, servers: dict[str, Server]) -> None:
        self.folders = folders
        self.servers = servers
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.held = {name: contextlib.ExitStack() for name in servers}
        self.restarts: list[float] = []
        self.told_to_stop = False

    def start(self) -> None:
        """Start every server, or none: the caller holds the start lock."""
        for name, server in self.servers.items():
            self.held[name].enter_context(locked(self.folders.lock(f"kept-{name}")))
            self.running[name] = server.start()
            state = {"keeper": os.getpid(), "pid": self.running[name].pid, "url": server.url}
            _write(self.folders.var / f"{name}.json", json.dumps(state))

    def keep(self) -> None:
        while self.running and not self.told_to_stop:
            time.sleep(_LOOK_EVERY)
            for name in list(self.running):
                if not self._is_used(name):
                    self._let_go(name)
                elif self.running[name].poll() is not None:
                    self._start_again(name)

    def stop_all(self) -> None:
        for name in reversed(list(self.running)):
            self._stop(name)

    def _is_used(self, name: str) -> bool:
        with locked_at_once(self.folders.lock(f"joined-{name}")) as alone:
            return not alone

    def _let_go(self, name: str) -> None:
        # Under the start lock nobody can join between the look and the stop.
        with locked(self.folders.lock("start")):
            if not self._is_used(name):
                self._stop(name)

    def _start_again(self, name: str) -> None:
        now = time.monotonic()
        self.restarts = [moment for moment in self.restarts if now - moment < 60] + [now]  # noqa: PLR2004 - a minute
        if len(self.restarts) > _MOST_RESTARTS:
            raise Trouble(f"{name} ended {_MOST_RESTARTS} times within a minute; see {self.folders.log(name)}.")
        self.running[name] = self.servers[name].start()

    def _stop(self, name: str) -> None:
        self.servers[name].stop(self.running.pop(name))
        (self.folders.var / f"{name}.json").unlink(missing_ok=True)
        self.held[name].close()


def main() -> None:
    order = json.loads(sys.argv[1])
    folders = Folders(Path(order["var"]))
    servers = {name: _KINDS[name](folders, Path(path), order["durable"]) for name, path in order["binaries"].items()}
    keeper = Keeper(folders, servers)

    def stop(number: int, frame: FrameType | None) -> None:
        keeper.told_to_stop = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        keeper.start()
        _answer("ready")
        keeper.keep()
    except (Trouble, OSError, subprocess.SubprocessError) as trouble:
        _answer(str(trouble))
    finally:
        keeper.stop_all()


def _answer(text: str) -> None:
    """Tell the one who started us, who reads one line of JSON; later words go to the log that is standard error."""
    print(json.dumps(text), file=sys.stdout if not sys.stdout.closed else sys.stderr, flush=True)
    if not sys.stdout.closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout.close()


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    main()
