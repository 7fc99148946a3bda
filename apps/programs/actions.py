"""The verbs of a launch: open a program, gather evidence, submit, sign, read the numbers, advance."""

import hashlib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml
from django.db import connection, transaction

from apps.accounts.models import Team, User
from apps.agents import actions as agents
from apps.agents.models import Agent, AgentVersion, Stage, StageEvent, Standing
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors.models import Connector
from apps.programs.domain.catalogue import TRANSITIONS, Tier, plan_for, read_catalogue
from apps.programs.domain.criteria import Reading
from apps.programs.domain.graph import Edge, in_order, loop_through
from apps.programs.domain.states import SATISFIED, Event, Kind, Mode, State, Verdict, may_submit, state_of
from apps.programs.errors import BadEvidence, NotReady, NotYours, ProgramError
from apps.programs.metrics import read_gate
from apps.programs.models import Catalogue, Dependency, Evidence, Gate, GateEvent, Program, SignOff
from apps.programs.queries import may_sign, readiness

SHIPPED = Path(__file__).parent / "catalogue" / "gates.yaml"
# Edges may cross programs, so all writers of edges take the same lock: without it two opposite edges could both pass.
EDGE_LOCK = "programs.edges"
STAGE_AFTER = {"G1": Stage.PILOT, "G2": Stage.PRODUCTION, "G3": Stage.SCALED}


@transaction.atomic
def load_catalogue(path: Path = SHIPPED, *, actor: str) -> Catalogue:
    """Check a catalogue file and keep it as an immutable version; the same bytes again are the same version.

    Raises CatalogueError with every fault of the file.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    known = Catalogue.objects.filter(sha256=digest).first()
    if known:
        return known
    body = yaml.safe_load(content)
    body["date"] = str(body.get("date", ""))
    read_catalogue(body)
    newest = Catalogue.objects.order_by("-version").values_list("version", flat=True).first() or 0
    row = Catalogue.objects.create(version=newest + 1, body=body, sha256=digest)
    audit.record(
        "catalogue.loaded",
        subject=f"catalogue:{row.version}",
        actor=actor,
        payload={"sha256": digest, "gates": len(body["gates"])},
    )
    return row


@transaction.atomic
def open_program(
    agent: Agent,
    *,
    name: str,
    tier: Tier,
    actor: User,
    start_date: date | None = None,
    target_date: date | None = None,
    catalogue: Catalogue | None = None,
) -> Program:
    """Plan an agent's launch: the catalogue's gates of its tier, one access gate per system, owned by their teams."""
    if Program.objects.filter(agent=agent).exists():
        raise ProgramError(f"{agent.name} has a program already.")
    pinned = catalogue or load_catalogue(actor=actor.actor)
    connector = Connector.objects.filter(key=agent.connector_key).select_related("team").first()
    plan = plan_for(read_catalogue(pinned.body), tier=tier, integrations=[agent.connector_key] if connector else [])
    last = Program.objects.order_by("-rank").values_list("rank", flat=True).first() or 0
    program = Program.objects.create(
        agent=agent,
        name=name,
        home_team=agent.team,
        rank=last + 1,
        tier=tier,
        catalogue=pinned,
        start_date=start_date or clock().date(),
        target_date=target_date,
    )
    owners = {slug: _owning_team(slug, connector) for slug in {planned.spec.team for planned in plan.gates}}
    gates = Gate.objects.bulk_create(
        Gate(
            program=program,
            key=planned.key,
            name=planned.name,
            transition=planned.spec.transition,
            mode=planned.spec.mode,
            team=owners[planned.spec.team],
            est_o=planned.spec.estimate[0],
            est_m=planned.spec.estimate[1],
            est_p=planned.spec.estimate[2],
            criterion=planned.spec.criterion,
            evidence_items=list(planned.spec.evidence),
            keep=planned.spec.keep,
            after_stage=planned.spec.after_stage or "",
            validity_days=planned.spec.validity_days,
        )
        for planned in plan.gates
    )
    by_key = {gate.key: gate for gate in gates}
    Dependency.objects.bulk_create(
        Dependency(gate=by_key[edge.gate], needs=by_key[edge.needs], lag_days=edge.lag_days) for edge in plan.edges
    )
    audit.record(
        "program.opened",
        subject=f"program:{program.pk}",
        actor=actor.actor,
        team_id=agent.team_id,
        payload={"agent": agent.slug, "tier": tier, "catalogue": pinned.version, "gates": len(gates)},
    )
    refresh_states(program)
    return program


def _owning_team(slug: str, connector: Connector | None) -> Team:
    """Return the team of a catalogue's word; one that does not exist yet is made, with nobody in it."""
    if slug == "api_owner" and connector:
        return connector.team
    name = {"ml": "ML", "ciso": "CISO", "api_owner": "API owners"}.get(slug, slug.replace("_", " ").capitalize())
    team, _ = Team.objects.get_or_create(
        slug=slug.replace("_", "-"), defaults={"name": name, "purpose": "Owns launch gates."}
    )
    return team


