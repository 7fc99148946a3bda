"""The lines of a queue, and the order in which they stand (R19)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import Case, Count, Exists, F, FloatField, Func, OuterRef, Q, Value, When
from django.db.models.functions import Greatest, Least

from apps.accounts.models import User
from apps.approvals.domain import order, states
from apps.approvals.domain.delegation import Case as Deciding
from apps.approvals.models import OPEN, Decision, Proposal, State
from apps.approvals.models.proposals import ProposalQuerySet
from apps.approvals.queries.reviewers import Desk, named_in


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """One card in the queue. `left` is negative once it is overdue; `duplicates` counts other open cards with its digest."""

    id: int
    version: int
    digest: str
    title: str
    agent_name: str
    action_name: str
    risk: str
    state: str
    created_at: datetime
    age: timedelta
    due: datetime
    left: timedelta
    is_urgent: bool
    claimed_by: str
    claimed_by_me: bool
    confidence: Decimal | None
    approvals_given: int
    approvals_needed: int
    duplicates: int
    may_decide: bool
    approved_by_me: bool
    is_demo: bool
    is_escalated: bool
    assigned_to: str
    assigned_to_me: bool

    @property
    def is_open(self) -> bool:
        return self.state in states.OPEN

    @property
    def state_words(self) -> str:
        return str(State(self.state).label)

    @property
    def is_taken(self) -> bool:
        """Somebody else decides it just now."""
        return bool(self.claimed_by) and not self.claimed_by_me


def rows(found: ProposalQuerySet, desk: Desk, now: datetime, part: slice) -> list[InboxRow]:
    """Return a part of the open cards in the order of `now`. 3 queries, any length."""
    return rows_of(list(in_order(found, now).values_list("pk", flat=True)[part]), desk, now)


def rows_of(ids: Sequence[int], desk: Desk, now: datetime) -> list[InboxRow]:
    """Return these cards in this order. 2 queries."""
    if not ids:
        return []
    found = _with_due(Proposal.objects.filter(pk__in=ids)).annotate(approved_by_me=approved_by(desk.user))
    facts = {each["pk"]: each for each in found.values(*_COLUMNS)}
    digests = {each["digest"] for each in facts.values()}
    same = dict(
        Proposal.objects.filter(digest__in=digests, state__in=OPEN)
        .order_by()
        .values_list("digest")
        .annotate(n=Count("pk"))
    )
    return [_row(facts[pk], desk, now, same.get(facts[pk]["digest"], 0)) for pk in ids if pk in facts]


def approved_by(user: User) -> Exists:
    """What a person has consented to and nobody voided: as long as that is not enough, it waits for somebody else (R2)."""
    consents = Decision.objects.filter(actor=user, voided_at__isnull=True, verdict__in=["approve", "edit"])
    return Exists(consents.filter(proposal=OuterRef("pk")))


def needs_another_than(user: User) -> Q:
    """What this person approved and somebody else must, too; the number of approvals keeps the rest from being looked up."""
    return Q(approvals_given__gt=0) & Q(approved_by(user))


def in_order(found: ProposalQuerySet, now: datetime) -> ProposalQuerySet:
    """Order open cards by what waits most at `now`.

    The order needs six narrow columns, which one index holds: joins and wide columns come later, for one page only.
    """
    ordered: ProposalQuerySet = _with_place(found, now).order_by("urgent", F("score").desc(), "due", "pk")
    return ordered


def behind(last: ProposalQuerySet, found: ProposalQuerySet, now: datetime) -> ProposalQuerySet:
    """Keep what stands behind one card in the order of `now`, also if that card is closed by then. 1 query."""
    place: dict[str, Any] | None = _with_place(last, now).values("pk", "urgent", "score", "due").first()
    return found.none() if place is None else in_order(found, now).filter(_comes_after(**place))


class _Seconds(Func):
    # EXTRACT would make a numeric, which is several times slower to reckon with.
    template = "date_part('epoch', %(expressions)s)"
    output_field = FloatField()


_WEIGHT: Final = Case(*[When(risk_class=risk, then=Value(w)) for risk, w in order.WEIGHT.items()], default=Value(4))
_COLUMNS: Final = (
    "pk",
    "version",
    "digest",
    "title",
    "agent_version__agent__name",
    "agent_version__agent__is_demo",
    "agent_version__agent__owner",
    "agent_version__author",
    "requested_by",
    "action_type",
    "action_type__name",
    "policy__approvers",
    "risk_class",
    "state",
    "team",
    "created_at",
    "due",
    "claimed_by",
    "claimed_by__name",
    "claim_until",
    "confidence",
    "approvals_given",
    "approvals_needed",
    "approved_by_me",
    "tier",
    "assigned_to",
    "assigned_to__name",
)


def _with_due(found: ProposalQuerySet) -> ProposalQuerySet:
    return found.annotate(due=Least("deadline", "sla_due"))


def _with_place(found: ProposalQuerySet, now: datetime) -> Any:
    """Say where each card stands; the columns that it adds are unknown to the model's type."""
    return _with_due(found).annotate(
        urgent=Case(When(due__lte=now + order.URGENT, then=Value(0)), default=Value(1)),
        score=_WEIGHT * (_urgency(now) + Value(order.FRESH)),
    )


