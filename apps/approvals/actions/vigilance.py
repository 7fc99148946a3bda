"""R18: what follows when somebody no longer looks. Each step is told to them, and none takes their right to say no."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from celery import current_app
from django.db import transaction

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import drills, second_looks, viewing
from apps.approvals.domain import vigilance
from apps.approvals.domain.drills import Revealed
from apps.approvals.domain.vigilance import Attention
from apps.approvals.models import Decision, Drill, Proposal, Vigilance
from apps.approvals.queries import vigilance as queries
from apps.approvals.queries.drills import outcome_of
from apps.approvals.queries.vigilance import Run
from apps.audit import actions as audit
from apps.audit.clock import clock

WATCH_TASK: Final = "approvals.watch_run"
_CONSENT: Final = ("approve", "edit")
# What a new day starts with, until it is measured.
_KEPT: Final = (
    *("decided", "drills", "caught", "catch_lower", "median_s", "below_floor", "approve_run", "run_alarm_at"),
    *("looked_twice", "agreed", "decay", "response", "cool_down_until"),
)
SHORTEST_REASON: Final = 3


class CoolDown(errors.Refused):
    """Approvals rest for ten minutes; refusing, asking and escalating always work."""

    code = "cool_down"


class TooFast(errors.Refused):
    code, status = "too_fast", 422


@dataclass(frozen=True, slots=True)
class _Before:
    """What a person's row held before it was measured again."""

    response: str
    cool_down_until: datetime | None


def ensure_attentive(row: Proposal, *, verdict: str, reason: str, actor: User, at: datetime) -> Attention:
    """Return how a person stands before a card, or say what is asked of them first. Only consent can be refused here.

    Raises CoolDown (409), BadVerdict `bad_reason` or TooFast (422).
    """
    found = queries.attention_of(actor, row, at=at)
    if verdict not in _CONSENT:
        return found
    if found.is_cooling_down(at):
        raise CoolDown(cool_down_words(found, actor))
    if found.includes("reason") and len(reason) < SHORTEST_REASON:
        told = "Say in a few words why this is right. Your last weeks ask for it; “Vigilance” tells why. Nothing was decided."
        raise errors.BadVerdict(told, code="bad_reason", pointer="/reason")
    if verdict == "approve" and found.includes("slow"):
        _ensure_read(row, found, at)
    return found


def ensure_fresh_eyes(row: Proposal, actor: User) -> None:
    """Raise NotFound for a second look at what this very person decided; no query for any other card."""
    if row.kind == Proposal.Kind.SECOND_LOOK and row.is_open and queries.has_decided_first(actor, row):
        raise errors.NotFound


def cool_down_words(found: Attention, reader: User) -> str:
    until = found.cool_down_until.astimezone(ZoneInfo(reader.time_zone)) if found.cool_down_until else None
    ends = f": until {until:%H:%M}" if until else ""
    return f"Take ten minutes away from approving{ends}. Refusing, asking and escalating work all the time."


def after_verdict(row: Proposal, decision: Decision, found: Attention, *, at: datetime) -> Revealed | None:
    """Close the look, reveal what was planted, and watch the run of approvals. Return what the person is told."""
    actor = decision.actor
    if actor is None:
        return None
    viewing.close_views(row.pk, actor=actor, at=at)
    revealed = _settled(row, decision, at)
    if decision.verdict == "approve" and found.only_approved and row.kind == Proposal.Kind.LIVE:
        # What the team approves is counted over a month of its decisions: too much for the person to wait for.
        transaction.on_commit(partial(current_app.send_task, WATCH_TASK, [decision.pk], retry=False), robust=True)
    return revealed


@transaction.atomic
def watch_run(decision_id: int, *, at: datetime | None = None) -> None:
    """Look at the run of approvals that this one continued, and act on it if it is too long for this team."""
    decision = Decision.objects.select_related("actor", "proposal").filter(pk=decision_id).first()
    if decision is None or decision.actor is None:
        return
    person, row, now = decision.actor, decision.proposal, at or clock()
    since = max(now - queries.WINDOW, queries.latest(person, at=now).cool_down_until or now - queries.WINDOW)
    run = queries.run_of_approvals(person, team_id=row.team_id, action_type_id=row.action_type_id, since=since)
    if run.is_alarming:
        _raise_alarm(person, run, now)


