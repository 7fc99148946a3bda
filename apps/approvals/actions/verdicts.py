from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import closing, moves, outbox
from apps.approvals.actions.moves import Step
from apps.approvals.card import owns
from apps.approvals.domain import answer, edit, policy, states, window
from apps.approvals.domain.confirmation import names_it
from apps.approvals.domain.edit import Problem
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock
from apps.audit.domain.canonical import CanonicalError

# A reason is read by the agent and by auditors: more than a grunt, less than an essay.
SHORTEST_REASON: Final = 3
LONGEST_REASON: Final = 2000
VERDICTS: Final = ("approve", "edit", "reject", "respond", "ask")
_CONSENT: Final = ("approve", "edit")


@dataclass(frozen=True, slots=True)
class Decided:
    """What a verdict did. `replayed`: it was given before, and nothing changed."""

    decision: Decision
    proposal: Proposal
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Ask:
    """One verdict as a person sent it."""

    verdict: str
    version: int
    digest: str
    args: Mapping[str, Any] | None
    reason: str
    actor: User
    channel: str
    opened_at: datetime | None
    confirm: str | None


def decide_proposal(
    proposal_id: int,
    *,
    verdict: str,
    version: int,
    digest: str,
    args: Mapping[str, Any] | None = None,
    reason: str = "",
    actor: User,
    channel: str = "page",
    opened_at: datetime | None = None,
    confirm: str | None = None,
    at: datetime | None = None,
) -> Decided:
    """Record one person's verdict on exactly the card they saw (rule R1). The run goes on after commit.

    `confirm`, if given, must name the target or an amount.
    Raises NotFound (404) for outsiders and Forbidden (403) without the right; then, in this order: AlreadyDecided,
    Expired, Claimed, Changed (409), SelfApproval (403), BadVerdict or BadArgs (422). The same verdict again is a replay.
    """
    ask = _Ask(verdict, version, digest, args, reason.strip(), actor, channel, opened_at, confirm)
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        _ensure_may_decide(row, actor)
        replay = _replay(row, ask)
        if replay is not None:
            return replay
        # A decision at the deadline closes the card: that stays written although the verdict is refused.
        is_over = closing.expire_if_over(row, now)
        if not is_over:
            return _decide(row, ask, now)
    raise errors.Expired


def ensure_free_for(row: Proposal, user: User, now: datetime) -> None:
    """Raise Claimed while somebody else's lease runs."""
    is_held = row.state == states.CLAIMED and row.claim_until is not None and row.claim_until > now
    if is_held and row.claimed_by_id != user.pk:
        raise errors.Claimed(f"{row.claimed_by} is deciding, until {local_time(row.claim_until, user)}.")


def local_time(moment: datetime | None, user: User) -> str:
    return moment.astimezone(ZoneInfo(user.time_zone)).strftime("%H:%M") if moment else "an unknown time"


def ensure_member(row: Proposal, user: User, right: str) -> None:
    """Outsiders learn nothing; members without the right learn which one is missing."""
    if not user.has_perm("approvals.view", row.team_id) and not user.has_perm(right, row.team_id):
        raise errors.NotFound
    if not user.has_perm(right, row.team_id):
        raise Forbidden(right, row.team_id)


def _ensure_may_decide(row: Proposal, actor: User) -> None:
    ensure_member(row, actor, "approvals.decide")


def _replay(row: Proposal, ask: _Ask) -> Decided | None:
    """Return the replay of a verdict given before; raise if somebody decided otherwise; None if it is still open."""
    if row.is_open:
        if row.approvals_given and ask.verdict in _CONSENT:
            own = _live(row).filter(actor=ask.actor, verdict__in=_CONSENT).first()
            if own is not None and own.digest == row.digest == _resulting_digest(row, ask):
                return Decided(own, row, replayed=True)
        return None
    final = _live(row).filter(final=True).select_related("actor").first()
    if final is not None and final.by_kind == Decision.By.PERSON and _is_same(final, row, ask):
        return Decided(final, row, replayed=True)
    raise _already(row, final, ask.actor)


