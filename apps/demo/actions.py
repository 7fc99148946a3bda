"""Build the demo's company, once. Everything a person could also do is done by the same verbs that they would use."""

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from apps.accounts.models import Membership, Team, User
from apps.agents import actions as agents
from apps.agents import workflows
from apps.agents.models import Agent, Stage, StageEvent
from apps.approvals.actions.policies import publish_policy
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors import actions as connectors
from apps.connectors.models import Connector, Credential
from apps.connectors.sealing import NoSealingKey, Sealed, unseal
from apps.demo.company import AGENTS, CAST, COMPANY, DESK_TEAM, LIVE_AGENT, TEAMS, DemoAgent
from apps.demo.desk.store import Store
from apps.demo.history import PRECEDENTS, World, import_history
from apps.oncall import actions as oncall
from apps.programs import actions as programs
from apps.programs.domain.states import Kind, Verdict
from apps.programs.models import Evidence, Gate, GateEvent, SignOff
from apps.runs.models import ImportJob, WorkItem
from apps.runs.reading import import_bytes, learn_bytes
from apps.slo import actions as slo

DATA: Final = Path(__file__).parent / "data"
WORKFLOW: Final = "ticket_desk"
LOOPBACK: Final = "127.0.0.0/8"
TRANSITION_OF_STAGE: Final = {Stage.PILOT: "G1", Stage.PRODUCTION: "G2", Stage.SCALED: "G3"}


def is_seeded() -> bool:
    return Agent.objects.filter(slug=LIVE_AGENT, is_demo=True).exists()


@transaction.atomic
def seed(*, now: datetime | None = None) -> dict[str, int]:
    """Make the company with its month of history, all or nothing; a second call does nothing and returns no counts."""
    if is_seeded():
        return {}
    at = now or clock()
    teams = _make_teams()
    people = _make_cast(teams)
    connector = _connect_desk(teams[DESK_TEAM], people["Ilja Novak"])
    _make_rotas(teams, people, at=at)
    totals: dict[str, int] = {}
    for spec in AGENTS:
        for name, count in _make_agent(spec, teams, people, connector, at=at).items():
            totals[name] = totals.get(name, 0) + count
    slo.evaluate(at=at)
    audit.record("demo.seeded", subject="demo:company", actor="system", payload={"company": COMPANY, **totals})
    return totals


def fill_desk(store: Path) -> int:
    """Load the ticket desk's own store with customers and tickets; what it holds already stays as it is."""
    desk = Store(store)
    try:
        return sum(
            desk.add(collection, [_without_label(each) for each in _lines(f"{collection}.jsonl")])[0]
            for collection in ("customers", "tickets")
        )
    finally:
        desk.close()


def follow_desk() -> None:
    """Keep the connector pointing at the desk's port and key of this start."""
    connector = Connector.objects.get(key="desk", is_demo=True)
    here = f"http://127.0.0.1:{settings.DESK_PORT}"
    if connector.base_url != here:
        connectors.move_system(connector, base_url=here, actor="system")
    if settings.DESK_API_KEY and not _knows_the_key(connector):
        connectors.store_credential(connector, secret=settings.DESK_API_KEY, actor="system")


def _knows_the_key(connector: Connector) -> bool:
    credential = Credential.objects.filter(connector=connector).first()
    if credential is None:
        return False
    sealed = Sealed(bytes(credential.sealed), credential.key_id)
    try:
        return unseal(sealed, about=connector.subject, key=settings.CREDENTIAL_KEY) == settings.DESK_API_KEY
    except NoSealingKey:
        return False


def import_tickets() -> ImportJob | None:
    """Give the live agent the desk's tickets as work, once."""
    agent = Agent.objects.get(slug=LIVE_AGENT)
    if WorkItem.objects.filter(agent=agent, synthetic=False).exists():
        return None
    path = DATA / "tickets.jsonl"
    return import_bytes(agent, path.read_bytes(), name=path.name, actor="system").job


def _make_teams() -> dict[str, Team]:
    teams = {}
    for slug, name, purpose in TEAMS:
        teams[slug], _ = Team.objects.get_or_create(slug=slug, defaults={"name": name, "purpose": purpose})
    return teams


def _make_cast(teams: Mapping[str, Team]) -> dict[str, User]:
    people = {}
    for person in CAST:
        # No password: the only way in is the sign-in page of a demo on this machine.
        user = User.objects.create_user(person.email, None, name=person.name, is_demo=True)
        Membership.objects.bulk_create(
            Membership(user=user, team=teams[team], role=role) for team, role in person.roles
        )
        people[person.name] = user
    return people


def _connect_desk(team: Team, admin: User) -> Connector:
    connector = connectors.connect_system(
        key="desk",
        name="Ticket desk (simulated)",
        team=team,
        base_url=f"http://127.0.0.1:{settings.DESK_PORT}",
        allowed_cidrs=[LOOPBACK],
        is_idempotent=True,
        is_demo=True,
        probe_path="/tickets?limit=1",
        actor=admin.actor,
    )
    if settings.DESK_API_KEY:
        connectors.store_credential(connector, secret=settings.DESK_API_KEY, actor=admin.actor)
    return connector


