"""§5.3: what an agent in another process may do: ask, take back, consume once, and say how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

from django.db import IntegrityError, transaction

from apps.accounts.models import ApiToken
from apps.agents.models import ActionType, Agent, AgentVersion
from apps.approvals import errors
from apps.approvals.actions import closing, execution
from apps.approvals.actions.intake import ProposalRequest, propose
from apps.approvals.domain import outside, states
from apps.approvals.domain.edit import Problem
from apps.approvals.domain.wire import formats
from apps.approvals.domain.wire.asked import Asked, AskedAction, BadFormat, to_json
from apps.approvals.models import OutsideRequest, Proposal
from apps.approvals.queries.outside import proposals_of, request_of
from apps.approvals.queries.rules import is_read_here
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain.canonical import CanonicalError
from apps.audit.domain.hashing import digest_of
from apps.connectors import client
from apps.connectors.errors import ConnectorError, NotFound
from apps.connectors.models import ActionExecution

# What an agent may say of an outcome; that it is unknown, the clock finds out.
OUTCOMES: Final = (states.SUCCEEDED, states.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a request says about one action besides its name and arguments; `action_type` where it is not the name."""

    action_type: str = ""
    target: str = ""
    subject: str = ""
    title: str = ""
    evidence: Sequence[Mapping[str, Any]] = ()
    agent_text: str = ""
    confidence: float | Decimal | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    state_if_approved: Mapping[str, Any] = field(default_factory=dict)
    sla_due: datetime | None = None
    trace_ref: str = ""


def ask(
    *,
    form: str,
    payload: Any,
    facts: CardFacts,
    each: Sequence[CardFacts] = (),
    thread: str = "",
    external_id: str = "",
    token: ApiToken,
    at: datetime | None = None,
) -> OutsideRequest:
    """Take in one message: a proposal for each action in it, all or none. `each` says more about them by position.

    The same `external_id` in the same `thread` with the same content returns the first request; other content: Conflict.
    Raises BadFormat for a message that is not in its format, for an action that this agent does not have and for a
    target outside its system, or that expired; BadArgs if no digest can be made; TooMany if the agent floods.
    """
    asked = _read(form, payload)
    agent = _agent_of(token)
    source = outside.source_of(agent.pk, thread or external_id or uuid4().hex)
    content = _content(form, payload, [facts, *each])
    try:
        with transaction.atomic():
            return _ask(asked, facts, each, _Origin(agent, source, external_id, thread, content, token), at)
    except IntegrityError:
        known = OutsideRequest.objects.filter(source=source, external_id=external_id).first() if external_id else None
        if known is None:
            raise
        return _same(known, content)


def withdraw(request_id: int, *, reason: str = "", token: ApiToken, at: datetime | None = None) -> OutsideRequest:
    """Take back what is still undecided or not started (T11). Twice is the same as once.

    Raises NoSuchRequest; AlreadyDecided or AlreadyExecuting if nothing of it can be taken back any more.
    """
    request = request_of(token, request_id)
    refusal: errors.Refused | None = None
    is_back = False
    with transaction.atomic():
        for row in _rows(request):
            try:
                closing.withdraw(row.pk, reason=reason.strip() or "its agent took it back.", actor=token.actor, at=at)
                is_back = True
            except errors.Refused as no:
                refusal = refusal or no
    if refusal is not None and not is_back:
        raise refusal
    return request


@dataclass(frozen=True, slots=True)
class Consumed:
    """The one permission to act: exactly these arguments, once, under this key."""

    proposal: Proposal
    execution: ActionExecution


def consume(
    request_id: int,
    *,
    digest: str,
    position: int | None = None,
    state: Mapping[str, Any] | None = None,
    token: ApiToken,
    at: datetime | None = None,
) -> Consumed:
    """Turn the approval of one action into the permission to execute it now, once (T16, rule R10).

    `state` are the target's watched fields as the agent just read them; of a connected system we read them ourselves.
    Raises NoSuchRequest and NotConsumable.
    """
    request = request_of(token, request_id)
    row = _chosen(request, digest, position)
    state_now = _state_now(row, state)
    executed = execution.consume(row.pk, digest=digest, worker=f"token:{token.key_id}", state_now=state_now, at=at)
    row.refresh_from_db()
    return Consumed(row, executed)


