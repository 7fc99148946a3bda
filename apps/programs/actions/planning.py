"""Open a program, and say what waits on what in it."""

from datetime import date

from django.db import transaction

from apps.accounts.models import Team, User
from apps.agents.models import Agent
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors.models import Connector
from apps.programs.actions import locks
from apps.programs.actions.attesting import look_at
from apps.programs.actions.board import audit_gate, locked_program, refresh_states
from apps.programs.actions.catalogue import load_catalogue
from apps.programs.domain.catalogue import TRANSITIONS, Tier, plan_for, read_catalogue
from apps.programs.domain.graph import Edge, loop_through
from apps.programs.errors import ProgramError
from apps.programs.models import Catalogue, Dependency, Gate, Program


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
    locks.wait_for(locks.OPENING)
    if Program.objects.filter(agent=agent).exists():
        raise ProgramError(f"{agent.name} has a program already.")
    now = clock()
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
        start_date=start_date or now.date(),
        target_date=target_date,
        seen=look_at(agent, at=now),
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
    refresh_states(program, at=now)
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
    """Let a gate wait on another of its program.

    Refuses a loop with the way round, and a gate of another program or of a later transition.
    """
    locks.wait_for(locks.EDGES)
    program = locked_program(gate.program_id)
    if needs.program_id != program.pk:
        raise ProgramError(
            f"{gate.key} cannot wait on {needs.key} of {needs.program}: gates wait on gates of their own program only."
        )
    if TRANSITIONS.index(needs.transition) > TRANSITIONS.index(gate.transition):
        raise ProgramError(
            f"{gate.key} cannot wait on {needs.key}: that belongs to the later transition {needs.transition}."
        )
    edges = Dependency.objects.filter(gate__program=program).values_list("gate__key", "needs__key")
    loop = loop_through([Edge(*edge) for edge in edges], Edge(gate.key, needs.key))
    if loop:
        raise ProgramError(f"This would be a loop: {' → '.join(loop)} (→ waits on)")
    dependency, is_new = Dependency.objects.get_or_create(gate=gate, needs=needs, defaults={"lag_days": lag_days})
    if is_new:
        audit_gate("gate.dependency_added", gate, actor.actor, {"needs": needs.key, "lag_days": lag_days})
        refresh_states(program)
    return dependency
