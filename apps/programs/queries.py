"""What the program and portfolio pages show."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Q, QuerySet
from django.http import Http404

from apps.accounts.access import Forbidden, Hidden, ensure
from apps.accounts.models import Role, User
from apps.accounts.queries import team_ids_with
from apps.agents.models import Agent, AutonomyLevel, Level, Stage, StageEvent
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock
from apps.programs.domain.catalogue import TRANSITIONS
from apps.programs.domain.criteria import Reading
from apps.programs.domain.graph import Edge
from apps.programs.domain.sentence import Node, blocked_sentence, longest_chain, ready_sentence
from apps.programs.domain.states import SATISFIED, Kind, State, Verdict
from apps.programs.metrics import is_measured, read_gate
from apps.programs.models import Dependency, Evidence, Gate, GateEvent, GateReading, Program, SignOff
from apps.runs.models import Run
from apps.slo.queries import Line, budgets_by_agent

STAGE_ORDER = (Stage.DEMO, Stage.PILOT, Stage.PRODUCTION, Stage.SCALED, Stage.RETIRED)
FURTHEST_FIRST = (Stage.SCALED, Stage.PRODUCTION, Stage.PILOT, Stage.DEMO, Stage.RETIRED)
TRANSITION_NAMES = {"G1": "Demo → Pilot", "G2": "Pilot → Production", "G3": "Production → Scaled"}
ENTERS = {"G1": "pilot", "G2": "production", "G3": "scaled use"}
STATUS = {
    State.PASSED: "ok",
    State.WAIVED: "warn",
    State.NOT_APPLICABLE: "idle",
    State.NOT_STARTED: "idle",
    State.IN_PROGRESS: "idle",
    State.WAITING_ON: "idle",
    State.SUBMITTED: "wait",
    State.FAILED: "bad",
    State.EXPIRED: "bad",
}
WORDS = {
    State.PASSED: "Passed",
    State.WAIVED: "Waived",
    State.NOT_APPLICABLE: "Not applicable",
    State.NOT_STARTED: "Not started",
    State.IN_PROGRESS: "In progress",
    State.WAITING_ON: "Waits on others",
    State.SUBMITTED: "Needs a signature",
    State.FAILED: "Failed",
    State.EXPIRED: "Expired",
}
# Members of the owning team sign in any role but these (audit-security.md, roles).
CANNOT_SIGN = (Role.EXECUTIVE, Role.AUDITOR)
# The window of the portfolio's decided and handed-over counts.
PORTFOLIO_WINDOW = timedelta(days=28)


def may_sign(user: User, gate: Gate) -> bool:
    """Tell whether the person belongs to the owning team in a role that signs; never mind who asked."""
    return gate.team_id in _signing_teams(user)


def _signing_teams(user: User) -> frozenset[int]:
    return team_ids_with(user, "gates.sign")


def may_change(user: User, program: Program) -> bool:
    """Tell whether the person works on the program's gates: program managers do, and agent owners for their own agents.

    The teams that own gates judge what they are given: they sign or refuse.
    """
    teams = team_ids_with(user, "programs.plan")
    if program.agent.owner_id == user.pk:
        teams |= team_ids_with(user, "programs.submit")
    return program.home_team_id in teams


def ensure_may_change(user: User, program: Program) -> None:
    """Raise Forbidden unless the person works on the program's gates; tell an owner of other agents whose it is."""
    ensure(user, "programs.submit", program.home_team_id)
    if not may_change(user, program):
        owner = program.agent.owner
        why = f"{program.agent} belongs to {owner}, and only its owner or a program manager may do this."
        raise Forbidden("programs.submit", program.home_team_id, why=f"{why} Nothing was changed.", ask=f"Ask {owner}.")


def why_not_this_person(user: User, gate: Gate, *, requester_id: int | None, evidence: Iterable[Evidence]) -> str:
    """Say why a person can answer neither way for a gate, or nothing if they can (rule 17)."""
    if not may_sign(user, gate):
        return f"Only {gate.team} signs {gate.key}."
    if requester_id == user.pk:
        return "You submitted this; someone else of the team must sign."
    if any(each.uploaded_by_id == user.pk for each in evidence):
        return "You uploaded evidence for this; someone else of the team must sign."
    return ""


def needs_number(gate: Gate, reading: Reading) -> str:
    """Say that a signature alone does not pass a hybrid gate."""
    return f"{gate.key} also needs its number: {reading.text}"