def report_outcome(
    request_id: int,
    *,
    status: str,
    note: str = "",
    ref: str = "",
    position: int | None = None,
    token: ApiToken,
    at: datetime | None = None,
) -> Proposal:
    """Say how an executed action ended (T17). The same again changes nothing; after 15 minutes it is unknown: Conflict."""
    request = request_of(token, request_id)
    rows = _rows(request)
    running = [row for row in rows if row.state == states.EXECUTING]
    row = _at(rows, position) if position is not None else (running or rows)[0]
    if position is None and len(rows) > 1 and len(running) != 1:
        raise errors.BadVerdict("Say by position which of the actions ended.", code="which_one", pointer="/position")
    if row.consumed_at is None:
        raise errors.Conflict("This was not consumed, so no outcome can be recorded. Nothing changed.")
    return execution.record_outcome(
        row.pk,
        state=status,
        note=note,
        execution=execution.execution_of(row),
        result={"text": note, "by": token.actor},
        external_ref=ref or (row.target if status == states.SUCCEEDED else ""),
        at=at,
    )


@dataclass(frozen=True, slots=True)
class _Origin:
    """Who asks, and by what a repeat is known."""

    agent: Agent
    source: str
    external_id: str
    thread: str
    content: str
    token: ApiToken


def _ask(
    asked: Asked, facts: CardFacts, each: Sequence[CardFacts], origin: _Origin, at: datetime | None
) -> OutsideRequest:
    if origin.external_id:
        known = OutsideRequest.objects.filter(source=origin.source, external_id=origin.external_id).first()
        if known is not None:
            return _same(known, origin.content)
    if len(each) > len(asked.actions):
        raise errors.BadFormat("More is said about actions than there are actions.", pointer="/actions")
    version = origin.agent.versions.filter(is_current=True).first()
    if version is None:
        raise errors.Conflict("This agent has no version yet, so nobody knows what would run.", code="no_version")
    _ensure_awaited(asked, at or clock())
    version.agent = origin.agent
    request = OutsideRequest.objects.create(
        agent=origin.agent,
        token=origin.token,
        source=origin.source,
        external_id=origin.external_id or uuid4().hex,
        format=asked.format,
        asked={**to_json(asked), "thread": origin.thread, "content": origin.content},
    )
    rows = [
        propose(_proposal(request, version, action, _facts(action, facts, each), len(asked.actions)), at=at)
        for action in asked.actions
    ]
    audit.record(
        "request.asked",
        subject=f"request:{request.pk}",
        actor=origin.token.actor,
        team_id=origin.agent.team_id,
        payload={"token": origin.token.key_id, "format": asked.format, "proposals": [row.pk for row in rows]},
    )
    return request


def _ensure_awaited(asked: Asked, now: datetime) -> None:
    """Refuse what its agent does not wait for any more: an answer would reach nobody."""
    for action in asked.actions:
        if action.answer_by is not None and action.answer_by <= now:
            raise errors.BadFormat(
                f"{action.name[:60]} expired at {action.answer_by:%Y-%m-%d %H:%M:%S %Z}, so nobody waits for an answer."
                " Nothing was taken in. Ask again with a later expiresAt, or without one.",
                code="expired",
                pointer="/payload",
            )


def _kind(request: OutsideRequest, version: AgentVersion, action: AskedAction, facts: CardFacts) -> ActionType:
    """Return the action type that is meant, by the agent's own name of the tool or as the request says."""
    wanted = facts.action_type or action.name
    kinds = {kind.key: kind for kind in version.agent.action_types.all()}
    if wanted not in kinds:
        is_plain = request.format == OutsideRequest.Format.PLAIN
        raise errors.BadFormat(
            f"This agent may not propose {wanted[:60]}; it may propose: {', '.join(sorted(kinds)) or 'nothing yet'}."
            " Nothing was taken in.",
            code="bad_action",
            pointer="/action_type" if is_plain else f"/actions/{action.position}/action_type",
        )
    return kinds[wanted]


