"""What comes by the clock: one agent, one thread or one switch in trouble holds nobody else up."""

from datetime import timedelta

import pytest

from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.audit.clock import clock
from apps.connectors.models import Connector
from apps.runs import tasks, threads
from apps.runs.actions import runs
from apps.runs.models import Run, WorkItem
from tests.factories.runs import make_desk_agent, make_run, make_work_item
from tests.runs.conftest import HAND_OVER, READ, ROUTE, another_session, fault

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other_agent(agent, team, ada):
    return make_desk_agent(team, ada)


def runs_of(agent):
    return Run.objects.filter(agent=agent).count()


def test_an_agent_that_somebody_holds_stops_no_other(agent, other_agent):
    make_work_item(agent, "T-1")
    make_work_item(other_agent, "T-2")

    with another_session() as importing:
        importing.execute("SELECT 1 FROM agents_agent WHERE id = %s FOR NO KEY UPDATE", [agent.pk])
        tasks.sweep()

        assert (runs_of(agent), runs_of(other_agent)) == (0, 1)

    tasks.sweep()
    assert runs_of(agent) == 1


def test_rows_that_point_to_an_agent_do_not_keep_its_runs_from_being_opened(agent):
    make_work_item(agent, "T-1")

    with another_session() as importing:
        importing.execute("SELECT 1 FROM agents_agent WHERE id = %s FOR KEY SHARE", [agent.pk])

        assert runs.open_runs_of(agent) == 1


def test_an_agent_that_fails_stops_no_other_and_loses_nothing(agent, other_agent):
    make_work_item(agent, "T-1")
    make_work_item(other_agent, "T-2")

    with fault("runs_run", f"agent_id <> {agent.pk}"):
        assert runs.open_runs() == 1

    assert (runs_of(agent), runs_of(other_agent)) == (0, 1)
    assert WorkItem.objects.get(external_id="T-1").state == WorkItem.State.NEW


@pytest.mark.parametrize("scope", ["all", "team", "connector", "agent"])
def test_a_queued_run_does_not_start_while_a_switch_stands(agent, worker, scope):
    hands = worker(READ, HAND_OVER)
    run = make_run(agent)
    on = {"all": 0, "team": agent.team_id, "connector": Connector.objects.get(key="desk").pk, "agent": agent.pk}[scope]
    switch = KillSwitch.objects.filter(scope=scope, scope_id=on)
    switch.update(engaged=True, by="system")

    hands.start(run)

    assert (run.state, run.attempts, run.started_at, run.last_error) == ("queued", 0, None, "")
    assert hands.model.heard == []
    switch.update(engaged=False)
    hands.start(run)
    assert (run.state, run.attempts) == ("handed_over", 1)


def test_a_run_that_a_switch_holds_back_is_sent_again(agent, worker, ivo, broker):
    run = make_run(agent)
    agents.engage_switch(KillSwitch.Scope.AGENT, agent.pk, actor=ivo, reason="Look into it")
    worker(READ).start(run)

    assert runs.resend_due(at=clock() + timedelta(seconds=31)) == [run.pk]


def test_a_paused_run_is_sent_once_when_its_pause_is_over_and_then_every_half_minute(agent, broker):
    run = make_run(agent)
    now = clock()
    Run.objects.filter(pk=run.pk).update(sent_at=now - timedelta(seconds=15), lease_until=now)

    assert runs.resend_due(at=now + timedelta(seconds=1)) == [run.pk]
    assert runs.resend_due(at=now + timedelta(seconds=6)) == []
    assert runs.resend_due(at=now + timedelta(seconds=31)) == [run.pk]


def test_a_run_of_an_agent_without_its_system_fails_in_words_instead_of_waiting_for_a_switch(agent, worker):
    run = make_run(agent)
    type(agent).objects.filter(pk=agent.pk).update(connector_key="elsewhere")

    worker(READ, ROUTE).start(run)

    assert (run.state, run.attempts) == ("queued", 1)
    assert "There is no system called 'elsewhere'" in run.last_error


def test_a_thread_that_cannot_be_pruned_stops_no_other(agent, worker, desk):
    hands = worker(READ, HAND_OVER)
    desk.load(tickets=[{"id": "T-2", "text": "Another one"}])
    bad = hands.start(make_run(agent, "T-1"))
    good = worker(HAND_OVER).start(make_run(agent, "T-2"))

    with fault("runs_run", f"id <> {bad.pk} OR pruned_at IS NULL"):
        assert threads.prune([bad.thread_id, good.thread_id]) == 1

    bad.refresh_from_db()
    good.refresh_from_db()
    assert bad.pruned_at is None
    assert good.pruned_at is not None
