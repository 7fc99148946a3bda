"""The processes of the house for a measured or tortured run: web, workers and beat, each of which can be killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from config.stack import children
from tests.flows.clinc import ROOT
from tests.plugins_desk import free_port

READY_WITHIN: Final = 60
BIN: Final = Path(sys.executable).parent


class Processes:
    """Real processes in one environment. Each is a process group of its own, so that it dies as a whole."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.environment = {
            **os.environ,
            "LOG_LEVEL": "WARNING",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DEMO": "0",
            "START_ID": f"flow-{self.port}",
            **environment,
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start one process under a name. Only from the main thread: a child ends with the thread that made it."""
        process = children.start(
            command, log=self.log(name), env={**self.environment, **environment}, cwd=ROOT, parting=signal.SIGKILL
        )
        self.running[name] = process
        return process

    def start_web(self, *, processes: int = 1) -> None:
        options = ["--interface", "asginl", "--host", "127.0.0.1", "--port", str(self.port)]
        options += ["--workers", str(processes)]
        options += ["--no-ws", "--log-level", "warning", "config.stack.web:application"]
        self.start("web", BIN / "granian", *options, DATABASE_POOL="1")

    def start_worker(self, name: str) -> None:
        options = ["--loglevel", "warning", "--concurrency", "1", "--pool", "prefork", "-n", f"{name}@%h"]
        self.start(name, BIN / "celery", "-A", "config", "worker", *options, "--without-gossip", "--without-mingle")

    def start_beat(self) -> None:
        options = ["--loglevel", "warning", "--pidfile", "", "--schedule", str(self.folder / "beat")]
        self.start("beat", BIN / "celery", "-A", "config", "beat", *options)

    def manage(self, *command: str | Path) -> str:
        """Run a command of manage.py to its end and return what it said."""
        done = subprocess.run(
            [sys.executable, "manage.py", *map(str, command)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {command[0]} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def wait_for_web(self) -> None:
        end = time.monotonic() + READY_WITHIN
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError, json.JSONDecodeError):
                answer = httpx.get(f"{self.url}/healthz", trust_env=False, timeout=5)
                if answer.json().get("start") == self.environment["START_ID"]:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"The web process did not start:\n{children.tail(self.log('web'))}")

    def kill(self, name: str) -> None:
        """Kill -9 of a process and all of its children at once."""
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def end(self, name: str, *, within: float = 30) -> None:
        """Ask a process to end, and wait."""
        process = self.running[name]
        process.terminate()
        try:
            process.wait(within)
        finally:
            self.kill(name)

    def kill_all(self) -> None:
        for name in list(self.running):
            self.kill(name)

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"