def roll_due(at: datetime | None = None) -> int:
    """Measure everybody who decided in the last 30 days and was not measured today; return how many."""
    now = at or clock()
    done = set(Vigilance.objects.filter(day=now.date()).values_list("user", flat=True))
    people = [each for each in queries.reviewers_since(now - queries.WINDOW) if each.pk not in done]
    for person in people:
        roll(person, at=now)
    return len(people)


@transaction.atomic
def roll(person: User, *, at: datetime, has_missed: bool = False) -> Vigilance:
    """Measure one reviewer again and say what follows; a drill just missed may be followed by ten minutes off."""
    figures = queries.measured(person, at=at)
    row = _today(person, at)
    before = _Before(row.response, row.cool_down_until)
    row.decided, row.drills, row.caught = figures.decided, figures.drills, figures.caught
    row.catch_lower, row.median_s, row.below_floor = figures.catch_lower, figures.median_s, figures.below_floor
    row.approve_run, row.run_alarm_at = figures.approve_run, figures.run_alarm_at
    row.looked_twice, row.agreed, row.decay = figures.looked_twice, figures.agreed, figures.decay
    row.response = figures.response
    if has_missed and vigilance.includes(row.response, "cool_down"):
        row.cool_down_until = at + vigilance.COOL_DOWN
    row.save()
    _tell(row, before, because="measured")
    return row


def _ensure_read(row: Proposal, found: Attention, now: datetime) -> None:
    floor = vigilance.reading_floor(queries.words_on(row, row.body))
    if found.opened_at is None:
        raise TooFast("Open this card and read it before you approve it. Nothing was decided.")
    left = found.opened_at + floor - now
    if left > timedelta(0):
        seconds = max(1, -(-left // timedelta(seconds=1)))
        told = f"This card takes about {floor.total_seconds():.0f} s to read: {seconds} s to go."
        raise TooFast(f"{told} Nothing was decided. Refusing and asking work at once.")


def _settled(row: Proposal, decision: Decision, now: datetime) -> Revealed | None:
    if row.is_open or not decision.final:
        return None
    if row.kind == Proposal.Kind.SECOND_LOOK:
        return second_looks.settle(row, decision, at=now)
    if row.kind != Proposal.Kind.DRILL:
        return None
    revealed = drills.settle(row, decision, at=now)
    measure_all(row, at=now)
    return revealed


def measure_all(row: Proposal, *, at: datetime) -> None:
    """Measure everybody who decided a drill that was just revealed: what they missed counts at once, not tomorrow."""
    drill = Drill.objects.select_related("original").get(proposal=row)
    given = Decision.objects.filter(proposal=row, by_kind=Decision.By.PERSON).select_related("actor", "proposal")
    last = {each.actor: outcome_of(each, drill) for each in given.order_by("pk") if each.actor is not None}
    for person, outcome in last.items():
        roll(person, at=at, has_missed=outcome == Drill.Outcome.MISSED)


def _raise_alarm(person: User, run: Run, now: datetime) -> None:
    """Act at once on a run that is too long: the evidence opens, and whoever is in doubt already takes ten minutes off."""
    row = _today(person, now)
    is_in_doubt = vigilance.includes(row.response, "slow")
    if not is_in_doubt and row.response != Vigilance.Response.NONE:
        return
    before = _Before(row.response, row.cool_down_until)
    row.approve_run, row.run_alarm_at = run.length, run.alarm_at
    row.response = max(row.response, "expanded", key=vigilance.RESPONSES.index)
    if is_in_doubt:
        row.cool_down_until = now + vigilance.COOL_DOWN
    row.save()
    _tell(row, before, because="run")


def _today(person: User, now: datetime) -> Vigilance:
    """Return the person's row of today, locked; a new one starts as the last one ended."""
    own = Vigilance.objects.filter(user=person)
    last = own.order_by("-day").first()
    if last is None or last.day != now.date():
        kept = {} if last is None else {name: getattr(last, name) for name in _KEPT}
        Vigilance.objects.bulk_create([Vigilance(user=person, day=now.date(), **kept)], ignore_conflicts=True)
    return own.select_for_update().get(day=now.date())


def _tell(row: Vigilance, before: _Before, *, because: str) -> None:
    if (row.response, row.cool_down_until) == (before.response, before.cool_down_until):
        return
    audit.record(
        "vigilance.changed",
        subject=f"user:{row.user_id}",
        actor="system",
        outcome=row.response,
        payload={
            "because": because,
            "before": before.response,
            "run": row.approve_run,
            "alarm_at": row.run_alarm_at,
            "drills": row.drills,
            "caught": row.caught,
            "cool_down_until": row.cool_down_until,
        },
    )