def missing_evidence(gate: Gate, newest: Iterable[Evidence]) -> str:
    """Name the items that nothing shows yet: neither submitted nor signed without them."""
    given = {each.item for each in newest}
    missing = [text for position, text in enumerate(gate.evidence_items) if position not in given]
    return f"Evidence is missing: {'; '.join(missing)}" if missing else ""


def newest_evidence(gate: Gate) -> list[Evidence]:  # 1 query
    """Return the version of each item that counts."""
    return list(gate.evidence.select_related("uploaded_by").order_by("item", "-version").distinct("item"))


def visible_programs(user: User) -> QuerySet[Program]:  # 1 query
    """Programs of the person's teams, and those in which one of their teams owns a gate."""
    teams = team_ids_with(user, "programs.view")
    return (
        Program.objects.filter(Q(home_team__in=teams) | Q(gates__team__in=teams))
        .distinct()
        .select_related("agent__owner", "home_team", "catalogue")
        .order_by("rank")
    )


def program_or_404(user: User, pk: int) -> Program:
    """Return a program that the person may see. Raises Hidden (404) where it exists for others."""
    found = visible_programs(user).filter(pk=pk).first()
    if found is None and Program.objects.filter(pk=pk).exists():
        raise Hidden("programs.view", f"program:{pk}")
    if found is None:
        raise Http404("Not found")
    return found


def gate_or_404(user: User, pk: int) -> Gate:
    """Return a gate of a program that the person may see. Raises Hidden (404) where it exists for others."""
    gate = Gate.objects.select_related("team", "owner").filter(pk=pk).first()
    if gate is None:
        raise Http404("Not found")
    program = visible_programs(user).filter(pk=gate.program_id).first()
    if program is None:
        raise Hidden("programs.view", f"gate:{pk}")
    gate.program = program
    return gate


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate in a list. Where `is_measured` is false nothing of ours reads its number yet, so it cannot pass."""

    gate: Gate
    waits_on: tuple[Gate, ...]
    is_mine: bool
    is_measured: bool

    @property
    def status(self) -> str:
        return STATUS[State(self.gate.state)]

    @property
    def word(self) -> str:
        return WORDS[State(self.gate.state)]

    @property
    def is_satisfied(self) -> bool:
        return self.gate.state in SATISFIED


@dataclass(frozen=True, slots=True)
class Column:
    """The gates that guard one transition."""

    transition: str
    name: str
    rows: tuple[GateRow, ...]

    @property
    def satisfied(self) -> int:
        return sum(row.is_satisfied for row in self.rows)

    @property
    def share(self) -> float:
        return self.satisfied / len(self.rows) if self.rows else 1.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """May the agent make the next transition, and what exactly stops it."""

    transition: str | None
    sentence: str
    open_gates: tuple[Gate, ...]
    chain: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        return self.transition is not None and not self.open_gates


@dataclass(frozen=True, slots=True)
class ProgramPage:
    program: Program
    readiness: Readiness
    columns: tuple[Column, ...]
    chain: tuple[GateRow, ...]
    may_plan: bool
    may_change: bool
    may_advance: bool


def transitions_made(agent: Agent) -> tuple[str, ...]:
    """Return the transitions that lie behind the agent's stage; none for a retired agent."""
    return TRANSITIONS[: STAGE_ORDER.index(Stage(agent.stage))] if agent.stage != Stage.RETIRED else ()


def next_transition(agent: Agent) -> str | None:
    """Return the transition that the agent's stage comes before, or None when there is none."""
    order = list(STAGE_ORDER)
    position = order.index(Stage(agent.stage))
    return TRANSITIONS[position] if position < len(TRANSITIONS) else None


def readiness(program: Program, *, transition: str | None = None) -> Readiness:  # 2 queries
    """Answer from the gates of this and all earlier transitions, in one sentence that names the chain."""
    return _readiness(program, *_gates_and_edges(program), transition=transition)


def _gates_and_edges(program: Program) -> tuple[list[Gate], list[Edge]]:
    gates = list(program.gates.select_related("team", "owner").order_by("pk"))
    edges = Dependency.objects.filter(gate__program=program).values_list("gate__key", "needs__key", "lag_days")
    return gates, [Edge(*edge) for edge in edges]


