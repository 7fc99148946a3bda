"""What a card shows, put together from typed arguments and stored facts; an agent's prose is only ever quoted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from apps.accounts.models import User
from apps.agents.domain.schema import in_words
from apps.agents.models import ActionType, RiskClass
from apps.approvals.domain import asking, confirmation, lookalike, redaction, states, wording
from apps.approvals.domain.delegation import Standing
from apps.approvals.domain.digest import MovedField, moved_fields
from apps.approvals.domain.drills import Revealed
from apps.approvals.domain.edit import UNSTATED_MATERIALITY
from apps.approvals.domain.hidden import has_hidden, reveal
from apps.approvals.domain.vigilance import Attention
from apps.approvals.domain.wire.asked import APPROVE
from apps.approvals.models import ApprovalPolicy, Decision, Proposal
from apps.approvals.queries.last_words import NOBODY
from apps.approvals.redacting import redacted
from apps.audit.domain.canonical import canonical
from apps.oncall.queries import StandIns

# A text field that may grow longer than this gets several lines in the form.
ONE_LINE = 120


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One field of the target: as read when proposed, and as it would be. Hidden characters are shown as codes."""

    field: str
    proposed: str
    if_approved: str
    is_watched: bool
    is_changed: bool


@dataclass(frozen=True, slots=True)
class ArgField:
    """One argument, ready to be shown and, if `is_editable`, to be a form field of the `kind` named."""

    name: str
    label: str
    value: Any
    shown: str
    kind: str
    choices: tuple[str, ...]
    is_editable: bool
    is_required: bool
    max_length: int | None
    help: str
    was: str | None
    exact: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """The earlier proposal that a card comes in place of: what became of it, and what the reviewer asked, if they did."""

    id: int
    words: str
    question: str


