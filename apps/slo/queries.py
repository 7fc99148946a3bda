"""What the reliability pages show. Every window is read from roll-ups: the cost does not grow with the number of runs."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count

from apps.accounts.access import object_or_404
from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.agents.models import Agent, Stage
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock
from apps.slo.domain.budget import Budget, BudgetState, Counts, percent_to_the_worse
from apps.slo.domain.burndown import Point, burn_down
from apps.slo.domain.windows import HOUR, MINUTE, evaluated_at, moment, pieces
from apps.slo.models import Indicator, Objective, SliHour, SliMinute

# Points of a sparkline and of the burn-down chart over the objective's period.
SPARK_POINTS = 24
CHART_POINTS = 120
# Decisions and executions commit within milliseconds of their time and are collected every five seconds.
SETTLE_DECISIONS = timedelta(seconds=10)


STATUS = {
    BudgetState.NO_DATA: "idle",
    BudgetState.OK: "ok",
    BudgetState.WATCH: "warn",
    BudgetState.RESTRICT: "warn",
    BudgetState.FROZEN: "bad",
}
STATE_WORDS = {
    BudgetState.NO_DATA: "No data",
    BudgetState.OK: "Healthy",
    BudgetState.WATCH: "Watch",
    BudgetState.RESTRICT: "At risk",
    BudgetState.FROZEN: "Spent",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One objective with its budget at `as_of`."""

    objective: Objective
    budget: Budget
    as_of: datetime
    spark: tuple[float | None, ...] = ()

    @property
    def period_days(self) -> int:
        return self.objective.period_s // 86400

    @property
    def left(self) -> str:
        """The budget left in words, never better than it is."""
        remaining = self.budget.remaining
        return "no data" if remaining is None else percent_to_the_worse(remaining)

    @property
    def share_left(self) -> float | None:
        """The budget left for a bar or a chart."""
        remaining = self.budget.remaining
        return None if remaining is None else float(remaining)

    @property
    def left_sentence(self) -> str:
        """Say what is left and what it is left of; the words beside every bar and chart."""
        if self.budget.remaining is None:
            return "No data yet: nothing has been counted in this period."
        may_fail = self.budget.may_still_fail
        more = "no more may" if not may_fail else f"{may_fail:,} more may"
        return f"{self.left} of the error budget is left: {self.budget.counts.bad:,} of {self.budget.counts.total:,} failed, {more}."

    @property
    def spark_label(self) -> str:
        return f"Budget left over {self.period_days} days, now {self.left}"

    @property
    def target_text(self) -> str:
        return f"{(self.objective.target * 100).normalize():f} %"

    @property
    def is_small_sample(self) -> bool:
        return self.budget.is_small_sample and self.budget.counts.bad > 0

    @property
    def status(self) -> str:
        """The state as one of the five statuses that a page can show."""
        return STATUS[self.budget.state]

    @property
    def state_word(self) -> str:
        return STATE_WORDS[self.budget.state]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How people decided over the period, beside what the objective counts."""

    approved: int
    edited: int
    rejected: int


def counts_for(objectives: Sequence[Objective], t: int) -> dict[int, Counts]:  # 1 query, any number of objectives
    """Return each objective's counts over (t − period, t], by objective id."""
    if not objectives:
        return {}
    ids, indicators, heads, hours, tails = [], [], [], [], []
    for objective in objectives:
        split = pieces(t, objective.period_s)
        ids.append(objective.pk)
        indicators.append(objective.indicator_id)
        heads.append(split.head)
        hours.append(split.hours)
        tails.append(split.tail)
    with connection.cursor() as sql:
        sql.execute(
            """
            SELECT o.id, coalesce(sum(part.good), 0), coalesce(sum(part.total), 0)
            FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
                AS o(id, indicator, head_a, head_b, hours_a, hours_b, tail_a, tail_b)
            LEFT JOIN LATERAL (
                SELECT good, total FROM slo_slihour WHERE indicator_id = o.indicator AND h > o.hours_a AND h <= o.hours_b
                UNION ALL
                SELECT good, total FROM slo_sliminute WHERE indicator_id = o.indicator AND m > o.head_a AND m <= o.head_b
                UNION ALL
                SELECT good, total FROM slo_sliminute WHERE indicator_id = o.indicator AND m > o.tail_a AND m <= o.tail_b
            ) part ON true
            GROUP BY o.id
            """,
            [
                ids,
                indicators,
                [a for a, _ in heads],
                [b for _, b in heads],
                [a for a, _ in hours],
                [b for _, b in hours],
                [a for a, _ in tails],
                [b for _, b in tails],
            ],
        )
        return {row[0]: Counts(int(row[1]), int(row[2])) for row in sql.fetchall()}


