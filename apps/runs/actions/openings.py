"""A case that so far stands only in an imported file is opened in its system of record, before its run reads it there."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from django.db import transaction

from apps.agents import queries as agents
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain.hashing import digest_of
from apps.connectors import client
from apps.connectors import queries as connectors
from apps.connectors.actions import finish_execution, start_execution
from apps.connectors.errors import AlreadyThere, ConnectorError, NotFound, NotSent, Refused, Unclear
from apps.connectors.models import ActionExecution
from apps.runs.errors import HandOver
from apps.runs.models import Run, Step
from apps.runs.queries import first_action_type
from apps.runs.workflow import part

_PASSING_REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
"""About us or the hour, not about the record: worth another try."""
_UNSETTLED: Final = (ActionExecution.State.STARTED, ActionExecution.State.UNKNOWN)


def open_case(run: Run, *, worker: str, at: datetime | None = None) -> None:
    """
    See to it that the system of record knows the run's case, if its import asked for that.

    The caller holds the thread's lock, so that nobody opens the same case at the same time; it may be said twice. Raises
    HandOver where the system refuses the record, and the connectors' errors where another try may help.
    """
    item = run.work_item
    if not item.may_open:
        return
    earlier = list(ActionExecution.objects.filter(thread_id=item.opening_thread).order_by("pk"))
    if any(each.state == ActionExecution.State.DONE for each in earlier):
        return
    cards = part(run.agent.workflow, "cards")
    target = cards.target(run.agent.connector_key, item.external_id)
    open_one = next((each for each in earlier if each.state in _UNSETTLED), None)
    # Looked at first: a system that knows no preconditions would put the row of a file over its own record.
    if _is_there(target):
        if open_one is not None:
            _settle(run, open_one, ref=target, text="Found by looking into the system.", at=at)
        return
    record = cards.new_record(item.payload)
    execution = _begin(run, open_one, tries=len(earlier), record=record, worker=worker, at=at)
    _create(run, execution, target, record, is_repeat=open_one is not None, at=at)


@transaction.atomic
def _begin(
    run: Run,
    open_one: ActionExecution | None,
    *,
    tries: int,
    record: Mapping[str, Any],
    worker: str,
    at: datetime | None,
) -> ActionExecution:
    """Write the ledger row before anything is sent, or take up the one whose outcome is not known."""
    kind = first_action_type(run.agent_id)
    stopped = agents.blocking_switch(
        team_id=run.agent.team_id,
        connector_id=connectors.connector(run.agent.connector_key).pk,
        agent_id=run.agent_id,
        action_type_id=kind.pk if kind else 0,
        lock=True,
    )
    if stopped:
        raise NotSent(f"{stopped.rstrip('.')}. Nothing was sent.")
    if open_one is not None:
        return open_one
    job = run.work_item.import_job
    return start_execution(
        thread_id=run.work_item.opening_thread,
        tool_call_id=f"open-{tries + 1}",
        proposal_id=None,
        agent_id=run.agent_id,
        connector_key=run.agent.connector_key,
        digest=digest_of(dict(record)),
        actor=job.actor if job else "system",
        worker=worker,
        at=at or clock(),
    )


def _create(
    run: Run,
    execution: ActionExecution,
    target: str,
    record: Mapping[str, Any],
    *,
    is_repeat: bool,
    at: datetime | None,
) -> None:
    try:
        written = client.create(target, record=record, idempotency_key=execution.idempotency_key, actor=execution.actor)
    except AlreadyThere:
        _settle(run, execution, ref="", text="Somebody else opened it meanwhile. Nothing was written.", at=at)
    except ConnectorError as error:
        # A repeat that did not get through says nothing about the try before it.
        is_open = isinstance(error, Unclear) or (is_repeat and isinstance(error, NotSent))
        state = ActionExecution.State.UNKNOWN if is_open else ActionExecution.State.FAILED
        finish_execution(execution, state=state, result={"text": str(error)})
        if _is_final(error):
            raise HandOver(Run.Reason.TECHNICAL, f"The case could not be opened in its system. {error}") from error
        raise
    else:
        _settle(run, execution, ref=written.ref, text=f"Opened as {written.ref}.", at=at)


@transaction.atomic
def _settle(run: Run, execution: ActionExecution, *, ref: str, text: str, at: datetime | None) -> None:
    finish_execution(
        execution, state=ActionExecution.State.DONE, result={"text": text}, external_ref=ref, at=at or clock()
    )
    if not ref:
        return
    # The first message of a thread is no step, so its place is free.
    Step.objects.bulk_create(
        [Step(run=run, position=0, kind=Step.Kind.WRITE, name="open", detail={"text": text})], ignore_conflicts=True
    )
    audit.record(
        "work.opened",
        subject=f"work_item:{run.work_item_id}",
        actor=execution.actor,
        team_id=run.agent.team_id,
        digest=execution.digest,
        payload={"run": run.pk, "connector": run.agent.connector_key, "ref": ref},
    )


def _is_there(target: str) -> bool:
    try:
        client.read(target)
    except NotFound:
        return False
    return True


def _is_final(error: ConnectorError) -> bool:
    """The system itself said no to this very record: it would say so again."""
    said_no = isinstance(error, Refused | NotFound) and error.status is not None
    return said_no and error.status not in _PASSING_REFUSALS