def _urgency(now: datetime) -> Case:
    share = _Seconds(Value(now) - F("created_at")) / _Seconds(F("due") - F("created_at"))
    bounded = Greatest(Value(0.0), Least(Value(1.0), share))
    return Case(When(due__lte=F("created_at"), then=Value(1.0)), default=bounded, output_field=FloatField())


def _comes_after(pk: int, *, urgent: int, score: float, due: datetime) -> Q:
    """What stands behind a card: the database reckoned its place with the same words, so equal is equal."""
    same = Q(urgent=urgent, score=score)
    return (
        Q(urgent__gt=urgent)
        | Q(urgent=urgent, score__lt=score)
        | (same & Q(due__gt=due))
        | (same & Q(due=due, pk__gt=pk))
    )


def _row(facts: Mapping[str, Any], desk: Desk, now: datetime, same: int) -> InboxRow:
    is_held = facts["state"] == states.CLAIMED and facts["claim_until"] > now
    reader = desk.user
    return InboxRow(
        id=facts["pk"],
        version=facts["version"],
        digest=facts["digest"],
        title=facts["title"],
        agent_name=facts["agent_version__agent__name"],
        action_name=facts["action_type__name"],
        risk=facts["risk_class"],
        state=facts["state"],
        created_at=facts["created_at"],
        age=now - facts["created_at"],
        due=facts["due"],
        left=facts["due"] - now,
        is_urgent=facts["due"] - now <= order.URGENT,
        claimed_by=facts["claimed_by__name"] or "" if is_held else "",
        claimed_by_me=is_held and facts["claimed_by"] == reader.pk,
        confidence=facts["confidence"],
        approvals_given=facts["approvals_given"],
        approvals_needed=facts["approvals_needed"],
        duplicates=max(0, same - 1) if facts["state"] in states.OPEN else 0,
        may_decide=facts["state"] in states.OPEN and desk.standing(_deciding(facts)).decides,
        approved_by_me=facts["state"] in states.OPEN and facts["approved_by_me"],
        is_demo=facts["agent_version__agent__is_demo"],
        is_escalated=facts["tier"] > 0,
        assigned_to=facts["assigned_to__name"] or "",
        assigned_to_me=facts["assigned_to"] == reader.pk,
    )


def _deciding(facts: Mapping[str, Any]) -> Deciding:
    people = (facts["agent_version__agent__owner"], facts["agent_version__author"], facts["requested_by"])
    return Deciding(
        facts["team"],
        facts["action_type"],
        named_in(facts["policy__approvers"] or {}),
        frozenset(each for each in people if each is not None),
    )
