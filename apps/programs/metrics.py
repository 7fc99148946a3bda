"""The numbers behind computed gates, read from the rows that people and agents made. A metric without a reader is unknown."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

from django.db.models import Count, F, Max, Q, QuerySet

from apps.agents.models import ActionType
from apps.approvals.models import Decision, Proposal, State
from apps.connectors.models import ActionExecution
from apps.oncall.models import Position
from apps.programs.domain.catalogue import Tier, bar_for
from apps.programs.domain.criteria import Reading, failure_rate_reading, plain_reading
from apps.programs.domain.states import SATISFIED, Kind, Verdict
from apps.programs.models import Gate
from apps.slo.models import SliHour
from apps.slo.queries import budgets_by_agent

Criterion = Mapping[str, Any]
Reader = Callable[[Gate, Criterion, datetime], Reading]

_WORST_FIRST = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)
# What `per` of a criterion groups decisions by; the bar is that of the action type's class either way.
_GROUPS: Final[Mapping[str, str]] = {
    "risk_class": "proposal__action_type__risk_class",
    "action_type": "proposal__action_type__key",
}


def read_gate(gate: Gate, *, at: datetime) -> Reading:
    """Evaluate a gate's criterion and all that is listed with it; the worst verdict counts."""
    readings = [_read(gate, part, at) for part in _parts(gate)]
    worst = min(readings, key=lambda reading: _WORST_FIRST.index(reading.verdict))
    if len(readings) == 1:
        return worst
    text = " ".join(reading.text for reading in readings)
    return Reading(worst.verdict, text[:300], worst.cases, worst.failures, worst.value, worst.bound)


def is_measured(gate: Gate) -> bool:
    """Say whether every number that a gate asks for has a reader; without one it stays unknown, and that is not pass."""
    return all(part["metric"] in _READERS for part in _parts(gate))


def _parts(gate: Gate) -> tuple[Criterion, ...]:
    criterion: Criterion = gate.criterion or {}
    return (criterion, *criterion.get("also", ()))


