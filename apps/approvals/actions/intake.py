import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import IntegrityError, transaction

from apps.accounts.models import User
from apps.agents import queries as agents
from apps.agents.domain.schema import in_words
from apps.agents.models import ActionType, Agent, AgentVersion
from apps.approvals import errors
from apps.approvals.actions import moves, outbox, tiers
from apps.approvals.actions.moves import Step
from apps.approvals.actions.policies import ensure_policy
from apps.approvals.domain import (
    answer,
    asking,
    edit,
    flood,
    outside,
    policy,
    redaction,
    states,
    window,
    wording,
)
from apps.approvals.domain.digest import Action, state_digest
from apps.approvals.domain.hidden import reveal
from apps.approvals.models import ApprovalPolicy, Decision, Proposal, ProposalBody
from apps.approvals.queries import repeats
from apps.approvals.queries.rules import connector_id, load
from apps.approvals.redacting import redacted
from apps.audit.clock import clock
from apps.audit.domain.canonical import CanonicalError

# What one of our own runs proposes; other sources are outside intake and get 429 when an agent floods.
OWN_RUNS: Final = "run"
# By the state that intake leads to, the audit event that tells of it; no other verb writes these.
INTAKE_EVENTS: Final = {
    states.PENDING: "proposal.pending",
    states.QUEUED: "proposal.queued",
    states.REJECTED: "proposal.rejected",
    states.WITHDRAWN: "proposal.advised",
}
MAX_EVIDENCE_BYTES: Final = 64 * 1024
MAX_AGENT_TEXT: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRequest:
    """One action an agent wants to take, as intake hands it in. `confidence` None means not stated.

    `answer_by` is until when its agent waits, where it says so: it may shorten the deadline.
    """

    agent_version: AgentVersion
    action_type: ActionType
    args: Mapping[str, Any]
    target: str
    subject: str = ""
    title: str = ""
    run_id: int | None = None
    work_item_id: int | None = None
    thread_id: str
    tool_call_id: str
    interrupt_id: str = ""
    source: str = OWN_RUNS
    external_id: str = ""
    state_proposed: Mapping[str, Any] = field(default_factory=dict)
    state_if_approved: Mapping[str, Any] = field(default_factory=dict)
    evidence: Sequence[Mapping[str, Any]] = ()
    consequence: str = ""
    agent_text: str = ""
    confidence: float | Decimal | None = None
    sla_due: datetime | None = None
    answer_by: datetime | None = None
    position: int = 0
    tool_name: str = ""
    trace_ref: str = ""
    requested_by: User | None = None
    compensates: Proposal | None = None


