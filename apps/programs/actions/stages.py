"""Record that an agent entered its next stage: the only way there."""

from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.agents import actions as agents
from apps.agents.models import Stage, StageEvent
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.programs.actions.board import locked_program, refresh_states
from apps.programs.actions.readings import evaluate_gates
from apps.programs.domain.catalogue import TRANSITIONS
from apps.programs.errors import NotReady, ProgramError
from apps.programs.models import Program
from apps.programs.queries import readiness, transitions_made

STAGE_AFTER = {"G1": Stage.PILOT, "G2": Stage.PRODUCTION, "G3": Stage.SCALED}


@transaction.atomic
def advance(
    program: Program, *, transition: str, actor: User, reason: str = "", at: datetime | None = None
) -> StageEvent:
    """Record a forward move of the stage. Refused with the list of open gates unless all are satisfied."""
    row = locked_program(program.pk)
    now = at or clock()
    evaluate_gates(row, at=now)
    agent = row.agent
    made = transitions_made(agent)
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
    # Gates that need data of the new stage wait no longer.
    refresh_states(row, at=now)
    return event