@dataclass(frozen=True, slots=True)
class Evidence:
    label: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class PastDecisions:
    """What people made of the last decided proposals of this kind; `of` says what they have in common."""

    of: str
    approved: int
    edited: int
    rejected: int

    @property
    def total(self) -> int:
        return self.approved + self.edited + self.rejected


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One line of a proposal's history of decisions."""

    words: str
    by: str
    at: datetime
    reason: str
    is_final: bool
    is_voided: bool
    verdict: str
    by_kind: str
    actor_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything that the page of one proposal shows. Buttons post `id`, `version` and `digest` of this very card."""

    id: int
    team_id: int
    version: int
    digest: str
    state: str
    state_words: str
    title: str
    agent_id: int
    agent_name: str
    agent_version: int
    action_name: str
    action_key: str
    risk: str
    risk_words: str
    reversibility: str
    reversibility_words: str
    target: str
    subject: str
    consequence: str
    once_approved: str
    cost_of_delay: str
    diff: tuple[DiffRow, ...]
    args: tuple[ArgField, ...]
    args_typed: Mapping[str, Any]
    args_schema: Mapping[str, Any]
    is_edited: bool
    evidence: tuple[Evidence, ...]
    confidence: Decimal | None
    confidence_words: str
    policy: str
    policy_key: str
    policy_version: int
    review_reason: str
    approvals_given: int
    approvals_needed: int
    approved_by: tuple[str, ...]
    past: PastDecisions
    agent_text: str
    agent_text_has_hidden: bool
    history: tuple[DecisionLine, ...]
    claimed_by: str
    claimed_by_me: bool
    claim_until: datetime | None
    created_at: datetime
    deadline: datetime | None
    is_extended_once: bool
    sla_due: datetime | None
    execute_after: datetime | None
    undo_until: datetime | None
    consumed_at: datetime | None
    closed_at: datetime | None
    hold_reason: str
    is_open: bool
    is_demo: bool
    may_decide: bool
    approved_by_me: bool
    may_ever_decide: bool
    may_withdraw: bool
    deciding_for: str
    snoozed_until: datetime | None
    is_escalated: bool
    assigned_to: str
    why_not: str
    may_undo: bool
    offered: tuple[str, ...]
    why_no_approval: str
    on_duty: tuple[str, ...]
    who_answers: str
    run_id: int | None
    work_item_id: int | None
    trace_ref: str
    as_of: datetime
    warnings: tuple[str, ...]
    needs_confirm: bool
    confirm_hint: str
    confirm_target: str
    watches: bool
    moved: tuple[MovedField, ...]
    moved_words: tuple[str, ...]
    supersedes: Superseded | None
    is_asked_enough: bool
    evidence_is_open: bool
    needs_reason: bool
    attention_words: str
    revealed: Revealed | None

    @property
    def needs_typing(self) -> bool:
        """To approve it asks for words, so that no single key does."""
        return self.needs_confirm or self.needs_reason

    @property
    def is_approved_in_words(self) -> bool:
        """This person may approve it, in a dialog that asks for words."""
        return self.needs_typing and "approve" in self.offered and not self.approved_by_me


def assemble(
    row: Proposal,
    *,
    reader: User,
    decisions: Sequence[Decision],
    past: PastDecisions,
    answer_is_new: bool,
    on_duty: Sequence[User],
    stand_ins: StandIns | None,
    standing: Standing,
    lender: User | None = None,
    snoozed_until: datetime | None = None,
    attention: Attention,
    revealed: Revealed | None = None,
    supersedes: Superseded | None = None,
    repeats: int = 0,
    offered: tuple[str, ...],
    now: datetime,
) -> Card:
    """Put the card of one proposal together for one reader. No query."""
    kind, version, body = row.action_type, row.agent_version, row.body
    live = [each for each in decisions if each.voided_at is None and each.verdict in {"approve", "edit"}]
    is_held = row.state == states.CLAIMED and row.claim_until is not None and row.claim_until > now
    claimed_by = str(row.claimed_by) if is_held and row.claimed_by else ""
    why_not = _why_not(row, reader, now, claimed_by=claimed_by, standing=standing)
    is_undoable = row.state == states.QUEUED and answer_is_new
    return Card(
        id=row.pk,
        team_id=row.team_id,
        version=row.version,
        digest=row.digest,
        state=row.state,
        state_words=_state_words(row),
        title=reveal(row.title),
        agent_id=version.agent_id,
        agent_name=version.agent.name,
        agent_version=version.number,
        action_name=kind.name,
        action_key=kind.key,
        risk=row.risk_class,
        risk_words=f"{row.get_risk_class_display()} risk",
        reversibility=row.reversibility,
        reversibility_words=row.get_reversibility_display(),
        target=reveal(row.target),
        subject=reveal(row.subject),
        consequence=_consequence(row),
        once_approved=_once_approved(row),
        cost_of_delay=wording.cost_of_delay(row.sla_due, now) if row.is_open else "",
        diff=_diff(body.state_proposed, body.state_if_approved, kind.watch_fields),
        args=_args(row),
        args_typed=row.args,
        args_schema=kind.args_schema,
        is_edited=row.args != row.args_original,
        evidence=tuple(_evidence(each) for each in body.evidence),
        confidence=row.confidence,
        confidence_words="not stated" if row.confidence is None else f"{row.confidence:.0%}",
        policy=str(row.policy) if row.policy else "no policy",
        policy_key=row.policy.key if row.policy else "",
        policy_version=row.policy.version if row.policy else 0,
        review_reason=body.review_reason,
        approvals_given=row.approvals_given,
        approvals_needed=row.approvals_needed,
        approved_by=tuple(str(each.actor) for each in live if each.actor),
        past=past,
        agent_text=reveal(body.agent_text),
        agent_text_has_hidden=has_hidden(body.agent_text),
        history=tuple(_line(each) for each in decisions),
        claimed_by=claimed_by,
        claimed_by_me=bool(claimed_by) and row.claimed_by_id == reader.pk,
        claim_until=row.claim_until if is_held else None,
        created_at=row.created_at,
        deadline=row.deadline,
        is_extended_once=_is_extended_once(row),
        sla_due=row.sla_due,
        execute_after=row.execute_after,
        undo_until=row.execute_after if is_undoable else None,
        consumed_at=row.consumed_at,
        closed_at=row.closed_at,
        hold_reason=row.hold_reason,
        is_open=row.is_open,
        is_demo=version.agent.is_demo,
        may_decide=not why_not,
        approved_by_me=row.is_open and any(each.actor_id == reader.pk for each in live),
        may_ever_decide=standing.decides,
        may_withdraw=(row.is_open or row.state == states.QUEUED) and reader.has_perm("approvals.withdraw", row.team_id),
        deciding_for=str(lender or ""),
        snoozed_until=snoozed_until,
        is_escalated=row.tier > 0,
        assigned_to=str(row.assigned_to or ""),
        why_not=why_not,
        may_undo=is_undoable and _may_undo(row, reader, live),
        offered=offered,
        why_no_approval="" if APPROVE in offered else wording.NO_APPROVAL,
        on_duty=tuple(str(each) for each in on_duty),
        who_answers=_who_answers(on_duty, stand_ins) if row.is_open else "",
        run_id=row.run_id_value,
        work_item_id=row.work_item_id_value,
        trace_ref=body.trace_ref,
        as_of=now,
        warnings=_warnings(row),
        needs_confirm=needs_confirm(row),
        confirm_hint=confirmation.hint(target=row.target, args=row.args),
        confirm_target=confirmation.last_part(row.target),
        watches=bool(kind.watch_fields) and row.is_open,
        moved=_moved(row),
        moved_words=tuple(wording.moved_field(each) for each in _moved(row)),
        supersedes=supersedes,
        is_asked_enough=asking.is_enough(repeats),
        evidence_is_open=not row.is_open or attention.includes("expanded"),
        needs_reason=not why_not and attention.includes("reason"),
        attention_words="" if why_not else wording.asked_of_you(attention, now, ZoneInfo(reader.time_zone)),
        revealed=revealed,
    )


def barred(row: Proposal) -> tuple[int, ...]:
    """Return the ids of those whom R2 bars from deciding: the agent's owner now, its version's author, and who asked for it."""
    asked_for_it = () if row.requested_by_id is None else (row.requested_by_id,)
    return (row.agent_version.agent.owner_id, row.agent_version.author_id, *asked_for_it)


def needs_confirm(row: Proposal) -> bool:
    """R3, R20: what is of high risk, or holds a field that nobody declared, is never approved by one click."""
    return row.risk_class == RiskClass.HIGH or bool(_undeclared(row))


def owns(row: Proposal, user: User) -> bool:
    """Say whether R2 bars the person."""
    return user.pk in barred(row)


def shown(value: object) -> str:
    """Write any JSON value for the eye: text as it is, the rest as JSON; hidden characters as codes."""
    if value is None:
        return "(empty)"
    return reveal(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def kind_field(action_type: ActionType, args: Mapping[str, Any]) -> str | None:
    """Return the short text argument that says of what kind a case is: a choice before free text, then what matters most."""
    described = action_type.args_schema.get("properties", {})
    texts = [
        name
        for name in described
        if isinstance(args.get(name), str)
        and 0 < len(args[name]) <= ONE_LINE
        and ("enum" in described[name] or name in action_type.editable_fields)
    ]
    weights = action_type.materiality
    return max(
        texts, key=lambda name: ("enum" in described[name], weights.get(name, UNSTATED_MATERIALITY)), default=None
    )


def _why_not(row: Proposal, reader: User, now: datetime, *, claimed_by: str, standing: Standing) -> str:
    if not row.is_open:
        return f"This is {row.get_state_display().lower()}."
    if not standing.may:
        is_reviewer = reader.has_perm("approvals.decide", row.team_id)
        who = "those whom its policy names decide it" if is_reviewer else "a reviewer of the team decides it"
        return f"You may read this, and {who}."
    if standing.is_barred and not owns(row, reader):
        return "Someone else must decide this one: you stand in for somebody who may not decide it."
    if standing.is_barred:
        return "Someone else must decide this one: you own this agent or wrote this version of it."
    if row.deadline is not None and row.deadline <= now:
        return "Nobody answered in time; nothing was executed."
    return f"{claimed_by} is deciding." if claimed_by and row.claimed_by_id != reader.pk else ""


def _undeclared(row: Proposal) -> list[str]:
    known = row.action_type.args_schema.get("properties", {})
    return sorted(name for name in row.args if name not in known)


def _warnings(row: Proposal) -> tuple[str, ...]:
    """R20: letters that are not what they look like, fields that nobody declared, secrets that are hidden here."""
    texts = [row.target, row.subject, *_texts(row.args)]
    found = [reveal(each) for each in lookalike.warnings(texts)]
    found += [f"{reveal(name)} is no field of this action. Read what exactly is sent." for name in _undeclared(row)]
    if redaction.has_secret(row.args):
        found.append("It sends something that looks like a secret. It is hidden here, and sent as it is.")
    return tuple(found)


def _texts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case Mapping():
            return [text for each in value.values() for text in _texts(each)]
        case list():
            return [text for each in value for text in _texts(each)]
        case _:
            return []


def _moved(row: Proposal) -> tuple[MovedField, ...]:
    """R9: say of a card that went stale which watched fields were found changed."""
    if row.body.state_found is None:
        return ()
    return tuple(moved_fields(row.body.state_proposed, row.body.state_found, row.action_type.watch_fields))


def _state_words(row: Proposal) -> str:
    is_advice = row.kind == Proposal.Kind.ADVICE and row.state == states.WITHDRAWN
    return "Recorded, not executed" if is_advice else row.get_state_display()


def _who_answers(on_duty: Sequence[User], stand_ins: StandIns | None) -> str:
    others = [] if stand_ins is None else [str(each) for each in stand_ins.people]
    return wording.who_answers(
        [str(each) for each in on_duty], others, is_lead=stand_ins is not None and stand_ins.is_lead
    )


def _may_undo(row: Proposal, reader: User, live: Sequence[Decision]) -> bool:
    return reader.has_perm("runs.repair", row.team_id) or any(each.actor_id == reader.pk for each in live)


def _consequence(row: Proposal) -> str:
    if row.args == row.args_original and row.body.consequence:
        return reveal(row.body.consequence)
    return reveal(redacted(in_words(row.action_type.consequence, args=row.args, target=row.target)))


def _once_approved(row: Proposal) -> str:
    """What can run and what is a drill are told alike: a card must not give a drill away."""
    undo_s = row.policy.undo_s if row.policy else 0
    return wording.once_approved(row.approvals_needed, row.approvals_given, undo_s)


def _is_extended_once(row: Proposal) -> bool:
    """Say whether silence gives the window once more before it ends the card."""
    wants = row.policy is not None and row.policy.on_expiry == ApprovalPolicy.OnExpiry.EXTEND_ONCE
    return wants and row.extended_at is None


def _diff(proposed: Mapping[str, Any], if_approved: Mapping[str, Any], watched: Sequence[str]) -> tuple[DiffRow, ...]:
    """Fields that would change come first; then the watched ones, then the rest, each in the order they were read."""
    rows = [
        DiffRow(
            field=field,
            proposed=shown(proposed.get(field)),
            if_approved=shown(if_approved.get(field, proposed.get(field))),
            is_watched=field in watched,
            is_changed=field in if_approved and canonical(if_approved[field]) != canonical(proposed.get(field)),
        )
        for field in dict.fromkeys([*proposed, *if_approved])
    ]
    return tuple(sorted(rows, key=lambda each: (not each.is_changed, not each.is_watched)))


def _args(row: Proposal) -> tuple[ArgField, ...]:
    schema = row.action_type.args_schema
    described = schema.get("properties", {})
    names = [*(name for name in described), *(name for name in row.args if name not in described)]
    return tuple(_arg(name, described.get(name, {}), row, required=schema.get("required", ())) for name in names)


def _arg(name: str, described: Mapping[str, Any], row: Proposal, *, required: Sequence[str]) -> ArgField:
    value, original = row.args.get(name), row.args_original.get(name)
    is_secret = redaction.has_secret(value)
    return ArgField(
        name=name,
        label=str(described.get("title") or name.replace("_", " ").capitalize()),
        value=value,
        shown=shown(redacted(value)),
        kind=_field_kind(described, value),
        choices=tuple(str(each) for each in described.get("enum", ())),
        # What is hidden cannot be changed here: the form would have to show it.
        is_editable=name in row.action_type.editable_fields and not is_secret,
        is_required=name in required,
        max_length=described.get("maxLength"),
        help=str(described.get("description", "")),
        was=shown(redacted(original)) if value != original else None,
        exact="" if value is None or is_secret else _exact(value),
    )


def _exact(value: object) -> str:
    """Write a value as the edit form must hold it, so that an untouched field comes back as it was."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _field_kind(described: Mapping[str, Any], value: object) -> str:
    """Name the form field: choice, boolean, integer, number, long_text, text or json."""
    named = described.get("type")
    first = named[0] if isinstance(named, list) and named else named
    if "enum" in described and all(isinstance(each, str) for each in described["enum"]):
        return "choice"
    if first in {"boolean", "integer", "number"}:
        return str(first)
    if first == "string" or isinstance(value, str):
        is_long = described.get("maxLength", 0) > ONE_LINE or (isinstance(value, str) and len(value) > ONE_LINE)
        return "long_text" if is_long else "text"
    return "json"


def _evidence(item: object) -> Evidence:
    facts = item if isinstance(item, Mapping) else {"text": item}
    return Evidence(
        label=shown(facts.get("label", "")), text=shown(facts.get("text", "")), source=shown(facts.get("source", ""))
    )


def _line(decision: Decision) -> DecisionLine:
    by = str(decision.actor) if decision.actor else NOBODY.get(decision.by_kind)
    return DecisionLine(
        words=decision.get_verdict_display(),
        by=by or "the agent",
        at=decision.decided_at,
        reason=reveal(decision.reason),
        is_final=decision.final,
        is_voided=decision.voided_at is not None,
        verdict=decision.verdict,
        by_kind=decision.by_kind,
        actor_id=decision.actor_id,
    )
