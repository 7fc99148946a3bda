"""make run: starts every process of the house on this machine, watches them, and stops them in the right order."""

import contextlib
import http.client
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from config.stack import children, embedded, network
from config.stack.folders import ROOT, Folders, locked_at_once
from config.stack.terminal import Trouble, plain_output, say, step

_PATIENCE = 60.0
_LOOK_EVERY = 0.5
# A process that lived this long is started again at once; one that keeps dying waits longer each time.
_STEADY_AFTER = 30.0
_LONGEST_PAUSE = 30.0
_BIN = Path(sys.executable).parent


@dataclass
class Service:
    """One process of the house, and how it is asked to end."""

    name: str
    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    farewell: tuple[tuple[int, float], ...] = ((signal.SIGTERM, 10.0),)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0

    def start(self) -> None:
        self.process = children.start(self.command, log=self.log, env=os.environ | self.env, cwd=ROOT)
        self.started_at = time.monotonic()

    def stop(self) -> None:
        if self.process:
            children.stop(self.process, *self.farewell)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()

    def look_after(self) -> None:
        """Start it again when it ended by itself."""
        if self.process is None or self.process.poll() is None:
            return
        lived = time.monotonic() - self.started_at
        if lived > _STEADY_AFTER:
            self.failures = 0
        if lived < min(2.0**self.failures - 1, _LONGEST_PAUSE):
            return
        say(
            f"The {self.name} process ended (exit code {self.process.returncode}) and starts again. Its log: {self.log}"
        )
        self.failures += 1
        self.start()


