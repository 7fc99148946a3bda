"""What the walkers of this folder need to know about addresses that name an object.

A new address with a parameter fails the walk by name until its parameter is here: say how to make one such object
of the team. The key is "url:name parameter", or "namespace parameter", or the parameter's name alone; the first wins.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from apps.accounts.models import Role, Team, User
from apps.agents.models import KillSwitch
from apps.approvals.actions.delegating import delegate
from apps.approvals.actions.saved_views import save_view
from apps.approvals.models import Notice, Proposal
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.programs.actions.planning import open_program
from apps.programs.models import Program
from apps.runs.models import Run
from apps.slo.actions import ensure_objectives
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, make_agent, make_connector, make_proposal, make_version
from tests.factories.notices import make_channel
from tests.factories.outside import make_outside_agent, make_token
from tests.factories.runs import make_work_item


@dataclass
class World:
    """A team with one member who holds every role, and the objects asked for so far."""

    team: Team
    insider: User
    made: dict[str, Any] = field(default_factory=dict)


def make_world(team) -> World:
    return World(team=team, insider=make_member(team, *Role, name="Insider"))


def person(world):
    return make_member(world.team, Role.REVIEWER, name="Somebody").pk


def membership(world):
    return make_member(world.team, Role.REVIEWER, name="Somebody").memberships.get().pk


def audit_event(world):
    audit.record("x.told", subject="thing:1", actor="timer", team_id=world.team.pk)
    return AuditEvent.objects.newest_first().first().id


def agent_row(world):
    if "agent" not in world.made:
        world.made["agent"] = make_agent(world.team, world.insider)
    return world.made["agent"]


def agent(world):
    return agent_row(world).pk


def proposal(world):
    return make_proposal(world.team, world.insider, agent=agent_row(world), at=TEN).pk


def policy_key(world):
    return Proposal.objects.get(pk=proposal(world)).policy.key


def channel(world):
    return make_channel(world.team, world.insider).pk


def notice(world):
    if channel not in world.made:
        world.made[channel] = channel(world)
    asked = make_proposal(world.team, world.insider, agent=agent_row(world), at=TEN)
    return Notice.objects.get(channel=world.made[channel], proposal=asked).pk


def view(world):
    return save_view(name="Dear", query="risk:high", team=world.team, actor=world.insider).pk


def delegation(world):
    to, now = make_member(world.team, Role.REVIEWER, name="Stand-in"), clock()
    return delegate(world.team, to=to, starts=now, ends=now + timedelta(days=1), actor=world.insider).pk


def system(world):
    return make_connector(world.team).key


def program_row(world):
    if "program" not in world.made:
        world.made["program"] = open_program(
            agent_row(world), name="Launch", tier=Program.Tier.MEDIUM, actor=world.insider
        )
    return world.made["program"]


def program(world):
    return program_row(world).pk


def gate(world):
    return program_row(world).gates.filter(team=world.team).first().pk


def objective(world):
    return ensure_objectives(agent_row(world))[0].line_id


def switch(world):
    return KillSwitch.objects.get(scope=KillSwitch.Scope.AGENT, scope_id=agent(world)).pk


def slug(world):
    return agent_row(world).slug


def outside_slug(world):
    return make_outside_agent(world.team, world.insider).slug


def work_item_row(world, **fields):
    make_connector(world.team)
    return make_work_item(agent_row(world), **fields)


def run(world):
    row = agent_row(world)
    version = row.versions.first() or make_version(row)
    item = work_item_row(world, external_id="T-1")
    return Run.objects.create(work_item=item, agent=row, agent_version=version, thread_id="run-1").pk


def hand_over(world):
    row = agent_row(world)
    version = row.versions.first() or make_version(row)
    item = work_item_row(world, external_id="T-2", state="handed_over")
    Run.objects.create(
        work_item=item, agent=row, agent_version=version, thread_id="run-2", state="handed_over", reason="not_sure"
    )
    return item.pk


def team(world):
    return world.team.pk


def token(world):
    return make_token(agent_row(world), actor=world.insider)[0].pk


# What a parameter names → how to make such an object of the team; the value is as the address has it.
OBJECTS = {
    "person_id": person,
    "membership_id": membership,
    "token_id": token,
    "event_id": audit_event,
    "team_id": team,
    "agent_id": agent,
    "approvals pk": proposal,
    "channel_id": channel,
    "notice_id": notice,
    "approvals key": policy_key,
    "view_id": view,
    "delegation_id": delegation,
    "proposal_id": proposal,
    "connectors key": system,
    "programs:program pk": program,
    "programs:advance pk": program,
    "programs:read pk": program,
    "programs pk": gate,
    "programs:agent-panel pk": agent,
    "slo:agent-panel pk": agent,
    "slo:proposal-panel pk": proposal,
    "line_id": objective,
    "agents slug": slug,
    "agents:action_types slug": outside_slug,
    "agents:releases slug": outside_slug,
    "agents:connect slug": outside_slug,
    "switch_id": switch,
    "runs:run pk": run,
    "runs:cancel pk": run,
    "runs:give_up pk": run,
    "runs:repair pk": run,
    "runs:hand_over pk": hand_over,
    "runs:agent-panel pk": agent,
}

# Addresses whose parameters name no object of a team, and why.
NOT_OF_A_TEAM = {
    "accounts:welcome": "an invitation: signed, and for somebody who cannot sign in yet",
    "demo:sign-in": "one click, in the demo only; tests/demo proves that it is closed everywhere else",
    "api:request": "an agent's token opens it, no session; tests/api/test_requests.py proves that foreign ids are 404",
    "api:consume": "as api:request",
    "api:outcome": "as api:request",
}
FILLED_IN = {
    "accounts:welcome": {"number": "MQ", "token": "abc-def"},
    "demo:sign-in": {"pk": 1},
    "api:request": {"request_id": 1},
    "api:consume": {"request_id": 1},
    "api:outcome": {"request_id": 1},
}

# The only addresses that answer without a sign-in, and why.
OPEN_TO_ALL = {
    "account_login": "the door itself",
    "account_logout": "leads to the door",
    "account_inactive": "tells a closed account whom to ask",
    "accounts:start": "the first person of an empty house; no page once there is anybody",
    "accounts:welcome": "an invitation, signed",
    "healthz": "asked by the starter and by load balancers; says no names",
    "readyz": "as healthz",
    "ui:theme": "a cookie of the visitor's own browser",
    "ui:density": "as ui:theme",
    "ui:keys": "as ui:theme",
    "ui:advance": "as ui:theme",
}

# Views that check their token themselves because Django's middleware is told to stay out, and why.
EXEMPT_FROM_CSRF_MIDDLEWARE: dict[str, str] = {
    "api:proposals": "the JSON door checks the token with the session; tests/api proves it",
    "api:proposal": "as api:proposals",
    "api:decide": "as api:proposals",
    "api:groups": "as api:proposals",
    "api:bulk": "as api:proposals",
    "api:requests": "an agent's token opens it, no session: a browser has nothing that it could be made to send",
    "api:request": "as api:requests",
    "api:consume": "as api:requests",
    "api:outcome": "as api:requests",
}
