"""Build the demo's company, once. Everything a person could also do is done by the same verbs that they would use."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from apps.accounts.models import Membership, Team, User
from apps.agents import actions as agents
from apps.agents import workflows
from apps.agents.models import Agent, Stage
from apps.approvals.actions.policies import publish_policy
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors import actions as connectors
from apps.connectors.models import Connector, Credential
from apps.connectors.sealing import NoSealingKey, Sealed, unseal
from apps.demo.company import AGENTS, CAST, COMPANY, DESK_TEAM, LIVE_AGENT, TEAMS, DemoAgent
from apps.demo.desk.store import Store
from apps.demo.history import PRECEDENTS, World, import_history, tell_import
from apps.oncall import actions as oncall
from apps.programs.actions import planning, readings
from apps.programs.actions.board import refresh_states
from apps.programs.domain.graph import Edge, in_order
from apps.programs.domain.states import Kind, Verdict
from apps.programs.models import Dependency, Evidence, Gate, GateEvent, Program, SignOff
from apps.programs.queries import newest_evidence
from apps.runs.models import ImportJob, WorkItem
from apps.runs.reading import import_bytes, learn_bytes
from apps.slo import actions as slo

DATA: Final = Path(__file__).parent / "data"
WORKFLOW: Final = "ticket_desk"
LOOPBACK: Final = "127.0.0.0/8"
TRANSITION_OF_STAGE: Final = {Stage.PILOT: "G1", Stage.PRODUCTION: "G2", Stage.SCALED: "G3"}
# In the company's past evidence is so old when a signature is asked for, and the answer comes so long after.
WRITING: Final = timedelta(hours=1)
REVIEW: Final = timedelta(hours=2)
# What waits for a signature today was asked for so long ago.
SINCE_ASKED: Final = timedelta(days=1)
# A pass is renewed when this share of its validity has run.
RENEWED_AFTER: Final = 0.8


def is_seeded() -> bool:
    return Agent.objects.filter(slug=LIVE_AGENT, is_demo=True).exists()


class RealHouse(Exception):
    """Real people or agents live in this database: the demo's cast, whom one click signs in, must not move in with them."""


@transaction.atomic
def seed(*, now: datetime | None = None) -> dict[str, int]:
    """Make the company with its month of history, all or nothing; a second call does nothing and returns no counts.

    Raises RealHouse where somebody already works with real data.
    """
    if is_seeded():
        return {}
    _ensure_empty()
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


def _ensure_empty() -> None:
    if any(model.objects.filter(is_demo=False).exists() for model in (User, Agent, Connector)):
        raise RealHouse(
            "This database holds real people, systems or agents, so the demo company was not added. Nothing was changed. "
            "Start with DEMO=0, or give the demo a folder of its own: make run VAR_DIR=.var-demo"
        )


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
        stages=[(stage, at - timedelta(days=days)) for stage, days in spec.stages],
        is_demo=True,
    )
    workflow = workflows.workflow(WORKFLOW)
    if workflow is None:
        raise LookupError(f"The demo needs the workflow {WORKFLOW}.")
    # A few hundred precedents are weaker evidence than thousands; from here on they were right on the demo's own tickets.
    chosen = {**workflow.default_settings, "sure_at": 0.45}
    version = agents.publish_version(agent, settings=chosen, author=owner, actor=owner)
    undoing, does = workflow.action_types(chosen)
    agents.define_action_type(agent, **undoing, actor=owner)
    action_type = agents.define_action_type(agent, **does, level=spec.level, actor=owner)
    policy = publish_policy(action_type, actor=owner.actor, name=f"{spec.name}: a person decides")
    if spec.slug == LIVE_AGENT:
        learn_bytes(version, PRECEDENTS.read_bytes(), name=PRECEDENTS.name, actor=owner.actor)
    program = _make_program(spec, agent, people, at=at)
    reviewers = [people["Rhea Moran"], people["Ruben Okoye"]]
    totals: dict[str, int] = {}
    if spec.past.cases_a_day:
        pilot = next(days for stage, days in spec.stages if stage == Stage.PILOT)
        since = at - timedelta(days=pilot)
        world = World(agent, version, action_type, policy, connector, reviewers, since)
        totals = import_history(world, spec.past, now=at)
    else:
        slo.ensure_objectives(agent)
    if program is not None:
        readings.evaluate_gates(program, at=at)
    tell_import(agent)
    return totals


def _make_program(spec: DemoAgent, agent: Agent, people: Mapping[str, User], *, at: datetime) -> Program | None:
    if not spec.program:
        return None
    begun = at - timedelta(days=spec.stages[0][1])
    program = planning.open_program(
        agent, name=spec.program, tier="medium", actor=people["Tamsin Cole"], start_date=begun.date()
    )
    gates = {gate.key: gate for gate in program.gates.select_related("team")}
    edges = Dependency.objects.filter(gate__program=program).values_list("gate__key", "needs__key")
    order = in_order(gates, [Edge(*edge) for edge in edges])
    requester = people["Ansel Brandt"]
    for gate, first in _first_passes(spec, [gates[key] for key in order], at=at):
        for number, passed in enumerate(_passes(gate, first, until=at), start=1):
            _pass_gate(gate, requester, number=number, at=passed)
    for key in spec.gates_submitted:
        _ask_for_signature(gates[key], requester, number=1, at=at - SINCE_ASKED)
    refresh_states(program, at=at)
    return program