def propose(request: ProposalRequest, *, at: datetime | None = None) -> Proposal:
    """Take in one action (T1) and let its policy refuse it (T2), allow it (T3) or ask people (T4), in one transaction.

    What an agent below `approve` proposes is advice: recorded, closed at once (T11) and never executed (R12).

    The same tool call with the same content again returns the first proposal, whatever became of it, and moves an
    undelivered answer to the new interrupt. Other content: Conflict, as for a compensation of what did not succeed or
    has a live one. BadArgs if no digest can be made of it; TooMany if an outside agent floods.
    """
    if request.source != OWN_RUNS:
        known = _earlier(request)
        if known is not None:
            return _again(known, request, at=at)
        _ensure_room(request.agent_version.agent, at=at)
    try:
        with transaction.atomic():
            return _propose(request, at=at)
    except IntegrityError:
        known = _earlier(request)
        if known is None:
            raise
        return _again(known, request, at=at)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of a request: refused, advice, alone, or asking `approvals` people; `reason` in words."""

    steps: tuple[Step, ...]
    reason: str
    approvals: int
    kind: str = Proposal.Kind.LIVE


_REFUSE: Final = (Step("T1", "intake"), Step("T2", "policy"))
_ADVISE: Final = (Step("T1", "intake"), Step("T11", "system"))
_ALONE: Final = (Step("T1", "intake"), Step("T3", "policy"), Step("T13", "system"))
_ASK: Final = (Step("T1", "intake"), Step("T4", "policy"))


def _propose(request: ProposalRequest, *, at: datetime | None) -> Proposal:
    rules = ensure_policy(request.action_type)
    digest = _digest(_action(request, rules.version))
    now = at or clock()
    _ensure_compensable(request)
    verdict = _assess(request, rules, now)
    row = _new(request, rules, digest, verdict, now)
    before = repeats.before(thread_id=row.thread_id, action_type_id=request.action_type.pk, target=request.target)
    row.supersedes_id = before.superseded_id
    is_enough = row.state == states.PENDING and row.supersedes_id is not None and asking.is_enough(before.repeats)
    row.save(force_insert=True)
    ProposalBody.objects.bulk_create([_body(request, row, "" if row.state == states.WITHDRAWN else verdict.reason)])
    if row.state != states.PENDING:
        _close(row, verdict, rules, now)
    by_policy = row.state in (states.REJECTED, states.QUEUED)
    moves.tell(
        row,
        INTAKE_EVENTS[row.state],
        *verdict.steps,
        actor=f"policy:{rules.key}@{rules.version}" if by_policy else f"agent:{request.agent_version.agent_id}",
        payload={
            "reason": verdict.reason,
            "action_type": request.action_type.key,
            "target": row.target,
            **_ties(row),
        },
    )
    if is_enough:
        # It came back too often to be asked back again: somebody of the next tier decides it.
        tiers.step_up(row, now, actor="system", reason=wording.ASKED_ENOUGH)
    return row


def _ties(row: Proposal) -> dict[str, int]:
    """Name the other proposals that this one belongs to."""
    ties = {"supersedes": row.supersedes_id, "compensates": row.compensates_id}
    return {name: pk for name, pk in ties.items() if pk is not None}


def _ensure_compensable(request: ProposalRequest) -> None:
    """Let only what succeeded be undone, and by one proposal at a time; the database holds the second rule too."""
    if request.compensates is None or _earlier(request) is not None:
        return
    original = moves.lock(request.compensates.pk)
    if original.state != states.SUCCEEDED:
        raise errors.Conflict(
            f"This is {original.get_state_display().lower()}; only what was done can be undone. Nothing was taken in."
        )
    live = Proposal.objects.filter(compensates=original).exclude(state__in=[*states.UNEXECUTED, states.FAILED])
    if live.exists():
        raise errors.Conflict("Undoing this is proposed already. Nothing was taken in.")


def plant(
    request: ProposalRequest, *, kind: str, judged: ProposalRequest, at: datetime | None = None
) -> Proposal | None:
    """Put a card before people that is made like a real one and never runs (R12, R17, R18).

    None if the policy would not ask people about `judged` today: then no real card would look like this one.
    """
    with transaction.atomic():
        rules = ensure_policy(request.action_type)
        digest = _digest(_action(request, rules.version))
        now = at or clock()
        verdict = _assess(judged, rules, now)
        if verdict.steps != _ASK or verdict.kind != Proposal.Kind.LIVE:
            return None
        row = _new(request, rules, digest, replace(verdict, kind=kind), now)
        row.save(force_insert=True)
        ProposalBody.objects.bulk_create([_body(request, row, verdict.reason)])
        moves.tell(
            row,
            INTAKE_EVENTS[row.state],
            *verdict.steps,
            actor=f"agent:{request.agent_version.agent_id}",
            payload={"reason": verdict.reason, "action_type": request.action_type.key, "target": row.target},
        )
    return row


def _assess(request: ProposalRequest, rules: ApprovalPolicy, now: datetime) -> _Verdict:
    """Ask the policy; what may only be advice is closed as that, unless the policy refuses it anyway."""
    advice = agents.advice(request.agent_version.agent, request.action_type)
    verdict = _asked(request, rules, now)
    if advice is None:
        return verdict
    if verdict.steps != _REFUSE:
        verdict = replace(verdict, steps=_ADVISE, reason=wording.recorded(advice.why))
    return replace(verdict, kind=Proposal.Kind.ADVICE)


def _asked(request: ProposalRequest, rules: ApprovalPolicy, now: datetime) -> _Verdict:
    kind = request.action_type
    found = policy.assess(rules.conditions, _facts(request), approvals=rules.approvals_needed)
    problems = edit.schema_problems(kind.args_schema, request.args)
    if problems:
        first = problems[0]
        return _Verdict(_REFUSE, f"The arguments do not fit: {first.pointer or '/'}: {first.message}", found.approvals)
    if found.outcome == policy.DENY:
        return _Verdict(_REFUSE, found.in_words, found.approvals)
    why = [found.in_words] if found.outcome == policy.ASK else _reasons_to_ask(request, now)
    return _Verdict(_ASK if why else _ALONE, " ".join(why) or found.in_words, found.approvals)


def _facts(request: ProposalRequest) -> policy.Facts:
    return policy.Facts(
        args=request.args,
        target=request.target,
        subject=request.subject,
        risk=request.action_type.risk_class,
        reversibility=request.action_type.reversibility,
        confidence=request.confidence,
    )


def _reasons_to_ask(request: ProposalRequest, now: datetime) -> list[str]:
    """Say why it may not act alone although its policy would let it: not earned, or stopped."""
    agent = request.agent_version.agent
    earned = agents.autonomy(agent, request.action_type, at=now)
    if not earned.may_act_alone:
        return list(earned.why) or ["It may not act alone."]
    system = connector_id(request.target)
    stopped = agents.blocking_switch(
        team_id=agent.team_id,
        connector_id=system,
        agent_id=agent.pk,
        action_type_id=request.action_type.pk,
        lock=False,
        is_elsewhere=system is None and outside.is_outside(request.thread_id),
    )
    return [] if stopped is None else [stopped]


def _new(request: ProposalRequest, rules: ApprovalPolicy, digest: str, verdict: _Verdict, now: datetime) -> Proposal:
    kind, version = request.action_type, request.agent_version
    state = moves.follow("", *verdict.steps)
    run = window.execution(now, undo_s=rules.undo_s) if state == states.QUEUED else None
    due = window.deadline(now, window_s=rules.window_s, answer_by=request.answer_by)
    return Proposal(
        kind=verdict.kind,
        executable=verdict.kind == Proposal.Kind.LIVE,
        team_id=version.agent.team_id,
        agent_version=version,
        action_type=kind,
        policy=rules,
        run_id_value=request.run_id,
        work_item_id_value=request.work_item_id,
        source=request.source,
        external_id=request.external_id or f"{request.thread_id}:{request.tool_call_id}"[:120],
        position=request.position,
        thread_id=request.thread_id,
        tool_call_id=request.tool_call_id,
        tool_name=request.tool_name or kind.key,
        interrupt_id=request.interrupt_id,
        title=reveal(redacted(request.title or f"{kind.name} · {request.target}"))[:200],
        args=dict(request.args),
        args_original=dict(request.args),
        schema_version=kind.schema_version,
        target=request.target,
        subject=request.subject,
        digest=digest,
        state_digest=_watched_digest(request),
        risk_class=kind.risk_class,
        reversibility=kind.reversibility,
        state=state,
        approvals_needed=verdict.approvals,
        confidence=None if request.confidence is None else round(Decimal(str(request.confidence)), 3),
        requested_by=request.requested_by,
        compensates=request.compensates,
        created_at=now,
        deadline=due,
        next_escalation_at=tiers.first_at(rules, created_at=now, deadline=due) if state == states.PENDING else None,
        sla_due=request.sla_due,
        execute_after=run.execute_after if run else None,
        valid_until=run.valid_until if run else None,
        closed_at=None if state == states.PENDING else now,
        hold_reason=verdict.reason[:200] if state == states.WITHDRAWN else "",
    )


def _body(request: ProposalRequest, row: Proposal, reason: str) -> ProposalBody:
    sentence = request.consequence or in_words(
        request.action_type.consequence, args=request.args, target=request.target
    )
    return ProposalBody(
        proposal=row,
        state_proposed=redacted(request.state_proposed),
        state_if_approved=redacted(request.state_if_approved),
        evidence=_fitting(redacted(request.evidence)),
        consequence=reveal(redacted(sentence))[:300],
        agent_text=redacted(request.agent_text)[:MAX_AGENT_TEXT].replace("\x00", "[U+0000]"),
        trace_ref=redacted(request.trace_ref)[:120],
        review_reason=reason[:300],
        redacted=_secret_places(request),
    )


def _secret_places(request: ProposalRequest) -> list[str]:
    """Say where the request held secrets. Arguments keep theirs, as they are executed to the letter; the card hides them."""
    parts = {
        "args": request.args,
        "title": request.title,
        "consequence": request.consequence,
        "evidence": request.evidence,
        "state_proposed": request.state_proposed,
        "state_if_approved": request.state_if_approved,
        "agent_text": request.agent_text,
        "trace_ref": request.trace_ref,
    }
    return [place for name, value in parts.items() for place in redaction.places(value, under=f"/{name}")]


def _close(row: Proposal, verdict: _Verdict, rules: ApprovalPolicy, now: datetime) -> None:
    """Write the policy's own decision, if it made one, and tell the thread."""
    if row.state == states.WITHDRAWN:
        # Nobody decided: the thread hears what became of its advice and does not wait.
        outbox.write(row, answer.refuse(verdict.reason), not_before=now, at=now)
        moves.announce(row)
        return
    alone = row.state == states.QUEUED
    Decision.objects.bulk_create(
        [
            Decision(
                proposal=row,
                verdict=Decision.Verdict.APPROVE if alone else Decision.Verdict.REJECT,
                by_kind=Decision.By.POLICY,
                channel="policy",
                digest=row.digest,
                policy_version=rules.version,
                reason=verdict.reason[:2000],
                decided_at=now,
            )
        ]
    )
    told = answer.approve() if alone else answer.refuse(wording.refused_by_policy(str(rules), verdict.reason))
    outbox.write(row, told, not_before=row.execute_after or now, at=now)
    moves.announce(row)


