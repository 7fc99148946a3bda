"""Real connections at once: two openings, two opposite edges, two looks at one change."""

import threading
import time

import pytest
from django.db import connection, transaction
from django.test import Client

from apps.agents import actions as agents
from apps.programs.actions import gates, planning, readings
from apps.programs.domain.states import Kind
from apps.programs.errors import ProgramError
from apps.programs.models import Dependency, GateEvent, Program
from tests.factories.approvals import make_agent, make_version
from tests.factories.programs import NOW, gate, make_program, satisfy, signer, submitted

pytestmark = pytest.mark.django_db(transaction=True)


def in_own_connection(job):
    try:
        job()
    finally:
        connection.close()


def wait_until_somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        for _ in range(500):
            # Inside a transaction PostgreSQL answers from its first look, unless told to look again.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone():
                return
            time.sleep(0.02)
    pytest.fail("Nobody came to wait for the lock.")


def at_once(*jobs):
    """Run every job on a connection of its own, all leaving the barrier together; return results or errors in order."""
    barrier = threading.Barrier(len(jobs))
    told = [None] * len(jobs)

    def work(place, job):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            told[place] = job()
        except Exception as error:  # noqa: BLE001  # the error is the result
            told[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return told


def test_programs_opened_at_once_get_ranks_of_their_own(team, ada, dev):
    rows = [make_agent(team, ada, stage="demo") for _ in range(4)]

    told = at_once(*[lambda row=row: make_program(row, dev) for row in rows])

    assert sorted(program.rank for program in told) == [1, 2, 3, 4]


def test_of_two_openings_for_one_agent_the_second_is_told(team, ada, dev):
    row = make_agent(team, ada, stage="demo")

    told = at_once(*[lambda: make_program(row, dev)] * 2)

    assert [str(each) for each in told if isinstance(each, Exception)] == ["Ticket desk has a program already."]
    assert Program.objects.count() == 1


def test_who_opens_a_program_a_moment_too_late_gets_the_form_back(team, ada, dev):
    row = make_agent(team, ada, stage="demo")
    client, told = Client(), []
    client.force_login(dev)
    given = {"agent": row.pk, "name": "Mine", "tier": "low", "start_date": "2027-01-04"}
    late = threading.Thread(target=in_own_connection, args=(lambda: told.append(client.post("/programs/new/", given)),))

    with transaction.atomic():
        make_program(row, dev, name="Theirs")
        late.start()
        wait_until_somebody_waits_for_a_lock()
    late.join(timeout=30)

    assert told[0].status_code == 422
    assert b"Ticket desk has a program already." in told[0].content


def test_of_two_opposite_edges_exactly_one_is_kept(team, ada, dev):
    program = make_program(make_agent(team, ada, stage="demo"), dev)
    legal, support = gate(program, "LGL-02"), gate(program, "PRD-06")

    told = at_once(
        lambda: planning.add_dependency(legal, needs=support, actor=dev),
        lambda: planning.add_dependency(support, needs=legal, actor=dev),
    )

    assert {type(each) for each in told} == {Dependency, ProgramError}
    assert Dependency.objects.filter(gate__in=[legal, support], needs__in=[legal, support]).count() == 1


def test_two_rounds_at_once_re_open_a_gate_once(team, ada, dev):
    row = make_agent(team, ada, stage="demo")
    version = make_version(row)
    program = make_program(row, dev)
    satisfy(program)
    readings.evaluate_gates(program, at=NOW)
    agents.publish_version(
        row, settings={"queues": []}, instructions="Route with care.", author=version.author, actor=ada
    )

    at_once(*[lambda: readings.evaluate_gates(program)] * 2)

    told = GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED)
    assert sorted(told.values_list("gate__key", flat=True)) == ["ML-02", "ML-03", "ML-04", "ML-07"]


def test_of_two_signatures_at_once_one_counts(team, ada, dev):
    program = make_program(make_agent(team, ada, stage="demo"), dev)
    charter = submitted(gate(program, "PRD-01"), ada)
    people = [signer(charter, name) for name in ("Paul", "Pia")]

    told = at_once(*[lambda person=person: gates.sign_gate(charter, actor=person, at=NOW) for person in people])

    assert [str(each) for each in told if isinstance(each, Exception)] == ["PRD-01 has not been submitted."]
    assert charter.events.filter(kind=Kind.SIGNED).count() == 1