def _first_passes(spec: DemoAgent, gates: Sequence[Gate], *, at: datetime) -> Iterator[tuple[Gate, datetime]]:
    """When each gate that is done passed first: after all that it waits on, and before the stage that it guards.

    `gates` come in an order that puts each after all it waits on; those of one transition pass at even distances.
    """
    entered = [(stage, at - timedelta(days=days)) for stage, days in spec.stages]
    for (_, begins), (stage, ends) in pairwise([*entered, (None, at)]):
        if stage is None:
            done = [gate for gate in gates if gate.key in spec.gates_done]
        else:
            done = [gate for gate in gates if gate.transition == TRANSITION_OF_STAGE[Stage(stage)]]
        for place, gate in enumerate(done, start=1):
            yield gate, begins + (ends - begins) * place / (len(done) + 1)


def _passes(gate: Gate, first: datetime, *, until: datetime) -> Iterator[datetime]:
    """The first pass and its renewals: each comes in good time before the one before it runs out."""
    passed = first
    while passed < until:
        yield passed
        passed += timedelta(days=gate.validity_days) * RENEWED_AFTER


def _pass_gate(gate: Gate, requester: User, *, number: int, at: datetime) -> None:
    until = at.date() + timedelta(days=gate.validity_days)
    if gate.mode == "automatic":
        _event(gate, Kind.READING, at, verdict=Verdict.PASS, valid_until=until)
        return
    sign_off = _ask_for_signature(gate, requester, number=number, at=at - REVIEW)
    sign_off.signer, sign_off.outcome, sign_off.decided_at = _signer(gate), SignOff.Outcome.SIGN, at
    sign_off.reason = "Demo data"
    sign_off.frozen = {
        "evidence": [[each.item, each.version, each.url] for each in newest_evidence(gate)],
        "reading": None,
        "fingerprint": gate.program.seen["version"],
        "catalogue": gate.program.catalogue.version,
        "valid_until": until.isoformat(),
    }
    sign_off.save(update_fields=["signer", "outcome", "decided_at", "reason", "frozen"])
    if gate.mode == "hybrid":
        _event(gate, Kind.READING, at, verdict=Verdict.PASS)
    _event(gate, Kind.SIGNED, at, by=sign_off.signer, valid_until=until, payload={"round": number})


def _ask_for_signature(gate: Gate, requester: User, *, number: int, at: datetime) -> SignOff:
    """Give evidence and put the gate before its team. A later round begins with new evidence, as the gate had passed."""
    if number == 1:
        for position in range(len(gate.evidence_items)):
            told = _give_evidence(gate, requester, item=position, version=1, at=at - WRITING)
            _event(gate, Kind.EVIDENCE, at - WRITING, by=requester, payload=told)
        _event(gate, Kind.SUBMITTED, at, by=requester, payload={"round": 1})
    else:
        told = _give_evidence(gate, requester, item=0, version=number, at=at)
        reason = "Its pass was about to run out."
        _event(gate, Kind.REOPENED, at, by=requester, payload={**told, "round": number, "reason": reason})
    return SignOff.objects.create(
        gate=gate, round=number, requester=requester, requested_at=at, team=gate.team, synthetic=True
    )


def _give_evidence(gate: Gate, requester: User, *, item: int, version: int, at: datetime) -> dict[str, Any]:
    page = f"{gate.key.lower().replace(':', '-')}-{item + 1}"
    evidence = Evidence.objects.create(
        gate=gate,
        item=item,
        version=version,
        name=gate.evidence_items[item][:200],
        url=f"https://wiki.tidewater.example/launch/{gate.program.agent.slug}/{page}",
        uploaded_by=requester,
        at=at,
        synthetic=True,
    )
    return {"item": item, "version": version, "url": evidence.url}


def _event(
    gate: Gate,
    kind: Kind,
    at: datetime,
    *,
    by: User | None = None,
    verdict: str = "",
    valid_until: date | None = None,
    payload: Mapping[str, Any] | None = None,
) -> None:
    GateEvent.objects.create(
        gate=gate,
        kind=kind,
        verdict=verdict,
        valid_until=valid_until,
        at=at,
        actor=by.actor if by else "timer",
        payload=payload or {},
        synthetic=True,
    )


def _signer(gate: Gate) -> User:
    member = Membership.objects.filter(team=gate.team).exclude(role__in=["executive", "auditor"]).order_by("pk").first()
    if member is None:
        raise LookupError(f"The demo's cast has nobody who signs for {gate.team}.")
    return member.user


def _make_rotas(teams: Mapping[str, Team], people: Mapping[str, User], *, at: datetime) -> None:
    operator = people["Oskar Lind"]
    monday = at.date() - timedelta(days=at.weekday() + 28)
    for team, members in (("support", ["Oskar Lind", "Olive Hart"]), ("desktops", ["Oskar Lind", "Olive Hart"])):
        schedule = oncall.create_schedule(teams[team], zone="Europe/London", actor=operator)
        oncall.set_rotation(
            schedule, people=[people[name] for name in members], start_day=monday, start_time=time(9), actor=operator
        )


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines() if line]


def _without_label(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "label"}
