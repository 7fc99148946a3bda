"""Launch programs for tests, opened by the real verb; `satisfy` writes history instead of living through it."""

from datetime import UTC, date, datetime
from itertools import count

from apps.accounts.models import Role, User
from apps.agents.models import Agent
from apps.programs.actions import gates, planning
from apps.programs.actions.board import refresh_states
from apps.programs.domain.states import Kind, Verdict
from apps.programs.models import Catalogue, Gate, GateEvent, Program
from tests.factories.accounts import make_member

NOW = datetime(2027, 2, 1, 12, tzinfo=UTC)

_numbers = count(1)


def make_program(agent: Agent, actor: User, **fields) -> Program:
    facts = {"name": f"{agent.name} to production", "tier": "medium", "start_date": date(2027, 1, 4)}
    return planning.open_program(agent, actor=actor, **{**facts, **fields})


def make_catalogue(*entries: dict) -> Catalogue:
    """Keep a catalogue of a few gates: each entry names what differs from an automatic gate of the first transition."""
    number = next(_numbers)
    listed = [
        {
            "name": f"Gate {entry['id']}",
            "team": "ops",
            "stage": "G1",
            "mode": "automatic",
            "estimate_days": [1, 2, 3],
            **entry,
        }
        for entry in entries
    ]
    body = {"version": 1, "teams": ["ops"], "gates": listed}
    return Catalogue.objects.create(version=1_000 + number, body=body, sha256=f"{number:064}")


def gate(program: Program, key: str) -> Gate:
    """Return a gate as it is in the database now."""
    return Gate.objects.get(program=program, key=key)


def signer(the_gate: Gate, name: str = "Sana") -> User:
    return make_member(the_gate.team, Role.OPERATOR, name=name)


def with_evidence(the_gate: Gate, actor: User, *, at: datetime = NOW) -> Gate:
    for position in range(len(the_gate.evidence_items)):
        gates.add_evidence(
            the_gate, item=position, name="Document", url=f"https://docs.example.com/{position}", actor=actor, at=at
        )
    return the_gate


def submitted(the_gate: Gate, actor: User, *, at: datetime = NOW) -> Gate:
    gates.submit_gate(with_evidence(the_gate, actor, at=at), actor=actor, at=at)
    return the_gate


def satisfy(program: Program, *keys: str, at: datetime = NOW) -> None:
    """Let gates have passed, all without keys."""
    for each in program.gates.filter(key__in=keys) if keys else program.gates.all():
        GateEvent.objects.create(gate=each, kind=Kind.READING, verdict=Verdict.PASS, at=at, actor="timer")
        GateEvent.objects.create(gate=each, kind=Kind.SUBMITTED, at=at, actor="user:1")
        GateEvent.objects.create(gate=each, kind=Kind.SIGNED, at=at, actor="user:2")
    refresh_states(program, at=at)
