"""What an agent in another process reads of its requests, and what a verdict on one of them must fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Prefetch

from apps.accounts.models import ApiToken
from apps.approvals.domain import outside, states, wording
from apps.approvals.domain.wire import formats
from apps.approvals.domain.wire.asked import (
    APPROVE,
    ASK,
    EDIT,
    REJECT,
    RESPOND,
    SAYABLE,
    Asked,
    Outcome,
    answer_by,
    from_json,
)
from apps.approvals.errors import NoSuchRequest
from apps.approvals.models import Decision, OutsideRequest, Proposal

_ORDER: Final = (APPROVE, EDIT, REJECT, RESPOND, ASK)
_CONSENT: Final = (APPROVE, EDIT)
_NOTHING: Final = "Nothing was executed."


@dataclass(frozen=True, slots=True)
class Said:
    """What was decided about one action, by what kind of decider, in the words that its agent hears."""

    type: str
    by_kind: str
    message: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class ActionState:
    """Where one action of a request stands. `args` are those that may be executed once `status` is approved."""

    position: int
    proposal_id: int
    name: str
    action_type: str
    target: str
    subject: str
    status: str
    state: str
    version: int
    digest: str
    args: dict[str, Any]
    edited: bool
    consumed: bool
    outcome: str | None
    decision: Said | None
    reason: str
    choices: tuple[str, ...]
    risk: str
    approvals_given: int
    approvals_needed: int
    deadline: datetime | None
    execute_after: datetime | None
    valid_until: datetime | None
    outcome_due: datetime | None


@dataclass(frozen=True, slots=True)
class RequestState:
    """Where a request stands. `answer` is there once every action is decided, in the format that the request came in."""

    id: int
    format: str
    thread: str
    external_id: str
    status: str
    created_at: datetime
    actions: tuple[ActionState, ...]
    answer: Any


def request_of(token: ApiToken, request_id: int) -> OutsideRequest:
    """Return a request of the token's own agent. Raises NoSuchRequest for any other, as for one that never was. 1 query."""
    row = (
        OutsideRequest.objects.filter(pk=request_id, agent_id=token.agent_id_value or 0).select_related("agent").first()
    )
    if row is None:
        raise NoSuchRequest
    return row


def proposals_of(request: OutsideRequest) -> list[Proposal]:
    """Return the proposals of a request by position, each with its living decisions. 2 queries."""
    living = Decision.objects.filter(voided_at__isnull=True).order_by("pk")
    rows = Proposal.objects.filter(source=request.source, external_id=request.external_id)
    rows = rows.select_related("action_type", "agent_version__agent", "policy")
    return list(
        rows.prefetch_related(Prefetch("decisions", queryset=living, to_attr="living_decisions")).order_by("position")
    )


def awaited_until(row: Proposal) -> datetime | None:
    """Return until when the agent of a proposal waits, where it said so. 1 query, none for our own runs."""
    if not outside.is_outside(row.thread_id):
        return None
    request = OutsideRequest.objects.filter(source=row.source, external_id=row.external_id).only("asked").first()
    return None if request is None else answer_by(request.asked, row.position)


def request_state(request: OutsideRequest, *, at: datetime) -> RequestState:
    """Return where a request stands. 2 queries."""
    rows = proposals_of(request)
    asked = asked_of(request, rows)
    actions = tuple(_action(row, asked, at) for row in rows)
    status = outside.overall([each.status for each in actions])
    return RequestState(
        id=request.pk,
        format=request.format,
        thread=request.asked.get("thread", ""),
        external_id=request.external_id,
        status=status,
        created_at=request.created_at,
        actions=actions,
        answer=None if status == outside.PENDING else formats.write(asked, [outcome_of(row) for row in rows]),
    )


def asked_of(request: OutsideRequest, rows: Sequence[Proposal]) -> Asked:
    """Return the message that a request came as. No query."""
    return from_json(request.format, request.asked, [row.args_original for row in rows])


def message_of(row: Proposal) -> Asked | None:
    """Return the message that a proposal belongs to, or None if it came from no outside request. 1 query for those."""
    return messages_of([row]).get(row.pk)


def messages_of(rows: Sequence[Proposal]) -> dict[int, Asked]:
    """Return the message of each proposal that came from an outside request, by its id. 1 query if there are any."""
    asking = [row for row in rows if outside.is_outside(row.thread_id)]
    if not asking:
        return {}
    found = OutsideRequest.objects.filter(
        source__in={row.source for row in asking}, external_id__in={row.external_id for row in asking}
    )
    requests = {(each.source, each.external_id): each for each in found}
    return {
        row.pk: _message(request, row)
        for row in asking
        if (request := requests.get((row.source, row.external_id))) is not None
    }


