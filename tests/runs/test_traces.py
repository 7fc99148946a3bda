"""Who may read what an agent read, said and sent, and that reading it is an event; who follows what is stuck."""

import pytest
from django.urls import reverse

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.runs.models import Run, Step
from tests.factories.accounts import make_member
from tests.factories.approvals import make_connector, make_proposal
from tests.factories.runs import make_desk_agent, make_handed_over, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent(team, ada):
    make_connector(team)
    return make_desk_agent(team, ada)


@pytest.fixture
def run(team, ada, agent):
    """A run whose trace holds a customer's words and whose proposal holds arguments."""
    _, run = make_handed_over(agent, text="The customer writes: my card is 4711.")
    said = {"calls": [{"name": "route_ticket", "args": {"queue": "secret-queue"}}], "text": "my card is 4711"}
    Step.objects.create(run=run, position=2, kind=Step.Kind.MODEL, name="precedent", detail=said)
    args = {"ticket": "T-1", "queue": "printing", "priority": "low", "reply": "ok"}
    make_proposal(team, ada, agent=agent, thread_id=run.thread_id, title="Route T-1 to secret-queue", args=args)
    return run


def page(client, person, run):
    client.force_login(person)
    response = client.get(reverse("runs:run", args=[run.pk]))
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("person", ["ben", "cora", "ada", "olga"])
def test_a_trace_is_read_by_those_who_decide_operate_own_or_audit(client, cast, run, person):
    shown = page(client, cast[person], run)

    assert "secret-queue" in shown
    assert "my card is 4711" in shown
    event = AuditEvent.objects.get(action="trace.read")
    assert (event.actor, event.object, event.team) == (cast[person].actor, f"run:{run.pk}", f"team:{run.agent.team_id}")


def test_every_reading_of_a_trace_is_an_event(client, ben, run):
    for _ in range(2):
        page(client, ben, run)

    assert AuditEvent.objects.filter(action="trace.read", actor=ben.actor).count() == 2


def test_a_program_manager_sees_state_and_outcome_only_and_whom_to_ask(client, dev, ivo, run):
    Run.objects.filter(pk=run.pk).update(last_error="NotSent: my card is 4711")

    shown = page(client, dev, run)

    assert "Handed over" in shown
    assert "Not sure" in shown
    assert "4711" not in shown
    assert "secret-queue" not in shown
    assert "You may not read its trace" in shown
    assert "Ivo can grant it." in shown
    assert not AuditEvent.objects.filter(action="trace.read").exists()


def test_an_agent_owner_reads_the_traces_of_their_own_agents_only(client, team, ada, run):
    otto = make_member(team, Role.AGENT_OWNER, name="Otto")

    assert "4711" in page(client, ada, run)
    assert "4711" not in page(client, otto, run)


@pytest.mark.parametrize("person", ["max_", "ivo"])
def test_executives_and_administrators_see_no_run_at_all(client, cast, run, person):
    client.force_login(cast[person])

    assert client.get(reverse("runs:run", args=[run.pk])).status_code == 403


@pytest.mark.parametrize(("person", "status"), [("cora", 200), ("dev", 200), ("ada", 200), ("olga", 200), ("ben", 403)])
def test_what_is_stuck_is_followed_by_others_than_operators(client, cast, team, person, status):
    client.force_login(cast[person])

    assert client.get(reverse("runs:threads")).status_code == status


def test_only_operators_are_told_how_to_repair(client, cast, agent):
    run = make_run(agent, "T-9")
    Run.objects.filter(pk=run.pk).update(last_error="NotSent: nobody there")
    told = {}
    for person in ("cora", "dev"):
        client.force_login(cast[person])
        told[person] = "repair_thread" in client.get(reverse("runs:threads")).content.decode()

    assert told == {"cora": True, "dev": False}


def test_the_way_to_stuck_threads_is_shown_to_those_who_may_go_it(client, cast, team):
    ways = {}
    for person in ("ben", "dev"):
        client.force_login(cast[person])
        ways[person] = reverse("runs:threads") in client.get(reverse("runs:runs")).content.decode()

    assert ways == {"ben": False, "dev": True}