def _read(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    reader = _READERS.get(criterion["metric"])
    if reader is None:
        return Reading(Verdict.UNKNOWN, f"{_words(criterion['metric'])} is not measured yet.")
    return reader(gate, criterion, at)


def _bar(gate: Gate, criterion: Criterion) -> float:
    return float(cast("float", bar_for(criterion, cast("Tier", gate.program.tier))))


def _fewest(gate: Gate, criterion: Criterion) -> int:
    fewest = criterion.get("min_n", 0)
    return int(fewest[gate.program.tier] if isinstance(fewest, Mapping) else fewest)


def _since(gate: Gate, criterion: Criterion, at: datetime) -> datetime:
    """Return where the window begins. After a re-attest event later data only: the earlier is about another agent."""
    begins = at - timedelta(days=criterion.get("window_days", 28))
    reopened = gate.events.filter(kind=Kind.REOPENED, payload__has_key="re_attest").aggregate(at=Max("at"))["at"]
    return max(begins, reopened) if reopened else begins


def _words(metric: str) -> str:
    return metric.replace("_", " ").capitalize()


def _plain(gate: Gate, criterion: Criterion, value: float | None) -> Reading:
    return plain_reading(value, criterion["op"], _bar(gate, criterion), what=_words(criterion["metric"]))


def _unclassed_actions(gate: Gate, criterion: Criterion, _: datetime) -> Reading:
    types = ActionType.objects.filter(agent=gate.program.agent_id)
    count = types.aggregate(all=Count("pk"), unclassed=Count("pk", filter=Q(risk_class="")))
    return _plain(gate, criterion, count["unclassed"] if count["all"] else None)


def _live_decisions(gate: Gate, criterion: Criterion, at: datetime) -> QuerySet[Decision]:
    """What people decided for good about real proposals: no drill, no advice, nothing taken back, and nothing that undoes another.

    A demo's agents are judged by their generated past, as their budgets are; no other agent has generated rows.
    """
    return Decision.objects.filter(
        proposal__agent_version__agent=gate.program.agent_id,
        proposal__kind=Proposal.Kind.LIVE,
        proposal__compensates__isnull=True,
        by_kind=Decision.By.PERSON,
        final=True,
        voided_at__isnull=True,
        decided_at__gt=_since(gate, criterion, at),
    )


def _unedited_approvals(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    """Share of decisions that approved unchanged, per risk class or per action type at its class's bar (rule 4).

    Each class or type in use must pass; one without a bar is skipped. The agent's owner and the version's author do not
    vouch for it (rule 16), nor does an approval of somebody who did not look: what only they decided is in use and has
    no case yet.
    """
    counted = ~Q(actor=F("proposal__agent_version__agent__owner")) & ~Q(actor=F("proposal__agent_version__author"))
    counted &= Q(is_evidence=True)
    rows = (
        _live_decisions(gate, criterion, at)
        .filter(verdict__in=[Decision.Verdict.APPROVE, Decision.Verdict.EDIT, Decision.Verdict.REJECT])
        .values(group=F(_GROUPS[criterion["per"]]), risk=F("proposal__action_type__risk_class"))
        .annotate(
            cases=Count("pk", filter=counted), good=Count("pk", filter=counted & Q(verdict=Decision.Verdict.APPROVE))
        )
        .order_by("group")
    )
    readings = []
    for row in rows:
        bar, fewest = criterion["value"].get(row["risk"]), criterion["min_n"].get(row["risk"], 0)
        if bar is not None:
            # From the decimal text: 1 - 0.9 in floats is not 0.1.
            allowed = float(1 - Decimal(str(bar)))
            reading = failure_rate_reading(row["cases"] - row["good"], row["cases"], bar=allowed, fewest=fewest)
            name = f"{row['risk'].capitalize()} risk" if row["group"] == row["risk"] else row["group"]
            readings.append(replace(reading, text=f"{name}: {reading.text}"))
    if not readings:
        return Reading(Verdict.UNKNOWN, "No decision of a person that counts here yet.")
    return min(readings, key=lambda reading: _WORST_FIRST.index(reading.verdict))


def _decision_minutes(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    """The time from question to answer that nine of ten decisions kept to."""
    times = sorted(
        (decided - created).total_seconds() / 60
        for created, decided in _live_decisions(gate, criterion, at).values_list("proposal__created_at", "decided_at")
    )
    fewest = _fewest(gate, criterion)
    if len(times) < fewest:
        return Reading(Verdict.UNKNOWN, f"{len(times)} of {fewest} decisions so far.", cases=len(times))
    reading = _plain(gate, criterion, round(times[-(-9 * len(times) // 10) - 1], 1))
    return Reading(reading.verdict, reading.text, len(times), 0, reading.value)


def _expired_share(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    closed = Proposal.objects.filter(
        agent_version__agent=gate.program.agent_id, kind=Proposal.Kind.LIVE, closed_at__gt=_since(gate, criterion, at)
    ).aggregate(all=Count("pk"), expired=Count("pk", filter=Q(state=State.EXPIRED)))
    return _plain(gate, criterion, closed["expired"] / closed["all"] if closed["all"] else None)


def _least_budget(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    lines = next(iter(budgets_by_agent(at=at, agents=[gate.program.agent_id]).values()), [])
    left = [line.budget.remaining for line in lines if line.budget.remaining is not None]
    return _plain(gate, criterion, float(min(left)) if left else None)


def _days_of_slo_data(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    first = (
        SliHour.objects.filter(indicator__agent=gate.program.agent_id).order_by("h").values_list("h", flat=True).first()
    )
    return _plain(gate, criterion, None if first is None else (at.timestamp() - first) // 86400)


def _full_records(gate: Gate, criterion: Criterion, at: datetime) -> Reading:
    """Share of writes whose record says what was sent, on which decision, by whom, and how it ended."""
    rows = ActionExecution.objects.filter(
        agent_id_value=gate.program.agent_id, started_at__gt=_since(gate, criterion, at)
    ).aggregate(
        all=Count("pk"),
        full=Count(
            "pk",
            filter=~Q(digest="") & ~Q(actor="") & ~Q(state=ActionExecution.State.STARTED) & Q(ended_at__isnull=False),
        ),
    )
    fewest = _fewest(gate, criterion)
    if rows["all"] < fewest:
        return Reading(Verdict.UNKNOWN, f"{rows['all']} of {fewest} writes so far.", cases=rows["all"])
    reading = _plain(gate, criterion, rows["full"] / rows["all"])
    return Reading(reading.verdict, reading.text, rows["all"], rows["all"] - rows["full"], reading.value)


def _people_on_call(gate: Gate, criterion: Criterion, _: datetime) -> Reading:
    people = Position.objects.filter(layer__schedule__team=gate.program.home_team_id).values("user").distinct().count()
    return _plain(gate, criterion, people)


def _other_gates_open(gate: Gate, criterion: Criterion, _: datetime) -> Reading:
    count = (
        gate.program.gates.filter(transition=gate.transition).exclude(pk=gate.pk).exclude(state__in=SATISFIED).count()
    )
    if count:
        # Nobody failed anything: the last gate of a transition only waits, and must not read as refused until then.
        return Reading(
            Verdict.UNKNOWN, f"Waits on {count} other gate{'s' if count > 1 else ''} of this transition.", value=count
        )
    return _plain(gate, criterion, count)


_READERS: dict[str, Reader] = {
    "actions_without_risk_class": _unclassed_actions,
    "unedited_approval_rate_lower_bound_95": _unedited_approvals,
    "p90_minutes_to_decision": _decision_minutes,
    "expired_undecided_share": _expired_share,
    "min_error_budget_remaining_share": _least_budget,
    "slos_with_data_days": _days_of_slo_data,
    "share_of_actions_with_full_record": _full_records,
    "oncall_people": _people_on_call,
    "other_G2_gates_not_passed_or_waived": _other_gates_open,
}
