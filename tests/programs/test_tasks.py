import logging

import pytest

from apps.programs import tasks
from apps.programs.models import Gate, Program
from tests.factories.approvals import make_agent
from tests.factories.programs import make_program

pytestmark = pytest.mark.django_db


@pytest.fixture
def programs(team, ada, dev):
    return [make_program(make_agent(team, ada, stage="demo", name=name), dev) for name in ("First", "Second", "Third")]


def test_a_program_that_cannot_be_read_does_not_stop_the_others(programs, caplog):
    broken = programs[1]
    Gate.objects.filter(program=broken, key="PRD-03").update(
        criterion={"metric": "oncall_people", "op": "~", "value": 1}
    )

    with caplog.at_level(logging.ERROR):
        tasks.evaluate_gates()

    read = [program.gates.filter(readings__isnull=False).exists() for program in programs]
    assert read == [True, False, True]
    assert [(record.message, record.program) for record in caplog.records] == [("program not evaluated", broken.pk)]


def test_only_active_programs_are_read(programs):
    Program.objects.filter(pk=programs[0].pk).update(state=Program.Status.PAUSED)

    tasks.evaluate_gates()

    assert [program.gates.filter(readings__isnull=False).exists() for program in programs] == [False, True, True]
