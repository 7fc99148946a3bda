from dataclasses import dataclass
from datetime import datetime

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.agents import queries as agents
from apps.approvals.card import shown
from apps.approvals.domain import states
from apps.approvals.models import Proposal


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """A write that may or may not have happened; `args` and the title that is made of them for those who may read them."""

    id: int
    title: str
    target: str
    args: tuple[tuple[str, str], ...]
    started_at: datetime
    may_open: bool
    may_reconcile: bool


def unknown_outcomes(user: User) -> list[UnknownOutcome]:
    """Return the writes without a known outcome in the person's teams, oldest first. 1 query."""
    rows = Proposal.objects.filter(team__in=team_ids_with(user, "repairs.view"), state=states.UNKNOWN)
    rows = rows.select_related("agent_version__agent", "action_type").order_by("consumed_at", "pk")
    return [_unknown(row, user) for row in rows]


def _unknown(row: Proposal, user: User) -> UnknownOutcome:
    may_read = agents.may(user, "traces.read", row.agent_version.agent)
    return UnknownOutcome(
        id=row.pk,
        title=row.title if may_read else row.action_type.name,
        target=row.target,
        args=tuple((name, shown(value)) for name, value in row.args.items()) if may_read else (),
        started_at=row.consumed_at or row.created_at,
        may_open=user.has_perm("approvals.view", row.team_id),
        may_reconcile=user.has_perm("runs.repair", row.team_id),
    )
