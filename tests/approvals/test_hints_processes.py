"""Hints over real processes: a change in one reaches an open stream of another, and a stream holds nothing up."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from apps.approvals.actions import hints
from apps.audit.direct import conninfo
from config.stack.children import die_with_parent
from tests.plugins_desk import free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

# A machine under load needs a while to import the house.
START_WITHIN = 90
ROOT = Path(__file__).resolve().parents[2]


class Web:
    """The web server as `make run` starts it, on the database of the tests."""

    def __init__(self, **environment):
        self.port = free_port()
        self.doors = []
        database = connection.settings_dict
        command = [sys.executable, "-m", "granian", "--interface", "asginl", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1", "--no-ws", "--log-level", "warning"]
        command += ["--workers-kill-timeout", "5", "config.stack.web:application"]
        url = f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}"
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": url, "DATABASE_POOL": "1", "DATABASE_POOL_SIZE": "2", **environment},
            preexec_fn=die_with_parent,  # noqa: PLW1509  # a killed test run must leave no server behind
        )
        until = time.monotonic() + START_WITHIN
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"The web process did not start (exit code {self.process.poll()}).")
            time.sleep(0.05)

    def _answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/healthz").status == http.HTTPStatus.OK
        return False

    def get(self, path, **headers):
        door = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.doors.append(door)
        door.request("GET", path, headers={"Host": "localhost", **headers})
        return door.getresponse()

    def stream(self, cookie):
        answer = self.get("/inbox/events/", Cookie=cookie)
        assert answer.status == http.HTTPStatus.OK
        return answer

    def stop(self):
        """End it politely; return how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - began

    def kill(self):
        for door in self.doors:
            door.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def web():
    running = Web()
    yield running
    running.kill()


def cookie_of(person):
    client = Client()
    client.force_login(person)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def lines_until(stream, wanted, seconds):
    """Read lines until one is the wanted; return the seconds it took, or fail."""
    began, read = time.monotonic(), []
    while time.monotonic() - began < seconds:
        line = stream.readline().decode().strip()
        read.append(line)
        if line == wanted:
            return time.monotonic() - began
    raise AssertionError(f"{wanted!r} did not come within {seconds} s: {read}")


def listeners():
    with psycopg.connect(conninfo(connection.settings_dict, application_name="test")) as link:
        found = link.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pastpilot hints'")
        return found.fetchone()[0]


def test_a_change_in_one_process_reaches_the_stream_of_another_within_a_second(web, team, ben):
    stream = web.stream(cookie_of(ben))
    # The first hint says that the listener is there: something may have happened before.
    lines_until(stream, "event: changed", 5)

    hints.changed(team.pk)

    assert lines_until(stream, "event: changed", 5) < 1


def test_another_teams_change_is_not_told(web, team, other_team, ben):
    stream = web.stream(cookie_of(ben))
    lines_until(stream, "event: changed", 5)

    hints.changed(other_team.pk)
    hints.changed(team.pk)
    lines_until(stream, "event: changed", 5)

    assert stream.readline() == b"data: changed\n"


def test_the_event_says_nothing_but_that_something_changed(web, team, ben):
    stream = web.stream(cookie_of(ben))
    lines_until(stream, "event: changed", 5)

    hints.changed(team.pk)
    lines_until(stream, "event: changed", 5)

    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.headers["X-Accel-Buffering"] == "no"
    assert stream.readline() == b"data: changed\n"


def test_a_person_has_three_streams_and_other_requests_go_on(web, ben, cora):
    cookie = cookie_of(ben)
    streams = [web.stream(cookie) for _ in range(3)]
    for stream in streams:
        lines_until(stream, "event: changed", 5)

    # Three streams and a pool of two connections: a page still gets one.
    assert web.get("/inbox/events/", Cookie=cookie).status == 429
    assert web.get("/inbox/", Cookie=cookie).status == 200
    assert web.get("/inbox/events/", Cookie=cookie_of(cora)).status == 200
    assert listeners() == 1


def test_the_listener_ends_with_the_last_reader(web, ben):
    stream = web.stream(cookie_of(ben))
    lines_until(stream, "event: changed", 5)

    web.doors[-1].close()
    stream.close()

    until = time.monotonic() + 5
    while listeners():
        assert time.monotonic() < until, "the connection that listens is still open"
        time.sleep(0.05)


def test_an_open_stream_does_not_hold_up_the_end_of_the_server(web, ben):
    stream = web.stream(cookie_of(ben))
    lines_until(stream, "event: changed", 5)

    assert web.stop() < 4


def test_a_database_that_cuts_the_listener_off_is_listened_to_again(web, team, ben):
    stream = web.stream(cookie_of(ben))
    lines_until(stream, "event: changed", 5)
    with psycopg.connect(conninfo(connection.settings_dict, application_name="test"), autocommit=True) as link:
        link.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pastpilot hints'"
        )

    lines_until(stream, "event: changed", 10)
    hints.changed(team.pk)

    assert lines_until(stream, "event: changed", 5) < 1


def test_a_stranger_is_sent_to_the_door(web):
    assert web.get("/inbox/events/").status == 302
