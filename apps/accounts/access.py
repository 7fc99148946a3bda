"""How a view reaches an object: outsiders do not learn that it exists, members without the right learn whom to ask."""

from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import F, Model, QuerySet
from django.http import Http404

from apps.accounts.domain.rights import roles_with
from apps.accounts.models import User
from apps.accounts.queries import team_ids_with

_M = TypeVar("_M", bound=Model)


class Forbidden(PermissionDenied):
    """A member of the team lacks a right there. The page that answers says who can grant it, or `ask` whom to ask instead."""

    def __init__(self, right: str, team_id: int | None = None, *, why: str = "", ask: str = "") -> None:
        self.right = right
        self.team_id = team_id
        self.roles = sorted(roles_with(right))
        self.ask = ask
        super().__init__(why or f"This needs the right {right}.")


class Hidden(Http404):
    """The object exists, for others. The answer is the same as for one that does not."""

    def __init__(self, right: str, subject: str) -> None:
        self.right = right
        self.subject = subject
        super().__init__("Not found")


def scoped(queryset: QuerySet[_M], user: User | AnonymousUser, right: str, *, team: str = "team") -> QuerySet[_M]:
    """Limit rows to the teams in which the person holds the right. `team` is the path from row to team ("pk" for teams)."""
    return queryset.filter(**{f"{team}__in": team_ids_with(user, right)})


def object_or_404(queryset: QuerySet[_M], user: User | AnonymousUser, right: str, pk: Any, *, team: str = "team") -> _M:
    """Return the object. Raises Hidden (404) to people outside its team and Forbidden (403) to members without the right."""
    row = queryset.annotate(_access_team_id=F("pk" if team == "pk" else f"{team}_id")).filter(pk=pk).first()
    if row is None:
        raise Http404("Not found")
    team_id = getattr(row, "_access_team_id")  # noqa: B009  # the annotation is unknown to the model's type
    if not (isinstance(user, User) and team_id in user.roles_by_team):
        raise Hidden(right, f"{row._meta.model_name}:{row.pk}")
    ensure(user, right, team_id)
    return row


def ensure(user: User | AnonymousUser, right: str, team_id: int | None = None) -> None:
    """Raise Forbidden unless the person holds the right in the team; without a team, in any."""
    teams = team_ids_with(user, right)
    if not (teams if team_id is None else team_id in teams):
        raise Forbidden(right, team_id)
