"""The catalogue of launch gates: read, checked, and cut to one program's tier and integrations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from apps.programs.domain.graph import Edge, any_loop, contract

Transition = Literal["G1", "G2", "G3"]
Mode = Literal["automatic", "manual", "hybrid"]
Tier = Literal["low", "medium", "high"]

TRANSITIONS: tuple[Transition, ...] = ("G1", "G2", "G3")
TIERS: tuple[Tier, ...] = ("low", "medium", "high")
OPERATORS = {">=", "<=", "==", ">", "<"}


class CatalogueError(ValueError):
    """The catalogue cannot be used; every fault is listed, none is guessed around."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class GateSpec:
    """One launch condition as the catalogue words it. Estimates are working days of the owning team."""

    key: str
    name: str
    team: str
    transition: Transition
    mode: Mode
    evidence: tuple[str, ...]
    prerequisites: tuple[str, ...]
    estimate: tuple[float, float, float]
    tiers: tuple[Tier, ...]
    validity_days: int
    waiver: Mapping[str, Any]
    criterion: Mapping[str, Any] | None = None
    keep: bool = False
    after_stage: Transition | None = None
    applies_when: Mapping[str, str] = field(default_factory=dict)
    repeat_per: str | None = None
    re_attest_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    version: int
    gates: tuple[GateSpec, ...]
    teams: tuple[str, ...]
    meanings: Mapping[str, str]

    @property
    def edges(self) -> list[Edge]:
        """What waits on what over all tiers: each listed prerequisite."""
        return sorted(Edge(gate.key, needs) for gate in self.gates for needs in gate.prerequisites)

    def gate(self, key: str) -> GateSpec:
        return next(gate for gate in self.gates if gate.key == key)


@dataclass(frozen=True, slots=True)
class PlannedGate:
    """A gate of one program: the catalogue's, or one instance of it for one integration."""

    key: str
    spec: GateSpec
    integration: str | None = None

    @property
    def name(self) -> str:
        return f"{self.spec.name}: {self.integration}" if self.integration else self.spec.name


@dataclass(frozen=True, slots=True)
class Plan:
    gates: tuple[PlannedGate, ...]
    edges: tuple[Edge, ...]


def read_catalogue(raw: Mapping[str, Any]) -> Catalogue:
    """Check a parsed catalogue file and return it typed.

    Raises CatalogueError with every fault: unknown team, transition, mode, tier or prerequisite, a prerequisite of a later
    transition, an estimate not 0 ≤ o ≤ m ≤ p, a computed gate without criterion, a loop.
    """
    problems: list[str] = []
    defaults = raw.get("defaults", {})
    teams = tuple(raw.get("teams", ()))
    entries = raw.get("gates") or []
    keys = [str(entry.get("id")) for entry in entries]
    problems += [f"{key}: listed twice" for key in sorted({key for key in keys if keys.count(key) > 1})]
    gates = []
    for entry in entries:
        faults = list(_faults(entry, teams=teams, keys=set(keys)))
        problems += [f"{entry.get('id')}: {fault}" for fault in faults]
        if not faults:
            gates.append(_spec(entry, defaults))
    if not entries:
        problems.append("gates: none listed")
    if not problems:
        problems += _later_prerequisites(gates)
        loop = any_loop([Edge(gate.key, needs) for gate in gates for needs in gate.prerequisites])
        if loop:
            problems.append("loop: " + " → ".join(loop) + " (→ waits on)")
    if problems:
        raise CatalogueError(problems)
    meanings = {stage["id"]: stage["meaning"] for stage in raw.get("stages", [])}
    return Catalogue(int(raw.get("version", 1)), tuple(gates), teams, meanings)


def plan_for(
    catalogue: Catalogue, *, tier: Tier, integrations: Sequence[str] = (), facts: Mapping[str, str] | None = None
) -> Plan:
    """Cut the catalogue to a program: contract gates outside the tier, repeat those that are per integration.

    `facts` answers `applies_when` (for example regulatory_class); an unknown fact applies.
    """
    known = facts or {}
    outside = [gate.key for gate in catalogue.gates if tier not in gate.tiers or not _applies(gate, known)]
    edges = contract(catalogue.edges, outside)
    planned: list[PlannedGate] = []
    instances: dict[str, list[str]] = {}
    for gate in catalogue.gates:
        if gate.key in outside:
            continue
        if gate.repeat_per and integrations:
            instances[gate.key] = [f"{gate.key}:{name}" for name in integrations]
            planned += [PlannedGate(f"{gate.key}:{name}", gate, name) for name in integrations]
        else:
            planned.append(PlannedGate(gate.key, gate))
    repeated = {
        Edge(mine, theirs, edge.lag_days)
        for edge in edges
        for mine in instances.get(edge.gate, [edge.gate])
        for theirs in instances.get(edge.needs, [edge.needs])
    }
    return Plan(tuple(planned), tuple(sorted(repeated)))


