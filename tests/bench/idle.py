"""The house as `make run` starts it: how long it takes, and how much memory it holds while nothing happens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.flows.clinc import ROOT
from tests.plugins_desk import free_port

READY_WITHIN: Final = 120
SETTLES_IN: Final = 15
"""Seconds after the start in which processes are still busy with their first round."""
_OURS: Final = ("DATABASE_URL", "CELERY_BROKER_URL", "STATICFILES_BACKEND", "DJANGO_SETTINGS_MODULE", "DESK_STORE")


@dataclass(frozen=True, slots=True)
class Idle:
    first_start: float
    """Seconds from an empty data folder to a ready house with its demo; without the installation."""
    second_start: float
    memory: dict[str, float]
    """PSS in MB by program."""

    @property
    def total(self) -> float:
        return sum(self.memory.values())


def measure(folder: Path) -> Idle:
    """Start the house twice in an empty folder, with servers of its own."""
    with _house(folder) as (first, _):
        pass
    with _house(folder) as (second, pid):
        time.sleep(SETTLES_IN)
        memory = memory_of(descendants(pid))
    return Idle(first, second, memory)


@contextmanager
def _house(folder: Path) -> Iterator[tuple[float, int]]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment |= {"VAR_DIR": str(folder), "PORT": str(port), "DESK_PORT": str(free_port()), "DEMO": "1"}
    began = time.perf_counter()
    with (folder.parent / "idle.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "config.stack.supervise"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/accounts/login/", Path(log.name))
        yield time.perf_counter() - began, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + READY_WITHIN
    while process.poll() is None and time.monotonic() < end:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise RuntimeError(f"The house did not start: {log.read_text()[-2000:]}")


def descendants(root: int) -> list[int]:
    """Return a process and all that it started, and what those started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def memory_of(pids: list[int]) -> dict[str, float]:
    """Add up what each process holds, shared pages by their share (PSS), in MB by program."""
    found: dict[str, float] = {}
    for pid in pids:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kilobytes = int(next(line for line in lines if line.startswith("Pss:")).split()[1])
            found[_program(pid)] = found.get(_program(pid), 0.0) + kilobytes * 1024 / 1e6
    return found


def _program(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    known = ("keeper", "supervise", "granian", "apps.demo.desk", "worker", "beat", "postgres", "valkey")
    return next((name for name in known if name in words), words.split(" ")[0].rpartition("/")[2] or "other")
