import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, ProgrammingError, transaction

from apps.agents import actions
from apps.agents.domain.schema import SchemaRefused
from apps.agents.errors import AlreadyDefined, OnlyLowers, ReasonMissing, SlugTaken, SwitchMissing
from apps.agents.models import (
    ActionType,
    Agent,
    AgentVersion,
    AutonomyLevel,
    KillSwitch,
    LevelChange,
    StageEvent,
    Standing,
)
from apps.agents.signals import level_changed
from apps.audit.models import AuditEvent
from tests.factories.agents import ARGS_SCHEMA, make_action_type, make_agent, make_version

pytestmark = pytest.mark.django_db
NOW = datetime(2027, 5, 4, 10, tzinfo=UTC)


def actions_logged():
    return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_a_registered_agent_has_its_switches_its_stage_and_its_event(ada, team):
    agent = make_agent(team=team, owner=ada, version=False, stage="demo", at=NOW)

    assert set(KillSwitch.objects.values_list("scope", "scope_id", "engaged")) == {
        ("all", 0, False),
        ("team", team.pk, False),
        ("agent", agent.pk, False),
    }
    assert list(agent.stage_events.values_list("stage", "at", "actor")) == [("demo", NOW, ada.actor)]
    assert actions_logged() == ["agent.registered", "agent.stage_entered"]


def test_an_agent_brings_its_history_of_stages(ada, team):
    month = timedelta(days=30)

    agent = make_agent(team=team, owner=ada, version=False, stages=[("demo", NOW - month), ("pilot", NOW)])

    assert Agent.objects.get().stage == agent.stage == "pilot"
    assert list(agent.stage_events.order_by("at").values_list("stage", "at", "synthetic")) == [
        ("demo", NOW - month, False),
        ("pilot", NOW, False),
    ]
    told = [json.loads(each.payload) for each in AuditEvent.objects.filter(action="agent.stage_entered").order_by("id")]
    assert [(each["from"], each["to"]) for each in told] == [(None, "demo"), ("demo", "pilot")]
    assert told[0]["happened_at"] == "2027-04-04T10:00:00.000000Z"


def test_the_history_of_a_demo_is_marked_as_made_up(ada, team):
    agent = make_agent(team=team, owner=ada, version=False, is_demo=True, stages=[("pilot", NOW)])

    assert agent.stage_events.get().synthetic


def test_registering_does_not_release_an_engaged_switch(ada, ben, team):
    make_agent(team=team, owner=ada)
    actions.engage_switch("team", team.pk, actor=ben, reason="Odd replies")

    make_agent(team=team, owner=ada)

    assert KillSwitch.objects.get(scope="team").engaged


def test_a_short_name_is_given_once(ada, team):
    make_agent(team=team, owner=ada, slug="ticket-desk")

    with pytest.raises(SlugTaken, match="Choose another"):
        make_agent(team=team, owner=ada, slug="ticket-desk")

    assert Agent.objects.count() == 1


def test_each_version_gets_the_next_number_and_only_the_last_is_current():
    agent = make_agent(version=False)

    first, second = make_version(agent), make_version(agent, instructions="Be brief.")

    assert (first.number, second.number) == (1, 2)
    assert AgentVersion.objects.get(is_current=True) == second


def test_the_fingerprint_changes_with_whatever_shapes_behaviour():
    agent, other = make_agent(version=False), make_agent(version=False, model="openai:gpt-5")

    plain = make_version(agent)
    again = make_version(agent)
    told = make_version(agent, instructions="Be brief.")
    bold = make_version(agent, settings={**plain.settings, "sure_at": 0.1})
    elsewhere = make_version(other)

    assert plain.fingerprint == again.fingerprint
    assert len({plain.fingerprint, told.fingerprint, bold.fingerprint, elsewhere.fingerprint}) == 4


def test_a_defined_action_type_is_closed_and_has_its_level_and_its_switch(ada):
    action_type = make_action_type()

    assert ActionType.objects.get().args_schema == {**ARGS_SCHEMA, "additionalProperties": False}
    assert AutonomyLevel.objects.get(action_type=action_type).level == "approve"
    assert KillSwitch.objects.filter(scope="action_type", scope_id=action_type.pk, engaged=False).exists()
    assert actions_logged()[-1] == "action_type.defined"


