"""R17: what became of planted cards, for those to whom they are revealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Q

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.agents.models import Agent
from apps.approvals.domain import drills, pace, states
from apps.approvals.domain.drills import Revealed
from apps.approvals.models import CardView, Decision, Drill, Proposal, SecondLook

# Whom drills are revealed to besides the reviewer who decided, and who may plant one by hand.
VIEW: Final = "vigilance.view"
PLANT: Final = "drills.plant"
# A case older than this shows a world that reviewers no longer work in.
CASES_FROM: Final = timedelta(days=90)
# So many newest cases are enough to draw one from.
CASES: Final = 200
PAGE: Final = 100


def outcome_of(decision: Decision, drill: Drill) -> str:
    """Say whether one verdict caught a drill; `drill` comes with its original. No query besides the proposal."""
    return drills.outcome(
        decision.verdict,
        mutation=drill.mutation,
        path=drill.fault_path,
        planted=drills.value_at(decision.proposal.args_original, drill.fault_path),
        was=drills.value_at(drill.original.args, drill.fault_path),
        args=decision.args_edited,
    )


def cases_of(agent: Agent, *, at: datetime) -> list[Proposal]:
    """Return real cases of an agent that a person approved as they were and that succeeded, newest first. 1 query.

    Each is planted once at most; cases of agents in another process are left out, as their cards offer what their own
    format can say.
    """
    rows = Proposal.objects.filter(
        agent_version__agent=agent,
        kind=Proposal.Kind.LIVE,
        state=states.SUCCEEDED,
        source="run",
        compensates__isnull=True,
        synthetic=False,
        closed_at__gt=at - CASES_FROM,
        closed_at__lte=at,
        decisions__by_kind=Decision.By.PERSON,
        decisions__verdict=Decision.Verdict.APPROVE,
        decisions__final=True,
        decisions__voided_at__isnull=True,
    ).exclude(pk__in=Drill.objects.values("original"))
    return list(rows.select_related("action_type", "body", "policy").order_by("-closed_at", "-pk")[:CASES])


@dataclass(frozen=True, slots=True)
class Pace:
    """What one agent put before its team's people lately, and how much of it was planted."""

    agent_id: int
    team_id: int
    real: int
    planted: int


