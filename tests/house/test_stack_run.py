"""make run: what it says, what it starts, and that nothing of it is left behind."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from config.stack.folders import Folders, locked
from config.stack.network import free_port
from tests.house.stack import ROOT, environment, is_quiet, processes_of, wait_until

pytestmark = pytest.mark.processes
SUPERVISE = [sys.executable, "-m", "config.stack.supervise"]


def run_to_the_end(folder, **settings):
    return subprocess.run(
        SUPERVISE,
        cwd=ROOT,
        env=environment(folder, **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_taken_port_is_said_in_one_sentence_before_anything_starts(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]

        done = run_to_the_end(tmp_path / "var", PORT=str(port), DEMO="0")

    assert done.returncode == 1
    assert f"Port {port} is taken by another program. Nothing was changed." in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var" / "pg").exists()


def test_a_taken_port_of_the_demo_desk_names_its_own_variable(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]

        done = run_to_the_end(tmp_path / "var", PORT=str(free_port()), DESK_PORT=str(port))

    assert done.returncode == 1
    assert f"make run DESK_PORT={port + 1}" in done.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PORT": "eighty"}, "PORT is 'eighty'; use a whole number from 1 to 65535."),
        ({"PORT": "70000"}, "PORT is '70000'; use a whole number from 1 to 65535."),
        ({"HOST": "192.0.2.1"}, "This machine cannot listen on 192.0.2.1:"),
        ({"HOST": "no such host"}, "This machine cannot listen on no such host:"),
    ],
)
def test_a_setting_that_cannot_work_is_said_in_one_sentence(tmp_path, settings, sentence):
    done = run_to_the_end(tmp_path / "var", **{"PORT": str(free_port()), "DEMO": "0"} | settings)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_start_in_the_same_folder_says_where_the_first_one_is(tmp_path):
    folders = Folders(tmp_path / "var")
    folders.make()
    (folders.var / "run.json").write_text(json.dumps({"pid": 4711, "address": "http://127.0.0.1:8000"}))

    with locked(folders.lock("run")):
        done = run_to_the_end(folders.var, PORT=str(free_port()))

    assert done.returncode == 1
    assert "Pastpilot already runs in this folder, at http://127.0.0.1:8000 (process 4711)" in done.stderr


class House:
    """One make run without the demo, in a folder of its own."""

    def __init__(self, folder):
        self.port = free_port()
        self.folder = folder / "var"
        self.log = folder / "house.log"
        self.process = None

    def start(self):
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                SUPERVISE,
                cwd=ROOT,
                env=environment(self.folder, PORT=str(self.port), DEMO="0"),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self.process.poll() is not None or "Ctrl-C" in self.said, 90)
        assert self.process.poll() is None, self.said

    @property
    def said(self):
        return self.log.read_text()

    def ready(self):
        """Return what /readyz says; it is 503 until every part is there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as answer:
            return json.load(answer)

    def workers(self):
        return [pid for pid in processes_of(self.folder) if b"\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    if house.process and house.process.poll() is None:
        house.process.kill()
        house.process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by /proc")
def test_everything_starts_dies_with_its_supervisor_starts_again_and_stops_cleanly(house):
    house.start()
    assert f"Open http://127.0.0.1:{house.port}" in house.said
    wait_until(lambda: house.ready()["status"] == "ok", 60)
    assert len(house.workers()) == 3, "one worker with two processes"

    house.process.kill()
    house.process.wait()
    wait_until(lambda: not processes_of(house.folder), 20)

    house.start()
    assert re.search(r"Database … up to date", house.said)
    assert re.search(r"Static files … unchanged", house.said)
    os.kill(house.process.pid, signal.SIGTERM)
    assert house.process.wait(60) == 0
    assert house.said.endswith("Stopped.\n")
    wait_until(lambda: not processes_of(house.folder), 5)
    assert is_quiet(house.folder)