@transaction.atomic
def add_dependency(gate: Gate, *, needs: Gate, actor: User, lag_days: int = 0) -> Dependency:
    """Let a gate wait on another. Refuses a loop with the way round, and what belongs to a later transition."""
    with connection.cursor() as sql:
        sql.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [EDGE_LOCK])
    if TRANSITIONS.index(needs.transition) > TRANSITIONS.index(gate.transition):
        raise ProgramError(
            f"{gate.key} cannot wait on {needs.key}: that belongs to the later transition {needs.transition}."
        )
    edges = [
        Edge(_edge_key(edge.gate), _edge_key(edge.needs))
        for edge in Dependency.objects.select_related("gate", "needs").iterator()
    ]
    loop = loop_through(edges, Edge(_edge_key(gate), _edge_key(needs)))
    if loop:
        shown = " → ".join(key.split("/", 1)[1] for key in loop)
        raise ProgramError(f"This would be a loop: {shown} (→ waits on)")
    dependency, is_new = Dependency.objects.get_or_create(gate=gate, needs=needs, defaults={"lag_days": lag_days})
    if is_new:
        _audit_gate("gate.dependency_added", gate, actor.actor, {"needs": needs.key, "lag_days": lag_days})
        refresh_states(gate.program)
    return dependency


def _edge_key(gate: Gate) -> str:
    return f"{gate.program_id}/{gate.key}"


@transaction.atomic
def start_gate(gate: Gate, *, actor: User, at: datetime | None = None) -> Gate:
    """Take a gate up; the one who starts it owns it."""
    row = _locked(gate)
    if row.owner_id is None:
        row.owner = actor
        row.save(update_fields=["owner"])
    return _happen(row, Event(Kind.STARTED), actor=actor.actor, at=at)


@transaction.atomic
def add_evidence(
    gate: Gate, *, item: int, name: str, url: str, actor: User, note: str = "", at: datetime | None = None
) -> Evidence:
    """Keep a new version of one item of evidence. A passed gate goes back to its owning team."""
    row = _locked(gate)
    if not 0 <= item < len(row.evidence_items):
        raise BadEvidence("This gate has no such item of evidence.")
    version = row.evidence.filter(item=item).count() + 1
    evidence = row.evidence.create(item=item, version=version, name=name, url=url, note=note, uploaded_by=actor)
    kind = Kind.REOPENED if row.state in {State.PASSED, State.WAIVED} else Kind.EVIDENCE
    _happen(row, Event(kind), actor=actor.actor, at=at, payload={"item": item, "version": version, "url": url})
    return evidence


