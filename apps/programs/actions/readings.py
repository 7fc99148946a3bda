"""Read the numbers behind the gates, let the states follow, and tell the agents floor how they stand."""

from datetime import datetime, timedelta

from django.db import transaction

from apps.agents import actions as agents
from apps.agents.models import Standing
from apps.audit.clock import clock
from apps.programs.actions.attesting import re_attest
from apps.programs.actions.board import Board, locked_program
from apps.programs.domain.criteria import Reading
from apps.programs.domain.states import SATISFIED, Event, Kind, Verdict
from apps.programs.metrics import read_gate
from apps.programs.models import Gate, GateReading, Program
from apps.programs.queries import transitions_made


@transaction.atomic
def evaluate_gates(program: Program, *, at: datetime | None = None) -> int:
    """Read the numbers behind automatic and hybrid gates, prerequisites first; return how many readings changed.

    Each gate settles before the next is read: a chain of computed gates settles in one round, and none passes on a
    prerequisite that failed in it. An unknown verdict is kept to be shown, but moves nothing.
    """
    row = locked_program(program.pk)
    board = Board(row, at=at or clock())
    board.settle_all()
    re_attest(board)
    kept = {
        reading.gate_id: reading
        for reading in GateReading.objects.filter(gate__program=row).order_by("gate", "-at", "-pk").distinct("gate")
    }
    changed = 0
    for gate in board:
        if gate.mode != "manual":
            # A number may count other gates, so what has settled must be there to be counted.
            board.save()
            reading = read_gate(gate, at=board.at)
            before = kept.get(gate.pk)
            changed += keep_reading(gate, reading, before=before, at=board.at) != before
            _tell(board, gate, reading)
        board.settle(gate)
    board.save()
    _report(board)
    return changed


def keep_reading(gate: Gate, reading: Reading, *, before: GateReading | None, at: datetime) -> GateReading:
    """Keep a reading if it says something new; return the row that says it."""
    if before is not None and (before.verdict, before.text) == (reading.verdict, reading.text):
        return before
    return gate.readings.create(
        at=at,
        n=reading.cases,
        k=reading.failures,
        value=reading.value,
        bound=reading.bound,
        verdict=reading.verdict,
        text=reading.text,
    )


def _tell(board: Board, gate: Gate, reading: Reading) -> None:
    """Append the reading to what happened to the gate, if it moves the gate or speaks otherwise than the last one."""
    if reading.verdict is Verdict.UNKNOWN or (reading.verdict is Verdict.PASS and board.waits_on(gate)):
        return
    is_pass = gate.mode == "automatic" and reading.verdict is Verdict.PASS
    until = board.today + timedelta(days=gate.validity_days) if is_pass else None
    event = Event(Kind.READING, board.today, reading.verdict, until)
    moves = board.would_reach(gate, event) != board.would_reach(gate)
    if moves or reading.verdict is not board.last_verdict(gate):
        board.happen(gate, event, actor="timer", payload={"text": reading.text})


def _report(board: Board) -> None:
    """Tell the agents floor whether every gate of the transitions already made still holds."""
    agent = board.program.agent
    made = transitions_made(agent)
    is_open = any(gate.transition in made and gate.state not in SATISFIED for gate in board)
    agents.report_standing(agent, kind=Standing.Kind.GATES, value="open" if is_open else "satisfied", as_of=board.at)
