"""Proposals for tests, made by the real verbs wherever a rule is involved."""

from datetime import UTC, datetime
from itertools import count

from apps.accounts.models import Team, User
from apps.agents import actions as agents
from apps.agents.models import ActionType, Agent, AgentVersion, KillSwitch
from apps.approvals.actions.intake import ProposalRequest, propose
from apps.approvals.actions.policies import publish_policy
from apps.approvals.actions.verdicts import Decided, decide_proposal
from apps.approvals.models import ApprovalPolicy, Proposal
from apps.audit.clock import clock
from apps.connectors.models import Connector
from tests.board import board

# The tests' morning: every time below is told by argument.
TEN = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)

ROUTE_SCHEMA = {
    "type": "object",
    "required": ["queue", "priority"],
    "properties": {
        "queue": {"type": "string", "enum": ["accounts", "billing", "network"]},
        "priority": {"type": "string", "enum": ["low", "normal", "high"]},
        "reply": {"type": "string", "maxLength": 2000},
        "ticket": {"type": "string"},
    },
}
ROUTE_ARGS = {"queue": "billing", "priority": "normal", "reply": "We are on it.", "ticket": "T-1001"}

_numbers = count(1)


def make_connector(team: Team, *, key: str = "desk") -> Connector:
    known = Connector.objects.filter(key=key).first()
    if known is not None:
        return known
    connector = Connector.objects.create(
        key=key,
        name="Ticket desk",
        team=team,
        base_url=board().url,
        auth=Connector.Auth.NONE,
        allowed_cidrs=["127.0.0.0/8"],
    )
    agents.ensure_switch(KillSwitch.Scope.CONNECTOR, connector.pk, name=connector.name, team=team)
    return connector


def make_agent(team: Team, owner: User, **fields) -> Agent:
    make_connector(team)
    number = next(_numbers)
    facts = {"slug": f"ticket-desk-{number}", "name": "Ticket desk", "purpose": "Routes tickets.", "stage": "scaled"}
    return agents.register_agent(
        **{**facts, **fields}, team=team, owner=owner, workflow="ticket_desk", connector_key="desk", actor=owner
    )


def make_version(agent: Agent, *, author: User | None = None) -> AgentVersion:
    return agents.publish_version(
        agent, settings={"queues": []}, instructions="Route.", author=author or agent.owner, actor=agent.owner
    )


def make_action_type(agent: Agent, **fields) -> ActionType:
    facts = {
        "key": "tickets.route",
        "name": "Route a ticket",
        "args_schema": ROUTE_SCHEMA,
        "editable_fields": ["queue", "priority", "reply"],
        "materiality": {"queue": 1.0, "priority": 0.5, "reply": 0.0, "ticket": 1.0},
        "watch_fields": ["status"],
        "consequence": "Approving moves {target} to {queue} with priority {priority}.",
        "risk_class": "medium",
        "reversibility": "reversible",
    }
    return agents.define_action_type(agent, **{**facts, **fields}, actor=agent.owner)


def make_request(version: AgentVersion, action_type: ActionType, **fields) -> ProposalRequest:
    number = next(_numbers)
    facts = {
        "args": ROUTE_ARGS,
        "target": "desk:tickets/T-1001",
        "subject": "customer/C-77",
        "title": "Route T-1001 to billing",
        "thread_id": f"thread-{number}",
        "tool_call_id": f"call-{number}",
        "interrupt_id": f"{number:032x}",
        "tool_name": "route_ticket",
        "state_proposed": {"status": "open", "queue": "inbox"},
        "state_if_approved": {"queue": "billing"},
        "evidence": [{"label": "Nearest precedent", "text": "Invoice is wrong", "source": "T-17"}],
        "confidence": 0.62,
    }
    return ProposalRequest(agent_version=version, action_type=action_type, **{**facts, **fields})


def make_policy(action_type: ActionType, **fields) -> ApprovalPolicy:
    return publish_policy(action_type, **{"actor": "user:0", "undo_s": 15, **fields})


def make_proposal(
    team: Team,
    owner: User,
    *,
    at: datetime = TEN,
    policy: dict | None = None,
    kind: dict | None = None,
    agent: Agent | None = None,
    author: User | None = None,
    **fields,
) -> Proposal:
    """Make an agent, its version, action type and policy, and let it propose; pending unless the policy says otherwise."""
    agent = agent or make_agent(team, owner)
    action_type = agent.action_types.first() or make_action_type(agent, **(kind or {}))
    version = agent.versions.filter(is_current=True).first() or make_version(agent, author=author)
    if policy is not None:
        make_policy(action_type, **policy)
    return propose(make_request(version, action_type, **fields), at=at)


def decide(proposal: Proposal, actor: User, verdict: str = "approve", *, at: datetime = TEN, **fields) -> Decided:
    """Decide on exactly the card as it stands in the given row."""
    facts = {"version": proposal.version, "digest": proposal.digest, **fields}
    if verdict in {"approve", "edit"} and proposal.risk_class == "high":
        # R3: as somebody who typed what it is about, and signed in this very moment.
        facts = {"confirm": proposal.target, "signed_in_at": at or clock(), **facts}
    if verdict not in {"approve", "edit"}:
        facts.setdefault("reason", "It is the wrong queue.")
    return decide_proposal(proposal.pk, verdict=verdict, actor=actor, at=at, **facts)
