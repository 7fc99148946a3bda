from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.accounts.access import Forbidden
from apps.accounts.models import Team, User
from apps.approvals import errors
from apps.approvals.domain.search import parse
from apps.approvals.models import SavedView
from apps.audit import actions as audit

# More than this is a second list to search in.
MOST: Final = 20
LONGEST_NAME: Final = 60


@transaction.atomic
def save_view(*, name: str, query: str, team: Team | None = None, actor: User) -> SavedView:
    """Keep a search under a name, for oneself or for a team whose inbox one sees; it comes last.

    Raises BadView (422): no name, a name one has, a search that cannot be read, or too many; NotFound for a foreign team.
    """
    search = parse(query)
    if search.problems or not search:
        told = " ".join(search.problems) or "There is nothing to keep: type a search first."
        raise errors.BadView(told, pointer="/query")
    if team is not None and not actor.has_perm("approvals.view", team.pk):
        raise errors.NotFound
    # Two at once would both count 19 and take the same place.
    User.objects.select_for_update().get(pk=actor.pk)
    own = SavedView.objects.filter(owner=actor)
    if own.count() >= MOST:
        raise errors.BadView(f"You keep {MOST} views. Remove one first.")
    place = (own.aggregate(last=Max("position"))["last"] or 0) + 1
    row = SavedView(owner=actor, team=team, name=_checked(name), query=str(search), position=place)
    _save(row)
    _tell(row, "view.saved", actor)
    return row


@transaction.atomic
def rename_view(view_id: int, *, name: str, actor: User) -> SavedView:
    """Give one's own view another name. Raises NotFound, Forbidden or BadView."""
    row = _own(view_id, actor)
    row.name = _checked(name)
    _save(row)
    _tell(row, "view.renamed", actor)
    return row


@transaction.atomic
def remove_view(view_id: int, *, actor: User) -> None:
    """Remove one's own view; an administrator removes one that is shared with their team. Raises NotFound or Forbidden."""
    row = _own(view_id, actor, right="people.change")
    _tell(row, "view.removed", actor)
    row.delete()


@transaction.atomic
def move_view(view_id: int, *, earlier: bool, actor: User) -> SavedView:
    """Let one's own view change places with the one before it, or after it; at the end nothing happens."""
    row = _own(view_id, actor)
    own = list(SavedView.objects.select_for_update().filter(owner=actor).order_by("position", "pk"))
    here = own.index(row)
    there = here - 1 if earlier else here + 1
    if 0 <= there < len(own):
        own[here], own[there] = own[there], own[here]
    for place, each in enumerate(own, start=1):
        if each.position != place:
            SavedView.objects.filter(pk=each.pk).update(position=place)
    row.refresh_from_db()
    return row


@transaction.atomic
def ensure_own(view_id: int, *, actor: User) -> None:
    """Raise NotFound or Forbidden unless the view is the actor's own."""
    _own(view_id, actor)


def _own(view_id: int, actor: User, *, right: str = "") -> SavedView:
    row = SavedView.objects.select_for_update(of=("self",)).select_related("team").filter(pk=view_id).first()
    sees = row is not None and (row.owner_id == actor.pk or actor.has_perm("approvals.view", row.team_id or 0))
    may = row is not None and right and row.team_id is not None and actor.has_perm(right, row.team_id)
    if row is None or not (sees or may):
        raise errors.NotFound
    if row.owner_id != actor.pk and not may:
        raise Forbidden("people.change", row.team_id, why="Who shared a view changes it.")
    return row


def _checked(name: str) -> str:
    text = " ".join(name.split())
    if not text or len(text) > LONGEST_NAME:
        raise errors.BadView(f"Give it a name of at most {LONGEST_NAME} characters.", pointer="/name")
    return text


def _save(row: SavedView) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as taken:
        raise errors.BadView(f'You have a view "{row.name}". Choose another name.', pointer="/name") from taken


def _tell(row: SavedView, action: str, actor: User) -> None:
    facts = {"name": row.name, "query": row.query}
    audit.record(action, subject=f"view:{row.pk}", actor=actor.actor, team_id=row.team_id, payload=facts)