@transaction.atomic
def submit_gate(gate: Gate, *, actor: User, at: datetime | None = None) -> SignOff:
    """Put a gate before its owning team: a new round. Every item of evidence must be there."""
    row = _locked(gate)
    if row.mode == "automatic":
        raise ProgramError(f"{row.key} is computed from records; nobody submits or signs it.")
    if row.state == State.SUBMITTED:
        raise ProgramError(f"{row.key} waits for {row.team} already.")
    if not may_submit(State(row.state)):
        raise ProgramError(f"{row.key} is {row.get_state_display()}; there is nothing to submit.")
    given = set(row.evidence.values_list("item", flat=True))
    missing = [text for position, text in enumerate(row.evidence_items) if position not in given]
    if missing:
        raise BadEvidence("Evidence is missing: " + "; ".join(missing))
    now = at or clock()
    sign_off = row.sign_offs.create(round=row.sign_offs.count() + 1, requester=actor, requested_at=now, team=row.team)
    _happen(row, Event(Kind.SUBMITTED), actor=actor.actor, at=now, payload={"round": sign_off.round})
    return sign_off


@transaction.atomic
def sign_gate(gate: Gate, *, actor: User, reason: str = "", at: datetime | None = None) -> SignOff:
    """Record the owning team's consent on the evidence as it stands. No gate passes while a prerequisite is open."""
    row = _locked(gate)
    sign_off = _open_round(row, actor)
    blocking = _open_prerequisites(row)
    if blocking:
        raise ProgramError(f"{row.key} cannot pass while it waits on " + ", ".join(blocking) + ".")
    reading = row.readings.order_by("-at", "-pk").first()
    if row.mode == "hybrid" and (reading is None or reading.verdict != Verdict.PASS):
        raise ProgramError(
            f"{row.key} also needs its number: " + (reading.text if reading else "nothing has been measured yet.")
        )
    now = at or clock()
    valid_until = _local_date(row, now) + timedelta(days=row.validity_days)
    frozen = {
        "evidence": [[each.item, each.version, each.url] for each in _newest_evidence(row)],
        "reading": reading.pk if reading else None,
        "fingerprint": _fingerprint(row),
        "catalogue": row.program.catalogue.version,
        "valid_until": valid_until.isoformat(),
    }
    _close_round(sign_off, actor=actor, outcome=SignOff.Outcome.SIGN, reason=reason, at=now, frozen=frozen)
    _happen(
        row,
        Event(Kind.SIGNED, valid_until=valid_until),
        actor=actor.actor,
        at=now,
        payload={"round": sign_off.round, "reason": reason},
    )
    return sign_off


@transaction.atomic
def refuse_gate(gate: Gate, *, actor: User, reason: str, at: datetime | None = None) -> SignOff:
    """Record the owning team's refusal, with its reason."""
    if not reason.strip():
        raise BadEvidence("Say why, so that the next round can answer it.")
    row = _locked(gate)
    sign_off = _open_round(row, actor)
    now = at or clock()
    _close_round(sign_off, actor=actor, outcome=SignOff.Outcome.REFUSE, reason=reason, at=now, frozen={})
    _happen(row, Event(Kind.REFUSED), actor=actor.actor, at=now, payload={"round": sign_off.round, "reason": reason})
    return sign_off


def _open_round(gate: Gate, actor: User) -> SignOff:
    if gate.mode == "automatic":
        raise ProgramError(f"{gate.key} is computed from records; nobody can tick it.")
    if not may_sign(actor, gate):
        raise NotYours(f"Only {gate.team} signs {gate.key}.")
    sign_off = gate.sign_offs.filter(outcome="").order_by("-round").first()
    if sign_off is None or gate.state != State.SUBMITTED:
        raise ProgramError(f"{gate.key} has not been submitted.")
    if sign_off.requester_id == actor.pk:
        raise NotYours("You submitted this; someone else of the team must sign.")
    if any(each.uploaded_by_id == actor.pk for each in _newest_evidence(gate)):
        raise NotYours("You uploaded evidence for this; someone else of the team must sign.")
    return sign_off


def _newest_evidence(gate: Gate) -> list[Evidence]:
    return list(gate.evidence.order_by("item", "-version").distinct("item"))


def _close_round(
    sign_off: SignOff, *, actor: User, outcome: str, reason: str, at: datetime, frozen: Mapping[str, object]
) -> None:
    sign_off.signer, sign_off.outcome, sign_off.reason = actor, outcome, reason
    sign_off.decided_at, sign_off.frozen = at, dict(frozen)
    sign_off.save(update_fields=["signer", "outcome", "reason", "decided_at", "frozen"])


