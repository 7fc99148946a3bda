"""S10; ASVS 1.5.2: a message is a hint, never an instruction."""

import inspect
import os
import pickle

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads, prepare_accept_content

from config.celery import app

app.loader.import_default_modules()
OURS = sorted(name for name, task in app.tasks.items() if task.__module__.startswith("apps."))
# An id that no row has.
NOBODY = 10**15


def parameters(name):
    return [each for each in inspect.signature(app.tasks[name].run).parameters.values() if each.default is each.empty]


TAKING_IDS = [name for name in OURS if parameters(name)]


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def test_pickle_refused():
    accept = prepare_accept_content(app.conf.accept_content)

    with pytest.raises(ContentDisallowed):
        loads(pickle.dumps(Bomb()), "application/x-python-serialize", "binary", accept=accept)


@pytest.mark.parametrize("name", ["accept_content", "result_accept_content"])
def test_workers_accept_json_alone(name):
    assert list(app.conf[name]) == ["json"]


@pytest.mark.parametrize("name", ["task_serializer", "result_serializer"])
def test_messages_are_written_as_json(name):
    assert app.conf[name] == "json"


def test_results_are_not_kept():
    assert app.conf.task_ignore_result is True


@pytest.mark.parametrize("name", OURS)
def test_every_task_has_a_name_of_its_app(name):
    assert not name.startswith("apps."), f"{name} has no explicit name"


@pytest.mark.parametrize("name", TAKING_IDS)
@pytest.mark.django_db(transaction=True)
def test_unknown_row_is_noop(name):
    task = app.tasks[name]

    outcome = task.apply(args=[NOBODY] * len(parameters(name)), throw=False)

    assert outcome.state == "SUCCESS", f"{name} did not shrug at an id that no row has: {outcome.result!r}"


@pytest.mark.parametrize("entry", sorted(app.conf.beat_schedule))
def test_beat_sends_only_tasks_that_exist(entry):
    assert app.conf.beat_schedule[entry]["task"] in app.tasks
