"""The searches that a person keeps at hand: four that everybody has, their own, and those shared with their teams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Case, Q, Value, When

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.approvals.domain.search import Search, parse
from apps.approvals.models import SavedView

# The keys 1 to 9; what has no key is on the page of views.
KEYS: Final = 9
# A page that offers more than this is no help in finding anything.
LISTED_AT_MOST: Final = 100
BUILT_IN: Final = (
    ("All", parse("")),
    ("Mine", parse("mine:yes")),
    ("High risk", parse("risk:high")),
    ("Due soon", parse("due:<1h")),
)


@dataclass(frozen=True, slots=True)
class View:
    """A named search. `id` is None for those that everybody has; `shared_by` names the owner of another's view."""

    name: str
    search: Search
    id: int | None = None
    team: str = ""
    team_id: int | None = None
    shared_by: str = ""
    is_mine: bool = False

    @property
    def query(self) -> str:
        return str(self.search)


@dataclass(frozen=True, slots=True)
class Tab:
    """One view above the queue, with its key; `count` is None where only the history could count."""

    name: str
    query: str
    key: str
    count: int | None
    is_current: bool


def views_of(user: User, *, right: str = "approvals.view") -> tuple[View, ...]:
    """Return the views of a person in the order of their keys: everybody's, their own, their teams'. 1 query."""
    own_first = Case(When(owner=user, then=Value(0)), default=Value(1))
    rows = (
        SavedView.objects.filter(Q(owner=user) | Q(team__in=team_ids_with(user, right)))
        .select_related("owner", "team")
        .annotate(whose=own_first)
        .order_by("whose", "position", "pk")[:LISTED_AT_MOST]
    )
    return (*(View(name, search) for name, search in BUILT_IN), *(_view(row, user) for row in rows))


def conditions(views: Sequence[View]) -> Mapping[str, Search]:
    """Return what must be counted for the views that have a key, each under the name that `tabs` looks for."""
    return {
        _column(place): each.search
        for place, each in enumerate(views[:KEYS])
        if each.search and each.search.is_about_open
    }


def tabs(views: Sequence[View], search: Search, counts: Mapping[str, Any]) -> tuple[Tab, ...]:
    """Put counts to the views that have a key; the view of everything counts what waits."""
    return tuple(
        Tab(
            each.name,
            each.query,
            str(place + 1),
            counts.get(_column(place)) if each.search else counts["waiting"],
            is_current=each.search.terms == search.terms,
        )
        for place, each in enumerate(views[:KEYS])
    )


def _column(place: int) -> str:
    return f"view_{place}"


def _view(row: SavedView, user: User) -> View:
    is_mine = row.owner_id == user.pk
    return View(
        row.name,
        parse(row.query),
        row.pk,
        team=row.team.name if row.team else "",
        team_id=row.team_id,
        shared_by="" if is_mine else str(row.owner),
        is_mine=is_mine,
    )
