from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet

from apps.accounts.domain.rights import roles_with
from apps.accounts.domain.tokens import Known
from apps.accounts.models import ApiToken, Membership, Role, Team, User
from apps.audit.names import names_of


def team_ids_with(user: User | AnonymousUser, right: str) -> frozenset[int]:
    """Return the teams in which the person holds the right. One query for all rights of a request."""
    return user.team_ids_with(right) if isinstance(user, User) else frozenset()


def users_with(right: str, team_id: int) -> QuerySet[User]:
    """Return the active people who hold the right in the team."""
    holders = Membership.objects.filter(team_id=team_id, role__in=roles_with(right))
    return User.objects.filter(is_active=True, pk__in=holders.values("user_id"))


def people_of(viewer: User) -> QuerySet[User]:
    """Return the people of the teams whose people the viewer may see; who changes people also sees those in no team."""
    seen = Q(memberships__team__in=team_ids_with(viewer, "people.view"))
    if viewer.has_perm("people.change"):
        seen |= Q(memberships__isnull=True)
    return User.objects.filter(seen).distinct()


@dataclass(frozen=True, slots=True)
class Member:
    user: User
    roles: list[str]


@dataclass(frozen=True, slots=True)
class TeamCard:
    team: Team
    members: list[Member]
    may_change: bool


@dataclass(frozen=True, slots=True)
class PeoplePage:
    teams: list[TeamCard]
    without_team: list[User]


def people_page(viewer: User) -> PeoplePage:
    """Return the viewer's teams with their members. 3 queries, any number of teams."""
    team_ids = team_ids_with(viewer, "people.view")
    roles: dict[int, dict[User, list[str]]] = {team_id: {} for team_id in team_ids}
    memberships = Membership.objects.filter(team__in=team_ids).select_related("user").order_by("user__name", "role")
    for membership in memberships:
        roles[membership.team_id].setdefault(membership.user, []).append(membership.get_role_display())
    changeable = team_ids_with(viewer, "people.change")
    teams = [
        TeamCard(team, [Member(user, held) for user, held in roles[team.pk].items()], team.pk in changeable)
        for team in Team.objects.filter(pk__in=team_ids).order_by("name")
    ]
    alone = User.objects.filter(memberships__isnull=True, is_active=True).order_by("name") if changeable else []
    return PeoplePage(teams, list(alone))


@dataclass(frozen=True, slots=True)
class Held:
    membership: Membership
    role: str
    means: str
    may_change: bool


# What a role is for, in one line; the rights themselves are in domain/rights.py.
ROLE_MEANS: dict[str, str] = {
    Role.REVIEWER: "decides what agents propose",
    Role.OPERATOR: "is on call, repairs runs, stops and releases agents",
    Role.TPM: "plans programs and moves them through their gates",
    Role.EXECUTIVE: "sees programs and the portfolio",
    Role.AGENT_OWNER: "owns agents, their settings and objectives",
    Role.AUDITOR: "searches the audit log; reads almost everything, changes nothing",
    Role.ADMIN: "manages people, systems and credentials",
}


def roles_held(person: User, *, viewer: User) -> list[Held]:
    """Return the person's roles in the teams that the viewer may see; one's own roles all. 1 query."""
    held = person.memberships.select_related("team").order_by("team__name", "role")
    if person != viewer:
        held = held.filter(team__in=team_ids_with(viewer, "people.view"))
    changeable = team_ids_with(viewer, "people.change")
    return [
        Held(membership, membership.get_role_display(), ROLE_MEANS[membership.role], membership.team_id in changeable)
        for membership in held
    ]


def who_can_grant(team_id: int | None) -> str:
    """Name up to three administrators of the team, for the page that says no."""
    if team_id is None:
        return ""
    names = list(users_with("people.change", team_id).order_by("name").values_list("name", flat=True)[:3])
    return " or ".join(names)


def names_of_people(ids: Collection[int]) -> Mapping[int, str]:
    return dict(User.objects.filter(pk__in=ids).values_list("pk", "name"))


def names_of_teams(ids: Collection[int]) -> Mapping[int, str]:
    return dict(Team.objects.filter(pk__in=ids).values_list("pk", "name"))


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One line of the list of tokens; `state` is live, revoked or expired."""

    token: ApiToken
    speaks_for: str
    state: str
    may_change: bool


def token_rows(viewer: User, *, at: datetime) -> list[TokenRow]:
    """Return the tokens of the teams whose people the viewer may see, newest first. 1 query and 1 per kind of name."""
    rows = list(
        ApiToken.objects.filter(team__in=team_ids_with(viewer, "people.view"))
        .select_related("team", "created_by")
        .order_by("-created_at", "-pk")
    )
    names = names_of(each.actor for each in rows)
    changeable = team_ids_with(viewer, "people.change")
    return [
        TokenRow(each, names.get(each.actor, each.team.name), each.state(at), each.team_id in changeable)
        for each in rows
    ]


def names_of_tokens(ids: Collection[int]) -> Mapping[int, str]:
    """Name tokens for pages that know their ids only. 1 query."""
    return dict(ApiToken.objects.filter(pk__in=ids).values_list("pk", "name"))


def token_of_key(key_id: str) -> ApiToken | None:
    """Return the token whose text has this middle part. 1 query."""
    return ApiToken.objects.filter(key_id=key_id).first()


def known(token: ApiToken) -> Known:
    """Return what the rule of the door needs of a token."""
    return Known(token.sha256, tuple(token.scopes), token.cidr, token.expires_at, token.revoked_at)


def declines_mail(address: str) -> bool:  # 1 query
    """Say whether an e-mail address is that of a person who wants no messages about cards there."""
    return User.objects.filter(email__iexact=address, wants_mail=False).exists()
