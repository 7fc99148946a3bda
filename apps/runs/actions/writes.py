"""R9 to R11 as the runs see them: ask for the one permission to write, and say honestly what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from apps.approvals.actions import execution as approvals
from apps.approvals.errors import NotConsumable
from apps.approvals.models import Proposal, State
from apps.connectors import client
from apps.connectors import queries as connectors
from apps.connectors.actions import suppress
from apps.connectors.client import Record
from apps.connectors.errors import Changed, ConnectorError, NotFound, NotSent, Unclear, UnknownSystem
from apps.connectors.models import ActionExecution
from apps.runs.domain.outcome import ASKED_BACK
from apps.runs.errors import OutcomeUnknown
from apps.runs.execution import Claim, RunContext

_T = TypeVar("_T")

MAX_TRIES: Final = 3
"""R11: an unanswered call is repeated at most so often, with the same idempotency key."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The proposal is consumed and its ledger row exists: exactly this may be sent, by us, once."""

    proposal_id: int
    execution: ActionExecution
    claim: Claim


@dataclass(frozen=True, slots=True)
class Told:
    """Nothing is sent now; this is what the agent hears instead. `code` says why in one word."""

    text: str
    happened: bool = False
    code: str = ""


def target_now(proposal: Proposal) -> Record:
    """R9: read the target again, just before it may be written; raises ConnectorError while it cannot be read.

    Only what may be executed needs a target that answers: anything else is told to its thread, and a record that is
    gone is one without fields.
    """
    if proposal.state != State.QUEUED:
        return Record(target=proposal.target, fields={}, etag="")
    try:
        return client.read(proposal.target)
    except NotFound:
        return Record(target=proposal.target, fields={}, etag="")


def claim(context: RunContext, *, tool_call_id: str, args: Mapping[str, Any]) -> Granted | Told:
    """Consume the decided proposal of a tool call.

    Raises OutcomeUnknown while an earlier try may or may not have happened, ConnectorError while a target that may be
    written is unreadable.
    """
    proposal = Proposal.objects.filter(thread_id=context.thread_id, tool_call_id=tool_call_id).first()
    if proposal is None:
        return Told("This call was never proposed to anybody. Nothing was sent.", code="withdrawn")
    now = context.target_now
    if now is None or now.target != proposal.target:
        now = target_now(proposal)
    try:
        execution = approvals.consume(
            proposal.pk, args=args, fingerprint=context.fingerprint, worker=context.worker, state_now=now.fields
        )
    except NotConsumable as refusal:
        if refusal.execution is None:
            return Told(refusal.message, code=refusal.code)
        return _stored(refusal.execution)
    return Granted(proposal.pk, execution, Claim(proposal.target, now.etag, execution.idempotency_key, execution.actor))


def became(thread_id: str, tool_call_id: str) -> str:  # 1 query
    """Say in one word what became of a call that nobody approved: `asked` for a question, else its proposal's state."""
    state = Proposal.objects.filter(thread_id=thread_id, tool_call_id=tool_call_id).values_list("state", flat=True)
    found = state.first() or State.WITHDRAWN
    return ASKED_BACK if found == State.ANSWERED else str(found)


def succeeded(granted: Granted, text: str) -> None:
    """Store the tool's answer, so that a repeat hears the same."""
    approvals.record_outcome(
        granted.proposal_id,
        state="succeeded",
        execution=granted.execution,
        result={"text": text},
        external_ref=granted.claim.target,
    )


def failed(granted: Granted, error: ConnectorError) -> Told:
    """Store a definite failure. Raises OutcomeUnknown if it may have happened all the same."""
    if isinstance(error, Unclear):
        approvals.record_outcome(granted.proposal_id, state="unknown", note=str(error), execution=granted.execution)
        raise OutcomeUnknown(
            f"It is not known whether the change of {granted.claim.target} happened: {error}"
        ) from error
    if isinstance(error, Changed):
        told = Told("The case changed at the very moment of writing. Nothing was written.", code="changed")
    else:
        told = Told(f"The system of record did not take the change: {error} Nothing was written.", code="failed")
    _store_failure(granted, told)
    return told


def refused(granted: Granted, text: str) -> None:
    """The tool itself declined before anything was sent."""
    _store_failure(granted, Told(text, code="failed"))


def answered(call: Callable[[], _T], *, connector_key: str) -> _T:
    """
    Send a write, and again where it got no answer and the system honours its idempotency key: at most three times (R11).

    After one unclear try only a success settles it: a later refusal may follow a write that worked.
    """
    unclear: list[Unclear] = []

    def is_worth_it(error: BaseException) -> bool:
        if isinstance(error, Unclear):
            unclear.append(error)
        return isinstance(error, NotSent | Unclear) and may_repeat(connector_key)

    try:
        return Retrying(
            stop=stop_after_attempt(MAX_TRIES),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception(is_worth_it),
            reraise=True,
        )(call)
    except ConnectorError as error:
        if unclear and not isinstance(error, Unclear):
            raise unclear[-1] from error
        raise


def lost(granted: Granted) -> None:
    """The tool broke off: what was sent cannot be known from here."""
    approvals.record_outcome(
        granted.proposal_id, state="unknown", note="The tool broke off.", execution=granted.execution
    )


def may_repeat(connector_key: str) -> bool:
    """Say whether the system honours Idempotency-Key, so that an unanswered write may be sent again."""
    try:
        return connectors.connector(connector_key).is_idempotent
    except UnknownSystem:
        return False


def _store_failure(granted: Granted, told: Told) -> None:
    approvals.record_outcome(
        granted.proposal_id,
        state="failed",
        note=told.text,
        execution=granted.execution,
        result={"text": told.text, "code": told.code},
    )


def _stored(execution: ActionExecution) -> Told:
    """Answer a repeat from the ledger; it is never sent again."""
    suppress(execution)
    state = execution.state
    if state in (ActionExecution.State.STARTED, ActionExecution.State.UNKNOWN):
        raise OutcomeUnknown(
            f"An earlier try of {execution.idempotency_key} has no known outcome. It is not sent again."
        )
    result = execution.result if isinstance(execution.result, dict) else {}
    happened = state == ActionExecution.State.DONE
    fallback = "It happened." if happened else "It did not happen. Nothing was written."
    text = str(result.get("text") or result.get("reconciled") or fallback)
    return Told(text, happened=happened, code="" if happened else str(result.get("code") or "failed"))
