"""What undoes an action is another action type of the same agent, and every argument of it has a source."""

import pytest

from apps.agents import actions, workflows
from apps.agents.domain.schema import SchemaRefused
from apps.agents.models import ActionType
from apps.audit.models import AuditEvent
from tests.factories.agents import ARGS_SCHEMA, make_action_type, make_agent

pytestmark = pytest.mark.django_db

BACK_SCHEMA = {
    "type": "object",
    "properties": {"queue": {"type": ["string", "null"]}, "priority": {"type": ["string", "null"]}},
    "required": ["queue", "priority"],
}
BACK = {"key": "tickets.back", "name": "Put back", "args_schema": BACK_SCHEMA, "editable_fields": [], "materiality": {}}
BACK |= {"consequence": "Puts {target} back.", "watch_fields": ["queue"]}
SOURCES = {"queue": "before.queue", "priority": "args.priority"}


@pytest.fixture
def agent(team, ada):
    row = make_agent(team=team, owner=ada)
    make_action_type(row, **BACK)
    return row


def test_an_action_names_what_undoes_it_and_where_its_arguments_come_from(agent):
    kind = make_action_type(agent, compensated_by="tickets.back", compensation_args=SOURCES)

    assert (kind.compensated_by, kind.compensation_args) == ("tickets.back", SOURCES)


@pytest.mark.parametrize(
    ("by", "sources", "problem"),
    [
        ("tickets.elsewhere", SOURCES, "has no other action type tickets.elsewhere"),
        ("tickets.route", SOURCES, "has no other action type tickets.route"),
        ("", SOURCES, "no action type that takes them"),
        ("tickets.back", {**SOURCES, "colour": "args.queue"}, "/colour: the undoing action has no such argument"),
        ("tickets.back", {"queue": "before.queue"}, "/priority: say where the undoing action takes it from"),
        ("tickets.back", {**SOURCES, "queue": "args.colour"}, "/queue: colour is no argument of the action"),
        ("tickets.back", {**SOURCES, "queue": "after.queue"}, "neither args.<field> nor before.<field>"),
        ("tickets.back", {**SOURCES, "queue": "before"}, "neither args.<field> nor before.<field>"),
    ],
)
def test_what_could_not_undo_it_is_refused(agent, by, sources, problem):
    with pytest.raises(SchemaRefused, match=problem):
        make_action_type(agent, compensated_by=by, compensation_args=sources)

    assert not ActionType.objects.filter(key="tickets.route").exists()


def test_another_agents_action_undoes_nothing_here(agent, team, ada):
    other = make_agent(team=team, owner=ada)

    with pytest.raises(SchemaRefused, match="has no other action type"):
        make_action_type(other, compensated_by="tickets.back", compensation_args=SOURCES)


def test_a_revision_keeps_what_undoes_it_unless_it_says_otherwise(agent):
    kind = make_action_type(agent, compensated_by="tickets.back", compensation_args=SOURCES)

    same = actions.revise_action_type(kind, args_schema=ARGS_SCHEMA, actor="system")
    without = actions.revise_action_type(kind, args_schema=ARGS_SCHEMA, compensated_by="", actor="system")

    assert (same.compensated_by, same.schema_version) == ("tickets.back", 1)
    assert (without.compensated_by, without.compensation_args, without.schema_version) == ("", {}, 1)
    assert AuditEvent.objects.filter(action="action_type.revised").count() == 1


def test_an_agent_from_before_learns_what_undoes_its_action_with_its_next_version(team, ada):
    agent = make_agent(team=team, owner=ada)
    kind = make_action_type(agent)
    route = {name: getattr(kind, name) for name in ("key", "name", "args_schema", "editable_fields", "materiality")}
    route |= {name: getattr(kind, name) for name in ("watch_fields", "consequence", "risk_class", "reversibility")}
    back = {**BACK, "risk_class": "low", "reversibility": "reversible"}
    undone = {**route, "compensated_by": "tickets.back", "compensation_args": SOURCES}
    desk = workflows.Workflow("desk", "Desk", {}, lambda _: [back, undone])

    actions.change_agent(agent, workflow=desk, settings={"queues": []}, actor=ada)

    kind.refresh_from_db()
    assert (kind.compensated_by, kind.schema_version) == ("tickets.back", 1)
    assert agent.action_types.count() == 2