class House:
    """The processes of one checkout."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self.host = os.environ.get("HOST") or "127.0.0.1"
        self.port = network.port_of("PORT", 8000)
        self.start_id = secrets.token_hex(8)
        self.services = [self._desk()] if self.has_desk() else []
        self.services += [self._worker(), self._web(), self._beat()]
        self.is_stopping = False

    def __getitem__(self, name: str) -> Service:
        return next(service for service in self.services if service.name == name)

    @property
    def address(self) -> str:
        return network.address(self.host, self.port)

    def check_ports(self) -> None:
        network.ask_for(self.host, self.port, "PORT")
        if self.has_desk():
            network.ask_for("127.0.0.1", network.port_of("DESK_PORT", 8100), "DESK_PORT")

    def start(self) -> None:
        if self.has_desk():
            self["desk"].start()
        web = self["web"]
        # Most starts find everything prepared, so the web process may load meanwhile; nobody has its address yet.
        if files := self._static_files():
            web.start()
        # Inherits the terminal, so that long steps can show how far they are.
        done = subprocess.run([sys.executable, "-m", "config.stack.prepare"], cwd=ROOT, check=False)
        if done.returncode:
            raise Trouble("")
        with step("Web"):
            if files != self._static_files():
                web.stop()
                web.start()
            self._wait_for_web()
        # After the web process: on two cores they would only hold each other up.
        with step("Worker and beat") as result:
            self["worker"].start()
            self["beat"].start()
            result.append("starting")

    def watch(self, servers: embedded.Joined) -> None:
        while True:
            time.sleep(_LOOK_EVERY)
            servers.ensure()
            for service in self.services:
                service.look_after()

    def stop(self) -> None:
        """No new work first, then the work in hand, then what it relies on."""
        self.is_stopping = True
        for name in ("beat", "web", "worker", "desk"):
            for service in self.services:
                if service.name == name:
                    service.stop()

    def hurry(self) -> None:
        """Every task survives being cut off, so a second Ctrl-C need not wait."""
        for service in self.services:
            service.kill()

    def _static_files(self) -> str:
        """Return which static files are collected; the web process reads their names when it starts."""
        stamp = self.folders.var / "static.inputs"
        return stamp.read_text() if stamp.exists() else ""

    def _wait_for_web(self) -> None:
        web = self["web"]
        until = time.monotonic() + _PATIENCE
        while (answer := self._answer()) != self.start_id:
            if answer:
                raise Trouble(
                    f"Another process answers at {self.address}, not the one just started. Stop it, or choose another PORT."
                )
            if (web.process and web.process.poll() is not None) or time.monotonic() > until:
                raise Trouble(f"The web process did not start; its log is {web.log}:\n{children.tail(web.log)}")
            time.sleep(0.05)

    def _answer(self) -> str:
        """Return the start id of whoever answers at our address; nothing while nobody does."""
        names = [name.strip().lstrip(".") for name in (os.environ.get("ALLOWED_HOSTS") or "localhost").split(",")]
        door = http.client.HTTPConnection(network.reachable(self.host), self.port, timeout=5)
        with contextlib.closing(door), contextlib.suppress(OSError, http.client.HTTPException, ValueError, TypeError):
            door.request("GET", "/healthz", headers={"Host": "localhost" if names[0] in {"", "*"} else names[0]})
            reply = door.getresponse()
            return str(json.loads(reply.read())["start"]) if reply.status == http.HTTPStatus.OK else "another"
        return ""

    @staticmethod
    def has_desk() -> bool:
        return os.environ["DEMO"] == "1" and importlib.util.find_spec("apps.demo.desk") is not None

    def _desk(self) -> Service:
        return Service("desk", [sys.executable, "-m", "apps.demo.desk"], self.folders.log("desk"))

    def _web(self) -> Service:
        command = [str(_BIN / "granian"), "--interface", "asginl", "--host", self.host, "--port", str(self.port)]
        command += [
            "--workers",
            str(_number("WEB_PROCESSES", 1)),
            "--no-ws",
            "--log-level",
            "warning",
            "--workers-kill-timeout",
            "5",
        ]
        command += ["config.stack.web:application"]
        # Only this process may pool connections: those of a worker would be shared by its forks.
        env = {"DATABASE_POOL": "1", "START_ID": self.start_id}
        return Service("web", command, self.folders.log("web"), env)

    def _worker(self) -> Service:
        command = [str(_BIN / "celery"), "-A", "config", "worker", "--loglevel", "warning"]
        command += ["--concurrency", str(_number("WORKER_PROCESSES", 2)), "--without-gossip", "--without-mingle"]
        # SIGTERM lets tasks end, SIGQUIT cuts them off: each survives that and is done again.
        farewell = ((signal.SIGTERM, 8.0), (signal.SIGQUIT, 4.0))
        return Service("worker", command, self.folders.log("worker"), farewell=farewell)

    def _beat(self) -> Service:
        schedule = self.folders.data("beat") / "schedule"
        schedule.parent.mkdir(exist_ok=True)
        return Service("beat", [sys.executable, "-m", "config.stack.beat", str(schedule)], self.folders.log("beat"))


def main() -> None:
    plain_output()
    for name, value in (("DEMO", "1"), ("DESK_PORT", "8100")):
        os.environ[name] = os.environ.get(name) or value
    try:
        run(Folders.here())
    except Trouble as trouble:
        sys.exit(f"\n{trouble}" if str(trouble) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def run(folders: Folders) -> None:
    """Run the house until somebody stops it."""
    folders.make()
    note = folders.var / "run.json"
    with locked_at_once(folders.lock("run")) as alone:
        if not alone:
            raise Trouble(_already_runs(note))
        house = House(folders)
        _listen_for_the_end(house)
        say("Pastpilot starts.")
        house.check_ports()
        note.write_text(json.dumps({"pid": os.getpid(), "address": house.address}))
        try:
            with step("Database server and broker") as result, contextlib.ExitStack() as stack:
                servers = stack.enter_context(embedded.servers(make_keys=True))
                result.append(" and ".join(_origin(name, servers) for name in embedded.VARIABLES))
                until_the_end = stack.pop_all()
            with until_the_end:
                _live(house, servers)
        finally:
            note.unlink(missing_ok=True)


def _live(house: House, servers: embedded.Joined) -> None:
    try:
        house.start()
        _greet(house)
        house.watch(servers)
    except KeyboardInterrupt:
        say("\nStopping; a second Ctrl-C cuts running tasks off, which is safe.")
    finally:
        house.stop()
    servers.leave()
    say("Stopped.")


def _greet(house: House) -> None:
    logins = house.folders.var / "logins.txt"
    say(f"\nOpen {house.address}")
    if house.has_desk():
        say(
            f"The ticket desk that the demo's agent writes to: {network.address('127.0.0.1', network.port_of('DESK_PORT', 8100))}"
        )
    if logins.exists():
        say(logins.read_text().rstrip())
    say(f"Logs are in {house.folders.var / 'log'}. Ctrl-C stops everything.\n")


def _origin(name: str, servers: embedded.Joined) -> str:
    return f"{name} up" if name in servers.names else f"{embedded.VARIABLES[name]} as given"


def _listen_for_the_end(house: House) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        if house.is_stopping:
            house.hurry()
        else:
            # Once: a second signal must not cut the stopping itself short.
            house.is_stopping = True
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def _already_runs(note: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads(note.read_text())
        return f"Pastpilot already runs in this folder, at {found['address']} (process {found['pid']}); stop it there with Ctrl-C first."
    return "Pastpilot is already starting in this folder; wait for it, or stop it with Ctrl-C."


def _number(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit():
        raise Trouble(f"{name} is {value!r}; use a whole number.")
    return int(value)


if __name__ == "__main__":
    main()
