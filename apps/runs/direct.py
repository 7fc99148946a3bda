"""Executes decided actions that nobody waits for on a thread: once, under the same lock, ledger and outcomes as every other write."""

import structlog
from django.db.models import QuerySet

from apps.approvals.models import Proposal, State
from apps.connectors.errors import ConnectorError
from apps.runs import checkpoints, execution
from apps.runs.actions import compensations, writes
from apps.runs.errors import NotCompensated, OutcomeUnknown
from apps.runs.execution import RunContext, claimed
from apps.runs.queries_compensations import changes_of

logger = structlog.get_logger(__name__)


def execute(proposal_id: int, *, worker: str) -> None:
    """
    Do what a decided compensation says, if it still may be done. Safe to say twice, and from two workers at once.

    Killed before it is consumed it runs at the next sweep; killed afterwards its outcome is unknown and a person looks.
    """
    thread_id = _due(proposal_id).values_list("thread_id", flat=True).first()
    if thread_id is None:
        return
    with checkpoints.thread_lock(thread_id) as is_ours:
        # Under the lock: somebody may have done it since.
        row = _due(proposal_id).select_related("action_type", "agent_version__agent").first() if is_ours else None
        if row is not None:
            _execute(row, worker)


def _due(proposal_id: int) -> QuerySet[Proposal]:
    return Proposal.objects.filter(pk=proposal_id, source=compensations.SOURCE, state=State.QUEUED, interrupt_id="")


def _execute(row: Proposal, worker: str) -> None:
    agent = row.agent_version.agent
    try:
        changes = changes_of(agent.workflow, row.action_type.key, row.args)
        granted = writes.claim(_context(row, worker), tool_call_id=row.tool_call_id, args=row.args)
    except (ConnectorError, NotCompensated, OutcomeUnknown) as reason:
        # Nothing was sent: it stays due, and expires if this does not pass.
        logger.warning("compensation put off", proposal_id=row.pk, reason=str(reason)[:300])
        return
    if isinstance(granted, writes.Told):
        logger.info("compensation not executed", proposal_id=row.pk, code=granted.code)
        return
    try:
        with claimed(granted.claim):
            written = writes.answered(lambda: execution.write(row.target, changes), connector_key=agent.connector_key)
    except ConnectorError as error:
        _failed(granted, error)
    except BaseException:
        writes.lost(granted)
        raise
    else:
        writes.succeeded(granted, f"Written to {written.ref or row.target}.")


def _failed(granted: writes.Granted, error: ConnectorError) -> None:
    try:
        writes.failed(granted, error)
    except OutcomeUnknown as unknown:
        # Stored as such: the reconcile page asks an operator, and nothing is sent again.
        logger.warning("compensation unknown", proposal_id=granted.proposal_id, reason=str(unknown)[:300])


def _context(row: Proposal, worker: str) -> RunContext:
    return RunContext(
        run_id=row.run_id_value or 0,
        thread_id=row.thread_id,
        case=row.target,
        connector_key=row.agent_version.agent.connector_key,
        fingerprint=row.agent_version.fingerprint,
        worker=worker,
    )
