"""Celery carries row ids as JSON; every name that is sent is a task, and every queue is served."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.celery import app
from tests.house.stack import ROOT


@pytest.fixture(scope="module")
def tasks():
    app.loader.import_default_modules()
    return {name for name in app.tasks if not name.startswith("celery.")}


def sent_names():
    """Return every task name written down as the first argument of send_task, with its file."""
    for path in sorted(Path(ROOT, "apps").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield from ((name, path) for name in _sent_by(node))


def _sent_by(call):
    names = [part.attr for part in [call.func, *call.args] if isinstance(part, ast.Attribute)]
    words = [part.value for part in call.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return words[:1] if "send_task" in names else []


def test_every_name_that_beat_sends_is_a_task(tasks):
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= tasks


def test_periodic_tasks_that_nobody_takes_do_not_pile_up():
    entries = app.conf.beat_schedule.values()

    assert entries
    assert all(0 < entry["options"]["expires"] <= max(60, entry["schedule"]) for entry in entries)


def test_every_name_that_an_action_sends_is_a_task(tasks):
    sent = list(sent_names())

    assert sent, "the search must find something, or it proves nothing"
    assert [(name, str(path)) for name, path in sent if name not in tasks] == []


def test_every_task_has_a_name_of_its_room(tasks):
    rooms = {"config"} | {path.name for path in Path(ROOT, "apps").iterdir() if path.is_dir()}

    assert {name for name in tasks if name.split(".")[0] not in rooms} == set()
    assert {name for name in tasks if name.count(".") != 1} == set()


def test_every_route_leads_to_a_queue_that_workers_serve():
    queues = {queue.name for queue in app.conf.task_queues}

    assert {route["queue"] for route in app.conf.task_routes.values()} <= queues
    assert app.conf.task_default_queue in queues


def test_no_two_queues_share_a_key():
    keys = [queue.routing_key for queue in app.conf.task_queues]

    assert len(set(keys)) == len(keys) == 5


def test_messages_are_json_and_results_are_not_kept():
    assert app.conf.accept_content == app.conf.result_accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_ignore_result
    assert app.conf.task_acks_late


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://guest@127.0.0.1//", ({"confirm_publish": True}, [{"x-queue-type": "quorum"}] * 5, "topic")),
        ("redis://127.0.0.1:6379/0", ({"visibility_timeout": 120}, [None] * 5, "direct")),
    ],
)
def test_each_broker_gets_what_keeps_its_messages(url, expected):
    asked = "(conf.broker_transport_options, [each.queue_arguments for each in conf.task_queues], conf.task_default_exchange_type)"
    done = subprocess.run(
        [sys.executable, "-c", f"from config.celery import app; conf = app.conf; print({asked})"],
        cwd=ROOT,
        env=os.environ | {"CELERY_BROKER_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == repr(expected)
