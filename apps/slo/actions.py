"""Count what happened into its minute, and tell the agents below what is left of their budgets."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import QuerySet

from apps.agents import actions as agents
from apps.agents.models import Agent, Standing
from apps.approvals.models import Decision, Proposal
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from apps.slo.domain.budget import BudgetState
from apps.slo.domain.windows import hour_key, minute_key
from apps.slo.models import Cursor, Indicator, Objective, SliEvent, SliHour, SliMinute
from apps.slo.queries import budgets_by_agent, freshness

# An event told as happening later than this after we learned of it is counted when we learned of it (rule 2).
MOST_SKEW = timedelta(seconds=120)
# A write without a known outcome for this long counts as bad; a later reconciliation corrects it.
UNKNOWN_IS_BAD_AFTER = timedelta(minutes=15)
# Rows read in one transaction of the collector.
BATCH = 5_000

AGREEMENT_TARGET = Decimal("0.90")
WRITE_BACK_TARGET = Decimal("0.999")


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict as its source tells it: total 0 takes the subject out of the count."""

    agent_id: int
    kind: str
    subject_key: str
    occurred_at: datetime
    good: int
    total: int


def ensure_objectives(agent: Agent) -> list[Objective]:
    """Give an agent its two first objectives: agreement with its reviewers, and integrity of what it writes."""
    made = []
    for kind, name, target in (
        (Indicator.Kind.AGREEMENT, "Agreement with reviewers", AGREEMENT_TARGET),
        (Indicator.Kind.WRITE_BACK, "Writes confirmed once", WRITE_BACK_TARGET),
    ):
        indicator, _ = Indicator.objects.get_or_create(
            agent=agent, slug=kind.value.replace("_", "-"), defaults={"kind": kind}
        )
        if not indicator.objectives.exists():
            with transaction.atomic():
                objective = indicator.objectives.create(name=name, target=target)
                audit.record(
                    "slo.objective_created",
                    subject=f"objective:{objective.line_id}",
                    actor="system",
                    team_id=agent.team_id,
                    payload={"name": name, "target": str(target), "period_s": objective.period_s},
                )
            made.append(objective)
    return made


def ensure_all_objectives() -> int:
    """Give every agent without objectives its first two; return how many agents had none."""
    without = Agent.objects.exclude(pk__in=Indicator.objects.values("agent_id"))
    return sum(1 for agent in without if ensure_objectives(agent))


@transaction.atomic
def collect(*, at: datetime | None = None) -> int:
    """Count every decision and execution that committed since the last time; return how many verdicts changed.

    Sources are read in commit order below the oldest running transaction, as a watermark on ids would lose a row
    that commits late. Running it twice, or after a crash, counts nothing twice. All sources are counted, or none.
    """
    ensure_all_objectives()
    changed = sum(_collect_from(source, read, at=at) for source, read in _SOURCES.items())
    return changed + _count_overdue_writes(at=at)


def _collect_from(source: str, read: "Reader", *, at: datetime | None) -> int:
    cursor, _ = Cursor.objects.select_for_update().get_or_create(source=source)
    now = at or clock()
    with connection.cursor() as sql:
        sql.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        horizon = sql.fetchone()[0]
    changed = 0
    batch: list[Told] = []
    for told in read(cursor.xid, horizon):
        batch.append(told)
        if len(batch) == BATCH:
            changed += tell(batch, at=at)
            batch = []
    changed += tell(batch, at=at)
    # A transaction that stays open holds the horizon: what commits after it began is not counted, so time stands still.
    if horizon != cursor.xid:
        cursor.xid, cursor.collected_at = horizon, now
        cursor.save(update_fields=["xid", "collected_at"])
    return changed


