from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, Min, Q

from apps.accounts.models import User
from apps.approvals.domain import order, states
from apps.approvals.domain.search import Search
from apps.approvals.models import Decision, Proposal
from apps.approvals.models.proposals import ProposalQuerySet
from apps.approvals.queries import reviewers, views
from apps.approvals.queries.last_words import by, final_decisions, verdict_words
from apps.approvals.queries.rows import InboxRow, behind, in_order, needs_another_than, rows, rows_of
from apps.approvals.queries.searching import matching
from apps.approvals.queries.visible import visible
from apps.audit.clock import clock

EVERYTHING = Search()


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """A card that was shown and was decided meanwhile: "Decided by Kim at 10:04"."""

    id: int
    version: int
    state: str
    words: str
    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to the cards that a page shows, and how many new ones wait."""

    rows: tuple[InboxRow, ...]
    closed: tuple[ClosedRow, ...]
    new: int
    as_of: datetime

    @property
    def has_any(self) -> bool:
        return bool(self.rows or self.closed or self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What the left side of the inbox shows, and how much of today's work is done.

    `waiting` counts all that waits, whatever is searched for, and `mine` what of it waits for this very person;
    `found` what the search finds, None where nobody counted.
    """

    rows: tuple[InboxRow, ...]
    as_of: datetime
    search: Search
    waiting: int
    mine: int
    oldest: datetime | None
    found: int | None
    tabs: tuple[views.Tab, ...]
    decided_today: int
    has_more: bool

    @property
    def sentence(self) -> str:
        """Say how much waits, and for how long: the so-what of the page."""
        if not self.waiting or self.oldest is None:
            return "Nothing waits for a human."
        waits = "action waits" if self.waiting == 1 else "actions wait"
        return f"{self.waiting:,} {waits} for a human, oldest {order.age_in_words(self.as_of - self.oldest)}"

    @property
    def share_done(self) -> float:
        return self.decided_today / (self.decided_today + self.waiting) if self.decided_today else 0.0

    @property
    def last(self) -> int:
        return self.rows[-1].id

    def next_after(self, decided: int | None = None) -> int | None:
        """Return the first card here that the reader may decide now, other than the one just decided."""
        return next((each.id for each in self.rows if _may_open(each) and each.id != decided), None)


@dataclass(frozen=True, slots=True)
class Part:
    """The next lines of a queue, in the order in which its first ones stood."""

    rows: tuple[InboxRow, ...]
    as_of: datetime
    search: Search
    has_more: bool

    @property
    def last(self) -> int:
        return self.rows[-1].id