@transaction.atomic
def evaluate_gates(program: Program, *, at: datetime | None = None) -> int:
    """Read the numbers behind automatic and hybrid gates; return how many readings changed.

    An unknown verdict is kept to be shown, but moves nothing, and no gate passes while a prerequisite is open.
    """
    program = _locked_program(program.pk)
    now = at or clock()
    changed = 0
    gates = {gate.key: gate for gate in program.gates.select_related("team", "program__agent").exclude(mode="manual")}
    order = in_order(
        program.gates.values_list("key", flat=True),
        [
            Edge(edge.gate.key, edge.needs.key)
            for edge in Dependency.objects.filter(gate__program=program).select_related("gate", "needs")
        ],
    )
    for key in order:
        gate = gates.get(key)
        if gate is None:
            continue
        gate.refresh_from_db(fields=["state", "valid_until"])
        reading = read_gate(gate, at=now)
        changed += _keep_reading(gate, reading, at=now)
    refresh_states(program, at=now)
    report_gates(program, at=now)
    return changed


def _keep_reading(gate: Gate, reading: Reading, *, at: datetime) -> bool:
    last = gate.readings.order_by("-at", "-pk").first()
    is_news = last is None or (last.verdict, last.text) != (reading.verdict, reading.text)
    if is_news:
        gate.readings.create(
            at=at,
            n=reading.cases,
            k=reading.failures,
            value=reading.value,
            bound=reading.bound,
            verdict=reading.verdict,
            text=reading.text,
        )
    passes = reading.verdict is Verdict.PASS and not _open_prerequisites(gate)
    told = gate.events.filter(kind=Kind.READING).order_by("-pk").values_list("verdict", "valid_until").first()
    until = _local_date(gate, at) + timedelta(days=gate.validity_days) if passes else None
    if (passes or reading.verdict is Verdict.FAIL) and told != (reading.verdict.value, until):
        event = Event(Kind.READING, reading.verdict, until)
        _happen(gate, event, actor="timer", at=at, payload={"text": reading.text}, refresh=False)
    return is_news


def report_gates(program: Program, *, at: datetime | None = None) -> None:
    """Tell the agents floor whether every gate of the transitions already made still holds."""
    now = at or clock()
    reached = _transitions_made(program.agent)
    is_open = program.gates.filter(transition__in=reached).exclude(state__in=SATISFIED).exists()
    agents.report_standing(program.agent, kind=Standing.Kind.GATES, value="open" if is_open else "satisfied", as_of=now)


def _transitions_made(agent: Agent) -> list[str]:
    order = [Stage.DEMO, Stage.PILOT, Stage.PRODUCTION, Stage.SCALED]
    return list(TRANSITIONS[: order.index(Stage(agent.stage))]) if agent.stage in order else []


@transaction.atomic
def advance(
    program: Program, *, transition: str, actor: User, reason: str = "", at: datetime | None = None
) -> StageEvent:
    """Record a forward move of the stage: the only way there. Refused with the list of open gates unless all are satisfied."""
    row = _locked_program(program.pk)
    now = at or clock()
    evaluate_gates(row, at=now)
    agent = row.agent
    made = _transitions_made(agent)
    following = TRANSITIONS[len(made)] if len(made) < len(TRANSITIONS) else None
    if transition != following:
        raise ProgramError(
            f"{agent.name} is in {agent.get_stage_display()}; the next transition is {following or 'none'}."
        )
    answer = readiness(row, transition=transition)
    if answer.open_gates:
        raise NotReady(answer.sentence, [gate.key for gate in answer.open_gates])
    event = agents.record_stage(
        agent,
        stage=STAGE_AFTER[transition],
        reason=reason or f"All gates of {transition} are satisfied.",
        actor=actor,
        program_id=row.pk,
        at=now,
    )
    audit.record(
        "program.advanced",
        subject=f"program:{row.pk}",
        actor=actor.actor,
        team_id=row.home_team_id,
        payload={"transition": transition, "stage": STAGE_AFTER[transition].value},
    )
    return event