def budgets_by_agent(*, at: datetime | None = None, agents: Collection[int] | None = None) -> dict[Agent, list[Line]]:
    """Return the current objectives of every agent, or of those named, with their budgets: 3 queries."""
    now = at or clock()
    t = evaluated_at(now, settle=SETTLE_DECISIONS)
    objectives = (
        Objective.objects.filter(valid_to__isnull=True)
        .select_related("indicator__agent__team")
        .order_by("indicator_id", "pk")
    )
    if agents is not None:
        objectives = objectives.filter(indicator__agent_id__in=agents)
    found = list(objectives)
    counts = counts_for(found, t)
    sparks = _sparks(found, t)
    lines: dict[Agent, list[Line]] = defaultdict(list)
    for objective in found:
        budget = Budget(objective.exact_target, counts[objective.pk])
        lines[objective.indicator.agent].append(Line(objective, budget, moment(t), sparks[objective.pk]))
    return lines


def chart_points(objective: Objective, *, at: datetime | None = None, points: int = CHART_POINTS) -> list[Point]:
    """Return the budget left over the objective's period, oldest first, the last one at the exact minute: 2 queries."""
    t = evaluated_at(at or clock(), settle=SETTLE_DECISIONS)
    instants = _instants(t, objective.period_s, points)
    return burn_down(_rows(objective, t), target=objective.exact_target, period=objective.period_s, instants=instants)


def verdicts(agent: Agent, *, since: datetime, until: datetime) -> Verdicts:  # 1 query
    """Count how people decided on an agent's proposals, generated history included as the roll-ups include it."""
    found = Decision.objects.filter(
        proposal__agent_version__agent=agent,
        final=True,
        voided_at__isnull=True,
        by_kind=Decision.By.PERSON,
        decided_at__gt=since,
        decided_at__lte=until,
    )
    tally = dict(found.values_list("verdict").annotate(Count("pk")).order_by())
    return Verdicts(tally.get("approve", 0), tally.get("edit", 0), tally.get("reject", 0))