def _is_same(final: Decision, row: Proposal, ask: _Ask) -> bool:
    if final.verdict != ask.verdict:
        return False
    return ask.verdict not in _CONSENT or final.digest == _resulting_digest(row, ask)


def _resulting_digest(row: Proposal, ask: _Ask) -> str | None:
    if ask.verdict != "edit":
        return ask.digest
    try:
        return row.action.with_args(ask.args or {}).digest
    except CanonicalError:
        return None


def _already(row: Proposal, final: Decision | None, reader: User) -> errors.Refused:
    if row.state == states.EXPIRED and (final is None or final.by_kind == Decision.By.TIMER):
        return errors.Expired()
    if row.state == states.STALE:
        return errors.Stale("The target changed meanwhile. Nothing was executed.")
    if final is None:
        return errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}.")
    who = (
        str(final.actor) if final.actor else {"policy": "policy", "timer": "the clock"}.get(final.by_kind, "the agent")
    )
    words = final.get_verdict_display().lower()
    return errors.AlreadyDecided(f"Already {words} by {who} at {local_time(final.decided_at, reader)}.")


def _decide(row: Proposal, ask: _Ask, now: datetime) -> Decided:
    ensure_free_for(row, ask.actor, now)
    if (row.version, row.digest) != (ask.version, ask.digest):
        raise errors.Changed
    if owns(row, ask.actor):
        raise errors.SelfApproval(row)
    _ensure_well_formed(row, ask)
    match ask.verdict:
        case "approve":
            return _consent(row, ask, now, given=row.approvals_given + 1)
        case "edit":
            return _edit(row, ask, now)
        case "reject":
            told = answer.refuse(f"Rejected by a reviewer: {ask.reason}")
            return _refuse(row, ask, Step("T8", "person"), told, now)
        case "respond":
            return _refuse(row, ask, Step("T9", "person"), answer.respond(ask.reason), now)
        case _:
            told = answer.refuse(f"A reviewer asks: {ask.reason} This is not a refusal. Nothing was executed.")
            return _refuse(row, ask, Step("T9", "person"), told, now)


def _ensure_well_formed(row: Proposal, ask: _Ask) -> None:
    if ask.verdict not in VERDICTS:
        raise errors.BadVerdict(f"Choose one of: {', '.join(VERDICTS)}.", pointer="/verdict")
    if ask.verdict == "respond" and not row.action_type.allow_respond:
        raise errors.BadVerdict("This kind of action cannot be answered in its place.", pointer="/verdict")
    if ask.verdict == "edit" and ask.args is None:
        raise errors.BadVerdict("An edit needs the changed arguments.", pointer="/args")
    if ask.verdict != "edit" and ask.args is not None:
        raise errors.BadVerdict("Only an edit carries arguments.", pointer="/args")
    if ask.confirm is not None and not names_it(ask.confirm, target=row.target, args=ask.args or row.args):
        told = "What you typed is neither the target nor an amount of this action. Nothing was decided."
        raise errors.BadVerdict(told, code="bad_confirm", pointer="/confirm")
    needs_reason = ask.verdict not in _CONSENT
    if (needs_reason and len(ask.reason) < SHORTEST_REASON) or len(ask.reason) > LONGEST_REASON:
        raise errors.BadVerdict("Give a reason of 3 to 2,000 characters.", code="bad_reason", pointer="/reason")


def _edit(row: Proposal, ask: _Ask, now: datetime) -> Decided:
    """Change the arguments: a new digest, the editor's own approval, and everybody else's is void."""
    kind, edited = row.action_type, dict(ask.args or {})
    problems = edit.edit_problems(
        kind.args_schema, editable=kind.editable_fields, current=row.args, edited=edited
    ) or _policy_problems(row, edited)
    if problems:
        raise errors.BadArgs(problems)
    weight = edit.materiality(kind.materiality, edit.changed_fields(row.args, edited))
    if row.approvals_given:
        _live(row).filter(verdict__in=_CONSENT).update(voided_at=now)
    row.args, row.digest = edited, row.action.with_args(edited).digest
    return _consent(row, ask, now, given=1, materiality=Decimal(str(round(weight, 3))))


