from django.db.models import Q

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.approvals.models.proposals import Proposal, ProposalQuerySet
from apps.approvals.models.vigilance import SecondLook


def visible(user: User) -> ProposalQuerySet:
    """Return the proposals of the teams in which a person may see the inbox."""
    return Proposal.objects.filter(for_eyes_of(user), team__in=team_ids_with(user, "approvals.view"))


def for_eyes_of(user: User) -> Q:
    """Hide a second look from whoever decided the card before, until it is over. Asks nothing about any other card."""
    # Not correlated: asked once, not for each of 10,000 cards, and the planner knows it.
    own = SecondLook.objects.filter(revealed_at__isnull=True, original__decisions__actor=user).values("proposal")
    return ~Q(kind=Proposal.Kind.SECOND_LOOK, pk__in=own)