def _readiness(
    program: Program, gates: Sequence[Gate], edges: Sequence[Edge], *, transition: str | None = None
) -> Readiness:
    agent = program.agent
    wanted = transition or next_transition(agent)
    if wanted is None:
        words = "has reached the last stage" if agent.stage == Stage.SCALED else "is retired"
        return Readiness(None, f"{agent.name} {words}; no transition is open.", ())
    until = TRANSITIONS[: TRANSITIONS.index(wanted) + 1]
    asked = [gate for gate in gates if gate.transition in until]
    still_open = tuple(gate for gate in asked if gate.state not in SATISFIED)
    if not still_open:
        return Readiness(wanted, ready_sentence(agent.name, ENTERS[wanted], len(asked)), ())
    nodes = {
        gate.key: Node(gate.key, gate.name, str(gate.team), float(gate.est_m), WORDS[State(gate.state)].lower())
        for gate in still_open
    }
    chain = longest_chain(nodes, edges)
    return Readiness(wanted, blocked_sentence(agent.name, ENTERS[wanted], nodes, chain), still_open, tuple(chain))


def program_page(user: User, pk: int) -> ProgramPage:  # 5 queries
    """Everything the page of one program shows."""
    program = program_or_404(user, pk)
    gates, edges = _gates_and_edges(program)
    answer = _readiness(program, gates, edges)
    signing = _signing_teams(user)
    by_key = {gate.key: gate for gate in gates}
    waits: dict[str, list[Gate]] = defaultdict(list)
    for edge in edges:
        if by_key[edge.needs].state not in SATISFIED:
            waits[edge.gate].append(by_key[edge.needs])
    rows = {gate.key: _row(gate, waits[gate.key], signing) for gate in gates}
    columns = tuple(
        Column(name, TRANSITION_NAMES[name], tuple(row for row in rows.values() if row.gate.transition == name))
        for name in TRANSITIONS
    )
    may_plan = program.home_team_id in team_ids_with(user, "programs.plan")
    return ProgramPage(
        program=program,
        readiness=answer,
        columns=columns,
        chain=tuple(rows[key] for key in answer.chain),
        may_plan=may_plan,
        may_change=may_change(user, program),
        may_advance=may_plan and answer.is_ready,
    )


def _row(gate: Gate, waits_on: Iterable[Gate], signing: frozenset[int]) -> GateRow:
    return GateRow(gate, tuple(waits_on), gate.team_id in signing, gate.mode == "manual" or is_measured(gate))


@dataclass(frozen=True, slots=True)
class ProgramRow:
    program: Program
    readiness: Readiness
    satisfied: int
    total: int

    @property
    def share(self) -> float:
        return self.satisfied / self.total if self.total else 1.0


def program_rows(user: User) -> list[ProgramRow]:
    """Programs by rank, each with its sentence: 2 queries and 2 for each program."""
    rows = []
    for program in visible_programs(user):
        gates, edges = _gates_and_edges(program)
        wanted = next_transition(program.agent)
        asked = [gate for gate in gates if wanted is None or gate.transition <= wanted]
        satisfied = sum(gate.state in SATISFIED for gate in asked)
        rows.append(ProgramRow(program, _readiness(program, gates, edges), satisfied, len(asked)))
    return rows


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    position: int
    text: str
    newest: Evidence | None


@dataclass(frozen=True, slots=True)
class GatePage:
    row: GateRow
    why: str
    evidence: tuple[EvidenceItem, ...]
    rounds: tuple[SignOff, ...]
    events: tuple[GateEvent, ...]
    blocks: tuple[Gate, ...]
    reading: GateReading | None
    may_submit: bool
    may_refuse: bool
    may_sign: bool
    cannot_sign_because: str
    signers: tuple[User, ...]


