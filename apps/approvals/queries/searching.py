"""A search, as the database understands it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import and_, or_
from typing import Final

from django.contrib.postgres.search import SearchQuery
from django.db.models import Count, Exists, OuterRef, Q

from apps.accounts.models import User
from apps.approvals.domain import states
from apps.approvals.domain.search import OPEN, Search, Term, comparison, span
from apps.approvals.models import OPEN as OPEN_STATES
from apps.approvals.models import Decision, Proposal, Snooze
from apps.approvals.models.proposals import WORD_JOINTS


def matching(search: Search, *, reader: User, at: datetime, hides_snoozed: bool = True) -> Q:
    """Return the condition that rows must meet, besides being visible and, unless it names a state, open.

    Values of one term are alternatives, but for times and numbers, which all hold; terms all hold; `-` never does.
    What a person snoozed is left out unless the search asks for it; where nothing waits, nothing is hidden. No query.
    """
    found = ~_is_snoozed(reader, at) if hides_snoozed and not search.shows_snoozed else Q()
    for name in dict.fromkeys(each.name for each in search.terms):
        terms = search.named(name)
        wanted = [_condition(each, reader, at) for each in terms if not each.is_not]
        if wanted:
            found &= reduce(and_ if name in _ALL_HOLD else or_, wanted)
        for each in terms:
            if each.is_not:
                found &= _refusing(each, reader, at)
    return found


def text_query(value: str) -> SearchQuery:
    """Ask for words that begin like these, next to each other; quoting leaves no operator to whoever types."""
    parted = value.translate({ord(each): " " for each in WORD_JOINTS})
    quoted = parted.replace("\\", "\\\\").replace("'", "''")
    return SearchQuery(f"'{quoted}':*", config="simple", search_type="raw")


def _condition(term: Term, reader: User, at: datetime) -> Q:
    return _READERS[term.name](term.value, reader, at)


def _refusing(term: Term, reader: User, at: datetime) -> Q:
    """What is not stated is neither below nor above: no search about a confidence finds it."""
    refused = ~_condition(term, reader, at)
    return refused & Q(confidence__isnull=False) if term.name == "confidence" else refused


def _begins(*fields: str) -> Callable[[str, User, datetime], Q]:
    return lambda value, _reader, _at: reduce(or_, (Q(**{f"{each}__istartswith": value}) for each in fields))


def _state(value: str, _reader: User, _at: datetime) -> Q:
    return Q(state__in=OPEN_STATES) if value == OPEN else Q(state=value)


def _due(value: str, _reader: User, at: datetime) -> Q:
    """The inbox's deadline or the customer's, whichever comes first; what is closed is not due any more."""
    sign, amount = comparison(value)
    then = at + span(amount)
    soon = Q(deadline__lt=then) | Q(sla_due__lt=then)
    late = Q(deadline__gt=then) & (Q(sla_due__isnull=True) | Q(sla_due__gt=then))
    return soon if sign == "<" else late


def _age(value: str, _reader: User, at: datetime) -> Q:
    sign, amount = comparison(value)
    then = at - span(amount)
    return Q(created_at__gt=then) if sign == "<" else Q(created_at__lt=then)


def _confidence(value: str, _reader: User, _at: datetime) -> Q:
    sign, amount = comparison(value)
    return Q(confidence__lt=Decimal(amount)) if sign == "<" else Q(confidence__gt=Decimal(amount))


def _is_snoozed(reader: User, at: datetime) -> Q:
    return Q(pk__in=Snooze.objects.filter(user=reader, until__gt=at).values("proposal"))


def _snoozed(value: str, reader: User, at: datetime) -> Q:
    return _is_snoozed(reader, at) if value == "yes" else ~_is_snoozed(reader, at)


def _mine(value: str, reader: User, at: datetime) -> Q:
    """Handed to me, held by me, or waiting for the second person after I approved."""
    approved = Decision.objects.filter(
        proposal=OuterRef("pk"), actor=reader, voided_at__isnull=True, verdict__in=["approve", "edit"]
    )
    held = Q(state=states.CLAIMED, claimed_by=reader, claim_until__gt=at)
    found = Q(assigned_to=reader) | held | (Q(approvals_given__gt=0) & Q(Exists(approved)))
    return found if value == "yes" else ~found


def _duplicate(value: str, _reader: User, _at: datetime) -> Q:
    """Open, and so is another of the same digest, which names its agent too."""
    twice = Proposal.objects.waiting().order_by().values("digest").annotate(n=Count("pk")).filter(n__gt=1)
    found = Q(state__in=OPEN_STATES, digest__in=twice.values("digest"))
    return found if value == "yes" else ~found


_READERS: Final[Mapping[str, Callable[[str, User, datetime], Q]]] = {
    "": lambda value, _reader, _at: Q(search=text_query(value)),
    "risk": lambda value, _reader, _at: Q(risk_class=value),
    "agent": _begins("agent_version__agent__slug", "agent_version__agent__name"),
    "action": _begins("action_type__key", "action_type__name"),
    "team": _begins("team__slug", "team__name"),
    "state": _state,
    "due": _due,
    "age": _age,
    "mine": _mine,
    "snoozed": _snoozed,
    "duplicate": _duplicate,
    "approvals": lambda value, _reader, _at: Q(approvals_given=int(value)),
    "confidence": _confidence,
}
# Two of these are a range; two of the others are a choice.
_ALL_HOLD: Final = frozenset({"", "due", "age", "confidence"})
