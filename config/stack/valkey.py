"""Valkey from its wheel: one unix socket, no port, every message on disk within a second."""

import contextlib
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from config.stack import children
from config.stack.folders import Folders
from config.stack.terminal import Trouble

NAME = "valkey"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Valkey:
    """The broker of one checkout. Losing it loses nothing: it carries row ids only."""

    folders: Folders
    binaries: Path
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.folders.data("valkey")

    @property
    def socket(self) -> Path:
        return self.folders.sockets() / "valkey.sock"

    @property
    def url(self) -> str:
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it answers."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        children.evict(self.data)
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        process = children.start(
            [
                self.binaries / "valkey-server",
                *(part for name, value in options.items() for part in (f"--{name}", value)),
            ],
            log=self.folders.log(NAME),
            cwd=self.data,
        )
        until = time.monotonic() + _PATIENCE
        while not self._answers():
            if process.poll() is not None or time.monotonic() > until:
                self.stop(process)
                log = self.folders.log(NAME)
                raise Trouble(f"Valkey did not start; its log is {log}:\n{children.tail(log)}")
            time.sleep(0.02)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        children.stop(process, (signal.SIGTERM, 10))

    def _answers(self) -> bool:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as door:
            door.settimeout(2)
            try:
                door.connect(str(self.socket))
                door.sendall(b"PING\r\n")
                # While it reads its file again it answers -LOADING.
                return door.recv(64).startswith(b"+PONG")
            except OSError:
                return False