def gate_page(user: User, pk: int, *, at: datetime | None = None) -> GatePage:  # 9 queries, more to read a number
    """Everything the page of one gate shows. What waits for a signature has its number read at this moment."""
    gate = gate_or_404(user, pk)
    waits_on = [edge.needs for edge in gate.waits_on.select_related("needs__team") if edge.needs.state not in SATISFIED]
    row = _row(gate, waits_on, _signing_teams(user))
    newest = {each.item: each for each in newest_evidence(gate)}
    items = tuple(
        EvidenceItem(position, text, newest.get(position)) for position, text in enumerate(gate.evidence_items)
    )
    rounds = tuple(gate.sign_offs.select_related("requester", "signer").order_by("-round"))
    events = tuple(gate.events.order_by("-pk")[:20])
    reading = gate.readings.order_by("-at", "-pk").first()
    waits = gate.state == State.SUBMITTED
    requester = rounds[0].requester_id if rounds else None
    person = why_not_this_person(user, gate, requester_id=requester, evidence=newest.values()) if waits else ""
    obstacle = person or (_cannot_pass(row, newest.values(), at=at or clock()) if waits else "")
    return GatePage(
        row=row,
        why=_why(row, reading, events),
        evidence=items,
        rounds=rounds,
        events=events,
        blocks=tuple(edge.gate for edge in gate.blocks.select_related("gate__team")),
        reading=reading,
        may_submit=gate.mode != "automatic" and may_change(user, gate.program),
        may_refuse=waits and not person,
        may_sign=waits and not obstacle,
        cannot_sign_because=obstacle,
        signers=tuple(
            User.objects.filter(is_active=True, memberships__team=gate.team_id)
            .exclude(memberships__role__in=CANNOT_SIGN)
            .distinct()
        ),
    )


def _cannot_pass(row: GateRow, newest: Iterable[Evidence], *, at: datetime) -> str:
    """Say why even the right person's signature would be refused now: for want of evidence, an earlier gate or its number."""
    gate = row.gate
    missing = missing_evidence(gate, newest)
    if missing:
        return missing
    names = _named(row.waits_on)
    if gate.after_stage and gate.after_stage not in transitions_made(gate.program.agent):
        names.append(f"the transition {gate.after_stage}")
    if names:
        return f"{gate.key} cannot pass while it waits on {', '.join(names)}."
    if gate.mode == "hybrid":
        reading = read_gate(gate, at=at)
        return "" if reading.verdict is Verdict.PASS else needs_number(gate, reading)
    return ""


def _named(gates: Iterable[Gate]) -> list[str]:
    return [f"{each.key} {each.name} ({each.team})" for each in gates]


def _why(row: GateRow, reading: GateReading | None, events: Sequence[GateEvent]) -> str:
    gate, state = row.gate, State(row.gate.state)
    if state is State.WAITING_ON and row.waits_on:
        return f"Waits on {', '.join(_named(row.waits_on))}."
    if state is State.WAITING_ON:
        return f"Needs data from after the transition {gate.after_stage}."
    if state is State.SUBMITTED:
        return f"{_reopened(gate, events)}{gate.team} has the evidence and has not signed yet."
    if gate.mode == "automatic" and not row.is_satisfied:
        return _reopened(gate, events) + (reading.text if reading else "Computed from records; nothing read so far.")
    if state is State.PASSED and gate.mode != "manual" and reading and reading.verdict == Verdict.UNKNOWN:
        return "It passed, and the pass still holds; the newest reading is not enough to say more."
    return {
        State.PASSED: "All it asks for is shown.",
        State.FAILED: "It was refused, or its number fell below the bar.",
        State.EXPIRED: "Its last pass is too old; it must be shown again.",
        State.IN_PROGRESS: "Someone works on it; it has not been submitted.",
    }.get(state, "Nobody has started it.")


def _reopened(gate: Gate, events: Sequence[GateEvent]) -> str:
    """Say why a gate that had passed is open again, if nothing has come of it since."""
    turns = {Kind.REOPENED, Kind.READING if gate.mode == "automatic" else Kind.SUBMITTED}
    last = next((each for each in events if each.kind in turns), None)
    return f"Open again. {last.payload.get('reason', '')} " if last and last.kind == Kind.REOPENED else ""


