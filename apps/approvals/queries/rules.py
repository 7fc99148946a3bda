from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Count, DateTimeField, Func, Q

from apps.agents.models import ActionType, Agent
from apps.approvals.domain.flood import Load
from apps.approvals.domain.rules import Facts
from apps.approvals.models import OPEN, ApprovalPolicy, Proposal
from apps.connectors import queries as connectors
from apps.connectors.errors import UnknownSystem


def policy_in_force(action_type: ActionType) -> ApprovalPolicy | None:
    """Return the newest version that is active, or None if the action type has no policy yet. 1 query."""
    return (
        ApprovalPolicy.objects.filter(action_type=action_type, active_from__lte=ClockTimestamp())
        .order_by("-version")
        .first()
    )


def facts_of(row: Proposal, args: Mapping[str, Any] | None = None) -> Facts:
    """Return what a policy may know of a proposal, with its own arguments or those that a person makes of them. No query."""
    return Facts(
        args=row.args if args is None else args,
        original=row.args_original,
        target=row.target,
        subject=row.subject,
        risk=row.risk_class,
        reversibility=row.reversibility,
        confidence=row.confidence,
    )


def load(agent: Agent, *, since: datetime) -> Load:
    """Return what an agent has before people now, and how much it proposed since then. 1 query."""
    # A drill or a second look was planted: no agent fills its quota with them.
    own = [Proposal.Kind.LIVE, Proposal.Kind.ADVICE]
    rows = Proposal.objects.filter(
        Q(state__in=OPEN) | Q(created_at__gt=since), agent_version__agent=agent, kind__in=own
    )
    counts = rows.aggregate(
        open=Count("pk", filter=Q(state__in=OPEN)), recent=Count("pk", filter=Q(created_at__gt=since))
    )
    return Load(open=counts["open"], last_minute=counts["recent"])


def connector_id(target: str) -> int | None:
    """Return the id of the system that a target such as "desk:tickets/T-1001" lies in, or None. 1 query."""
    try:
        return connectors.connector(target.partition(":")[0]).pk
    except UnknownSystem:
        return None


def is_read_here(target: str, *, team_id: int) -> bool:
    """Say whether a target of an agent that runs elsewhere lies in a connected system of its own team. 1 query.

    It names its system by itself, perhaps before there was one: another team that connects one under the same name
    later must not find its credential borrowed.
    """
    try:
        return connectors.connector(target.partition(":")[0]).team_id == team_id
    except UnknownSystem:
        return False


class ClockTimestamp(Func):
    """The database's clock at this row, not at the start of the transaction."""

    function = "clock_timestamp"
    arity = 0
    output_field = DateTimeField()
