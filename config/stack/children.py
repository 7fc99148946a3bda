"""Child processes that end when their parent does, however it ends."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LOG_LIMIT = 10 * 1024 * 1024


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent is gone, be it by kill -9. Linux only; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    parting: int = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in its own session (a Ctrl-C in the terminal is ours to pass on); its output goes to the log."""
    with open_log(log) as output:
        return subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=functools.partial(_bind, os.getpid(), parting),  # noqa: PLW1509 - the launcher has one thread
        )


def stop(process: subprocess.Popen[bytes], *signals: tuple[int, float]) -> None:
    """Send each signal in turn and wait its seconds; what is still there after the last is killed."""
    for number, patience in signals:
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


def can_see() -> bool:
    """Tell whether this machine shows its processes."""
    return Path("/proc/self/cwd").exists()


def inhabitants(folder: Path) -> list[int]:
    """Return the living processes that work inside the folder. A zombie has no working folder, so it counts as dead."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def evict(folder: Path) -> None:
    """End what a killed launcher left behind in a data folder, so that two servers never write the same files."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(50):
            if not (left := inhabitants(folder)):
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.1)


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to; one generation is kept once it has grown large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab")


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, indented."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        text = file.read().decode(errors="replace")
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _bind(parent: int, parting: int) -> None:
    die_with_parent(parting)
    if os.getppid() != parent:
        os._exit(1)
