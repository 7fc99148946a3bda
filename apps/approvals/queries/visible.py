from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.approvals.models.proposals import Proposal, ProposalQuerySet


def visible(user: User) -> ProposalQuerySet:
    """Return the proposals of the teams in which a person may see the inbox."""
    return Proposal.objects.filter(team__in=team_ids_with(user, "approvals.view"))
