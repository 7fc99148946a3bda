"""A card in other hands: handed to a colleague, or the right to decide lent for some days."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from django.db import transaction

from apps.accounts.access import Forbidden
from apps.accounts.models import Team, User
from apps.approvals import errors
from apps.approvals.actions import closing, moves
from apps.approvals.actions.moves import Step
from apps.approvals.actions.verdicts import ensure_free_for, ensure_may_decide
from apps.approvals.domain import delegation as rules
from apps.approvals.domain import states
from apps.approvals.models import Delegation, Proposal
from apps.approvals.queries.reviewers import DECIDE, SEE, deciding_right
from apps.audit import actions as audit
from apps.audit.clock import clock

LONGEST_REASON: Final = 300


def hand_over(proposal_id: int, *, to: User, reason: str = "", actor: User, at: datetime | None = None) -> Proposal:
    """Hand a card to a colleague who may decide it; others still may. A claim of one's own on it ends (T6).

    Raises NotFound, Forbidden, AlreadyDecided, Expired, Claimed, or BadColleague (422) for whom it cannot go to.
    """
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        ensure_may_decide(row, actor, now)
        if not row.is_open:
            raise errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}.")
        if not closing.expire_if_over(row, now):
            ensure_free_for(row, actor, now)
            return _hand_over(row, to, reason.strip()[:LONGEST_REASON], actor, now)
    raise errors.Expired


@transaction.atomic
def delegate(
    team: Team,
    *,
    to: User,
    starts: datetime,
    ends: datetime,
    action_types: Collection[int] = (),
    reason: str = "",
    actor: User,
    at: datetime | None = None,
) -> Delegation:
    """Lend one's right to decide in a team to a colleague, for some days and kinds of action (none named: all).

    What was lent to the actor cannot be lent on: it takes the role. Raises NotFound, Forbidden or BadDelegation (422).
    """
    now = at or clock()
    if not actor.has_perm(SEE, team.pk):
        raise errors.NotFound
    if not actor.has_perm(DECIDE, team.pk):
        raise Forbidden(DECIDE, team.pk, why="Only a reviewer's own right can be lent; what was lent is not lent on.")
    _ensure_may_be_lent(team, to=to, starts=starts, ends=ends, actor=actor, now=now)
    row = Delegation.objects.create(
        team=team,
        from_user=actor,
        to_user=to,
        starts=max(starts, now),
        ends=ends,
        reason=reason.strip()[:LONGEST_REASON],
    )
    row.action_types.set(action_types)
    _tell(
        row,
        "delegation.given",
        actor,
        {"starts": row.starts, "ends": ends, "action_types": sorted(action_types), "reason": row.reason},
    )
    return row


@transaction.atomic
def revoke(delegation_id: int, *, actor: User, at: datetime | None = None) -> Delegation:
    """End a delegation now: by who gave it, who has it, or an administrator of the team. Ended twice is the same as once.

    What was decided under it stands. Raises NotFound for outsiders, Forbidden for everybody else.
    """
    row = Delegation.objects.select_for_update().filter(pk=delegation_id).first()
    if row is None or row.team_id not in actor.roles_by_team:
        raise errors.NotFound
    if actor.pk not in (row.from_user_id, row.to_user_id) and not actor.has_perm("people.change", row.team_id):
        raise Forbidden("people.change", row.team_id)
    now = at or clock()
    if row.revoked_at is None and row.ends > now:
        row.revoked_at = now
        row.save(update_fields=["revoked_at"])
        _tell(row, "delegation.revoked", actor, {})
    return row


def _hand_over(row: Proposal, to: User, reason: str, actor: User, now: datetime) -> Proposal:
    if to == actor:
        raise errors.BadColleague("You have it already. Choose somebody else.")
    if not to.is_active or deciding_right(to, row, at=now) is None:
        raise errors.BadColleague(f"{to} may not decide this card. Choose a reviewer of the team or a delegate.")
    steps = [Step("T6", "person")] if row.state == states.CLAIMED else []
    if steps:
        moves.move(row, *steps, assigned_to=to)
    else:
        row.assigned_to = to
        row.save(update_fields=["assigned_to"])
    moves.tell(row, "proposal.handed_over", *steps, actor=actor.actor, payload={"to": to.actor, "reason": reason})
    return row


def _ensure_may_be_lent(team: Team, *, to: User, starts: datetime, ends: datetime, actor: User, now: datetime) -> None:
    if to == actor:
        raise errors.BadDelegation("You cannot lend your right to yourself.", pointer="/to")
    if not to.is_active or not to.has_perm(SEE, team.pk):
        told = f"{to} may not see the inbox of {team}. An administrator can give them a role there first."
        raise errors.BadDelegation(told, pointer="/to")
    if ends <= max(starts, now):
        raise errors.BadDelegation("It must end after it starts, and not in the past.", pointer="/ends")
    if ends - max(starts, now) > rules.LONGEST:
        told = f"At most {rules.LONGEST.days} days. For longer, an administrator can give the role."
        raise errors.BadDelegation(told, pointer="/ends")


def _tell(row: Delegation, action: str, actor: User, facts: dict[str, object]) -> None:
    audit.record(
        action,
        subject=f"delegation:{row.pk}",
        actor=actor.actor,
        team_id=row.team_id,
        payload={"from": f"user:{row.from_user_id}", "to": f"user:{row.to_user_id}", **facts},
    )
