"""The real ticket desk on loopback, for every test that wants an outside system. See `desk` and `desk_connector`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from config.stack.children import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 15


class RunningDesk:
    """A desk process with a store of its own. It may be killed and started again on the same port and store."""

    def __init__(self, store, *, api_key="desk-key-of-the-tests"):
        self.store = store
        self.api_key = api_key
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self._http = httpx.Client(
            base_url=self.base_url, headers={"authorization": f"Bearer {api_key}"}, trust_env=False, timeout=10
        )

    def start(self, *, faults="", synchronous="normal"):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.demo.desk"],
            cwd=ROOT,
            env={
                **os.environ,
                "DESK_STORE": str(self.store),
                "DESK_PORT": str(self.port),
                "DESK_API_KEY": self.api_key,
                "DESK_FAULTS": faults,
                "DESK_SYNCHRONOUS": synchronous,
            },
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # a killed test run must leave no desk behind
        )
        end = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"The desk did not start (exit code {self.process.poll()}).")
            time.sleep(0.02)
        return self

    def kill(self):
        """Kill -9: the desk has no chance to say goodbye."""
        self._end(signal.SIGKILL)

    def stop(self):
        """End it politely and return its exit code."""
        self._end(signal.SIGTERM)
        return self.process.returncode

    def close(self):
        self.kill()
        self._http.close()

    def load(self, tickets=(), customers=()):
        """Store new records; each needs an id, a ticket also its text, a customer its name."""
        for collection, records in (("customers", list(customers)), ("tickets", list(tickets))):
            if records:
                self._http.post(f"/{collection}", json=records).raise_for_status()

    def journal(self):
        """Every applied write, oldest first: seq, key, actor, collection, id, version, before, after, at."""
        rows, after = [], 0
        while True:
            page = self._http.get("/journal", params={"after": after}).raise_for_status().json()
            if not page["rows"]:
                return rows
            rows += page["rows"]
            after = page["next"]

    def ticket(self, ticket_id):
        return self._http.get(f"/tickets/{ticket_id}").raise_for_status().json()

    def edit(self, ticket_id, **changes):
        """Change a ticket behind everybody's back, as a colleague at the desk would."""
        version = self.ticket(ticket_id)["version"]
        self._http.patch(
            f"/tickets/{ticket_id}",
            content=json.dumps(changes),
            headers={"if-match": f'"{version}"', "idempotency-key": f"hand-{ticket_id}-{version}", "x-actor": "hand"},
        ).raise_for_status()

    def _answers(self):
        with contextlib.suppress(httpx.TransportError):
            return self._http.get("/healthz").status_code == httpx.codes.OK
        return False

    def _end(self, number):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(10)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def desk(tmp_path):
    """Start the ticket desk as a process of its own on a free port."""
    from apps.connectors import client

    client.forget()
    running = RunningDesk(tmp_path / "desk").start()
    yield running
    running.close()
    client.forget()


@pytest.fixture
def desk_connector(desk, team):
    """Connect the running desk under the key `desk`, with its credential and a grant for loopback."""
    from tests.factories.connectors import connect_desk

    return connect_desk(desk, team)