@dataclass(frozen=True, slots=True)
class PortfolioRow:
    agent: Agent
    since: datetime | None
    days: int
    level: str
    decided: int
    handed_over_share: float | None
    line: Line | None
    program: Program | None


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Agents by stage, with how long they have been there, at `as_of`."""

    as_of: datetime
    rows: tuple[PortfolioRow, ...]
    stages: tuple[tuple[Stage, int], ...]
    sentences: tuple[str, ...]
    decided: int


def portfolio(user: User, *, at: datetime | None = None) -> Portfolio:  # 8 queries, any number of agents
    """Shape the executive view of the person's teams, scaled against pilot."""
    now = at or clock()
    agents = list(Agent.objects.filter(team__in=team_ids_with(user, "portfolio.view")).select_related("team", "owner"))
    ids = [agent.pk for agent in agents]
    since = _stage_starts(agents, now)
    decided = dict(
        Decision.objects.filter(
            proposal__agent_version__agent__in=ids,
            proposal__kind=Proposal.Kind.LIVE,
            by_kind=Decision.By.PERSON,
            final=True,
            voided_at__isnull=True,
            decided_at__gt=now - PORTFOLIO_WINDOW,
        )
        .values_list("proposal__agent_version__agent")
        .annotate(Count("pk"))
    )
    ended = {
        row["agent"]: row
        for row in Run.objects.filter(agent__in=ids, ended_at__gt=now - PORTFOLIO_WINDOW)
        .values("agent")
        .annotate(all=Count("pk"), handed=Count("pk", filter=Q(state=Run.State.HANDED_OVER)))
    }
    levels = _highest_levels(ids)
    lines = {agent.pk: each for agent, each in budgets_by_agent(at=now, agents=ids).items()}
    programs = {program.agent_id: program for program in Program.objects.filter(agent__in=ids)}
    rows = []
    for agent in agents:
        begun = since.get(agent.pk)
        run_counts = ended.get(agent.pk)
        rows.append(
            PortfolioRow(
                agent=agent,
                since=begun,
                days=(now - begun).days if begun else 0,
                level=levels.get(agent.pk, ""),
                decided=decided.get(agent.pk, 0),
                handed_over_share=run_counts["handed"] / run_counts["all"] if run_counts else None,
                line=_worst(lines.get(agent.pk, [])),
                program=programs.get(agent.pk),
            )
        )
    rows.sort(key=lambda row: (FURTHEST_FIRST.index(Stage(row.agent.stage)), row.agent.name))
    stages = tuple((stage, sum(agent.stage == stage for agent in agents)) for stage in reversed(FURTHEST_FIRST))
    total = sum(row.decided for row in rows)
    return Portfolio(now, tuple(rows), stages, _sentences(rows, dict(stages), total), total)


def _stage_starts(agents: Sequence[Agent], now: datetime) -> dict[int, datetime]:
    """When each agent entered the stage it is in: the last event of that stage; a re-entry is a new spell."""
    newest = StageEvent.objects.filter(agent__in=agents, at__lte=now).values("agent", "stage").annotate(last=Max("at"))
    stage_of = {agent.pk: agent.stage for agent in agents}
    return {row["agent"]: row["last"] for row in newest if stage_of[row["agent"]] == row["stage"]}


def _highest_levels(agent_ids: Sequence[int]) -> dict[int, str]:
    order = list(Level)
    highest: dict[int, Level] = {}
    for agent_id, level in AutonomyLevel.objects.filter(agent__in=agent_ids).values_list("agent", "level"):
        highest[agent_id] = max(highest.get(agent_id, Level.SHADOW), Level(level), key=order.index)
    return {agent_id: str(level.label) for agent_id, level in highest.items()}


def _worst(lines: Sequence[Line]) -> Line | None:
    known = [line for line in lines if line.share_left is not None]
    return min(known, key=lambda line: line.share_left or 0.0, default=None)


def _sentences(rows: Sequence[PortfolioRow], stages: dict[Stage, int], decided: int) -> tuple[str, ...]:
    if not rows:
        return ()
    live = stages[Stage.PRODUCTION] + stages[Stage.SCALED]
    active = len(rows) - stages[Stage.RETIRED]
    spent = sum(1 for row in rows if row.line is not None and row.line.budget.is_spent)
    pilots = [row for row in rows if row.agent.stage == Stage.PILOT]
    oldest = max(pilots, key=lambda row: row.days, default=None)
    waiting = f"; the longest, {oldest.agent.name}, for {oldest.days} days" if oldest else ""
    return (
        f"{live} of {active} agents {'is' if live == 1 else 'are'} past pilot, {stages[Stage.SCALED]} of them scaled.",
        f"{len(pilots)} {'is' if len(pilots) == 1 else 'are'} in pilot{waiting}.",
        f"People decided {decided:,} actions in the last {PORTFOLIO_WINDOW.days} days; "
        f"{spent or 'no'} agent{'s have' if spent > 1 else ' has'} spent its error budget.".replace(
            "have spent its", "have spent their"
        ),
    )