def test_a_level_never_starts_above_what_the_risk_allows():
    action_type = make_action_type(risk_class="high", level="auto")

    assert AutonomyLevel.objects.get(action_type=action_type).level == "approve"


def test_a_definition_that_does_not_fit_leaves_nothing_behind():
    agent = make_agent()
    before = actions_logged()

    with pytest.raises(SchemaRefused, match="neither an argument"):
        make_action_type(agent, consequence="Moves to {nowhere}.")

    assert not ActionType.objects.exists()
    assert actions_logged() == before


def test_an_action_type_is_defined_once():
    agent = make_agent()
    make_action_type(agent)

    with pytest.raises(AlreadyDefined):
        make_action_type(agent)


@pytest.fixture
def cell():
    action_type = make_action_type(make_agent(stage="scaled"), level="auto")
    return AutonomyLevel.objects.get(action_type=action_type)


def test_a_level_is_lowered_at_once_and_told_on_commit(cell, django_capture_on_commit_callbacks):
    heard = []
    level_changed.connect(lambda cell_id, **_: heard.append(cell_id), weak=False, dispatch_uid="test")

    with django_capture_on_commit_callbacks(execute=True):
        change = actions.cap_level(cell, level="approve", cause="budget", key="burn:1", actor="timer", at=NOW)
    level_changed.disconnect(dispatch_uid="test")

    cell.refresh_from_db()
    assert (cell.level, cell.since) == ("approve", NOW)
    assert (change.from_level, change.to_level, change.actor) == ("auto", "approve", "timer")
    assert heard == [cell.pk]
    assert actions_logged()[-1] == "level.lowered"


def test_the_same_cause_lowers_once(cell):
    first = actions.cap_level(cell, level="sampled", cause="budget", key="burn:1", actor="timer")
    again = actions.cap_level(cell, level="shadow", cause="budget", key="burn:1", actor="timer")

    cell.refresh_from_db()
    assert again == first
    assert cell.level == "sampled"


def test_capping_never_raises_a_level(cell):
    actions.cap_level(cell, level="approve", cause="budget", key="burn:1", actor="timer")

    assert actions.cap_level(cell, level="auto", cause="budget", key="burn:2", actor="timer") is None

    cell.refresh_from_db()
    assert cell.level == "approve"
    assert LevelChange.objects.count() == 1


def test_a_person_lowers_a_level_with_a_reason(cell, cora):
    actions.lower_level(cell, level="approve", actor=cora, reason="Wrong queues today")

    cell.refresh_from_db()
    assert cell.level == "approve"
    with pytest.raises(ReasonMissing):
        actions.lower_level(cell, level="shadow", actor=cora, reason=" ")
    with pytest.raises(OnlyLowers):
        actions.lower_level(cell, level="auto", actor=cora, reason="Better now")


def test_a_standing_follows_the_newest_report_and_logs_only_changes():
    agent = make_agent()
    before = len(actions_logged())

    for value, minutes in [("ok", 0), ("ok", 1), ("frozen", 2), ("ok", 1)]:
        actions.report_standing(agent, kind="budget", value=value, as_of=NOW + timedelta(minutes=minutes))

    standing = Standing.objects.get()
    assert (standing.value, standing.as_of) == ("frozen", NOW + timedelta(minutes=2))
    assert actions_logged()[before:] == ["standing.changed", "standing.changed"]


def test_a_switch_is_engaged_without_a_reason_and_explained_afterwards(ben, team):
    make_agent(team=team)
    before = len(actions_logged())

    actions.engage_switch("team", team.pk, actor=ben, at=NOW)
    actions.engage_switch("team", team.pk, actor=ben)
    switch = actions.engage_switch("team", team.pk, actor=ben, reason="Odd replies")

    assert (switch.engaged, switch.by, switch.at, switch.reason) == (True, ben.actor, NOW, "Odd replies")
    assert actions_logged()[before:] == ["kill.engaged", "kill.explained"]


