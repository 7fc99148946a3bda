"""R18: what is known of a reviewer's attention: when they stand before a card, over 30 days, and on their page."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Count, Max, Min, Q, QuerySet
from django.db.models.functions import TruncDate

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with, users_with
from apps.approvals.domain import vigilance
from apps.approvals.domain.vigilance import Attention, DrillSeen, Figures, Look
from apps.approvals.models import Decision, Drill, Proposal, ProposalBody, SecondLook, Vigilance
from apps.approvals.queries.drills import outcome_of
from apps.approvals.queries.last_words import final_decisions

VIEW: Final = "vigilance.view"
# R18: attention is what it was in the last 30 days, not what it was last year.
WINDOW: Final = timedelta(days=30)
# The times of so many decisions say enough; the card of each is read again for its words.
TIMED: Final = 200
# A run that is spread over more of a person's decisions than these waits for the measuring of the day.
JUST_DECIDED: Final = 200
# The longest run that any rate known here can call an alarm, with room to show that it goes on.
LONGEST_RUN: Final = 500
LOOKS: Final = 20
_STEPS: Final = {each.response: each for each in vigilance.STEPS}


# Asked with every verdict, so it is one statement that nothing has to build. A card that was claimed meanwhile has a look for
# each version: the look began with the first still open. Whoever decided a lot, but never this kind, would else have every
# decision of theirs read: so the latest come first, and the kind after.
_STANDING: Final = """
WITH measured AS (
    SELECT response, cool_down_until FROM approvals_vigilance
    WHERE user_id = %(user)s AND day BETWEEN %(since)s AND %(today)s ORDER BY day DESC LIMIT 1
), looks AS (
    SELECT opened_at, closed_at FROM approvals_cardview
    WHERE user_id = %(user)s AND proposal_id = %(proposal)s AND opened_at >= %(asked_at)s
), lately AS (
    SELECT id, proposal_id, verdict, decided_at FROM approvals_decision
    WHERE actor_id = %(user)s AND by_kind = 'person' ORDER BY decided_at DESC, id DESC LIMIT %(lately)s
)
SELECT (SELECT response FROM measured), (SELECT cool_down_until FROM measured),
    coalesce((SELECT min(opened_at) FROM looks WHERE closed_at IS NULL), (SELECT max(opened_at) FROM looks)),
    ARRAY(
        SELECT verdict FROM lately JOIN approvals_proposal AS decided ON decided.id = lately.proposal_id
        WHERE decided.action_type_id = %(kind)s ORDER BY decided_at DESC, lately.id DESC LIMIT %(run)s
    )
"""


def attention_of(user: User, row: Proposal, *, at: datetime) -> Attention:
    """Return how a person stands before a card that they are about to decide. 1 query."""
    given: dict[str, Any] = {
        "user": user.pk,
        "proposal": row.pk,
        "asked_at": row.created_at,
        "kind": row.action_type_id,
        "since": (at - WINDOW).date(),
        "today": at.date(),
        "lately": JUST_DECIDED,
        "run": vigilance.SHORTEST_RUN - 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, given)
        response, until, opened_at, verdicts = cursor.fetchone()
    return Attention(
        response=response or "none",
        cool_down_until=until,
        opened_at=opened_at if opened_at is not None and opened_at <= at else None,
        only_approved=vigilance.run_of(verdicts) == vigilance.SHORTEST_RUN - 1,
    )


def latest(user: User, *, at: datetime) -> Attention:
    """Return what is asked of a person on every card. 1 query."""
    found = _recent(at).filter(user=user).order_by("-day").values_list("response", "cool_down_until").first()
    return Attention(*found) if found else Attention()


def _recent(at: datetime) -> QuerySet[Vigilance]:
    """What was measured before the window says nothing any more: whoever comes back after a while starts afresh."""
    return Vigilance.objects.filter(day__gte=(at - WINDOW).date(), day__lte=at.date())


def has_decided_first(user: User, row: Proposal) -> bool:
    """Say whether a card is a second look at what this very person decided: they are the one who must not judge it. 1 query."""
    return SecondLook.objects.filter(proposal=row.pk, original__decisions__actor=user).exists()


def words_on(row: Proposal, body: ProposalBody) -> int:
    """Count the words that a reviewer has to read. The agent's own prose is closed and not among them. No query."""
    evidence = [
        [each.get("label"), each.get("text"), each.get("source")] if isinstance(each, dict) else each
        for each in body.evidence
    ]
    return vigilance.words_of(row.title, body.consequence, list(row.args.values()), evidence)


