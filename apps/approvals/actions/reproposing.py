from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import closing, moves
from apps.approvals.actions.verdicts import (
    ensure_may_decide,
    ensure_same_card,
    ensure_worth_asking,
    refusal_of_closed,
)
from apps.approvals.domain import states
from apps.approvals.models import Decision, Proposal
from apps.approvals.queries.targets import Found, NothingWatched, target_of_open
from apps.audit.clock import clock


def repropose(
    proposal_id: int, *, version: int, digest: str, actor: User, channel: str = "page", at: datetime | None = None
) -> Proposal:
    """Close a card whose target moved (T12), so that its agent proposes anew; it hears old and new values.

    The same person again is a replay. Raises what `decide_proposal` raises for one who is late, reads an old card or may
    not decide; NotMoved if the target is as it was, Unreadable (409) if nobody can say, AskedEnough (422) after three.
    """
    seen = target_of_open(actor, proposal_id)
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        found = ensure_may_decide(row, actor, now)
        if not row.is_open:
            if _is_replay(row, actor):
                return row
            raise refusal_of_closed(row, actor)
        if not closing.expire_if_over(row, now):
            ensure_same_card(row, actor, now, version=version, digest=digest, is_barred=found.is_barred)
            ensure_worth_asking(row)
            if not row.action_type.watch_fields or isinstance(seen, NothingWatched):
                raise errors.NotMoved
            if not isinstance(seen, Found):
                raise errors.Unreadable
            if not seen.moved:
                raise errors.NotMoved
            closing.go_stale(
                row,
                seen.moved,
                seen.watched_fields,
                now,
                actor=actor,
                on_behalf_of=found.on_behalf_of,
                channel=channel,
            )
            return row
    raise errors.Expired


def _is_replay(row: Proposal, actor: User) -> bool:
    mine = Decision.objects.filter(proposal=row, actor=actor, verdict=Decision.Verdict.STALE)
    return row.state == states.STALE and mine.exists()