@transaction.atomic
def tell(batch: Iterable[Told], *, at: datetime | None = None) -> int:
    """Write verdicts into the ledger and their difference into the minute and hour of the event; return how many changed.

    `occurred_at` of a subject is written once. The same verdict again changes nothing; another one is a correction,
    which costs one minute row and one hour row however late it comes.
    """
    newest = {(told.agent_id, told.kind, told.subject_key): told for told in batch}
    if not newest:
        return 0
    observed = at or clock()
    indicators = {
        (indicator.agent_id, indicator.kind): indicator.pk
        for indicator in Indicator.objects.filter(agent_id__in={told.agent_id for told in newest.values()})
    }
    wanted = {
        (indicators[told.agent_id, told.kind], told.subject_key): told
        for told in newest.values()
        if (told.agent_id, told.kind) in indicators
    }
    _lock_indicators(sorted({indicator for indicator, _ in wanted}))
    known = {
        (event.indicator_id, event.subject_key): event
        for event in SliEvent.objects.filter(
            indicator_id__in={indicator for indicator, _ in wanted}, subject_key__in={key for _, key in wanted}
        )
    }
    fresh, changed = [], 0
    minutes: RollUp = defaultdict(lambda: [0, 0])
    hours: RollUp = defaultdict(lambda: [0, 0])
    for (indicator, subject), told in wanted.items():
        event = known.get((indicator, subject))
        if event is None:
            is_skewed = told.occurred_at > observed + MOST_SKEW
            event = SliEvent(
                indicator_id=indicator,
                subject_key=subject,
                occurred_at=observed if is_skewed else told.occurred_at,
                observed_at=observed,
                good=told.good,
                total=told.total,
                is_skewed=is_skewed,
            )
            fresh.append(event)
            good, total = told.good, told.total
        else:
            good, total = told.good - event.good, told.total - event.total
            if good or total:
                SliEvent.objects.filter(
                    indicator_id=indicator, subject_key=subject, occurred_at=event.occurred_at
                ).update(good=told.good, total=told.total)
        if good or total:
            changed += 1
            m = minute_key(event.occurred_at)
            for rows, key in ((minutes, m), (hours, hour_key(m))):
                rows[indicator, key][0] += good
                rows[indicator, key][1] += total
    SliEvent.objects.bulk_create(fresh, batch_size=2_000)
    _add(SliMinute, "m", minutes)
    _add(SliHour, "h", hours)
    return changed


def evaluate(*, at: datetime | None = None) -> int:
    """Report every agent's worst budget state to the agents floor; return how many agents were told.

    The report is as old as what was counted last: without a collector it ages until it means "ask a human". Before
    the first collection there is none, which means the same.
    """
    as_of = freshness(at=at).as_of
    if as_of is None:
        return 0
    told = 0
    for agent, lines in budgets_by_agent(at=as_of).items():
        states = [line.budget.state for line in lines if line.budget.state is not BudgetState.NO_DATA]
        # An agent without any decision yet has spent nothing: that is "ok", while a missing row means "ask a human".
        worst = max(states, key=list(BudgetState).index, default=BudgetState.OK)
        agents.report_standing(agent, kind=Standing.Kind.BUDGET, value=worst.value, as_of=as_of)
        told += 1
    return told


# Differences to add, [good, total] by indicator and key.
RollUp = dict[tuple[int, int], list[int]]
Reader = Callable[[int, int], Iterator[Told]]


def _decisions(low: int, high: int) -> Iterator[Told]:
    """Agreement: approved unedited over decided by a person. Drills, timers, policies and answers are not decisions,
    and the approval of somebody who no longer looks is no evidence (R18).
    """
    rows = (
        Decision.objects.extra(
            where=["approvals_decision.xid >= %s::text::xid8", "approvals_decision.xid < %s::text::xid8"],
            params=[low, high],
        )  # parameters are bound; xid8 has no lookups
        .filter(final=True, by_kind=Decision.By.PERSON, synthetic=False, proposal__kind=Proposal.Kind.LIVE)
        # What a person asked for, to undo what the agent did, is no work of the agent.
        .filter(proposal__compensates__isnull=True)
        .filter(verdict__in=[Decision.Verdict.APPROVE, Decision.Verdict.EDIT, Decision.Verdict.REJECT])
        .values_list("pk", "verdict", "decided_at", "voided_at", "is_evidence", "proposal__agent_version__agent_id")
    )
    for pk, verdict, decided_at, voided_at, is_evidence, agent_id in rows.iterator():
        counts = voided_at is None and is_evidence
        is_good = counts and verdict == Decision.Verdict.APPROVE
        yield Told(agent_id, Indicator.Kind.AGREEMENT, f"decision:{pk}", decided_at, int(is_good), int(counts))