@dataclass(frozen=True, slots=True)
class Run:
    """A person's current run of approvals of one kind of action, and the length at which it is an alarm."""

    length: int = 0
    alarm_at: int | None = None

    @property
    def is_alarming(self) -> bool:
        return self.alarm_at is not None and self.length >= self.alarm_at


def run_of_approvals(user: User, *, team_id: int, action_type_id: int, since: datetime) -> Run:
    """Return a person's current run on one kind of action; p is what the team approved before it. 2 queries."""
    mine = Decision.objects.filter(
        actor=user, proposal__action_type=action_type_id, by_kind=Decision.By.PERSON, decided_at__gt=since
    ).order_by("-decided_at", "-pk")
    length = vigilance.run_of(mine.values_list("verdict", flat=True)[:LONGEST_RUN])
    return Run(length, _alarm_at(length, team_id=team_id, action_type_id=action_type_id, since=since))


def _alarm_at(length: int, *, team_id: int, action_type_id: int, since: datetime) -> int | None:
    if length < vigilance.SHORTEST_RUN:
        return None
    counts = Decision.objects.filter(
        proposal__team=team_id,
        proposal__action_type=action_type_id,
        by_kind=Decision.By.PERSON,
        verdict__in=["approve", "edit", "reject"],
        decided_at__gt=since,
    ).aggregate(all=Count("pk"), approved=Count("pk", filter=Q(verdict="approve")))
    return vigilance.run_alarm_at(counts["approved"] - length, counts["all"] - length)


def measured(user: User, *, at: datetime) -> Figures:
    """Return what the last 30 days say about one reviewer. 6 queries, 1 more for each kind of action in a long run."""
    since = at - WINDOW
    own = Decision.objects.filter(actor=user, by_kind=Decision.By.PERSON, decided_at__gt=since, decided_at__lte=at)
    own = own.filter(synthetic=False)
    seen = _drills_seen(own)
    looks = _looks(own)
    weighty = vigilance.that_matter(looks)
    looked = _second_looks(user, since)
    run = _longest_run(user, own, since)
    return Figures(
        decided=own.filter(proposal__kind=Proposal.Kind.LIVE).count(),
        drills=len(seen),
        caught=sum(each.is_caught for each in seen),
        looked_twice=len(looked),
        agreed=sum(looked),
        median_s=vigilance.median_seconds(looks),
        below_floor=vigilance.below_floor(weighty),
        timed=len(weighty),
        approve_run=run.length,
        run_alarm_at=run.alarm_at,
        decay=vigilance.decay(seen),
    )