def _earlier(request: ProposalRequest) -> Proposal | None:
    by_call = Proposal.objects.filter(thread_id=request.thread_id, tool_call_id=request.tool_call_id).first()
    if by_call is not None or not request.external_id:
        return by_call
    return Proposal.objects.filter(
        source=request.source, external_id=request.external_id, position=request.position
    ).first()


@transaction.atomic
def _again(known: Proposal, request: ProposalRequest, *, at: datetime | None) -> Proposal:
    row = moves.lock(known.pk)
    first = row.action.with_args(row.args_original)
    same_call = (row.thread_id, row.tool_call_id) == (request.thread_id, request.tool_call_id)
    if not same_call or first.digest != _digest(_action(request, first.policy_version)):
        raise errors.Conflict("This call was proposed before with something else in it. The first proposal stands.")
    if request.interrupt_id and request.interrupt_id != row.interrupt_id:
        row.interrupt_id = request.interrupt_id
        row.save(update_fields=["interrupt_id"])
        outbox.move_to_interrupt(row, at=at or clock())
    return row


def _ensure_room(agent: Agent, *, at: datetime | None) -> None:
    now = at or clock()
    quota = flood.Quota(agent.max_open, agent.max_new_per_minute)
    if not quota.has_room(load(agent, since=now - timedelta(seconds=flood.RETRY_AFTER_S))):
        raise errors.TooMany(
            "This agent has as many actions before people as it may. Nothing was taken in. Try again in a minute.",
            retry_after=flood.RETRY_AFTER_S,
        )


def _action(request: ProposalRequest, policy_version: int) -> Action:
    return Action(
        action_type=request.action_type.key,
        schema_version=request.action_type.schema_version,
        args=request.args,
        target=request.target,
        subject=request.subject,
        agent_fingerprint=request.agent_version.fingerprint,
        policy_version=policy_version,
    )


def _digest(action: Action) -> str:
    try:
        return action.digest
    except CanonicalError as error:
        raise errors.BadArgs([edit.Problem("bad_args", error.pointer, f"{error}.")]) from error


def _watched_digest(request: ProposalRequest) -> str:
    watched = request.action_type.watch_fields
    try:
        return state_digest(request.state_proposed, watched) if watched else ""
    except CanonicalError as error:
        raise errors.BadArgs([edit.Problem("bad_state", error.pointer, f"{error}.")]) from error


def _fitting(evidence: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keep what fits into 64 kB, and say so where something was left out."""
    kept: list[dict[str, Any]] = []
    size = 0
    for item in evidence:
        size += len(json.dumps(dict(item)).encode())
        if size > MAX_EVIDENCE_BYTES - 200:
            kept.append({"label": "Left out", "text": "More evidence did not fit; see the trace.", "source": ""})
            break
        kept.append(dict(item))
    return kept
