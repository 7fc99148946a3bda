"""R17: planted cards with one known fault. They look like any other, never run, and are revealed after the verdict."""

import random
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from django.db import transaction

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.agents import queries as agents
from apps.agents.models import Agent, AgentVersion
from apps.approvals import errors
from apps.approvals.actions import intake, moves
from apps.approvals.actions.intake import ProposalRequest
from apps.approvals.actions.moves import Step
from apps.approvals.actions.policies import ensure_policy
from apps.approvals.domain import drills, pace
from apps.approvals.domain.drills import Case, Fault, Revealed
from apps.approvals.models import OPEN, Decision, Drill, Proposal
from apps.approvals.queries.drills import PLANT, Pace, cases_of, outcome_of, pace_of_agents, told_of
from apps.approvals.queries.rules import connector_id
from apps.audit import actions as audit
from apps.audit.clock import clock

# Not every case takes every mutation; after so many there is probably none that fits.
CASES_TRIED: Final = 20
BATCH: Final = 200
THREAD_PREFIX: Final = "drill:"
BY_CLOCK: Final = "timer"


class NothingToPlant(errors.Refused):
    """No approved case of the agent takes such a fault today, or its people have other things to do."""

    code = "nothing_to_plant"


def plant_by_hand(agent: Agent, *, mutation: str | None = None, actor: User, at: datetime | None = None) -> Drill:
    """Plant one drill because an administrator asks for it. Raises Forbidden, or NothingToPlant with the reason."""
    if not actor.has_perm(PLANT, agent.team_id):
        raise Forbidden(PLANT, agent.team_id)
    return plant_drill(agent, mutation=mutation, actor=actor.actor, at=at)


@transaction.atomic
def plant_drill(
    agent: Agent, *, mutation: str | None = None, seed: int | None = None, actor: str, at: datetime | None = None
) -> Drill:
    """Copy one real approved case of an agent with one argument wrong, and put it before its people.

    The same seed over the same cases plants the same fault. Raises NothingToPlant.
    """
    now = at or clock()
    seed = secrets.randbits(32) if seed is None else seed
    version = agent.versions.filter(is_current=True).select_related("agent").first()
    if version is None:
        raise NothingToPlant("This agent has no version in force. Nothing was planted.")
    cases = cases_of(agent, at=now)
    draw = random.Random(seed)  # noqa: S311  # a plan that can be repeated, not a secret
    drawn = draw.sample(cases, len(cases))
    for original in drawn[:CASES_TRIED]:
        drill = _plant(original, version, cases, seed=seed, mutation=mutation, now=now)
        if drill is not None:
            audit.record(
                "drill.planted",
                subject=f"drill:{drill.pk}",
                actor=actor,
                team_id=drill.proposal.team_id,
                proposal_id=drill.proposal_id,
                digest=drill.proposal.digest,
                payload={"mutation": drill.mutation, "fault_path": drill.fault_path, "original": original.pk},
            )
            return drill
    raise NothingToPlant(
        "No approved case of this agent can be planted now: it needs one that a person approved, that succeeded, and that"
        " takes such a fault. Nothing was planted."
    )


def plant_due(at: datetime | None = None) -> int:
    """Plant what keeps each team's drills at their share; at most one a team and tick. Return how many."""
    now = at or clock()
    planted = 0
    for choices in _by_team(pace_of_agents(at=now)):
        if _is_due(choices):
            # The agent is drawn by how much of the team's work it makes.
            drawn = random.SystemRandom().choices(choices, weights=[each.real for each in choices])[0]
            planted += _plant_one(drawn.agent_id, at=at)
    return planted


@transaction.atomic
def settle(row: Proposal, decision: Decision, *, at: datetime) -> Revealed:
    """Say whether the final verdict caught a drill, and reveal it to whoever gave it."""
    drill = Drill.objects.select_related("original").get(proposal=row)
    decision.proposal = row
    _reveal(drill, outcome_of(decision, drill), row, actor=decision.actor, at=at, verdict=decision.verdict)
    return told_of(drill, drill.outcome)


def settle_escalated(row: Proposal, *, actor: User, at: datetime) -> Revealed | None:
    """Close a locked, open drill that somebody escalates: whoever calls for help has caught it. None for a live card."""
    if row.kind != Proposal.Kind.DRILL or not row.is_open:
        return None
    step = Step("T9", "person")
    moves.move(row, step, closed_at=at)
    decision = Decision.objects.create(
        proposal=row,
        verdict=Decision.Verdict.ASK,
        by_kind=Decision.By.PERSON,
        actor=actor,
        digest=row.digest,
        policy_version=row.policy.version if row.policy else None,
        reason="Escalated.",
        decided_at=at,
    )
    moves.announce(row)
    facts = {"verdict": "ask", "final": True, "reason": decision.reason, "channel": decision.channel}
    moves.tell(row, "proposal.decided", step, actor=actor.actor, payload=facts)
    return settle(row, decision, at=at)


