"""The gates of one program while a verb holds its lock: what happened to each, and where that has led."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction

from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.programs.domain.graph import Edge, in_order
from apps.programs.domain.states import SATISFIED, Event, Kind, Mode, Reached, Verdict, reached
from apps.programs.models import Dependency, Gate, GateEvent, Program
from apps.programs.queries import transitions_made


class Board:
    """A program's gates, each after all that it waits on. Made and saved under the program's lock."""

    def __init__(self, program: Program, *, at: datetime) -> None:  # 3 queries, whatever happened
        self.program, self.at = program, at
        self._zone = ZoneInfo(program.time_zone)
        self.today = at.astimezone(self._zone).date()
        gates = {gate.pk: gate for gate in program.gates.select_related("team")}
        edges = list(Dependency.objects.filter(gate__program=program).values_list("gate_id", "needs_id"))
        order = in_order([str(pk) for pk in gates], [Edge(str(gate), str(needs)) for gate, needs in edges])
        self._gates = {pk: gates[pk] for pk in map(int, order)}
        self._needs: dict[int, list[Gate]] = defaultdict(list)
        for waiting, needs in edges:
            self._needs[waiting].append(gates[needs])
        self._events: dict[int, list[Event]] = defaultdict(list)
        for row in GateEvent.objects.filter(gate__program=program).order_by("pk"):
            self._events[row.gate_id].append(self._fact(row))
        self._unsaved: dict[int, Gate] = {}

    def __iter__(self) -> Iterator[Gate]:
        return iter(self._gates.values())

    def gate(self, pk: int) -> Gate:
        """Return a gate as it stands now."""
        return self._gates[pk]

    def waits_on(self, gate: Gate) -> list[str]:
        """Return in words what must be settled before this gate may pass."""
        names = [
            f"{each.key} {each.name} ({each.team})"
            for each in sorted(self._needs[gate.pk], key=lambda needs: needs.pk)
            if each.state not in SATISFIED
        ]
        if gate.after_stage and gate.after_stage not in transitions_made(self.program.agent):
            names.append(f"the transition {gate.after_stage}")
        return names

    def last_verdict(self, gate: Gate) -> Verdict | None:
        """Return what the last reading that was told of this gate said."""
        return next((each.verdict for each in reversed(self._events[gate.pk]) if each.kind is Kind.READING), None)

    def would_reach(self, gate: Gate, *events: Event) -> Reached:
        """Return where the gate stands, or would stand if this happened now."""
        return reached(
            _mode(gate),
            [*self._events[gate.pk], *events],
            prerequisites_open=bool(self.waits_on(gate)),
            as_of=self.today,
        )

    def happen(self, gate: Gate, event: Event, *, actor: str, payload: Mapping[str, object] | None = None) -> None:
        """Append what happened to a gate, with its audit row. `settle` lets the states follow."""
        gate.events.create(
            kind=event.kind,
            verdict=event.verdict or "",
            valid_until=event.valid_until,
            at=self.at,
            actor=actor,
            payload=payload or {},
        )
        self._events[gate.pk].append(event)
        audit_gate(f"gate.{event.kind}", gate, actor, {**(payload or {}), "verdict": event.verdict or ""})

    def settle(self, gate: Gate) -> None:
        """Let a gate's state follow from what happened to it, once all that it waits on is settled."""
        now = self.would_reach(gate)
        if (gate.state, gate.valid_until) == (now.state, now.valid_until):
            return
        if gate.state != now.state:
            gate.state, gate.state_since = now.state, self.at
        gate.valid_until = now.valid_until
        self._unsaved[gate.pk] = gate

    def settle_all(self) -> None:
        for gate in self:
            self.settle(gate)
        self.save()

    def save(self) -> None:
        """Write the states that changed: at most one query."""
        if self._unsaved:
            Gate.objects.bulk_update(self._unsaved.values(), ["state", "state_since", "valid_until"])
            self._unsaved.clear()

    def _fact(self, row: GateEvent) -> Event:
        return Event(
            Kind(row.kind),
            row.at.astimezone(self._zone).date(),
            Verdict(row.verdict) if row.verdict else None,
            row.valid_until,
        )


@transaction.atomic
def refresh_states(program: Program, *, at: datetime | None = None) -> None:
    """Recompute the cached state of every gate, prerequisites first: a few queries, whatever happened."""
    Board(program, at=at or clock()).settle_all()


def locked_board(gate: Gate, *, at: datetime | None) -> Board:
    """Lock a gate's program and return its gates as they stand now: a cached state may have run out since it was kept.

    The program's row is the lock of all its gates, as the states of one depend on the others.
    """
    program = locked_program(gate.program_id)
    board = Board(program, at=at or clock())
    board.settle_all()
    return board


def locked_program(pk: int) -> Program:
    """Lock a program, and read its agent's stage as it is now."""
    return Program.objects.select_for_update(of=("self",)).select_related("agent", "catalogue").get(pk=pk)


def audit_gate(action: str, gate: Gate, actor: str, payload: Mapping[str, object]) -> None:
    audit.record(
        action,
        subject=f"gate:{gate.pk}",
        actor=actor,
        team_id=gate.program.home_team_id,
        payload={"gate": gate.key, **payload},
    )


def _mode(gate: Gate) -> Mode:
    return gate.mode  # type: ignore[return-value]  # the catalogue admits three modes only