def reviewers_since(since: datetime) -> list[User]:
    """Return everybody who decided something since then. 1 query."""
    people = Decision.objects.filter(by_kind=Decision.By.PERSON, decided_at__gt=since, synthetic=False).values("actor")
    return list(User.objects.filter(pk__in=people, is_active=True).order_by("pk"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VigilanceRow:
    """One reviewer as the page shows them; `trend` are the median seconds of the last days, oldest first."""

    user: User
    decided: int
    drills: int
    caught: int
    catch_rate: float | None
    catch_lower: float | None
    median_s: float | None
    below_floor: float | None
    approve_run: int
    run_alarm_at: int | None
    looked_twice: int
    agreed: int
    agreement: float | None
    decay: float | None
    response: str
    cool_down_until: datetime | None
    day: date
    trend: tuple[float | None, ...]

    @property
    def status(self) -> str:
        return "ok" if self.response == "none" else "warn" if vigilance.includes(self.response, "slow") else "idle"

    @property
    def response_words(self) -> str:
        return _STEPS[self.response].words

    @property
    def sentence(self) -> str:
        return (
            f"{self.response_words}." if self.response != "none" else "You look as people do: nothing is asked of you."
        )

    @property
    def why(self) -> tuple[str, ...]:
        """Say what follows now, and which of the person's own figures it follows from."""
        if self.response == "none":
            return ()
        steps = [each.words for each in vigilance.STEPS[1:] if vigilance.includes(self.response, each.response)]
        return (f"For now: {'; '.join(steps)}.", *(sentence for is_so, sentence in self._signs() if is_so))

    def _signs(self) -> tuple[tuple[bool, str], ...]:
        figures = Figures(
            drills=self.drills,
            caught=self.caught,
            looked_twice=self.looked_twice,
            agreed=self.agreed,
            approve_run=self.approve_run,
            run_alarm_at=self.run_alarm_at,
            decay=self.decay,
        )
        is_hasty = self.below_floor is not None and self.below_floor >= vigilance.HASTY_SHARE
        return (
            (figures.misses, f"{self.caught} of {self.drills} drills were caught."),
            (figures.disagrees, f"{self.agreed} of {self.looked_twice} second looks agreed."),
            (
                figures.is_run_alarming,
                f"{self.approve_run} approvals in a row: your team rejects more often than that.",
            ),
            (is_hasty, "Half of the medium and high risk cards were decided faster than anybody reads them."),
            (
                figures.is_tiring,
                "Fewer drills are caught in the later half of the day: that is tiredness, and rest helps.",
            ),
        )

    @property
    def has_trend(self) -> bool:
        return sum(each is not None for each in self.trend) > 1

    @property
    def trend_label(self) -> str:
        return f"Median seconds to decide over the last {len(self.trend)} days measured"

    @property
    def catch_label(self) -> str:
        return f"{self.caught} of {self.drills} drills caught"

    @property
    def catch_status(self) -> str:
        return "ok" if self.drills and self.caught / self.drills >= vigilance.REASON_BELOW else "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLookRow:
    """One second look in which the reader had a part, told once both have judged."""

    id: int
    original_id: int
    title: str
    first: str
    first_by: str
    second: str
    second_by: str
    agrees: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of what may follow, with the status that its mark has."""

    words: str
    when: str
    status: str


@dataclass(frozen=True, slots=True)
class VigilancePage:
    """A person's own figures, and those of the reviewers of the teams that they may look after."""

    own: VigilanceRow | None
    others: tuple[VigilanceRow, ...]
    looks: tuple[SecondLookRow, ...]
    steps: tuple[StepRow, ...]
    may_see_others: bool


def vigilance_page(user: User, *, at: datetime) -> VigilancePage:
    """Return the figures of a person and of whom they look after.

    2 queries besides rights, 1 more with second looks and for each team looked after.
    """
    teams = team_ids_with(user, VIEW)
    looked_after = {pk for team in teams for pk in users_with("approvals.decide", team).values_list("pk", flat=True)}
    rows = _rows({user.pk} | looked_after, since=at - WINDOW)
    others = sorted((row for row in rows.values() if row.user.pk != user.pk), key=lambda row: str(row.user))
    own = rows.get(user.pk)
    at_step = own.response if own else "none"
    return VigilancePage(
        own=own,
        others=tuple(others),
        looks=_second_look_rows(user),
        steps=tuple(
            StepRow(each.words, f"{each.when}.", "ok" if each.response == at_step else "idle")
            for each in vigilance.STEPS
        ),
        may_see_others=bool(teams),
    )


def _second_look_rows(user: User) -> tuple[SecondLookRow, ...]:
    """Return the newest second looks of a person, as the first or the second. 2 queries."""
    mine = SecondLook.objects.filter(Q(first__actor=user) | Q(proposal__decisions__actor=user), agrees__isnull=False)
    looks = (
        SecondLook.objects.filter(pk__in=mine.values("pk"))
        .select_related("original", "first__actor")
        .order_by("-revealed_at", "-pk")[:LOOKS]
    )
    found = list(looks)
    second = final_decisions(each.proposal_id for each in found)
    return tuple(
        SecondLookRow(
            id=each.pk,
            original_id=each.original_id,
            title=each.original.title,
            first=each.first.get_verdict_display(),
            first_by=str(each.first.actor),
            second=second[each.proposal_id].get_verdict_display(),
            second_by=str(second[each.proposal_id].actor),
            agrees=bool(each.agrees),
            at=each.revealed_at or each.planted_at,
        )
        for each in found
        if each.proposal_id in second
    )


def _rows(ids: set[int], *, since: datetime) -> dict[int, VigilanceRow]:
    found: dict[int, list[Vigilance]] = defaultdict(list)
    kept = Vigilance.objects.filter(user__in=ids, day__gte=since.date()).select_related("user").order_by("day")
    for each in kept:
        found[each.user_id].append(each)
    return {pk: _row(days) for pk, days in found.items()}


def _row(days: Sequence[Vigilance]) -> VigilanceRow:
    last = days[-1]
    return VigilanceRow(
        user=last.user,
        decided=last.decided,
        drills=last.drills,
        caught=last.caught,
        catch_rate=last.caught / last.drills if last.drills else None,
        catch_lower=last.catch_lower,
        median_s=last.median_s,
        below_floor=last.below_floor,
        approve_run=last.approve_run,
        run_alarm_at=last.run_alarm_at,
        looked_twice=last.looked_twice,
        agreed=last.agreed,
        agreement=last.agreed / last.looked_twice if last.looked_twice else None,
        decay=last.decay,
        response=last.response,
        cool_down_until=last.cool_down_until,
        day=last.day,
        trend=tuple(each.median_s for each in days),
    )


def _drills_seen(own: QuerySet[Decision]) -> list[DrillSeen]:
    """Return the drills that a person decided and was told of. 1 query, 2 with any."""
    rows = list(
        own.filter(proposal__kind=Proposal.Kind.DRILL, proposal__drill__revealed_at__isnull=False)
        .select_related("proposal__drill__original")
        .order_by("decided_at")
    )
    if not rows:
        return []
    days = own.annotate(day=TruncDate("decided_at")).values("day")
    bounds = {
        each["day"]: (each["first"], each["last"])
        for each in days.annotate(first=Min("decided_at"), last=Max("decided_at")).order_by()
    }
    return [
        DrillSeen(outcome_of(each, each.proposal.drill) == Drill.Outcome.CAUGHT, _day_share(each.decided_at, bounds))
        for each in rows
    ]


def _day_share(moment: datetime, bounds: Mapping[date, tuple[datetime, datetime]]) -> float:
    """Say at which share of that day's work a decision was made: 0 the first, 1 the last."""
    first, last = bounds[moment.astimezone(UTC).date()]
    return (moment - first) / (last - first) if last > first else 0.0


def _looks(own: QuerySet[Decision]) -> list[Look]:
    """Return the last timed decisions with what each card held. 1 query."""
    rows = own.filter(opened_at__isnull=False).select_related("proposal__body").order_by("-decided_at", "-pk")[:TIMED]
    return [
        Look(
            each.decided_at - each.opened_at,
            vigilance.reading_floor(words_on(each.proposal, each.proposal.body)),
            each.proposal.risk_class,
        )
        for each in rows
        if each.opened_at is not None
    ]


def _second_looks(user: User, since: datetime) -> list[bool]:
    """Return whether the second looks in which a person had a part agreed. 1 query."""
    rows = SecondLook.objects.filter(
        Q(first__actor=user) | Q(proposal__decisions__actor=user), agrees__isnull=False, revealed_at__gt=since
    ).distinct()
    return [bool(agrees) for _, agrees in rows.values_list("pk", "agrees")]


def _longest_run(user: User, own: QuerySet[Decision], since: datetime) -> Run:
    """Return the run that is nearest to its alarm, or the longest. 1 query, 1 more for each kind in a long run."""
    verdicts: dict[tuple[int, int], list[str]] = defaultdict(list)
    rows = own.order_by("-decided_at", "-pk").values_list("proposal__team", "proposal__action_type", "verdict")
    for team_id, action_type_id, verdict in rows[:LONGEST_RUN]:
        verdicts[team_id, action_type_id].append(verdict)
    runs = [
        Run(length, _alarm_at(length, team_id=team_id, action_type_id=action_type_id, since=since))
        for (team_id, action_type_id), told in verdicts.items()
        if (length := vigilance.run_of(told))
    ]
    return max(runs, key=lambda run: (run.length / run.alarm_at if run.alarm_at else 0.0, run.length), default=Run())