def bar_for(criterion: Mapping[str, Any], tier: Tier) -> object:
    """Return the criterion's value for a tier; bars come only from the catalogue, never from the one who asks."""
    value = criterion.get("value")
    return value.get(tier) if isinstance(value, Mapping) else value


def _applies(gate: GateSpec, facts: Mapping[str, str]) -> bool:
    return all(facts.get(name, "unknown") in {"unknown", wanted} for name, wanted in gate.applies_when.items())


def _later_prerequisites(gates: Sequence[GateSpec]) -> list[str]:
    transition = {gate.key: gate.transition for gate in gates}
    return [
        f"{gate.key}: waits on {needs} of the later transition {transition[needs]}"
        for gate in gates
        for needs in gate.prerequisites
        if TRANSITIONS.index(transition[needs]) > TRANSITIONS.index(gate.transition)
    ]


def _faults(entry: Mapping[str, Any], *, teams: Sequence[str], keys: set[str]) -> list[str]:
    faults = [
        f"{name} is missing" for name in ("id", "name", "team", "stage", "mode", "estimate_days") if name not in entry
    ]
    if faults:
        return faults
    if entry["team"] not in teams:
        faults.append(f"unknown team {entry['team']}")
    if entry["stage"] not in TRANSITIONS:
        faults.append(f"unknown transition {entry['stage']}")
    if entry["mode"] not in {"automatic", "manual", "hybrid"}:
        faults.append(f"unknown mode {entry['mode']}")
    faults += [f"unknown tier {tier}" for tier in entry.get("tiers", ()) if tier not in TIERS]
    faults += [f"waits on unknown {needs}" for needs in entry.get("prerequisites", ()) if needs not in keys]
    estimate = entry["estimate_days"]
    if (
        len(estimate) != len(("optimistic", "likely", "pessimistic"))
        or not 0 <= estimate[0] <= estimate[1] <= estimate[2]
    ):
        faults.append(f"estimate_days {estimate} is not 0 ≤ optimistic ≤ likely ≤ pessimistic")
    faults += _criterion_faults(entry)
    return faults


def _criterion_faults(entry: Mapping[str, Any]) -> list[str]:
    criterion = entry.get("criterion")
    if entry["mode"] == "manual":
        return []
    if not criterion:
        return [f"{entry['mode']} without a criterion"]
    parts = [criterion, *criterion.get("also", ())]
    faults = [
        f"criterion {part.get('metric')} has unknown operator {part.get('op')}"
        for part in parts
        if part.get("op") not in OPERATORS
    ]
    faults += ["criterion without a metric" for part in parts if not part.get("metric")]
    return faults + [f"criterion {part.get('metric')} without a value" for part in parts if "value" not in part]


def _spec(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> GateSpec:
    optimistic, likely, pessimistic = (float(days) for days in entry["estimate_days"])
    return GateSpec(
        key=entry["id"],
        name=entry["name"],
        team=entry["team"],
        transition=cast("Transition", entry["stage"]),
        mode=cast("Mode", entry["mode"]),
        evidence=tuple(entry.get("evidence", ())),
        prerequisites=tuple(entry.get("prerequisites", ())),
        estimate=(optimistic, likely, pessimistic),
        tiers=tuple(entry.get("tiers", defaults.get("tiers", TIERS))),
        validity_days=int(entry.get("validity_days", defaults.get("validity_days", 180))),
        waiver={**defaults.get("waiver", {}), **entry.get("waiver", {})},
        criterion=entry.get("criterion"),
        keep=bool(entry.get("keep", False)),
        after_stage=entry.get("after_stage"),
        applies_when=entry.get("applies_when", {}),
        repeat_per=entry.get("repeat_per"),
        re_attest_on=tuple(entry.get("re_attest_on", ())),
    )