def queue(user: User, *, search: Search = EVERYTHING, limit: int = 50, at: datetime | None = None) -> Queue:
    """Return the queue of a person with its figures: 8 queries with the person's rights, any length."""
    now = at or clock()
    desk = reviewers.desk(user, at=now)
    ids = list(_ordered(user, search, now).values_list("pk", flat=True)[: limit + 1])
    kept = views.views_of(user)
    counts = _counts(desk, search, kept, now)
    midnight = now.astimezone(ZoneInfo(user.time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    # A planted card counts until it is told what it was: a number that stood still would tell it before.
    is_work = Q(proposal__kind=Proposal.Kind.LIVE) | Q(proposal__closed_at__isnull=True)
    decided = Decision.objects.filter(is_work, actor=user, voided_at__isnull=True, decided_at__gte=midnight).count()
    return Queue(
        rows=tuple(rows_of(ids[:limit], desk, now)),
        as_of=now,
        search=search,
        waiting=counts["waiting"],
        mine=counts["mine"],
        oldest=counts["oldest"],
        found=counts.get("found", counts["waiting"]) if search.is_about_open else None,
        tabs=views.tabs(kept, search, counts),
        decided_today=decided,
        has_more=len(ids) > limit,
    )


def more(
    user: User, *, after: int, as_of: datetime, search: Search = EVERYTHING, limit: int = 50, at: datetime | None = None
) -> Part:
    """Return what stands behind a card in the order of `as_of` (R19), as it is by now. 6 queries with rights, any length.

    What was proposed since is not among it: the page counts that as new and shows it when asked.
    """
    now = at or clock()
    found = _found(user, search, now).filter(created_at__lte=as_of)
    following = behind(visible(user).filter(pk=after), found, as_of)
    ids = list(following.values_list("pk", flat=True)[: limit + 1])
    part = rows_of(ids[:limit], reviewers.desk(user, at=now), now)
    return Part(tuple(part), as_of, search, has_more=len(ids) > limit)


def inbox_rows(user: User, *, limit: int = 50, offset: int = 0, at: datetime | None = None) -> list[InboxRow]:
    """Return what waits in the person's teams, in the order of R19. `at` fixes the order while paging.

    4 queries (5 with the person's rights), any length.
    """
    now = at or clock()
    desk = reviewers.desk(user, at=now)
    return rows(_found(user, EVERYTHING, now), desk, now, slice(offset, offset + limit))


def inbox_row(user: User, proposal_id: int, *, at: datetime | None = None) -> InboxRow | None:
    """Return one open card as the queue shows it, or None if it is closed or not this person's. 4 queries."""
    now = at or clock()
    waiting = visible(user).waiting().filter(pk=proposal_id)
    return next(iter(rows(waiting, reviewers.desk(user, at=now), now, slice(1))), None)


def changed_since(
    user: User,
    shown: Mapping[int, int],
    *,
    as_of: datetime | None = None,
    search: Search = EVERYTHING,
    at: datetime | None = None,
) -> Changes:
    """Compare the ids and versions on a page with now; `as_of` is when the page was drawn, to count what is new since.

    3 queries when nothing changed.
    """
    now = at or clock()
    mine = visible(user)
    current = dict(mine.filter(pk__in=list(shown)).values_list("pk", "version"))
    changed = [pk for pk, version in current.items() if version != shown[pk]]
    new = 0
    if as_of is not None and search.is_about_open:
        new = _found(user, search, now).filter(created_at__gt=as_of).exclude(pk__in=list(shown)).count()
    if not changed:
        return Changes((), (), new, now)
    still = mine.waiting().filter(pk__in=changed)
    found = rows(still, reviewers.desk(user, at=now), now, slice(len(changed)))
    still_open = {row.id for row in found}
    return Changes(tuple(found), tuple(_closed([pk for pk in changed if pk not in still_open])), new, now)


def next_waiting(
    user: User, *, after: int | None = None, search: Search = EVERYTHING, at: datetime | None = None
) -> int | None:
    """Return the id of the first card this person may decide now, other than the one just decided. 6 queries, or 9."""
    now = at or clock()
    desk = reviewers.desk(user, at=now)
    if not desk.may_decide_any:
        return None
    # Where a search is about closed cards, the next to decide is still the next of all.
    wanted = search if search.is_about_open else EVERYTHING
    found = _found(user, wanted, now)
    found = found if after is None else found.exclude(pk=after)
    first = next((row.id for row in rows(found, desk, now, slice(20)) if _may_open(row)), None)
    if first is not None:
        return first
    # The first ones are all taken, or all this person's own: look behind them, which costs joins over all that waits.
    found = found.filter(desk.reach()).exclude(agent_version__agent__owner=user)
    found = found.exclude(agent_version__author=user).exclude(requested_by=user)
    found = found.exclude(state=states.CLAIMED, claim_until__gt=now).exclude(needs_another_than(user))
    return next((row.id for row in rows(found, desk, now, slice(20)) if _may_open(row)), None)


def waiting_count(user: User, *, at: datetime | None = None) -> int:
    """Count what waits for a person to decide, without what they snoozed or approved. 2 queries besides the person's rights."""
    now = at or clock()
    desk = reviewers.desk(user, at=now)
    if not desk.may_decide_any:
        return 0
    return _found(user, EVERYTHING, now).filter(desk.reach()).exclude(needs_another_than(user)).count()


def unknown_count(user: User) -> int:
    """Count the outcomes that nobody knows. 1 query besides the person's rights."""
    return visible(user).filter(state=states.UNKNOWN).count()


def claims_of(user: User) -> list[int]:
    """Return the open cards that a person holds. 1 query."""
    return list(Proposal.objects.filter(state=states.CLAIMED, claimed_by=user).values_list("pk", flat=True))


def _found(user: User, search: Search, now: datetime) -> ProposalQuerySet:
    """Keep what a search finds among what the person may see: the open ones, unless it names a state."""
    seen = visible(user) if search.named("state") else visible(user).waiting()
    return seen.filter(matching(search, reader=user, at=now))


def _ordered(user: User, search: Search, now: datetime) -> ProposalQuerySet:
    """The open ones by R19; what is closed already by when it was, the newest first. What was not live did not happen."""
    found = _found(user, search, now)
    if search.is_about_open:
        return in_order(found, now)
    return found.filter(kind=Proposal.Kind.LIVE).order_by("-closed_at", "-pk")


def _counts(desk: reviewers.Desk, search: Search, kept: Sequence[views.View], now: datetime) -> dict[str, Any]:
    """Count all that waits, what the search finds of it, every view, and what waits for this person, in one query."""
    user = desk.user
    wanted = ({"found": search} if search else {}) | dict(views.conditions(kept))
    waiting = visible(user).waiting()
    shows_snoozed = any(each.shows_snoozed for each in wanted.values())
    if not shows_snoozed:
        # Said once for all, where each would say it: half of the query.
        waiting = waiting.filter(matching(EVERYTHING, reader=user, at=now))

    def condition(each: Search) -> Q:
        return matching(each, reader=user, at=now, hides_snoozed=shows_snoozed)

    everything = condition(EVERYTHING)
    counted = {
        "waiting": Count("pk", filter=everything or None),
        "mine": Count("pk", filter=everything & desk.reach() & ~needs_another_than(user)),
        **{name: Count("pk", filter=condition(each) or None) for name, each in wanted.items()},
    }
    return waiting.aggregate(oldest=Min("created_at", filter=everything or None), **counted)


def _may_open(row: InboxRow) -> bool:
    return row.may_decide and not row.is_taken and not row.approved_by_me


def _closed(ids: list[int]) -> list[ClosedRow]:
    last = final_decisions(ids)
    return [
        ClosedRow(
            id=row.pk,
            version=row.version,
            state=row.state,
            words=verdict_words(last.get(row.pk), row),
            by=by(last.get(row.pk)),
            at=row.closed_at,
        )
        for row in Proposal.objects.filter(pk__in=ids)
    ]