def refresh_states(program: Program, *, at: datetime | None = None) -> None:
    """Recompute the cached state of every gate, prerequisites first: a few queries, whatever happened."""
    now = at or clock()
    gates = {gate.pk: gate for gate in program.gates.all()}
    events: dict[int, list[Event]] = {pk: [] for pk in gates}
    for event in GateEvent.objects.filter(gate__program=program).order_by("pk"):
        events[event.gate_id].append(
            Event(Kind(event.kind), Verdict(event.verdict) if event.verdict else None, event.valid_until)
        )
    edges = list(Dependency.objects.filter(gate__program=program).values_list("gate_id", "needs_id"))
    order = in_order([str(pk) for pk in gates], [Edge(str(gate), str(needs)) for gate, needs in edges])
    today = now.astimezone(ZoneInfo(program.time_zone)).date()
    changed = []
    for pk in map(int, order):
        gate = gates[pk]
        waits = any(gates[needs].state not in SATISFIED for waiting, needs in edges if waiting == pk)
        waits = waits or bool(gate.after_stage and gate.after_stage not in _transitions_made(program.agent))
        state = state_of(_mode(gate), events[pk], prerequisites_open=waits, as_of=today)
        valid_until = next((event.valid_until for event in reversed(events[pk]) if event.valid_until), None)
        valid_until = valid_until if state in SATISFIED else None
        if (gate.state, gate.valid_until) != (state, valid_until):
            if gate.state != state:
                gate.state, gate.state_since = state, now
            gate.valid_until = valid_until
            changed.append(gate)
    Gate.objects.bulk_update(changed, ["state", "state_since", "valid_until"])


def _mode(gate: Gate) -> Mode:
    return gate.mode  # type: ignore[return-value]  # the catalogue admits three modes only


def _happen(
    gate: Gate,
    event: Event,
    *,
    actor: str,
    at: datetime | None = None,
    payload: dict[str, object] | None = None,
    refresh: bool = True,
) -> Gate:
    """Append what happened, and its audit row, then let the states follow."""
    now = at or clock()
    gate.events.create(
        kind=event.kind,
        verdict=event.verdict or "",
        valid_until=event.valid_until,
        at=now,
        actor=actor,
        payload=payload or {},
    )
    _audit_gate(f"gate.{event.kind}", gate, actor, {**(payload or {}), "verdict": event.verdict or ""})
    if refresh:
        refresh_states(gate.program, at=now)
        gate.refresh_from_db()
    return gate


def _audit_gate(action: str, gate: Gate, actor: str, payload: dict[str, object]) -> None:
    audit.record(
        action,
        subject=f"gate:{gate.pk}",
        actor=actor,
        team_id=gate.program.home_team_id,
        payload={"gate": gate.key, **payload},
    )


def _locked_program(pk: int) -> Program:
    """Lock a program, and read its agent's stage as it is now."""
    return Program.objects.select_for_update(of=("self",)).select_related("agent", "catalogue").get(pk=pk)


def _locked(gate: Gate) -> Gate:
    # The program's row is the lock of all its gates: states of one depend on the others.
    Program.objects.select_for_update().get(pk=gate.program_id)
    return Gate.objects.select_related("team", "program__catalogue", "program__agent").get(pk=gate.pk)


def _open_prerequisites(gate: Gate) -> list[str]:
    open_ones = gate.waits_on.exclude(needs__state__in=SATISFIED).select_related("needs__team")
    keys = [f"{edge.needs.key} {edge.needs.name} ({edge.needs.team})" for edge in open_ones]
    if gate.after_stage and gate.after_stage not in _transitions_made(gate.program.agent):
        keys.append(f"the transition {gate.after_stage}")
    return keys


def _local_date(gate: Gate, at: datetime) -> date:
    return at.astimezone(ZoneInfo(gate.program.time_zone)).date()


def _fingerprint(gate: Gate) -> str:
    return (
        AgentVersion.objects.filter(agent=gate.program.agent_id, is_current=True)
        .values_list("fingerprint", flat=True)
        .first()
        or ""
    )
