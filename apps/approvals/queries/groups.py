"""Cards that may be decided together: one kind of action, one risk, one version of its policy (R3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, Q

from apps.accounts.models import User
from apps.agents.models import RiskClass
from apps.approvals import shown
from apps.approvals.domain import bulk
from apps.approvals.domain.bulk import GroupKey, Shown
from apps.approvals.domain.hidden import reveal
from apps.approvals.domain.search import Search
from apps.approvals.domain.wire.asked import APPROVE
from apps.approvals.models import Proposal
from apps.approvals.models.proposals import ProposalQuerySet
from apps.approvals.queries import reviewers
from apps.approvals.queries.opened import opened_by
from apps.approvals.queries.outside import choices_of, messages_of
from apps.approvals.queries.rows import InboxRow, in_order, needs_another_than, rows_of
from apps.approvals.queries.searching import matching
from apps.approvals.queries.visible import visible
from apps.audit.clock import clock


@dataclass(frozen=True, slots=True)
class Group:
    """One group with what its cards have in common, and how many wait in it."""

    key: GroupKey
    action: str
    policy: str
    count: int
    oldest: datetime | None

    @property
    def risk_words(self) -> str:
        return f"{RiskClass(self.key.risk).label} risk"


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One card of a group. `must_open`: it is among those to look at if all are decided; `same_as` names its original.

    `may_approve` is false where the request that it came in takes no approval.
    """

    card: InboxRow
    is_opened: bool
    must_open: bool
    same_as: str
    may_approve: bool


@dataclass(frozen=True, slots=True)
class GroupPage:
    """A group as one person may decide it now; `token` signs exactly the rows that are shown."""

    group: Group
    rows: tuple[GroupRow, ...]
    shown: tuple[Shown, ...]
    token: str

    @property
    def not_approvable(self) -> int:
        """How many of those that are shown cannot be approved."""
        return sum(not row.may_approve for row in self.rows)

    @property
    def may_approve(self) -> bool:
        """Say whether approve is on offer for any of them."""
        return self.not_approvable < len(self.rows)

    @property
    def to_open(self) -> int:
        """How many must have been opened to decide all of them."""
        return bulk.sample_size(len(self.rows))

    @property
    def more(self) -> int:
        """How many wait behind those that are shown."""
        return max(0, self.group.count - len(self.rows))


def groups(user: User, *, at: datetime | None = None) -> list[Group]:
    """Return the groups that wait for a person, the largest first. 2 queries besides the person's rights and the clock."""
    now = at or clock()
    return _groups(_waiting(reviewers.desk(user, at=now), now))


def group_page(user: User, key: GroupKey, *, at: datetime | None = None) -> GroupPage | None:
    """Return one group with up to 50 of its cards, in the order of R19, or None if nothing of it waits for the person.

    7 queries besides the person's rights and the clock, any length; 1 more for cards of agents that run elsewhere.
    """
    now = at or clock()
    desk = reviewers.desk(user, at=now)
    found = _waiting(desk, now).filter(action_type=key.kind, risk_class=key.risk, policy=key.policy)
    summary = next(iter(_groups(found)), None)
    if summary is None:
        return None
    ids = list(in_order(found, now).values_list("pk", flat=True)[: bulk.MOST])
    cards = [each for each in rows_of(ids, desk, now) if each.may_decide and not each.is_taken]
    seen = tuple(Shown(each.id, each.version, each.digest) for each in cards)
    ids = [each.id for each in cards]
    opened = opened_by(user, ids)
    wanted = bulk.sample(ids, shown=seen, key=shown.sample_key(user.pk))
    proposals = {row.pk: row for row in _proposals(ids)}
    asked = messages_of(list(proposals.values()))
    same = _same(cards, proposals)
    return GroupPage(
        group=summary,
        rows=tuple(
            GroupRow(
                each,
                each.id in opened,
                each.id in wanted,
                same.get(each.id, ""),
                each.id not in proposals or APPROVE in choices_of(proposals[each.id], asked.get(each.id)),
            )
            for each in cards
        ),
        shown=seen,
        token=shown.sign(seen, user_id=user.pk),
    )


def group_of(user: User, proposal_id: int) -> GroupKey | None:
    """Return the group to which a card belongs, or None where it has none for this person. 1 query."""
    rows = visible(user).filter(pk=proposal_id, risk_class__in=bulk.RISKS)
    found = rows.values_list("action_type", "risk_class", "policy").first()
    return GroupKey(*found) if found else None


def titles(user: User, ids: Iterable[int]) -> dict[int, str]:
    """Return the titles of those cards that the person may see. 1 query."""
    return {pk: reveal(title) for pk, title in visible(user).filter(pk__in=list(ids)).values_list("pk", "title")}


def _waiting(desk: reviewers.Desk, now: datetime) -> ProposalQuerySet:
    """What a person may decide together with others: not what they snoozed, own, or approved already."""
    user = desk.user
    found = visible(user).waiting().filter(matching(Search(), reader=user, at=now), risk_class__in=bulk.RISKS)
    barred = Q(agent_version__agent__owner=user) | Q(agent_version__author=user) | Q(requested_by=user)
    return found.filter(desk.reach()).exclude(barred).exclude(needs_another_than(user))


def _groups(found: ProposalQuerySet) -> list[Group]:
    columns = ("action_type", "action_type__name", "risk_class", "policy", "policy__name", "policy__version")
    counted = found.order_by().values(*columns).annotate(n=Count("pk"), oldest=Min("created_at"))
    return [
        Group(
            key=GroupKey(each["action_type"], each["risk_class"], each["policy"]),
            action=each["action_type__name"],
            policy=f"{each['policy__name']} v{each['policy__version']}" if each["policy"] else "no policy",
            count=each["n"],
            oldest=each["oldest"],
        )
        for each in counted.order_by("-n", "action_type", "risk_class", "policy")
    ]


def _proposals(ids: list[int]) -> list[Proposal]:
    return list(Proposal.objects.filter(pk__in=ids).select_related("agent_version", "action_type"))


def _same(cards: list[InboxRow], proposals: Mapping[int, Proposal]) -> dict[int, str]:
    """Name for each card the earlier one of the same agent with the same digest. No query."""
    agents = {pk: row.agent_version.agent_id for pk, row in proposals.items()}
    titles = {each.id: each.title for each in cards}
    found = bulk.duplicates([(each.id, agents[each.id], each.digest) for each in cards if each.id in agents])
    return {pk: titles[original] for pk, original in found.items()}