def test_a_switch_is_released_only_with_a_reason(ben, cora, team):
    make_agent(team=team)
    actions.engage_switch("team", team.pk, actor=ben)

    with pytest.raises(ReasonMissing):
        actions.release_switch("team", team.pk, actor=cora, reason="  ")
    switch = actions.release_switch("team", team.pk, actor=cora, reason="Fixed")

    assert (switch.engaged, switch.by, switch.reason) == (False, cora.actor, "Fixed")


def test_releasing_a_switch_that_is_off_logs_nothing(cora, team):
    make_agent(team=team)
    before = actions_logged()

    actions.release_switch("team", team.pk, actor=cora, reason="Just in case")

    assert actions_logged() == before


def test_what_has_no_switch_cannot_be_engaged(ben):
    with pytest.raises(SwitchMissing):
        actions.engage_switch("connector", 77, actor=ben)


def test_a_switch_takes_over_a_later_name_and_keeps_its_state(ben, team):
    actions.ensure_switch("connector", 5, name="Desk", team=team)
    actions.engage_switch("connector", 5, actor=ben)

    actions.ensure_switch("connector", 5, name="Ticket desk")
    switch = actions.ensure_switch("connector", 5)

    assert (switch.name, switch.team, switch.engaged) == ("Ticket desk", team, True)


def test_a_stage_is_recorded_and_becomes_the_agents():
    agent = make_agent(stage="demo")

    event = actions.record_stage(agent, stage="pilot", reason="G1 passed", actor="user:1", program_id=9, at=NOW)

    assert Agent.objects.get().stage == agent.stage == "pilot"
    assert (event.program_id_value, event.at) == (9, NOW)


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("one_switch_per_scope_object", lambda: KillSwitch(scope="all", scope_id=0)),
        ("only_the_switch_of_all_has_no_object", lambda: KillSwitch(scope="all", scope_id=3)),
        ("only_the_switch_of_all_has_no_object", lambda: KillSwitch(scope="team", scope_id=0)),
        ("an_engaged_switch_names_who", lambda: KillSwitch(scope="team", scope_id=9, engaged=True)),
        ("one_current_version_per_agent", lambda: _copy(AgentVersion.objects.get(), number=2)),
        ("one_version_per_number", lambda: _copy(AgentVersion.objects.get(), is_current=False)),
        ("one_action_type_per_key_and_agent", lambda: _copy(ActionType.objects.get())),
        ("a_risk_class_is_known", lambda: _copy(ActionType.objects.get(), key="x", risk_class="tiny")),
        ("a_reversibility_is_known", lambda: _copy(ActionType.objects.get(), key="x", reversibility="maybe")),
        ("one_level_per_cell", lambda: _copy(AutonomyLevel.objects.get())),
        ("a_level_is_on_the_ladder", lambda: _copy(AutonomyLevel.objects.get(), segment="x", level="king")),
        ("a_stage_is_known", lambda: _copy(Agent.objects.get(), slug="x", stage="moon")),
        (
            "one_standing_per_kind_and_action_type",
            lambda: Standing(agent=Agent.objects.get(), kind="budget", value="ok", as_of=NOW),
        ),
    ],
)
def test_the_database_itself_refuses(constraint, row):
    action_type = make_action_type()
    actions.report_standing(action_type.agent, kind="budget", value="ok", as_of=NOW)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        row().save(force_insert=True)


@pytest.mark.parametrize("kind", [StageEvent, LevelChange])
def test_what_was_can_neither_be_changed_nor_taken_away(cell, cora, kind):
    actions.lower_level(cell, level="approve", actor=cora, reason="Wrong queues today")
    row = kind.objects.get()

    with pytest.raises(ProgrammingError, match="Cannot update or delete rows"), transaction.atomic():
        kind.objects.filter(pk=row.pk).update(reason="Nothing happened")
    with pytest.raises(ProgrammingError, match="Cannot update or delete rows"), transaction.atomic():
        row.delete()

    row.refresh_from_db()
    assert row.reason in {"Wrong queues today", "Registered"}


def _copy(row, **changes):
    row.pk = None
    for name, value in changes.items():
        setattr(row, name, value)
    return row
