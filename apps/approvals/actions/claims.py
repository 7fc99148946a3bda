from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import closing, hints, moves
from apps.approvals.actions.moves import Step
from apps.approvals.actions.verdicts import ensure_free_for, ensure_may_decide
from apps.approvals.domain import states, window
from apps.approvals.models import Proposal
from apps.audit import actions as audit
from apps.audit.clock import clock

# One tick of the sweep gives back at most so many claims.
BATCH: Final = 500


def claim(proposal_id: int, *, actor: User, at: datetime | None = None) -> Proposal:
    """Take a card for five minutes (T5), so that nobody else decides it meanwhile. It is no decision.

    The holder's second call renews the lease and leaves the version as it is. Raises NotFound, Forbidden, AlreadyDecided,
    Expired, Claimed ("Kim is deciding, until 10:09.") or SelfApproval.
    """
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        found = ensure_may_decide(row, actor, now)
        if not row.is_open:
            raise errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}.")
        if not closing.expire_if_over(row, now):
            return _claim(row, actor, now, is_barred=found.is_barred)
    raise errors.Expired


@transaction.atomic
def release(proposal_id: int, *, actor: User, at: datetime | None = None) -> Proposal:
    """Give a claim back (T6): its holder, or an administrator of the team. Nothing claimed: nothing changes."""
    row = moves.lock(proposal_id)
    if not actor.has_perm("people.change", row.team_id):
        ensure_may_decide(row, actor, at or clock())
    if row.state != states.CLAIMED:
        return row
    if row.claimed_by_id != actor.pk and not actor.has_perm("people.change", row.team_id):
        raise errors.Claimed(f"{row.claimed_by} holds this card.")
    step = Step("T6", "person")
    moves.move(row, step)
    moves.tell(row, "proposal.released", step, actor=actor.actor)
    return row


@transaction.atomic
def release_stale_claims(at: datetime | None = None) -> int:
    """Give back every claim whose lease ended (T6); return how many. A row that somebody is moving waits for the next tick."""
    now = at or clock()
    rows = list(
        Proposal.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("agent_version", "policy")
        .filter(state=states.CLAIMED, claim_until__lte=now)
        .order_by("pk")[:BATCH]
    )
    step = Step("T6", "timer")
    for row in rows:
        row.state = moves.follow(row.state, step)
        row.version += 1
    Proposal.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=states.PENDING, version=F("version") + 1, claimed_by=None, claim_until=None
    )
    audit.record_many(moves.event(row, "proposal.released", step, actor="timer") for row in rows)
    for team_id in sorted({row.team_id for row in rows}):
        hints.changed(team_id)
    return len(rows)


def _claim(row: Proposal, actor: User, now: datetime, *, is_barred: bool) -> Proposal:
    ensure_free_for(row, actor, now)
    if is_barred:
        raise errors.SelfApproval(row)
    until = window.claim_until(now, row.deadline or now)
    if row.state == states.CLAIMED and row.claimed_by_id == actor.pk:
        row.claim_until = until
        row.save(update_fields=["claim_until"])
        return row
    # A lease that ended but was not swept yet is given back first.
    steps = [Step("T6", "timer")] if row.state == states.CLAIMED else []
    steps.append(Step("T5", "person"))
    moves.move(row, *steps, claimed_by=actor, claim_until=until)
    moves.tell(row, "proposal.claimed", *steps, actor=actor.actor)
    return row