def _policy_problems(row: Proposal, edited: Mapping[str, Any]) -> list[Problem]:
    """Run the policy again over what a person made of the arguments."""
    if row.policy is None:
        return []
    try:
        denied = policy.Conditions.parse(row.policy.conditions).denied(edited)
    except policy.Unevaluable:
        # The proposal already asks two people because of this.
        return []
    if denied is None:
        return []
    return [Problem("policy_denies", edit.pointer([denied]), f"Policy {row.policy} refuses this value of {denied}.")]


def _consent(row: Proposal, ask: _Ask, now: datetime, *, given: int, materiality: Decimal | None = None) -> Decided:
    """Count one approval (T6 keeps the card open for the next person) or give the last one (T7, T13)."""
    is_last = given >= row.approvals_needed
    was_claimed = row.state == states.CLAIMED
    is_edited = row.args != row.args_original
    changes: dict[str, object] = {"approvals_given": given}
    if ask.verdict == "edit":
        changes |= {"args": row.args, "digest": row.digest}
    if not is_last:
        steps = [Step("T6", "person")] if was_claimed else [Step("T5", "person"), Step("T6", "person")]
    else:
        steps = [Step("T7", "person", states.EDITED if is_edited else states.APPROVED)]
        changes["closed_at"] = now
    if is_last and row.executable:
        steps.append(Step("T13", "system"))
        run = window.execution(now, undo_s=row.policy.undo_s if row.policy else 0)
        changes |= {"execute_after": run.execute_after, "valid_until": run.valid_until, "hold_reason": ""}
    moves.move(row, *steps, **changes)
    decision = _record(row, ask, now, final=is_last, materiality=materiality)
    if is_last:
        told = answer.edit(row.tool_name, row.args) if is_edited else answer.approve()
        outbox.write(row, told, not_before=row.execute_after or now, at=now)
        moves.announce(row)
    _tell(row, ask, steps, final=is_last)
    return Decided(decision, row)


def _refuse(row: Proposal, ask: _Ask, step: Step, told: Mapping[str, Any], now: datetime) -> Decided:
    moves.move(row, step, closed_at=now)
    decision = _record(row, ask, now, final=True)
    outbox.write(row, told, not_before=now, at=now)
    moves.announce(row)
    _tell(row, ask, [step], final=True)
    return Decided(decision, row)


def _record(row: Proposal, ask: _Ask, now: datetime, *, final: bool, materiality: Decimal | None = None) -> Decision:
    return Decision.objects.create(
        proposal=row,
        verdict=ask.verdict,
        by_kind=Decision.By.PERSON,
        actor=ask.actor,
        channel=ask.channel,
        digest=row.digest,
        policy_version=row.policy.version if row.policy else None,
        reason=ask.reason,
        args_edited=row.args if ask.verdict == "edit" else None,
        materiality=materiality,
        opened_at=ask.opened_at if ask.opened_at and ask.opened_at <= now else None,
        decided_at=now,
        final=final,
    )


def _tell(row: Proposal, ask: _Ask, steps: list[Step], *, final: bool) -> None:
    facts = {"verdict": ask.verdict, "final": final, "reason": ask.reason, "channel": ask.channel}
    if ask.verdict == "edit":
        facts["args"] = row.args
    approvals = f"{row.approvals_given}/{row.approvals_needed}"
    moves.tell(row, "proposal.decided", *steps, actor=ask.actor.actor, payload={**facts, "approvals": approvals})


def _live(row: Proposal) -> QuerySet[Decision]:
    return Decision.objects.filter(proposal=row, voided_at__isnull=True)
