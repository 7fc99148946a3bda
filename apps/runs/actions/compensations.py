"""What an agent did is undone by a second action, which a person asks for and another person decides (T19)."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from celery import current_app
from django.db import transaction

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.approvals.actions import moves
from apps.approvals.actions.intake import ProposalRequest, propose
from apps.approvals.errors import Refused
from apps.approvals.models import Proposal, State
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors import client
from apps.connectors.errors import ConnectorError, NotFound
from apps.runs.domain.limits import MAX_REASON, MIN_REASON
from apps.runs.errors import BadReason, NotCompensated
from apps.runs.queries_compensations import (
    DECIDE,
    changes_of,
    ensure_done_here,
    live_compensation,
    may_propose,
    planned,
)

SOURCE: Final = "compensation"
EXECUTE_TASK: Final = "runs.execute"


def propose_compensation(proposal_id: int, *, reason: str, actor: User, at: datetime | None = None) -> Proposal:
    """
    Propose to undo an executed action, exactly as far as it is known how its target stood before.

    Asked twice it is one proposal. Raises Forbidden, BadReason, and NotCompensated: it was not executed or was undone already,
    nothing undoes it, its target cannot be read now, or what was before is not known.
    """
    original = Proposal.objects.select_related("action_type", "agent_version__agent", "body").get(pk=proposal_id)
    if not may_propose(actor, original.team_id):
        raise Forbidden(DECIDE, original.team_id)
    if not MIN_REASON <= len(reason.strip()) <= MAX_REASON:
        raise BadReason(f"Say why in {MIN_REASON} to {MAX_REASON:,} characters. Nothing was proposed.")
    ensure_done_here(original)
    # Before the lock: a system that is slow to answer holds nobody up.
    found = _read(original.target)
    with transaction.atomic():
        row = moves.lock(proposal_id)
        live = live_compensation(row)
        if live is not None:
            return live
        _ensure_undoable(row)
        try:
            made = propose(_request(row, found, reason.strip(), actor), at=at)
        except Refused as refusal:
            raise NotCompensated(f"{refusal.message} Nothing was proposed.") from refusal
        audit.record(
            "proposal.compensation_proposed",
            subject=f"proposal:{row.pk}",
            actor=actor.actor,
            team_id=row.team_id,
            proposal_id=row.pk,
            digest=made.digest,
            payload={"compensation": made.pk, "reason": reason.strip()},
        )
    return made


def wake(proposal_id: int) -> None:  # 1 query
    """Send a worker to a decided compensation; one that may still be taken back is left to the sweep, which comes in seconds."""
    due = Proposal.objects.filter(
        pk=proposal_id, source=SOURCE, state=State.QUEUED, interrupt_id="", execute_after__lte=clock()
    )
    if due.exists():
        _send(proposal_id)


def send_due(*, at: datetime | None = None, limit: int = 100) -> list[int]:  # 1 query
    """Send workers to decided compensations that may run now and have not; each says for itself whether it still may."""
    now = at or clock()
    due = Proposal.objects.filter(source=SOURCE, state=State.QUEUED, interrupt_id="", execute_after__lte=now)
    ids = list(due.order_by("execute_after").values_list("pk", flat=True)[:limit])
    for proposal_id in ids:
        _send(proposal_id)
    return ids


def _send(proposal_id: int) -> None:
    # It ends by itself: the next sweep sends it again, so no pile grows while no worker runs.
    tell = partial(current_app.send_task, EXECUTE_TASK, [proposal_id], retry=False, expires=60)
    transaction.on_commit(tell, robust=True)


def _read(target: str) -> Mapping[str, Any]:
    try:
        return client.read(target).fields
    except NotFound as error:
        raise NotCompensated("Its system has no such record any more, so there is nothing to put back.") from error
    except ConnectorError as error:
        raise NotCompensated(f"{error} Nothing was proposed. Try again.") from error


def _ensure_undoable(row: Proposal) -> None:
    if row.state != State.SUCCEEDED or row.kind != Proposal.Kind.LIVE:
        raise NotCompensated(f"This is {row.get_state_display().lower()}; only what was done can be put back.")


def _request(row: Proposal, found: Mapping[str, Any], reason: str, actor: User) -> ProposalRequest:
    undoing, args = planned(row)
    changes = changes_of(row.agent_version.agent.workflow, undoing.key, args)
    shown = list(dict.fromkeys([*undoing.watch_fields, *changes]))
    number = Proposal.objects.filter(compensates=row).count() + 1
    return ProposalRequest(
        agent_version=row.agent_version,
        action_type=undoing,
        args=args,
        target=row.target,
        subject=row.subject,
        title=f"Roll back: {row.title}",
        run_id=row.run_id_value,
        work_item_id=row.work_item_id_value,
        # Nobody waits on a thread: no interrupt, and a name of its own for the lock and the ledger.
        thread_id=f"{SOURCE}:{row.pk}",
        tool_call_id=f"try-{number}",
        tool_name=undoing.key,
        source=SOURCE,
        state_proposed={field: found.get(field) for field in shown},
        state_if_approved={field: changes.get(field, found.get(field)) for field in shown},
        evidence=[
            {"label": f"Why {actor.name} asks for it", "text": reason, "source": actor.name},
            {"label": "What is rolled back", "text": row.title, "source": f"proposal:{row.pk}"},
        ],
        trace_ref=f"run/{row.run_id_value}" if row.run_id_value else "",
        requested_by=actor,
        compensates=row,
    )
