"""Who may decide a proposal by hand, and in whose place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Exists, OuterRef, Q, QuerySet, Value

from apps.accounts.domain.rights import roles_with
from apps.accounts.models import Membership, User
from apps.accounts.queries import team_ids_with, users_with
from apps.approvals.card import barred
from apps.approvals.domain import policy
from apps.approvals.domain.delegation import Case, Lent, Standing, standing
from apps.approvals.models import ApprovalPolicy, Decision, Delegation, Proposal

DECIDE = "approvals.decide"
# A delegation lends the right to decide, not the right to see: without this one there is nothing to decide on.
SEE = "approvals.view"


@dataclass(frozen=True, slots=True)
class Right:
    """A right to decide one proposal; `on_behalf_of` is the id of the colleague whose right it is, None for one's own."""

    on_behalf_of: int | None = None


def deciding_right(user: User, row: Proposal, *, at: datetime) -> Right | None:
    """Return by what right a person decides a proposal, or None: no role, no delegation, not named, or barred. 1 query."""
    found = standing_of(user, row, at=at)
    return Right(found.on_behalf_of) if found.decides else None


def standing_of(user: User, row: Proposal, *, at: datetime) -> Standing:
    """Say how a person stands to one proposal. 1 query besides the person's rights."""
    return _standing(user, lent_to(user, at=at), case_of(row))


def case_of(row: Proposal) -> Case:
    return Case(row.team_id, row.action_type_id, named(row.policy), frozenset(barred(row)))


def named(rules: ApprovalPolicy | None) -> frozenset[int]:
    return named_in({} if rules is None else rules.approvers)


def named_in(approvers: object) -> frozenset[int]:
    """Return who alone may decide; what cannot be read names nobody, and then the whole team reviews."""
    try:
        return policy.approver_ids(approvers)
    except policy.Unevaluable:
        return frozenset()


def lent_to(user: User, *, at: datetime) -> tuple[Lent, ...]:
    """Return what colleagues lent to a person, as it runs at an instant. 1 query."""
    running = Delegation.objects.running(at).filter(to_user=user, team__in=team_ids_with(user, SEE))
    return tuple(each for _, each in _lent(running))


@dataclass(frozen=True, slots=True)
class Desk:
    """What one person may decide, asked once for many rows."""

    user: User
    lent: tuple[Lent, ...]

    def standing(self, case: Case) -> Standing:
        return _standing(self.user, self.lent, case)

    @property
    def may_decide_any(self) -> bool:
        return bool(team_ids_with(self.user, DECIDE)) or any(each.has_right for each in self.lent)

    def reach(self) -> Q:
        """Limit proposals to the teams and kinds for which the person decides."""
        found = Q(team__in=team_ids_with(self.user, DECIDE))
        for each in self.lent:
            if each.has_right:
                found |= Q(team=each.team, action_type__in=each.kinds) if each.kinds else Q(team=each.team)
        return found


def desk(user: User, *, at: datetime) -> Desk:
    """Return what a person may decide now. 1 query besides the person's rights."""
    return Desk(user, lent_to(user, at=at))


def colleagues(row: Proposal, *, at: datetime, but: User | None = None) -> list[User]:
    """Return everybody who may decide a proposal, by name: to them it may be handed. 3 queries."""
    case = case_of(row)
    reviewers = set(users_with(DECIDE, row.team_id).values_list("pk", flat=True))
    lent: dict[int, list[Lent]] = {}
    for delegate, each in _lent(Delegation.objects.running(at).filter(team=row.team_id)):
        lent.setdefault(delegate, []).append(each)
    candidates = users_with(SEE, row.team_id).filter(pk__in=reviewers | set(lent)).order_by("name", "pk")
    return [
        each
        for each in candidates
        if standing(each.pk, has_role=each.pk in reviewers, lent=lent.get(each.pk, ()), case=case).decides
        and each != but
    ]


def colleagues_for(proposal_id: int, *, at: datetime, but: User) -> list[User]:
    """As `colleagues`, for a card that is known by its number only. 4 queries."""
    row = Proposal.objects.select_related("agent_version__agent", "policy").get(pk=proposal_id)
    return colleagues(row, at=at, but=but)


def is_still_lawful(row: Proposal, decision: Decision) -> bool:
    """Say whether a delegate's consent stands: lent when it was given, by somebody who may decide to this day. 3 queries."""
    delegate, case = decision.actor, case_of(row)
    if delegate is None or not delegate.has_perm(SEE, row.team_id):
        return False
    if case.barred & {delegate.pk, decision.on_behalf_of_id}:
        return False
    return any(
        each.lender == decision.on_behalf_of_id and each.has_right and each.covers(case.team, case.kind)
        for each in lent_to(delegate, at=decision.decided_at)
    )


def _lent(running: "QuerySet[Delegation]") -> list[tuple[int, Lent]]:
    """Read delegations with who holds each. 1 query."""
    role = Membership.objects.filter(
        user=OuterRef("from_user"), team=OuterRef("team"), role__in=roles_with(DECIDE), user__is_active=True
    )
    rows = (
        running.annotate(
            kinds=ArrayAgg("action_types", filter=Q(action_types__isnull=False), default=Value([])),
            has_right=Exists(role),
        )
        .order_by("pk")
        .values_list("to_user_id", "team_id", "from_user_id", "kinds", "has_right")
    )
    return [
        (delegate, Lent(team, lender, frozenset(kinds), has_right=bool(has_right)))
        for delegate, team, lender, kinds, has_right in rows
    ]


def _standing(user: User, lent: Sequence[Lent], case: Case) -> Standing:
    has_role = case.team in team_ids_with(user, DECIDE)
    return standing(user.pk, has_role=has_role, lent=lent, case=case)