def _message(request: OutsideRequest, row: Proposal) -> Asked:
    kept = request.asked
    return from_json(request.format, kept, [row.args_original] * len(kept["actions"]))


def choices_of(row: Proposal, asked: Asked | None) -> tuple[str, ...]:
    """Return the verdicts on offer: what its agent can take and its action type allows. A refusal always is.

    `asked` is the message that it came in, or None for a proposal of our own runs, which take every verdict.
    """
    kind = row.action_type
    allowed = SAYABLE if asked is None else asked.actions[row.position].allowed
    offered = {REJECT, ASK}
    if APPROVE in allowed:
        offered.add(APPROVE)
    if EDIT in allowed and kind.editable_fields:
        offered.add(EDIT)
    if RESPOND in allowed and kind.allow_respond:
        offered.add(RESPOND)
    return tuple(each for each in _ORDER if each in offered)


def outcome_of(row: Proposal) -> Outcome:
    """Return what became of a decided proposal, with the text that its agent hears. Its final decision is prefetched."""
    decision = _deciding(row)
    if row.state in states.AFTER_CONSENT:
        return Outcome(EDIT, args=row.args) if row.args != row.args_original else Outcome(APPROVE)
    if row.state == states.REJECTED and decision is not None:
        by_policy = decision.by_kind == Decision.By.POLICY
        told = wording.refused_by_policy(str(row.policy), decision.reason) if by_policy else ""
        return Outcome(REJECT, told or wording.rejected(decision.reason))
    if row.state == states.ANSWERED and decision is not None:
        is_ask = decision.verdict == Decision.Verdict.ASK
        return Outcome(ASK, wording.asked_back(decision.reason)) if is_ask else Outcome(RESPOND, decision.reason)
    if row.state == states.WITHDRAWN and decision is not None and decision.verdict == Decision.Verdict.WITHDRAW:
        return Outcome(states.WITHDRAWN, wording.withdrawn(decision.reason))
    if row.kind == Proposal.Kind.ADVICE:
        return Outcome("recorded", row.hold_reason)
    why = "" if decision is None or decision.verdict in _CONSENT else decision.reason
    told = row.hold_reason or why or f"This is {row.get_state_display().lower()}."
    return Outcome(row.state, told if _NOTHING in told else f"{told} {_NOTHING}")


def _action(row: Proposal, asked: Asked, now: datetime) -> ActionState:
    status = outside.status(row.state, row.execute_after, now)
    is_settled = status != outside.PENDING
    outcome = outcome_of(row) if is_settled else None
    has_run = row.state in states.AFTER_CONSENT - {states.QUEUED}
    is_running = row.state == states.EXECUTING
    return ActionState(
        position=row.position,
        proposal_id=row.pk,
        name=asked.actions[row.position].name,
        action_type=row.action_type.key,
        target=row.target,
        subject=row.subject,
        status=status,
        state=row.state,
        version=row.version,
        digest=row.digest,
        args=row.args,
        edited=is_settled and row.args != row.args_original,
        consumed=row.consumed_at is not None,
        outcome=row.state if has_run and not is_running else None,
        decision=_said(row, outcome) if outcome else None,
        reason=outcome.message if outcome and status in {outside.CANCELLED, outside.EXPIRED} else "",
        choices=choices_of(row, asked) if row.is_open else (),
        risk=row.risk_class,
        approvals_given=row.approvals_given,
        approvals_needed=row.approvals_needed,
        deadline=row.deadline if row.is_open else None,
        execute_after=row.execute_after,
        valid_until=row.valid_until,
        outcome_due=_due(row) if is_running else None,
    )


def _said(row: Proposal, outcome: Outcome) -> Said:
    decision = _deciding(row)
    by_kind = decision.by_kind if decision else "system"
    return Said(outcome.verdict, by_kind, outcome.message, decision.decided_at if decision else row.closed_at)


def _deciding(row: Proposal) -> Decision | None:
    """Return the decision that made a proposal what it is; one withdrawn after consent has two, and the last one counts."""
    found: list[Decision] = getattr(row, "living_decisions", [])
    telling = [each for each in found if each.final or each.verdict == Decision.Verdict.WITHDRAW]
    return telling[-1] if telling else None


def _due(row: Proposal) -> datetime:
    return (row.consumed_at or row.created_at) + outside.OUTCOME_WITHIN
