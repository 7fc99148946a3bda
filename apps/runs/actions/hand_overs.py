"""A person closes a case that the agent handed over; what they choose is written in their name and learned from."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from django.db import transaction

from apps.accounts.access import ensure
from apps.accounts.models import User
from apps.agents import queries as agents
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain.hashing import digest_of
from apps.connectors import client
from apps.connectors import queries as connectors
from apps.connectors.actions import finish_execution, start_execution
from apps.connectors.client import Record
from apps.connectors.errors import Changed, ConnectorError, NotFound, NotSent, Unclear
from apps.connectors.models import ActionExecution
from apps.runs.actions.precedents import remember
from apps.runs.domain.limits import MAX_REASON, MIN_REASON
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
    queue: str = "",
    priority: str = "",
    reply: str = "",
    reason: str = "",
    actor: User,
    etag: str | None = None,
    at: datetime | None = None,
) -> WorkItem:
    """
    Write a person's routing to the system of record, close the case and learn from it.

    No queue means that none is right and a person keeps the case, which needs a `reason`: nothing is written, and such
    cases count as outside the agent's scope from now on. `etag` is the version the person read; without it the present
    one counts. Raises AlreadyClosed, CaseChanged, BadChoice, NotClosed (the text says whether the write may have
    happened) and Forbidden.
    """
    run = _run_of(work_item)
    ensure(actor, RIGHT, run.agent.team_id)
    target = part(run.agent.workflow, "cards").target(run.agent.connector_key, work_item.external_id)
    if not queue:
        return _keep(run, target, reason=reason.strip(), actor=actor, at=at)
    return _route(run, target, queue=queue, priority=priority, reply=reply, etag=etag, actor=actor, at=at)


def _route(
    run: Run,
    target: str,
    *,
    queue: str,
    priority: str,
    reply: str,
    etag: str | None,
    actor: User,
    at: datetime | None,
) -> WorkItem:
    _ensure_choice(run, queue, priority)
    changes = part(run.agent.workflow, "cards").changes(queue, priority, reply)
    try:
        ticket = client.read(target)
    except NotFound as error:
        raise NotClosed(
            f"The system has no {run.work_item}, so there is nothing to route. Nothing was written. "
            "Say that a person keeps it, and the case is closed."
        ) from error
    except ConnectorError as error:
        raise NotClosed(f"{error} The case still waits here. Try again.") from error
    execution, is_done = _begin(run, target=target, changes=changes, ticket=ticket, actor=actor, at=at)
    ref = target if is_done else _write(execution, target, changes, etag or ticket.etag or None, actor)
    return _finish(run, execution, ref=ref, changes=changes, ticket=ticket, actor=actor, at=at)


@transaction.atomic
def _begin(
    run: Run, *, target: str, changes: Mapping[str, Any], ticket: Record, actor: User, at: datetime | None
) -> tuple[ActionExecution, bool]:
    """Write the ledger row before anything is sent. An earlier write without a known outcome is settled by looking first."""
    _ensure_running(target)
    item = _locked(run)
    now, digest = at or clock(), digest_of(dict(changes))
    tries, open_one = _earlier(item, now)
    if open_one is not None:
        happened = _shows(ticket.fields, open_one, changes)
        if happened and open_one.digest == digest:
            return open_one, True
        _settle(open_one, target, happened=happened, actor=actor)
    execution = start_execution(
        thread_id=item.hand_over_thread,
        tool_call_id=f"close-{tries + 1}",
        proposal_id=None,
        agent_id=run.agent_id,
        connector_key=target.partition(":")[0],
        digest=digest,
        actor=actor.actor,
        worker="web",
        at=now,
    )
    return execution, False


def _write(execution: ActionExecution, target: str, changes: Mapping[str, Any], etag: str | None, actor: User) -> str:
    """Send the change and return the reference that the system gave it. Raises CaseChanged and NotClosed."""
    tries = MAX_TRIES if connectors.connector(target.partition(":")[0]).is_idempotent else 1
    errors: list[ConnectorError] = []
    for _ in range(tries):
        try:
            written = client.write(
                target, changes=changes, etag=etag, idempotency_key=execution.idempotency_key, actor=actor.actor
            )
        except ConnectorError as error:
            errors.append(error)
            if not isinstance(error, NotSent | Unclear):
                break
        else:
            return written.ref
    return _refuse(execution, errors)


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
    ref: str,
    changes: Mapping[str, Any],
    ticket: Record,
    actor: User,
    at: datetime | None,
) -> WorkItem:
    item = WorkItem.objects.select_for_update().get(pk=run.work_item_id)
    now = at or clock()
    finish_execution(
        execution, state=ActionExecution.State.DONE, result=dict(changes), external_ref=ref, actor=actor.actor
    )
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


def _keep(run: Run, target: str, *, reason: str, actor: User, at: datetime | None) -> WorkItem:
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        raise BadChoice(f"Say in {MIN_REASON} to {MAX_REASON:,} characters why a person keeps it. Nothing was closed.")
    fields: Mapping[str, Any] | None
    try:
        fields = client.read(target).fields
        text = str(fields.get("text") or "")
    except NotFound:
        # A case that its system does not know may be of any kind: it says nothing about the agent's scope.
        fields, text = {}, ""
    except ConnectorError:
        # Nothing is to be written, so the person need not wait for the system; they have read the case as it came.
        fields, text = None, str(run.work_item.payload.get("text") or "")
    if _earlier_write_worked(run, target, fields, actor=actor, at=at):
        raise CaseChanged(
            "An earlier write from here had worked after all: the case has a queue already. Nothing was written now. "
            "Below is how it stands. Choose that queue to close it, or keep it once more."
        )
    return _finish_kept(run, text=text, reason=reason, actor=actor, at=at)


@transaction.atomic
def _earlier_write_worked(
    run: Run, target: str, fields: Mapping[str, Any] | None, *, actor: User, at: datetime | None
) -> bool:
    """Settle an earlier write without a known outcome by what the system shows; say whether it had worked."""
    _, open_one = _earlier(_locked(run), at or clock())
    if open_one is None:
        return False
    if fields is None:
        raise NotClosed(
            "An earlier write has no known outcome, and the system that would show it cannot be read now. "
            "The case still waits here. Try again."
        )
    happened = _shows(fields, open_one, part(run.agent.workflow, "cards").changes("", "", ""))
    _settle(open_one, target, happened=happened, actor=actor)
    return happened


@transaction.atomic
def _finish_kept(run: Run, *, text: str, reason: str, actor: User, at: datetime | None) -> WorkItem:
    item = _locked(run)
    now = at or clock()
    _, begun = _earlier(item, now)
    if begun is not None:
        raise NotClosed("Somebody began to close this case meanwhile. Look again.")
    item.state, item.closed_at, item.closed_by = WorkItem.State.DONE, now, actor
    item.save(update_fields=["state", "closed_at", "closed_by"])
    remember(run, text=text, queue="", priority="", reply="", source=Precedent.Source.HAND_OVER)
    audit.record(
        "work.hand_over_kept",
        subject=f"work_item:{item.pk}",
        actor=actor.actor,
        team_id=run.agent.team_id,
        agent_version=run.agent_version.fingerprint,
        payload={"run": run.pk, "reason": run.reason, "why": reason, "learned": bool(text.strip())},
    )
    return item


_UNSETTLED: Final = (ActionExecution.State.STARTED, ActionExecution.State.UNKNOWN)


def _locked(run: Run) -> WorkItem:
    item = WorkItem.objects.select_for_update().get(pk=run.work_item_id)
    if item.state != WorkItem.State.HANDED_OVER:
        raise AlreadyClosed(f"{item} is {item.get_state_display().lower()} already. Nothing was written.")
    return item


def _earlier(item: WorkItem, now: datetime) -> tuple[int, ActionExecution | None]:
    """Return how often a write was tried before, and the one try whose outcome is not known."""
    tried = list(ActionExecution.objects.filter(thread_id=item.hand_over_thread).order_by("pk"))
    open_one = next((each for each in tried if each.state in _UNSETTLED), None)
    is_fresh = open_one is not None and now - open_one.started_at < BUSY_FOR
    if open_one is not None and is_fresh and open_one.state == ActionExecution.State.STARTED:
        raise NotClosed("Somebody is closing this case at this moment. Wait a minute, then look again.")
    return len(tried), open_one


def _shows(fields: Mapping[str, Any], execution: ActionExecution, names: Iterable[str]) -> bool:
    """Say whether a record shows what an execution was about to write."""
    return execution.digest == digest_of({name: fields.get(name) for name in names})


def _settle(execution: ActionExecution, target: str, *, happened: bool, actor: User) -> None:
    """Safe to go on either way: a late write of the earlier try carries an older version and is refused."""
    finish_execution(
        execution,
        state=ActionExecution.State.DONE if happened else ActionExecution.State.FAILED,
        result={"text": "Found by looking into the system."},
        external_ref=target if happened else "",
        actor=actor.actor,
    )


def _ensure_running(target: str) -> None:
    """Hold the switches of the system and of everything until the ledger row stands. Before every other lock."""
    connector = connectors.connector(target.partition(":")[0])
    stopped = agents.blocking_switch_for_people(connector_id=connector.pk, lock=True)
    if stopped:
        raise NotClosed(f"{stopped.rstrip('.')}. Nothing was written. The case still waits here.")


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