def pace_of_agents(*, at: datetime) -> list[Pace]:
    """Count real and planted cards of the last days for each agent that asked people at all. 1 query."""
    lately = Proposal.objects.filter(created_at__gt=at - pace.SHARE_OF, created_at__lte=at, synthetic=False)
    asked = Q(kind=Proposal.Kind.LIVE) & (
        Q(state__in=states.OPEN) | Q(decisions__by_kind__in=[Decision.By.PERSON, Decision.By.TIMER])
    )
    rows = (
        lately.values("agent_version__agent", "team")
        .annotate(
            real=Count("pk", filter=asked, distinct=True),
            planted=Count("pk", filter=Q(kind=Proposal.Kind.DRILL), distinct=True),
        )
        .order_by("team", "agent_version__agent")
    )
    return [Pace(each["agent_version__agent"], each["team"], each["real"], each["planted"]) for each in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRow:
    """One revealed drill, with the verdict that is shown to this reader: their own, or the last one."""

    id: int
    proposal_id: int
    title: str
    agent_name: str
    mutation: str
    words: str
    outcome: str
    outcome_words: str
    verdict: str
    by: str
    opened_evidence: bool
    revealed_at: datetime
    is_own: bool


@dataclass(frozen=True, slots=True)
class DrillsPage:
    """Revealed drills, newest first, with how many of the decided ones were caught."""

    rows: tuple[DrillRow, ...]
    caught: int
    missed: int
    may_see_all: bool
    agents: tuple[Agent, ...]

    @property
    def decided(self) -> int:
        return self.caught + self.missed


def drills_page(user: User) -> DrillsPage:
    """Return the drills that a person may know of: their own, and all revealed ones of teams they look after.

    3 queries besides rights, 1 more for whoever may plant.
    """
    teams = team_ids_with(user, VIEW)
    rows = Drill.objects.filter(revealed_at__isnull=False).filter(
        Q(proposal__team__in=teams) | Q(pk__in=Drill.objects.filter(proposal__decisions__actor=user).values("pk"))
    )
    page = list(
        rows.select_related("proposal__agent_version__agent", "original").order_by("-revealed_at", "-pk")[:PAGE]
    )
    given = _verdicts([each.proposal_id for each in page])
    looked = _looked([each.proposal_id for each in page])
    shown = tuple(
        _drill_row(each, given.get(each.proposal_id, ()), looked, user, sees_all=each.proposal.team_id in teams)
        for each in page
    )
    plantable = Agent.objects.filter(team__in=team_ids_with(user, PLANT)).order_by("name", "pk")
    return DrillsPage(
        rows=shown,
        caught=sum(each.outcome == Drill.Outcome.CAUGHT for each in shown),
        missed=sum(each.outcome == Drill.Outcome.MISSED for each in shown),
        may_see_all=bool(teams),
        agents=tuple(plantable),
    )


def revealed_to(user: User, row: Proposal) -> Revealed | None:
    """Return what a closed card turned out to be, for whoever may know: its reviewers, and who looks after them.

    No query for a live card, 2 for the others.
    """
    if row.is_open or row.kind not in {Proposal.Kind.DRILL, Proposal.Kind.SECOND_LOOK}:
        return None
    own = Decision.objects.filter(proposal=row.pk, actor=user).select_related("proposal").order_by("-pk").first()
    if own is None and not user.has_perm(VIEW, row.team_id):
        return None
    if row.kind == Proposal.Kind.DRILL:
        drill = Drill.objects.filter(proposal=row.pk, revealed_at__isnull=False).select_related("original").first()
        return None if drill is None else told_of(drill, None if own is None else outcome_of(own, drill))
    look = SecondLook.objects.filter(proposal=row.pk, agrees__isnull=False).select_related("first__actor").first()
    return None if look is None else told_of_look(look)


def told_of(drill: Drill, outcome: str | None) -> Revealed:
    """Say kindly what a drill was: nobody is told that they failed, everybody what to look for."""
    nothing = "Nothing was ever going to run: a drill has no way to any system."
    match outcome:
        case Drill.Outcome.CAUGHT:
            return Revealed("ok", "This was a drill, and you caught it.", f"{drill.fault_words} {nothing}")
        case Drill.Outcome.MISSED:
            told = f"It would have gone through. {drill.fault_words} {nothing} Everybody misses one now and then."
            return Revealed("warn", "This was a drill.", told)
        case _:
            return Revealed("idle", "This was a drill.", f"{drill.fault_words} {nothing}")


def told_of_look(look: SecondLook) -> Revealed:
    """Say whether two people who did not know of each other agreed."""
    first = f"{look.first.actor} had decided “{look.first.get_verdict_display().lower()}” before."
    end = "Only that first verdict counts; nothing more is executed."
    if look.agrees:
        return Revealed("ok", "This was a second look, and you two agree.", f"{first} {end}")
    told = f"{first} Neither of you is wrong for that: where people differ, the rule is worth a talk. {end}"
    return Revealed("idle", "This was a second look, and you two see it differently.", told)


def _verdicts(ids: Sequence[int]) -> dict[int, list[Decision]]:
    found: dict[int, list[Decision]] = {}
    rows = Decision.objects.filter(proposal__in=ids, by_kind=Decision.By.PERSON).select_related("actor", "proposal")
    for each in rows.order_by("pk"):
        found.setdefault(each.proposal_id, []).append(each)
    return found


def _looked(ids: Sequence[int]) -> set[tuple[int, int]]:
    """Return who opened the evidence of which card. 1 query."""
    views = CardView.objects.filter(proposal__in=ids, evidence_opened_at__isnull=False)
    return set(views.values_list("proposal_id", "user_id"))


def _drill_row(
    drill: Drill, given: Sequence[Decision], looked: set[tuple[int, int]], user: User, *, sees_all: bool
) -> DrillRow:
    """Show one drill; whoever only sees their own results sees their own verdict and nobody else's."""
    mine = next((each for each in reversed(given) if each.actor_id == user.pk), None)
    shown = mine if not sees_all else (given[-1] if given else None)
    outcome = drill.outcome if sees_all or mine is None else outcome_of(mine, drill)
    return DrillRow(
        id=drill.pk,
        proposal_id=drill.proposal_id,
        title=drill.proposal.title,
        agent_name=drill.proposal.agent_version.agent.name,
        mutation=drill.get_mutation_display(),
        words=drill.fault_words,
        outcome=outcome,
        outcome_words=str(Drill.Outcome(outcome).label),
        verdict="" if shown is None else shown.get_verdict_display(),
        by="" if shown is None else str(shown.actor),
        opened_evidence=shown is not None and (drill.proposal_id, shown.actor_id) in looked,
        revealed_at=drill.revealed_at or drill.planted_at,
        is_own=mine is not None,
    )
