"""What the reliability pages show. Every window is read from roll-ups: the cost does not grow with the number of runs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from uuid import UUID

from django.db import connection
from django.db.models import Count, F
from django.http import Http404

from apps.accounts.access import Hidden, ensure, object_or_404
from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.agents.models import Agent, Stage
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock
from apps.slo.domain.budget import Budget, BudgetState, Counts, percent_to_the_worse
from apps.slo.domain.burndown import Point, burn_down
from apps.slo.domain.freshness import Freshness
from apps.slo.domain.windows import HOUR, evaluated_at, minute_key, moment, pieces
from apps.slo.models import Cursor, Indicator, Objective, SliHour

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
        return _share(self.budget.remaining)

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


def freshness(*, at: datetime | None = None) -> Freshness:  # 1 query, and the clock
    """Return how far the roll-ups reach: as far as the source that was collected least recently."""
    oldest_first = Cursor.objects.order_by(F("collected_at").asc(nulls_first=True))
    return Freshness(oldest_first.values_list("collected_at", flat=True).first(), at or clock())


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
    hours = _hour_rows(found, t)
    lines: dict[Agent, list[Line]] = defaultdict(list)
    for objective in found:
        line = Line(objective, Budget(objective.exact_target, counts[objective.pk]), moment(t))
        spark = tuple(_share(point.remaining) for point in _over_time(line, hours, points=SPARK_POINTS))
        lines[objective.indicator.agent].append(replace(line, spark=spark))
    return lines


def chart_points(line: Line) -> list[Point]:  # 1 query
    """Return the budget left over the objective's period, oldest first; the last point is the line's own budget."""
    hours = _hour_rows([line.objective], minute_key(line.as_of))
    return _over_time(line, hours, points=CHART_POINTS)


def verdicts(agent: Agent, *, since: datetime, until: datetime) -> Verdicts:  # 1 query
    """Count how people decided on an agent's proposals, generated history included as the roll-ups include it."""
    found = Decision.objects.filter(
        proposal__agent_version__agent=agent,
        proposal__kind=Proposal.Kind.LIVE,
        final=True,
        voided_at__isnull=True,
        by_kind=Decision.By.PERSON,
        decided_at__gt=since,
        decided_at__lte=until,
    )
    tally = dict(found.values_list("verdict").annotate(Count("pk")).order_by())
    return Verdicts(tally.get("approve", 0), tally.get("edit", 0), tally.get("reject", 0))


# What happened up to each full hour, (key, good, total), by indicator.
HourRows = Mapping[int, Sequence[tuple[int, int, int]]]


def _over_time(line: Line, hours: HourRows, *, points: int) -> list[Point]:
    """Move the window along the full hours before the line's own instant, which its hour row would not cut exactly."""
    objective, t = line.objective, minute_key(line.as_of)
    before = burn_down(
        hours.get(objective.indicator_id, ()),
        target=objective.exact_target,
        period=objective.period_s,
        instants=_full_hours(t, objective.period_s, points),
    )
    return [*before, Point(t, line.budget.remaining, line.budget.counts)]