def _make_agent(
    spec: DemoAgent, teams: Mapping[str, Team], people: Mapping[str, User], connector: Connector, *, at: datetime
) -> dict[str, int]:
    owner = people["Ansel Brandt"]
    agent = agents.register_agent(
        slug=spec.slug,
        name=spec.name,
        purpose=spec.purpose,
        team=teams[spec.team],
        owner=owner,
        workflow=WORKFLOW,
        connector_key=connector.key,
        actor=owner,
        stage=spec.stages[-1][0],
        is_demo=True,
    )
    # The registration told of today; the demo's stages began in the past.
    StageEvent.objects.filter(agent=agent).delete()
    StageEvent.objects.bulk_create(
        StageEvent(
            agent=agent, stage=stage, at=at - timedelta(days=days), reason="Demo data", actor="system", synthetic=True
        )
        for stage, days in spec.stages
    )
    workflow = workflows.workflow(WORKFLOW)
    if workflow is None:
        raise LookupError(f"The demo needs the workflow {WORKFLOW}.")
    # A few hundred precedents are weaker evidence than thousands; from here on they were right on the demo's own tickets.
    chosen = {**workflow.default_settings, "sure_at": 0.45}
    version = agents.publish_version(agent, settings=chosen, author=owner, actor=owner)
    [definition] = workflow.action_types(chosen)
    action_type = agents.define_action_type(agent, **definition, level=spec.level, actor=owner)
    policy = publish_policy(action_type, actor=owner.actor, name=f"{spec.name}: a person decides")
    if spec.slug == LIVE_AGENT:
        learn_bytes(version, PRECEDENTS.read_bytes(), name=PRECEDENTS.name, actor=owner.actor)
    _make_program(spec, agent, people, at=at)
    reviewers = [people["Rhea Moran"], people["Ruben Okoye"]]
    if not spec.past.cases_a_day:
        slo.ensure_objectives(agent)
        return {}
    return import_history(World(agent, version, action_type, policy, connector, reviewers), spec.past, now=at)


def _make_program(spec: DemoAgent, agent: Agent, people: Mapping[str, User], *, at: datetime) -> None:
    if not spec.program:
        return
    entered = at - timedelta(days=spec.stages[0][1])
    program = programs.open_program(
        agent, name=spec.program, tier="medium", actor=people["Tamsin Cole"], start_date=entered.date()
    )
    made = [TRANSITION_OF_STAGE[Stage(stage)] for stage, _ in spec.stages if stage in TRANSITION_OF_STAGE]
    for gate in program.gates.select_related("team").order_by("pk"):
        if gate.transition in made or gate.key in spec.gates_done:
            _pass_gate(gate, people, at=at)
        elif gate.key in spec.gates_submitted:
            _submit_gate(gate, people, at=at)
    programs.refresh_states(program, at=at)
    programs.evaluate_gates(program, at=at)


def _pass_gate(gate: Gate, people: Mapping[str, User], *, at: datetime) -> None:
    passed_at = at - timedelta(days=gate.validity_days * 0.4)
    until = passed_at.date() + timedelta(days=gate.validity_days)
    if gate.mode != "manual":
        _event(gate, Kind.READING, passed_at, verdict=Verdict.PASS, valid_until=until)
    if gate.mode != "automatic":
        sign_off = _submit_gate(gate, people, at=passed_at)
        SignOff.objects.filter(pk=sign_off.pk).update(
            signer=_signer(gate), outcome=SignOff.Outcome.SIGN, decided_at=passed_at, reason="Demo data"
        )
        _event(gate, Kind.SIGNED, passed_at, valid_until=until)


def _submit_gate(gate: Gate, people: Mapping[str, User], *, at: datetime) -> SignOff:
    requester = people["Ansel Brandt"]
    for position, item in enumerate(gate.evidence_items):
        Evidence.objects.create(
            gate=gate,
            item=position,
            version=1,
            name=item[:200],
            url=f"https://wiki.tidewater.example/launch/{gate.program.agent.slug}/{gate.key.lower().replace(':', '-')}-{position + 1}",
            uploaded_by=requester,
            synthetic=True,
        )
    _event(gate, Kind.EVIDENCE, at)
    _event(gate, Kind.SUBMITTED, at)
    return SignOff.objects.create(
        gate=gate, round=1, requester=requester, requested_at=at - timedelta(hours=2), team=gate.team, synthetic=True
    )


def _event(gate: Gate, kind: Kind, at: datetime, *, verdict: str = "", valid_until: date | None = None) -> None:
    GateEvent.objects.create(
        gate=gate, kind=kind, verdict=verdict, valid_until=valid_until, at=at, actor="system", synthetic=True
    )


def _signer(gate: Gate) -> User:
    member = Membership.objects.filter(team=gate.team).exclude(role__in=["executive", "auditor"]).order_by("pk").first()
    if member is None:
        raise LookupError(f"The demo's cast has nobody who signs for {gate.team}.")
    return member.user


def _make_rotas(teams: Mapping[str, Team], people: Mapping[str, User], *, at: datetime) -> None:
    operator = people["Oskar Lind"]
    monday = at.date() - timedelta(days=at.weekday() + 28)
    for team, members in (("support", ["Oskar Lind", "Olive Hart"]), ("desktops", ["Oskar Lind"])):
        schedule = oncall.create_schedule(teams[team], zone="Europe/London", actor=operator)
        oncall.set_rotation(
            schedule, people=[people[name] for name in members], start_day=monday, start_time=time(9), actor=operator
        )


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines() if line]


def _without_label(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "label"}
