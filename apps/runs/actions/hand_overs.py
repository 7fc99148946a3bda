"""A person closes a case that the agent handed over; what they choose is written in their name and learned from."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from django.db import transaction

from apps.accounts.access import ensure
from apps.accounts.models import User
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain.hashing import digest_of
from apps.connectors import client
from apps.connectors import queries as connectors
from apps.connectors.actions import finish_execution, start_execution
from apps.connectors.client import Record
from apps.connectors.errors import Changed, ConnectorError, NotSent, Unclear
from apps.connectors.models import ActionExecution
from apps.runs.actions.precedents import remember
from apps.runs.errors import AlreadyClosed, BadChoice, CaseChanged, NotClosed
from apps.runs.models import Precedent, Run, WorkItem
from apps.runs.workflow import part

RIGHT: Final = "work.close_hand_over"
BUSY_FOR: Final = timedelta(seconds=60)
"""A write that started less than this ago may still be under way in another process."""
MAX_TRIES: Final = 3
"""An unanswered write is repeated so often, with one key, where the system honours it."""


def close_hand_over(
    work_item: WorkItem,
    *,
    queue: str,
    priority: str,
    reply: str,
    actor: User,
    etag: str | None = None,
    at: datetime | None = None,
) -> WorkItem:
    """
    Write a person's routing to the system of record, close the case and learn from it.

    `etag` is the version the person read; without it the present one counts. Raises AlreadyClosed, CaseChanged,
    BadChoice, NotClosed (the text says whether the write may have happened) and Forbidden.
    """
    run = _run_of(work_item)
    ensure(actor, RIGHT, run.agent.team_id)
    _ensure_choice(run, queue, priority)
    cards = part(run.agent.workflow, "cards")
    target = cards.target(run.agent.connector_key, work_item.external_id)
    changes = cards.changes(queue, priority, reply)
    try:
        ticket = client.read(target)
    except ConnectorError as error:
        raise NotClosed(f"{error} The case still waits here. Try again.") from error
    execution, is_done = _begin(run, target=target, changes=changes, ticket=ticket, actor=actor, at=at)
    if not is_done:
        _write(execution, target, changes, etag or ticket.etag or None, actor)
    return _finish(run, execution, changes=changes, ticket=ticket, actor=actor, at=at)


@transaction.atomic
def _begin(
    run: Run, *, target: str, changes: Mapping[str, Any], ticket: Record, actor: User, at: datetime | None
) -> tuple[ActionExecution, bool]:
    """Write the ledger row before anything is sent. An earlier write without a known outcome is settled by looking first."""
    item = WorkItem.objects.select_for_update().get(pk=run.work_item_id)
    if item.state != WorkItem.State.HANDED_OVER:
        raise AlreadyClosed(f"{item} is {item.get_state_display().lower()} already. Nothing was written.")
    now, digest = at or clock(), digest_of(dict(changes))
    thread_id = f"hand-over:{item.pk}"
    earlier = list(ActionExecution.objects.filter(thread_id=thread_id).order_by("pk"))
    open_one = next((each for each in earlier if each.state in _UNSETTLED), None)
    if open_one is not None:
        if open_one.state == ActionExecution.State.STARTED and now - open_one.started_at < BUSY_FOR:
            raise NotClosed("Somebody is closing this case at this moment. Wait a minute, then look again.")
        # Safe to go on either way: a late write of the earlier try carries an older version and is refused.
        happened = open_one.digest == digest_of({name: ticket.fields.get(name) for name in changes})
        if happened and open_one.digest == digest:
            return open_one, True
        finish_execution(
            open_one,
            state=ActionExecution.State.DONE if happened else ActionExecution.State.FAILED,
            result={"text": "Found by looking into the system."},
        )
    execution = start_execution(
        thread_id=thread_id,
        tool_call_id=f"close-{len(earlier) + 1}",
        proposal_id=None,
        agent_id=run.agent_id,
        connector_key=target.partition(":")[0],
        digest=digest,
        actor=actor.actor,
        worker="web",
        at=now,
    )
    return execution, False


def _write(execution: ActionExecution, target: str, changes: Mapping[str, Any], etag: str | None, actor: User) -> None:
    tries = MAX_TRIES if connectors.connector(target.partition(":")[0]).is_idempotent else 1
    errors: list[ConnectorError] = []
    for _ in range(tries):
        try:
            client.write(
                target, changes=changes, etag=etag, idempotency_key=execution.idempotency_key, actor=actor.actor
            )
        except ConnectorError as error:
            errors.append(error)
            if not isinstance(error, NotSent | Unclear):
                break
        else:
            return
    _refuse(execution, errors)


def _refuse(execution: ActionExecution, errors: Sequence[ConnectorError]) -> NoReturn:
    """After one unclear try only a success would have settled it: a later refusal may follow a write that worked."""
    last = errors[-1]
    if any(isinstance(each, Unclear) for each in errors):
        finish_execution(execution, state=ActionExecution.State.UNKNOWN, result={"text": str(last)})
        raise NotClosed(
            "The ticket system gave no clear answer, so the change may or may not have been made. "
            "Submit again: it looks first, and writes nothing twice."
        ) from last
    finish_execution(execution, state=ActionExecution.State.FAILED, result={"text": str(last)})
    if isinstance(last, Changed):
        raise CaseChanged(
            "Somebody changed this case in the ticket system while you read it. Nothing was written. "
            "Below is how it stands now."
        ) from last
    raise NotClosed(f"{last} The case still waits here.") from last


@transaction.atomic
def _finish(
    run: Run,
    execution: ActionExecution,
    *,
    changes: Mapping[str, Any],
    ticket: Record,
    actor: User,
    at: datetime | None,
) -> WorkItem:
    item = WorkItem.objects.select_for_update().get(pk=run.work_item_id)
    now = at or clock()
    finish_execution(execution, state=ActionExecution.State.DONE, result=dict(changes))
    item.state, item.closed_at, item.closed_by = WorkItem.State.DONE, now, actor
    item.save(update_fields=["state", "closed_at", "closed_by"])
    remember(
        run,
        text=str(ticket.fields.get("text") or ""),
        queue=str(changes["queue"]),
        priority=str(changes["priority"]),
        reply=str(changes["reply"]),
        source=Precedent.Source.HAND_OVER,
    )
    audit.record(
        "work.hand_over_closed",
        subject=f"work_item:{item.pk}",
        actor=actor.actor,
        team_id=run.agent.team_id,
        agent_version=run.agent_version.fingerprint,
        digest=execution.digest,
        payload={"run": run.pk, "reason": run.reason, "queue": changes["queue"], "priority": changes["priority"]},
    )
    return item


_UNSETTLED: Final = (ActionExecution.State.STARTED, ActionExecution.State.UNKNOWN)


def _run_of(work_item: WorkItem) -> Run:
    run = (
        Run.objects.select_related("agent", "agent_version", "work_item")
        .filter(work_item=work_item, state=Run.State.HANDED_OVER)
        .order_by("-pk")
        .first()
    )
    if run is None:
        raise NotClosed("No run handed this case over. Nothing was written.")
    return run


def _ensure_choice(run: Run, queue: str, priority: str) -> None:
    scope = part(run.agent.workflow, "scope")
    settings = run.agent_version.settings
    if queue not in {each["key"] for each in scope.queues_of(settings)}:
        raise BadChoice(f"{queue or 'Nothing'} is not one of this agent's queues. Choose one.")
    if priority not in scope.priorities_of(settings):
        raise BadChoice(f"{priority or 'Nothing'} is not one of this agent's priorities. Choose one.")