@transaction.atomic
def settle_undecided(at: datetime | None = None) -> int:
    """Reveal drills that ended without a verdict: expired, or withdrawn. Nobody caught or missed them."""
    now = at or clock()
    rows = Drill.objects.select_for_update(of=("self",), skip_locked=True).filter(revealed_at__isnull=True)
    rows = rows.exclude(proposal__state__in=OPEN).select_related("proposal__agent_version", "proposal__policy")
    ended = list(rows.order_by("pk")[:BATCH])
    for drill in ended:
        _reveal(drill, Drill.Outcome.NONE, drill.proposal, actor=None, at=now)
    return len(ended)


def _by_team(paces: list[Pace]) -> list[list[Pace]]:
    teams: dict[int, list[Pace]] = {}
    for each in paces:
        teams.setdefault(each.team_id, []).append(each)
    return list(teams.values())


def _is_due(choices: list[Pace]) -> bool:
    real, planted = sum(each.real for each in choices), sum(each.planted for each in choices)
    if real < pace.FEWEST_CARDS or not pace.has_room(real=real, planted=planted):
        return False
    return random.SystemRandom().random() < pace.CHANCE_PER_TICK


def _plant_one(agent_id: int, *, at: datetime | None) -> int:
    try:
        plant_drill(Agent.objects.get(pk=agent_id), actor=BY_CLOCK, at=at)
    except NothingToPlant:
        return 0
    return 1


def _plant(
    original: Proposal,
    version: AgentVersion,
    cases: list[Proposal],
    *,
    seed: int,
    mutation: str | None,
    now: datetime,
) -> Drill | None:
    kind = original.action_type
    if original.schema_version != kind.schema_version or _is_stopped(original, version):
        return None
    others = [each.args for each in cases if each.action_type_id == kind.pk and each.pk != original.pk]
    case = Case(
        schema=kind.args_schema,
        args=original.args,
        materiality=kind.materiality,
        state=original.body.state_proposed,
        denied=_denied(original),
        others=others,
        target=original.target,
    )
    for fault in drills.faults(case, seed=seed, only=mutation):
        row = _card_of(original, version, fault, now)
        if row is not None:
            return Drill.objects.create(
                proposal=row,
                original=original,
                mutation=fault.mutation,
                fault_path=fault.path,
                fault_words=fault.words,
                planted_at=now,
            )
    return None


def _card_of(original: Proposal, version: AgentVersion, fault: Fault, now: datetime) -> Proposal | None:
    request = copy_of(original, version, args=fault.args, prefix=THREAD_PREFIX, now=now, fault=fault)
    # What a policy refuses by itself never reaches people; a broken clause is planted as if the policy had let it pass.
    judged = copy_of(original, version, args=original.args, prefix=THREAD_PREFIX, now=now)
    return intake.plant(
        request, kind=Proposal.Kind.DRILL, judged=judged if fault.mutation == drills.POLICY else request, at=now
    )


def copy_of(
    original: Proposal,
    version: AgentVersion,
    *,
    args: Mapping[str, Any],
    prefix: str,
    now: datetime,
    fault: Fault | None = None,
) -> ProposalRequest:
    """Return a real case as its agent would propose it today; with a fault, as if it had been wrong from the start."""
    body = original.body
    texts = {
        "title": original.title,
        "consequence": body.consequence,
        "agent_text": body.agent_text,
        "state_if_approved": body.state_if_approved,
    }
    if fault is not None:
        texts = drills.carried(texts, was=fault.was, became=fault.became)
    return ProposalRequest(
        agent_version=version,
        action_type=original.action_type,
        args=args,
        target=original.target,
        subject=original.subject,
        run_id=original.run_id_value,
        work_item_id=original.work_item_id_value,
        thread_id=f"{prefix}{uuid4()}",
        tool_call_id=original.tool_call_id,
        source=original.source,
        state_proposed=body.state_proposed,
        evidence=body.evidence,
        confidence=original.confidence,
        sla_due=original.sla_due + (now - original.created_at) if original.sla_due else None,
        tool_name=original.tool_name,
        trace_ref=body.trace_ref,
        **texts,
    )


def _is_stopped(original: Proposal, version: AgentVersion) -> bool:
    """While something is stopped people have a real problem: that is no time for an exercise."""
    stopped = agents.blocking_switch(
        team_id=version.agent.team_id,
        connector_id=connector_id(original.target),
        agent_id=version.agent_id,
        action_type_id=original.action_type_id,
        lock=False,
    )
    return stopped is not None


def _denied(original: Proposal) -> Mapping[str, list[Any]]:
    stored = ensure_policy(original.action_type).conditions
    deny = stored.get("deny", {}) if isinstance(stored, Mapping) else {}
    return {name: values for name, values in deny.items() if isinstance(values, list)}


def _reveal(
    drill: Drill, outcome: str, row: Proposal, *, actor: User | None, at: datetime, verdict: str | None = None
) -> None:
    drill.outcome, drill.revealed_at = outcome, at
    drill.save(update_fields=["outcome", "revealed_at"])
    audit.record(
        "drill.settled",
        subject=f"drill:{drill.pk}",
        actor=actor.actor if actor else BY_CLOCK,
        team_id=row.team_id,
        proposal_id=row.pk,
        digest=row.digest,
        outcome=outcome,
        payload={"verdict": verdict, "mutation": drill.mutation, "state": row.state},
    )