def _executions(low: int, high: int) -> Iterator[Told]:
    """Write-back: confirmed once by the system of record over claimed done. A definite refusal claimed nothing."""
    rows = (
        _writes_of_agents()
        .extra(
            where=["xid >= %s::text::xid8", "xid < %s::text::xid8"], params=[low, high]
        )  # parameters are bound; xid8 has no lookups
        .filter(state__in=[ActionExecution.State.DONE, ActionExecution.State.FAILED])
        .values_list("pk", "state", "external_ref", "started_at", "agent_id_value")
    )
    for pk, state, external_ref, started_at, agent_id in rows.iterator():
        counts = state == ActionExecution.State.DONE
        yield Told(
            agent_id,
            Indicator.Kind.WRITE_BACK,
            f"execution:{pk}",
            started_at,
            int(counts and bool(external_ref)),
            int(counts),
        )


def _count_overdue_writes(*, at: datetime | None) -> int:
    """Count writes whose outcome stayed unknown as bad: they may or may not have happened."""
    now = at or clock()
    overdue = (
        _writes_of_agents()
        .filter(state=ActionExecution.State.UNKNOWN, started_at__lte=now - UNKNOWN_IS_BAD_AFTER)
        .values_list("pk", "started_at", "agent_id_value")
    )
    return tell(
        [
            Told(agent_id, Indicator.Kind.WRITE_BACK, f"execution:{pk}", started_at, 0, 1)
            for pk, started_at, agent_id in overdue
        ],
        at=at,
    )


def _writes_of_agents() -> QuerySet[ActionExecution]:
    """Writes that followed from a proposal. What a person writes, as when closing a hand-over, is not the agent's."""
    return ActionExecution.objects.filter(synthetic=False, proposal_id_value__isnull=False)


_SOURCES: dict[str, Reader] = {"approvals.decision": _decisions, "connectors.execution": _executions}


def _lock_indicators(indicators: Iterable[int]) -> None:
    """Serialise writers of the same indicator: a subject may not have its first row yet, and one lock per subject would exhaust the table of locks."""
    with connection.cursor() as sql:
        sql.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('sli:' || indicator, 0)) FROM unnest(%s::int[]) AS indicator",
            [list(indicators)],
        )


def _add(model: type[SliMinute] | type[SliHour], key: str, rows: RollUp) -> None:
    """Add differences to roll-up rows in key order, so that two writers never wait for each other in a circle."""
    if not rows:
        return
    ordered = sorted((indicator, at, good, total) for (indicator, at), (good, total) in rows.items())
    columns = [list(column) for column in zip(*ordered, strict=True)]
    table = model._meta.db_table
    with connection.cursor() as sql:
        # Empty rows first: PostgreSQL checks the row proposed for insertion, and a difference alone may be negative.
        sql.execute(
            f"INSERT INTO {table} (indicator_id, {key}, good, total)"  # noqa: S608  # names are our own models'
            " SELECT *, 0, 0 FROM unnest(%s::int[], %s::bigint[]) ON CONFLICT DO NOTHING",
            columns[:2],
        )
        sql.execute(
            f"UPDATE {table} AS row SET good = row.good + told.good, total = row.total + told.total"  # noqa: S608  # see above
            " FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[]) AS told(indicator, at, good, total)"
            f" WHERE row.indicator_id = told.indicator AND row.{key} = told.at",
            columns,
        )
