from itertools import count

from apps.agents import actions
from apps.agents.models import ActionType, Agent, AgentVersion, Stage
from tests.factories.accounts import make_member, make_team

ARGS_SCHEMA = {
    "type": "object",
    "properties": {
        "queue": {"type": "string", "enum": ["login", "printing"]},
        "priority": {"type": "string", "enum": ["low", "high"]},
        "reply": {"type": "string", "maxLength": 2000},
    },
    "required": ["queue", "priority"],
}

_numbers = count(1)


def make_agent(*, team=None, owner=None, version: bool = True, **fields) -> Agent:
    number = next(_numbers)
    team = team or make_team()
    owner = owner or make_member(team, "agent_owner")
    fields = {
        "slug": f"agent-{number}",
        "name": f"Agent {number}",
        "purpose": "Routes support tickets.",
        "workflow": "ticket_desk",
        "connector_key": "desk",
        "stage": Stage.PILOT,
        **fields,
    }
    agent = actions.register_agent(team=team, owner=owner, actor=owner, **fields)
    if version:
        make_version(agent)
    return agent


def make_version(agent: Agent, **fields) -> AgentVersion:
    settings = {
        "queues": [{"key": "login", "name": "Login", "hint": ""}, {"key": "printing", "name": "Printing", "hint": ""}],
        "priorities": ["low", "high"],
        "sure_at": 0.6,
    }
    fields = {"settings": settings, "author": agent.owner, "actor": agent.owner, **fields}
    return actions.publish_version(agent, **fields)


def make_action_type(agent: Agent | None = None, **fields) -> ActionType:
    agent = agent or make_agent()
    fields = {
        "key": "tickets.route",
        "name": "Route the ticket",
        "args_schema": ARGS_SCHEMA,
        "editable_fields": ["queue", "priority", "reply"],
        "materiality": {"queue": 1, "priority": 0.5, "reply": 0},
        "watch_fields": ["status", "queue"],
        "consequence": "Moves {target} to {queue} with priority {priority}.",
        "risk_class": "low",
        "reversibility": "reversible",
        "actor": agent.owner,
        **fields,
    }
    return actions.define_action_type(agent, **fields)