def _instants(t: int, period: int, points: int) -> list[int]:
    step = max(HOUR, period // points // HOUR * HOUR)
    full_hour = t // HOUR * HOUR
    instants = list(range(full_hour - (full_hour - (t - period)) // step * step, full_hour + 1, step))
    return instants if instants[-1] == t else [*instants, t]


def _rows(objective: Objective, t: int) -> list[tuple[int, int, int]]:
    """Whole hours up to the last full one, then the minutes since: exact at t, to the hour before."""
    down = t // HOUR * HOUR
    hours = SliHour.objects.filter(
        indicator=objective.indicator_id, h__gt=t - 2 * objective.period_s - HOUR, h__lte=down
    )
    minutes = SliMinute.objects.filter(indicator=objective.indicator_id, m__gt=down, m__lte=t)
    return [
        *hours.order_by("h").values_list("h", "good", "total"),
        *minutes.order_by("m").values_list("m", "good", "total"),
    ]


def _sparks(objectives: Sequence[Objective], t: int) -> dict[int, tuple[float | None, ...]]:  # 1 query
    if not objectives:
        return {}
    longest = max(objective.period_s for objective in objectives)
    rows: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    hours = SliHour.objects.filter(
        indicator__in={objective.indicator_id for objective in objectives},
        h__gt=t - 2 * longest - HOUR,
        h__lte=t + HOUR - MINUTE,
    )
    for indicator, h, good, total in hours.order_by("indicator_id", "h").values_list(
        "indicator_id", "h", "good", "total"
    ):
        rows[indicator].append((h, good, total))
    return {
        objective.pk: tuple(
            None if point.remaining is None else float(point.remaining)
            for point in burn_down(
                rows[objective.indicator_id],
                target=objective.exact_target,
                period=objective.period_s,
                instants=_instants(t // HOUR * HOUR + HOUR, objective.period_s, SPARK_POINTS),
            )
        )
        for objective in objectives
    }


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One agent with its objectives, for the fleet page."""

    agent: Agent
    lines: tuple[Line, ...]

    @property
    def worst(self) -> BudgetState:
        return max((line.budget.state for line in self.lines), key=list(BudgetState).index)


def fleet(user: User, *, at: datetime | None = None) -> list[FleetRow]:
    """Return the agents of a person's teams, the worst budget first: 3 queries."""
    agents = Agent.objects.filter(team__in=team_ids_with(user, "slo.view")).exclude(stage=Stage.RETIRED)
    rows = [
        FleetRow(agent, tuple(lines))
        for agent, lines in budgets_by_agent(at=at, agents=[agent.pk for agent in agents]).items()
    ]
    return sorted(rows, key=lambda row: (-list(BudgetState).index(row.worst), _least_left(row), row.agent.name))


def _least_left(row: FleetRow) -> float:
    return min((line.share_left for line in row.lines if line.share_left is not None), default=2.0)


def agent_lines(user: User, agent_id: int) -> list[Line]:
    """Return one agent's objectives, or 404 for outsiders."""
    agent = object_or_404(Agent.objects.all(), user, "slo.view", agent_id)
    return budgets_by_agent(agents=[agent.pk]).get(agent, [])


def proposal_agent_id(user: User, proposal_id: int) -> int:
    """Return the agent of a proposal that this person may see."""
    return object_or_404(
        Proposal.objects.select_related("agent_version"), user, "approvals.view", proposal_id
    ).agent_version.agent_id


@dataclass(frozen=True, slots=True)
class ObjectivePage:
    line: Line
    points: list[Point]
    verdicts: Verdicts | None

    @property
    def agent(self) -> Agent:
        return self.line.objective.indicator.agent


def fleet_sentence(rows: Sequence[FleetRow]) -> str:
    """Say the so-what of the fleet page."""
    if not rows:
        return "No agent is measured yet."
    spent = [row.agent.name for row in rows if row.worst is BudgetState.FROZEN]
    at_risk = sum(row.worst is BudgetState.RESTRICT for row in rows)
    if spent:
        return f"{', '.join(spent)} spent the error budget and must ask a human."
    return f"{at_risk} of {len(rows)} agents at risk." if at_risk else f"All {len(rows)} agents have error budget left."


def objective_page(objective: Objective, *, at: datetime | None = None) -> ObjectivePage:
    """Everything the page of one objective shows: 5 queries."""
    now = at or clock()
    line = budgets_by_agent(at=now, agents=[objective.indicator.agent_id])[objective.indicator.agent]
    [this] = [each for each in line if each.objective.pk == objective.pk]
    decided = None
    if objective.indicator.kind == Indicator.Kind.AGREEMENT:
        decided = verdicts(objective.indicator.agent, since=now - timedelta(seconds=objective.period_s), until=now)
    return ObjectivePage(this, chart_points(objective, at=now), decided)


def chart_table(points: Sequence[Point]) -> list[tuple[datetime, str, Counts]]:
    """Return the chart as rows for people who read tables, the newest first."""
    return [
        (
            moment(point.at),
            "no data" if point.remaining is None else percent_to_the_worse(point.remaining),
            point.counts,
        )
        for point in points[::-1][:: max(1, len(points) // 30)]
    ]
