from datetime import UTC, datetime
from threading import Event, Thread
from time import sleep

import pytest
from django.db import connection, transaction

from apps.agents import actions, queries
from apps.agents.models import AutonomyLevel, KillSwitch
from tests.factories.agents import make_action_type, make_agent

NOW = datetime(2027, 5, 4, 10, tzinfo=UTC)
SCOPES = ["all", "team", "connector", "agent", "action_type"]


@pytest.fixture
def ids(db):
    return scene()


def scene():
    action_type = make_action_type()
    agent = action_type.agent
    actions.ensure_switch("connector", 5, name="Desk", team=agent.team)
    return {"team_id": agent.team_id, "connector_id": 5, "agent_id": agent.pk, "action_type_id": action_type.pk}


def scope_id(ids, scope):
    return ids.get(f"{scope}_id", 0)


@pytest.mark.parametrize("lock", [False, True])
def test_nothing_blocks_while_every_switch_is_off(ids, lock, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert queries.blocking_switch(**ids, lock=lock) is None


@pytest.mark.parametrize("scope", SCOPES)
def test_an_engaged_switch_of_any_scope_blocks_with_its_reason(ids, scope, ben):
    actions.engage_switch(scope, scope_id(ids, scope), actor=ben, reason="Odd replies")

    assert queries.blocking_switch(**ids, lock=True).endswith("Odd replies")


@pytest.mark.parametrize("scope", SCOPES)
def test_a_missing_switch_of_any_scope_blocks(ids, scope):
    KillSwitch.objects.get(scope=scope, scope_id=scope_id(ids, scope)).delete()

    assert "missing" in queries.blocking_switch(**ids, lock=True)


def test_an_unknown_connector_blocks(ids):
    assert "missing" in queries.blocking_switch(**{**ids, "connector_id": None}, lock=False)


def test_the_switch_of_something_else_does_not_block(ids, ben):
    other = make_agent()
    actions.engage_switch("agent", other.pk, actor=ben)

    assert queries.blocking_switch(**ids, lock=True) is None


@pytest.mark.parametrize(("scope", "is_stopped"), [(scope, scope in {"all", "connector"}) for scope in SCOPES])
def test_people_may_write_while_only_agents_are_stopped(ids, scope, is_stopped, ben, django_assert_num_queries):
    actions.engage_switch(scope, scope_id(ids, scope), actor=ben, reason="Odd replies")

    with django_assert_num_queries(1):
        told = queries.blocking_switch_for_people(connector_id=ids["connector_id"], lock=True)

    assert (told is not None and told.endswith("Odd replies")) is is_stopped


def test_a_system_whose_switch_is_missing_is_closed_to_people_too(ids):
    assert "missing" in queries.blocking_switch_for_people(connector_id=6, lock=False)


@pytest.mark.django_db(transaction=True)
def test_engaging_waits_for_those_who_are_about_to_act_and_stops_all_after():
    ids = scene()
    committed = Event()
    waiting = Thread(target=_in_own_connection, args=(_engage, ids, committed))

    with transaction.atomic():
        assert queries.blocking_switch(**ids, lock=True) is None
        waiting.start()
        _wait_until_somebody_waits_for_a_lock()
        came_through_early = committed.is_set()
    assert committed.wait(10)
    waiting.join()

    assert not came_through_early
    with transaction.atomic():
        assert queries.blocking_switch(**ids, lock=True) == "Everything is stopped: Stop"


@pytest.mark.django_db(transaction=True)
def test_acting_waits_for_a_switch_that_is_being_engaged_and_then_sees_it():
    ids = scene()
    answers = []
    done = Event()
    waiting = Thread(target=_in_own_connection, args=(_ask, ids, done, answers))

    with transaction.atomic():
        actions.engage_switch("action_type", ids["action_type_id"], actor="timer", reason="Brake")
        waiting.start()
        _wait_until_somebody_waits_for_a_lock()
    assert done.wait(10)
    waiting.join()

    assert answers == ["This kind of action is stopped: Brake"]


@pytest.mark.django_db(transaction=True)
def test_two_executors_do_not_wait_for_each_other():
    ids = scene()
    answers = []
    done = Event()
    other = Thread(target=_in_own_connection, args=(_ask, ids, done, answers))

    with transaction.atomic():
        queries.blocking_switch(**ids, lock=True)
        other.start()
        came_through = done.wait(10)
    other.join()

    assert came_through
    assert answers == [None]


def _in_own_connection(work, *args):
    try:
        work(*args)
    finally:
        connection.close()


def _engage(ids, committed):
    actions.engage_switch("all", actor="timer", reason="Stop")
    committed.set()


def _ask(ids, done, answers):
    with transaction.atomic():
        answers.append(queries.blocking_switch(**ids, lock=True))
    done.set()


def _wait_until_somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        for _ in range(500):
            # Inside a transaction PostgreSQL answers from its first look, unless told to look again.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone():
                return
            sleep(0.01)
    raise AssertionError("Nobody came to wait for the lock.")


@pytest.fixture
def alone(db):
    action_type = make_action_type(make_agent(stage="scaled"), level="auto")
    actions.report_standing(action_type.agent, kind="budget", value="ok", as_of=NOW)
    actions.report_standing(action_type.agent, kind="gates", value="satisfied", as_of=NOW)
    return action_type


@pytest.mark.parametrize("lock", [False, True])
def test_it_may_act_alone_with_a_level_a_budget_and_gates(alone, lock, django_assert_num_queries):
    with django_assert_num_queries(2):
        verdict = queries.autonomy(alone.agent, alone, at=NOW, lock=lock)

    assert verdict.may_act_alone
    assert verdict.level == "auto"


def test_a_report_on_this_action_type_counts_and_one_on_another_does_not(alone):
    other = make_action_type(alone.agent, key="tickets.close")
    actions.report_standing(alone.agent, action_type=other, kind="budget", value="frozen", as_of=NOW)

    assert queries.autonomy(alone.agent, alone, at=NOW).may_act_alone
    assert not queries.autonomy(alone.agent, other, at=NOW).may_act_alone


def test_without_a_level_row_a_person_is_asked(alone):
    AutonomyLevel.objects.filter(action_type=alone).delete()

    assert not queries.autonomy(alone.agent, alone, at=NOW).may_act_alone


def test_what_is_only_advice_costs_one_query(alone, django_assert_num_queries):
    AutonomyLevel.objects.filter(action_type=alone).update(level="recommend")

    with django_assert_num_queries(1):
        advice = queries.advice(alone.agent, alone)

    assert (advice.level, advice.why) == ("recommend", "Its level is “recommend”.")


def test_without_a_level_row_an_action_is_asked_for_and_no_advice(alone):
    AutonomyLevel.objects.filter(action_type=alone).delete()

    assert queries.advice(alone.agent, alone) is None


def test_the_list_costs_the_same_for_any_number_of_agents(team, ada, ben, django_assert_num_queries):
    for _ in range(5):
        make_action_type(make_agent(team=team, owner=ada))
    ben.has_perm("agents.view")

    with django_assert_num_queries(6):
        rows = queries.agent_rows(ben, at=NOW)

    assert [len(row.powers) for row in rows] == [1] * 5


def test_the_page_and_the_guard_agree_on_every_action_type(alone, ada, ben):
    action_type = make_action_type(make_agent(team=ben.memberships.get().team, owner=ada, stage="scaled"), level="auto")
    actions.report_standing(action_type.agent, kind="budget", value="ok", as_of=NOW)

    (row,) = queries.agent_rows(ben, at=NOW)

    assert row.powers[0].autonomy == queries.autonomy(action_type.agent, action_type, at=NOW)
