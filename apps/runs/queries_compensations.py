"""What would undo an executed action, and whether it is offered, proposed or done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from apps.accounts.access import object_or_404
from apps.accounts.models import User
from apps.agents.models import ActionType
from apps.approvals.card import shown
from apps.approvals.domain import wording
from apps.approvals.models import Proposal, State
from apps.connectors import client
from apps.connectors.errors import ConnectorError
from apps.runs.domain import compensation
from apps.runs.errors import NotCompensated
from apps.runs.queries import READ_WITHIN_S
from apps.runs.workflow import UnknownWorkflow, part

VIEW: Final = "approvals.view"
DECIDE: Final = "approvals.decide"
REPAIR: Final = "runs.repair"
MISSED: Final = (State.REJECTED, State.ANSWERED, State.EXPIRED, State.WITHDRAWN, State.STALE, State.FAILED)
"""A compensation that ended so has changed nothing: another may be proposed."""


@dataclass(frozen=True, slots=True)
class PutBackRow:
    field: str
    now: str
    back: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class CompensationPage:
    """
    `is_offered` is false where nothing undoes the action or it was not done. `problem` says why it cannot be proposed now.

    `moved` names the fields that somebody changed since: putting them back would overwrite that.
    """

    proposal: Proposal
    is_offered: bool
    may_propose: bool
    action_name: str = ""
    rows: tuple[PutBackRow, ...] = ()
    moved: tuple[str, ...] = ()
    problem: str = ""
    live: Proposal | None = None


def may_propose(user: User, team_id: int) -> bool:
    """Say whether a person may ask to undo what an agent of the team did: who decides its actions, or who repairs its runs."""
    return user.has_perm(DECIDE, team_id) or user.has_perm(REPAIR, team_id)


def compensation_page(user: User, pk: int) -> CompensationPage:  # 3 queries, 1 read of the system
    """Return what rolling a proposal back would change, as its target stands now. Outsiders get 404."""
    found = Proposal.objects.select_related("action_type", "agent_version__agent", "body", "team")
    row = object_or_404(found, user, VIEW, pk)
    may = may_propose(user, row.team_id)
    if not row.action_type.compensated_by or row.state not in (State.SUCCEEDED, State.ROLLED_BACK):
        return CompensationPage(row, is_offered=False, may_propose=may)
    live = live_compensation(row)
    if live is not None:
        return CompensationPage(row, is_offered=True, may_propose=may, live=live)
    try:
        undoing, args = planned(row)
        changes = changes_of(row.agent_version.agent.workflow, undoing.key, args)
    except NotCompensated as reason:
        return CompensationPage(row, is_offered=True, may_propose=may, problem=str(reason))
    now, problem = _now(row.target)
    left = row.body.state_if_approved if row.args == row.args_original else {}
    return CompensationPage(
        row,
        is_offered=True,
        may_propose=may,
        action_name=undoing.name,
        rows=tuple(
            PutBackRow(
                each.field, "not readable now" if problem else shown(each.now), shown(each.back), each.is_changed
            )
            for each in compensation.put_back(changes, now=now)
        ),
        moved=() if problem else tuple(each for each in changes if each in left and now.get(each) != left[each]),
        problem=problem,
    )


def live_compensation(row: Proposal) -> Proposal | None:  # 1 query
    """Return what was proposed to undo an action and has not missed; the database lets there be one at most."""
    return Proposal.objects.filter(compensates=row).exclude(state__in=MISSED).first()


def planned(row: Proposal) -> tuple[ActionType, dict[str, Any]]:  # 1 query
    """Return what undoes an action: the action type and its arguments. Raises NotCompensated."""
    ensure_done_here(row)
    undoing = ActionType.objects.filter(
        agent=row.agent_version.agent_id, key=row.action_type.compensated_by or None
    ).first()
    if undoing is None:
        raise NotCompensated("Nothing undoes this kind of action here.")
    try:
        args = compensation.plan(
            row.action_type.compensation_args,
            args=row.args,
            before=row.body.state_proposed,
            redacted=row.body.redacted,
        )
    except compensation.NotPlanned as unknown:
        raise NotCompensated(f"{unknown} Nothing was proposed; put it right in the system itself.") from unknown
    return undoing, args


def ensure_done_here(row: Proposal) -> None:
    """Raise NotCompensated, with what to do instead, for what an agent in another process did: nothing here writes for it."""
    undone_by = row.action_type.compensated_by
    if undone_by and row.agent_version.agent.is_outside:
        raise NotCompensated(wording.undone_elsewhere(undone_by, row.target))


def changes_of(workflow: str, action_type_key: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an undoing action writes to its target. Raises NotCompensated where its workflow does not know it."""
    try:
        known = part(workflow, "cards").COMPENSATIONS
    except UnknownWorkflow as error:
        raise NotCompensated(f"{error} Nothing was written.") from error
    if action_type_key not in known:
        raise NotCompensated(f"The workflow {workflow} cannot execute {action_type_key}. Nothing was written.")
    changes: dict[str, Any] = known[action_type_key](args)
    return changes


def _now(target: str) -> tuple[Mapping[str, Any], str]:
    try:
        return client.read(target, timeout=READ_WITHIN_S).fields, ""
    except ConnectorError as error:
        return {}, f"{error} It can be proposed once the system answers."