def _full_hours(t: int, period: int, points: int) -> range:
    """About so many full hours of [t − period, t), evenly apart, the last one the newest."""
    step = max(HOUR, period // points // HOUR * HOUR)
    newest = t // HOUR * HOUR
    return range(newest - (newest - (t - period)) // step * step, t, step)


def _hour_rows(objectives: Sequence[Objective], t: int) -> HourRows:  # 1 query
    """Read the full hours that any window within the objectives' periods before t can reach."""
    if not objectives:
        return {}
    longest = max(objective.period_s for objective in objectives)
    found = SliHour.objects.filter(
        indicator__in={objective.indicator_id for objective in objectives}, h__gt=t - 2 * longest - HOUR, h__lte=t
    ).order_by("indicator_id", "h")
    rows: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for indicator, h, good, total in found.values_list("indicator_id", "h", "good", "total"):
        rows[indicator].append((h, good, total))
    return rows


def _share(remaining: Fraction | None) -> float | None:
    return None if remaining is None else float(remaining)


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One agent with its objectives, for the fleet page."""

    agent: Agent
    lines: tuple[Line, ...]

    @property
    def worst(self) -> BudgetState:
        return max((line.budget.state for line in self.lines), key=list(BudgetState).index)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The agents that a person may see, the worst budget first."""

    rows: tuple[FleetRow, ...]
    freshness: Freshness

    @property
    def so_what(self) -> str:
        if not self.rows:
            return "No agent is measured yet."
        spent = [row.agent.name for row in self.rows if row.worst is BudgetState.FROZEN]
        if spent:
            return f"{', '.join(spent)} spent the error budget and must ask a human."
        at_risk = sum(row.worst is BudgetState.RESTRICT for row in self.rows)
        if at_risk:
            return f"{at_risk} of {len(self.rows)} agents at risk."
        return f"All {len(self.rows)} agents have error budget left."


def fleet(user: User, *, at: datetime | None = None) -> Fleet:
    """Return the agents of a person's teams as the roll-ups tell of them: 5 queries and the clock, any number of agents."""
    fresh = freshness(at=at)
    agents = Agent.objects.filter(team__in=team_ids_with(user, "slo.view")).exclude(stage=Stage.RETIRED)
    rows = [
        FleetRow(agent, tuple(lines))
        for agent, lines in budgets_by_agent(at=fresh.shown_at, agents=[agent.pk for agent in agents]).items()
    ]
    rows.sort(key=lambda row: (-list(BudgetState).index(row.worst), _least_left(row), row.agent.name))
    return Fleet(tuple(rows), fresh)


def _least_left(row: FleetRow) -> float:
    return min((line.share_left for line in row.lines if line.share_left is not None), default=2.0)


@dataclass(frozen=True, slots=True)
class AgentBudgets:
    """One agent's objectives, for the panels."""

    lines: tuple[Line, ...]
    freshness: Freshness


def agent_budgets(user: User, agent_id: int, *, at: datetime | None = None) -> AgentBudgets:
    """Return one agent's objectives, or 404 for outsiders: 5 queries and the clock."""
    agent = object_or_404(Agent.objects.all(), user, "slo.view", agent_id)
    fresh = freshness(at=at)
    return AgentBudgets(tuple(budgets_by_agent(at=fresh.shown_at, agents=[agent.pk]).get(agent, ())), fresh)


def proposal_agent_id(user: User, proposal_id: int) -> int:
    """Return the agent of a proposal that this person may see."""
    return object_or_404(
        Proposal.objects.select_related("agent_version"), user, "approvals.view", proposal_id
    ).agent_version.agent_id


def objective_or_404(user: User, line_id: UUID) -> Objective:  # 1 query
    """Return the present version of an objective. Raises Hidden (404) to outsiders and Forbidden (403) without the right."""
    found = (
        Objective.objects.filter(line_id=line_id, valid_to__isnull=True)
        .select_related("indicator__agent__team")
        .first()
    )
    if found is None:
        raise Http404("Not found")
    team_id = found.indicator.agent.team_id
    if team_id not in user.roles_by_team:
        raise Hidden("slo.view", f"objective:{line_id}")
    ensure(user, "slo.view", team_id)
    return found


@dataclass(frozen=True, slots=True)
class ObjectivePage:
    line: Line
    points: list[Point]
    verdicts: Verdicts | None
    freshness: Freshness

    @property
    def agent(self) -> Agent:
        return self.line.objective.indicator.agent


def objective_page(objective: Objective, *, at: datetime | None = None) -> ObjectivePage:
    """Everything the page of one objective shows: 6 queries and the clock."""
    fresh = freshness(at=at)
    now = fresh.shown_at
    lines = budgets_by_agent(at=now, agents=[objective.indicator.agent_id])[objective.indicator.agent]
    [this] = [each for each in lines if each.objective.pk == objective.pk]
    decided = None
    if objective.indicator.kind == Indicator.Kind.AGREEMENT:
        decided = verdicts(objective.indicator.agent, since=now - timedelta(seconds=objective.period_s), until=now)
    return ObjectivePage(this, chart_points(this), decided, fresh)


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