def _proposal(
    request: OutsideRequest, version: AgentVersion, action: AskedAction, facts: CardFacts, of: int
) -> ProposalRequest:
    kind = _kind(request, version, action, facts)
    system = version.agent.connector_key
    target = facts.target or f"{system}:{kind.key}"
    if target.partition(":")[0] != system:
        raise errors.BadFormat(
            f"This agent works in {system}; a target reads like {system}:orders/A1. Nothing was taken in.",
            code="bad_target",
            pointer="/target",
        )
    return ProposalRequest(
        agent_version=version,
        action_type=kind,
        args=action.args,
        target=target,
        subject=facts.subject,
        title=facts.title,
        thread_id=outside.thread_of(request.source),
        tool_call_id=str(request.pk) if of == 1 else f"{request.pk}:{action.position}",
        source=request.source,
        external_id=request.external_id,
        position=action.position,
        tool_name=action.name[:80],
        state_proposed=facts.state,
        state_if_approved=facts.state_if_approved,
        evidence=facts.evidence,
        agent_text=facts.agent_text or action.description,
        confidence=facts.confidence,
        sla_due=facts.sla_due,
        answer_by=action.answer_by,
        trace_ref=facts.trace_ref,
    )


def _facts(action: AskedAction, facts: CardFacts, each: Sequence[CardFacts]) -> CardFacts:
    return each[action.position] if action.position < len(each) else facts


def _read(form: str, payload: Any) -> Asked:
    try:
        return formats.read(form, payload)
    except BadFormat as error:
        # The plain format lies open in the request; every other one is its payload.
        inside = "/payload" if form in formats.FORMATS else "/format"
        place = error.pointer if form == OutsideRequest.Format.PLAIN else f"{inside}{error.pointer}"
        raise errors.BadFormat(f"{error} Nothing was taken in.", pointer=place) from error


def _agent_of(token: ApiToken) -> Agent:
    agent = Agent.objects.filter(pk=token.agent_id_value or 0).select_related("team").first()
    if agent is None or not agent.is_outside:
        raise errors.Conflict(
            "The agent of this token does not run elsewhere, so it does not ask here.", code="not_outside"
        )
    return agent


def _content(form: str, payload: Any, facts: Sequence[CardFacts]) -> str:
    try:
        said = [[str(getattr(each, name)) for name in CardFacts.__dataclass_fields__] for each in facts]
        return digest_of({"format": form, "payload": payload, "facts": said})
    except CanonicalError as error:
        raise errors.BadArgs([Problem("bad_args", error.pointer, f"{error}.")]) from error


def _same(known: OutsideRequest, content: str) -> OutsideRequest:
    if known.asked.get("content") != content:
        raise errors.Conflict("This external_id was asked before with something else in it. The first request stands.")
    return known


def _rows(request: OutsideRequest) -> list[Proposal]:
    return list(
        Proposal.objects.filter(source=request.source, external_id=request.external_id)
        .select_related("action_type", "agent_version__agent")
        .order_by("position")
    )


def _chosen(request: OutsideRequest, digest: str, position: int | None) -> Proposal:
    """Find the action that is meant: by position, else the only one, else the first unconsumed one with this digest."""
    rows = proposals_of(request)
    if position is not None:
        return _at(rows, position)
    if len(rows) == 1:
        return rows[0]
    meant = [row for row in rows if row.digest == digest]
    if not meant:
        raise errors.NotConsumable("stale", "No action of this request is what was approved. Nothing was executed.")
    return next((row for row in meant if row.consumed_at is None), meant[0])


def _at(rows: Sequence[Proposal], position: int) -> Proposal:
    found = next((row for row in rows if row.position == position), None)
    if found is None:
        raise errors.BadVerdict("There is no action at this position.", code="which_one", pointer="/position")
    return found


def _state_now(row: Proposal, told: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """R9: read the watched fields again, where we can; else believe what the agent says it just read."""
    if not row.action_type.watch_fields or row.state != states.QUEUED:
        return {}
    if not is_read_here(row.target, team_id=row.team_id):
        return told
    try:
        return client.read(row.target).fields
    except NotFound:
        return {}
    except ConnectorError:
        return None
