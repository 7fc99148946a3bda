from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet

from apps.accounts.domain.rights import roles_with
from apps.accounts.models import Membership, Team, User
from apps.accounts.queries import team_ids_with, users_with
from apps.agents.models import ActionType
from apps.approvals.models import Delegation
from apps.approvals.queries.reviewers import DECIDE, SEE
from apps.audit.clock import clock

# Older ones are in the audit log.
LISTED_AT_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationLine:
    """One delegation. `why_idle` says why a running one gives nothing just now."""

    id: int
    team: str
    giver: str
    delegate: str
    kinds: tuple[str, ...]
    starts: datetime
    ends: datetime
    reason: str
    status: str
    words: str
    why_idle: str
    may_end: bool


@dataclass(frozen=True, slots=True)
class DelegationsPage:
    """What a person lent, what was lent to them, and what others lend in the teams whose people they manage."""

    given: tuple[DelegationLine, ...]
    received: tuple[DelegationLine, ...]
    of_team: tuple[DelegationLine, ...]


def delegations_page(user: User, *, at: datetime | None = None) -> DelegationsPage:
    """Return the delegations that concern a person, the newest first. 5 queries with the clock and rights, any length."""
    now = at or clock()
    managed = team_ids_with(user, "people.change")
    rows = list(
        Delegation.objects.filter(
            Q(from_user=user) | Q(to_user=user) | Q(team__in=managed), team__in=list(user.roles_by_team)
        )
        .select_related("team", "from_user", "to_user")
        .prefetch_related(Prefetch("action_types", ActionType.objects.select_related("agent")))
        .order_by("-pk")[:LISTED_AT_MOST]
    )
    lenders = _who_may_lend(rows)
    lines = [(row, _line(row, user, now, managed, lenders)) for row in rows]
    return DelegationsPage(
        given=tuple(line for row, line in lines if row.from_user_id == user.pk),
        received=tuple(line for row, line in lines if row.to_user_id == user.pk),
        of_team=tuple(line for row, line in lines if user.pk not in (row.from_user_id, row.to_user_id)),
    )


def lending_teams(user: User) -> list[Team]:
    """Return the teams in which a person's own right may be lent. 1 query."""
    return list(Team.objects.filter(pk__in=team_ids_with(user, DECIDE)).order_by("name"))


def who_may_stand_in(user: User, team: Team) -> QuerySet[User]:
    """Return the colleagues who may see the team's inbox, by name."""
    return users_with(SEE, team.pk).exclude(pk=user.pk).order_by("name", "pk")


def kinds_of(team: Team) -> QuerySet[ActionType]:
    return ActionType.objects.filter(agent__team=team).select_related("agent").order_by("agent__name", "name")


def _who_may_lend(rows: Iterable[Delegation]) -> set[tuple[int, int]]:
    """Name team and person where somebody who gave still holds the role. 1 query."""
    holding = Membership.objects.filter(
        team__in={row.team_id for row in rows},
        user__in={row.from_user_id for row in rows},
        user__is_active=True,
        role__in=roles_with(DECIDE),
    )
    return set(holding.values_list("team_id", "user_id"))


def _line(
    row: Delegation, reader: User, now: datetime, managed: frozenset[int], lenders: set[tuple[int, int]]
) -> DelegationLine:
    status, words = _status(row, now)
    gives = (row.team_id, row.from_user_id) in lenders
    return DelegationLine(
        id=row.pk,
        team=row.team.name,
        giver=str(row.from_user),
        delegate=str(row.to_user),
        kinds=tuple(f"{kind.name} · {kind.agent.name}" for kind in row.action_types.all()),
        starts=row.starts,
        ends=row.ends,
        reason=row.reason,
        status=status if gives or status == "idle" else "warn",
        words=words,
        why_idle=""
        if gives or status == "idle"
        else f"{row.from_user} may not decide here any more, so it gives nothing.",
        may_end=status != "idle" and (reader.pk in (row.from_user_id, row.to_user_id) or row.team_id in managed),
    )


def _status(row: Delegation, now: datetime) -> tuple[str, str]:
    if row.revoked_at is not None:
        return "idle", "Ended early"
    if row.ends <= now:
        return "idle", "Over"
    return ("ok", "Runs") if row.starts <= now else ("wait", "Not yet")
