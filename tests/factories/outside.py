"""Agents in other processes for tests, made by the real verbs."""

from itertools import count

from apps.accounts.actions import issue_token
from apps.accounts.models import ApiToken, Role, Team, User
from apps.agents import actions as agents
from apps.agents.models import ActionType, Agent
from apps.agents.workflows import RUNS_ELSEWHERE
from apps.approvals.actions.policies import publish_policy
from tests.factories.accounts import make_member

REFUND_SCHEMA = {
    "type": "object",
    "required": ["order_id", "amount"],
    "properties": {"order_id": {"type": "string"}, "amount": {"type": "number", "maximum": 500}},
}
REFUND_ARGS = {"order_id": "A1", "amount": 40.0}

_numbers = count(1)


def make_outside_agent(
    team: Team, owner: User, *, kind: dict | None = None, policy: dict | None = None, **fields
) -> Agent:
    """Make an agent that runs elsewhere, with a version and the action type `refund`; its system is not connected here."""
    number = next(_numbers)
    facts = {
        "slug": f"refunds-{number}",
        "name": "Refunds",
        "purpose": "Refunds orders.",
        "stage": "pilot",
        "connector_key": "shop",
    }
    agent = agents.open_agent(
        RUNS_ELSEWHERE, settings={"release": "2026.3.1"}, owner=owner, actor=owner, team=team, **{**facts, **fields}
    )
    action_type = make_refund_type(agent, **(kind or {}))
    publish_policy(action_type, actor=owner.actor, **{"undo_s": 0, **(policy or {})})
    return agent


def make_refund_type(agent: Agent, **fields) -> ActionType:
    facts = {
        "key": "refund",
        "name": "Refund an order",
        "args_schema": REFUND_SCHEMA,
        "editable_fields": ["amount"],
        "materiality": {"amount": 1, "order_id": 1},
        "watch_fields": [],
        "consequence": "Approving sends {amount} for {order_id}.",
        "risk_class": "medium",
        "reversibility": "compensable",
        "allow_respond": True,
    }
    return agents.define_action_type(agent, **{**facts, **fields}, actor=agent.owner)


def make_token(agent: Agent, *, actor: User | None = None, **fields) -> tuple[ApiToken, str]:
    """Issue a token for an agent; return it with its text."""
    facts = {"kind": "agent", "name": "Refunds, production", "scopes": ["proposals:write"], "agent_id": agent.pk}
    actor = actor or make_member(agent.team, Role.ADMIN)
    issued = issue_token(**{**facts, **fields}, team=agent.team, actor=actor)
    return issued.token, issued.text
