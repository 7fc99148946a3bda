"""One step up: the part of an escalation that the clock, a person and an extended window share."""

from collections.abc import Sequence
from datetime import datetime

from apps.accounts.models import Team, User
from apps.approvals.actions import moves
from apps.approvals.actions.moves import Step
from apps.approvals.domain import escalation, states
from apps.approvals.domain.policy import Tier
from apps.approvals.models import ApprovalPolicy, Proposal
from apps.oncall import queries as oncall


def first_at(rules: ApprovalPolicy | None, *, created_at: datetime, deadline: datetime | None) -> datetime | None:
    """Return when a card that starts to wait is first escalated."""
    return escalation.next_at(_tiers(rules), 0, created_at=created_at, deadline=deadline)


def next_at(row: Proposal) -> datetime | None:
    """Return when a card that waits again is escalated next."""
    return escalation.next_at(_tiers(row.policy), row.tier, created_at=row.created_at, deadline=row.deadline)


def step_up(row: Proposal, now: datetime, *, actor: str, reason: str = "") -> list[User]:
    """Call the people of the next tier on a locked, open card, and return them; a claim on it ends (T6)."""
    tiers = _tiers(row.policy)
    row.tier += 1
    row.next_escalation_at = next_at(row)
    changes = {"tier": row.tier, "next_escalation_at": row.next_escalation_at}
    cause = "timer" if actor == "timer" else "person"
    steps = [Step("T6", cause)] if row.state == states.CLAIMED else []
    if steps:
        moves.move(row, *steps, **changes)
    else:
        row.save(update_fields=list(changes))
    to = escalation.called_by(tiers, row.tier)
    people = called(row.team, to, now)
    moves.tell(
        row,
        "proposal.escalated",
        *steps,
        actor=actor,
        payload={"tier": row.tier, "to": to, "people": [each.actor for each in people], "reason": reason},
    )
    return people


def called(team: Team, to: str, now: datetime) -> list[User]:
    """Name who is called: those on duty, the lead, or the deputy team's lead; where there is none, who stands in."""
    if to == escalation.ON_DUTY:
        return oncall.on_duty(team.pk, at=now) or oncall.stand_ins(team).people
    if to == escalation.DEPUTY and team.deputy_team is not None:
        return _lead(team.deputy_team) or oncall.stand_ins(team).people
    return _lead(team) or oncall.stand_ins(team).people


def _lead(team: Team) -> list[User]:
    return [team.lead] if team.lead is not None and team.lead.is_active else []


def _tiers(rules: ApprovalPolicy | None) -> Sequence[Tier]:
    return escalation.tiers_of([] if rules is None else rules.escalation)
