"""What the program and portfolio pages show."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Q
from django.http import Http404

from apps.accounts.models import Role, User
from apps.accounts.queries import team_ids_with
from apps.agents.models import Agent, AutonomyLevel, Level, Stage, StageEvent
from apps.approvals.models import Decision
from apps.audit.clock import clock
from apps.programs.domain.catalogue import TRANSITIONS
from apps.programs.domain.graph import Edge
from apps.programs.domain.sentence import Node, blocked_sentence, longest_chain, ready_sentence
from apps.programs.domain.states import SATISFIED, State, Verdict
from apps.programs.models import Dependency, Evidence, Gate, GateEvent, Program, SignOff
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


def visible_programs(user: User) -> list[Program]:
    """Programs of the person's teams, and those in which one of their teams owns a gate: 1 query."""
    teams = team_ids_with(user, "programs.view")
    return list(
        Program.objects.filter(Q(home_team__in=teams) | Q(gates__team__in=teams))
        .distinct()
        .select_related("agent__owner", "home_team", "catalogue")
        .order_by("rank")
    )


def program_or_404(user: User, pk: int) -> Program:
    """Return a program that the person may see."""
    found = next((program for program in visible_programs(user) if program.pk == pk), None)
    if found is None:
        raise Http404("Not found")
    return found


def gate_or_404(user: User, pk: int) -> Gate:
    """Return a gate of a program that the person may see."""
    gate = (
        Gate.objects.select_related("team", "owner", "program__agent", "program__catalogue", "program__home_team")
        .filter(pk=pk)
        .first()
    )
    if gate is None:
        raise Http404("Not found")
    program_or_404(user, gate.program_id)
    return gate


@dataclass(frozen=True, slots=True)
class GateRow:
    gate: Gate
    waits_on: tuple[Gate, ...]
    is_mine: bool

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
    may_advance: bool


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
    rows = {gate.key: GateRow(gate, tuple(waits[gate.key]), gate.team_id in signing) for gate in gates}
    columns = tuple(
        Column(name, TRANSITION_NAMES[name], tuple(row for row in rows.values() if row.gate.transition == name))
        for name in TRANSITIONS
    )
    may_plan = program.home_team_id in team_ids_with(user, "programs.plan")
    return ProgramPage(
        program, answer, columns, tuple(rows[key] for key in answer.chain), may_plan, may_plan and answer.is_ready
    )


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
    reading: object | None
    may_submit: bool
    may_sign: bool
    cannot_sign_because: str
    signers: tuple[User, ...]


def gate_page(user: User, pk: int) -> GatePage:  # about 9 queries
    """Everything the page of one gate shows."""
    gate = gate_or_404(user, pk)
    waits_on = tuple(
        edge.needs for edge in gate.waits_on.select_related("needs__team") if edge.needs.state not in SATISFIED
    )
    row = GateRow(gate, waits_on, gate.team_id in _signing_teams(user))
    newest = {
        each.item: each
        for each in gate.evidence.select_related("uploaded_by").order_by("item", "-version").distinct("item")
    }
    items = tuple(
        EvidenceItem(position, text, newest.get(position)) for position, text in enumerate(gate.evidence_items)
    )
    rounds = tuple(gate.sign_offs.select_related("requester", "signer").order_by("-round"))
    reading = gate.readings.order_by("-at", "-pk").first()
    obstacle = _cannot_sign(user, gate, rounds, newest.values(), row)
    home = gate.program.home_team_id
    return GatePage(
        row=row,
        why=_why(row, reading.text if reading else "", reading.verdict if reading else ""),
        evidence=items,
        rounds=rounds,
        events=tuple(gate.events.order_by("-pk")[:20]),
        blocks=tuple(edge.gate for edge in gate.blocks.select_related("gate__team")),
        reading=reading,
        may_submit=gate.mode != "automatic" and (home in team_ids_with(user, "programs.submit") or row.is_mine),
        may_sign=gate.state == State.SUBMITTED and not obstacle,
        cannot_sign_because=obstacle if gate.state == State.SUBMITTED else "",
        signers=tuple(
            User.objects.filter(is_active=True, memberships__team=gate.team_id)
            .exclude(memberships__role__in=CANNOT_SIGN)
            .distinct()
        ),
    )


def _cannot_sign(user: User, gate: Gate, rounds: Sequence[SignOff], newest: Iterable[Evidence], row: GateRow) -> str:
    if not row.is_mine:
        return f"Only {gate.team} signs {gate.key}."
    if rounds and rounds[0].requester_id == user.pk:
        return "You submitted this; someone else of the team must sign."
    if any(each.uploaded_by_id == user.pk for each in newest):
        return "You uploaded evidence for this; someone else of the team must sign."
    return ""


def _why(row: GateRow, reading: str, verdict: str) -> str:
    gate, state = row.gate, State(row.gate.state)
    if state is State.WAITING_ON and row.waits_on:
        return "Waits on " + ", ".join(f"{each.key} {each.name} ({each.team})" for each in row.waits_on) + "."
    if state is State.WAITING_ON:
        return f"Needs data from after the transition {gate.after_stage}."
    if state is State.SUBMITTED:
        return f"{gate.team} has the evidence and has not signed yet."
    if gate.mode == "automatic" and not row.is_satisfied:
        return reading or "Computed from records; nothing has been measured yet."
    if state is State.PASSED and gate.mode != "manual" and verdict == Verdict.UNKNOWN:
        return "It passed, and the pass still holds; the newest reading is not enough to say more."
    return {
        State.PASSED: "All it asks for is shown.",
        State.FAILED: "It was refused, or its number fell below the bar.",
        State.EXPIRED: "Its last pass is too old; it must be shown again.",
        State.IN_PROGRESS: "Someone works on it; it has not been submitted.",
    }.get(state, "Nobody has started it.")


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
