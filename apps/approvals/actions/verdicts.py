from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.access import Forbidden
from apps.accounts.models import User
from apps.approvals import errors
from apps.approvals.actions import closing, consents, moves, outbox
from apps.approvals.actions.moves import Step
from apps.approvals.actions.vigilance import after_verdict, ensure_attentive, ensure_fresh_eyes
from apps.approvals.domain import answer, asking, confirmation, edit, policy, states, window, wording
from apps.approvals.domain.delegation import Standing
from apps.approvals.domain.drills import Revealed
from apps.approvals.domain.edit import Problem
from apps.approvals.domain.vigilance import Attention
from apps.approvals.domain.wire import formats
from apps.approvals.domain.wire.asked import BadAnswer, Outcome
from apps.approvals.models import Decision, Proposal
from apps.approvals.queries import reviewers
from apps.approvals.queries.last_words import by
from apps.approvals.queries.outside import message_of
from apps.approvals.queries.repeats import repeats_before
from apps.approvals.queries.rules import facts_of
from apps.approvals.queries.targets import target_of_open
from apps.audit.clock import clock
from apps.audit.domain.canonical import CanonicalError

# A reason is read by the agent and by auditors: more than a grunt, less than an essay.
SHORTEST_REASON: Final = 3
LONGEST_REASON: Final = 2000
VERDICTS: Final = ("approve", "edit", "reject", "respond", "ask")
_CONSENT: Final = ("approve", "edit")


@dataclass(frozen=True, slots=True)
class Decided:
    """What a verdict did. `replayed`: it was given before, and nothing changed. `revealed`: what the card really was."""

    decision: Decision
    proposal: Proposal
    replayed: bool = False
    revealed: Revealed | None = None


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
    confirm: str | None
    signed_in_at: datetime | None
    on_behalf_of: int | None = None
    is_barred: bool = False
    attention: Attention = field(default_factory=Attention)


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
    confirm: str | None = None,
    signed_in_at: datetime | None = None,
    down: set[str] | None = None,
    at: datetime | None = None,
) -> Decided:
    """Record one person's verdict on exactly the card they saw (rule R1). The run goes on after commit.

    `confirm` is what the person typed: if given it names the target or an amount, of an edit the edited one. To consent
    to what is of high risk needs it, and a sign-in (`signed_in_at`) of the last 15 minutes. Before a consent the target
    is read again, outside the transaction; if it moved, the card is closed as stale (T12). `down`: systems that did not answer for an earlier card of the same request; it is added to.
    Raises NotFound (404) for outsiders and Forbidden (403) without the right; then, in this order: AlreadyDecided,
    Expired, Claimed, Changed (409), SelfApproval (403), BadVerdict (422), SignInAgain (403), Stale or Unreadable (409),
    BadArgs (422). The same verdict again is a replay.
    Whose attention is in doubt may also meet CoolDown (409) or TooFast (422) when they approve.
    """
    ask = _Ask(verdict, version, digest, args, reason.strip(), actor, channel, confirm, signed_in_at)
    seen = target_of_open(actor, proposal_id, down=down) if verdict in _CONSENT else None
    refusal: errors.Refused = errors.Expired()
    with transaction.atomic():
        row = moves.lock(proposal_id)
        now = at or clock()
        found = ensure_may_decide(row, actor, now)
        ensure_fresh_eyes(row, actor)
        ask = replace(ask, on_behalf_of=found.on_behalf_of, is_barred=found.is_barred)
        replay = _replay(row, ask)
        if replay is not None:
            return replay
        # Past the deadline, or where the target moved, the card closes: that stays written although the verdict is refused.
        if not closing.expire_if_over(row, now):
            _ensure_sound(row, ask, now)
            found_moved = consents.moved(row, seen) if ask.verdict in _CONSENT else None
            if found_moved is None:
                return _decide(row, ask, now)
            refusal = errors.Stale(closing.go_stale(row, found_moved.moved, found_moved.watched_fields, now))
    raise refusal


def ensure_free_for(row: Proposal, user: User, now: datetime) -> None:
    """Raise Claimed while somebody else's lease runs."""
    is_held = row.state == states.CLAIMED and row.claim_until is not None and row.claim_until > now
    if is_held and row.claimed_by_id != user.pk:
        raise errors.Claimed(f"{row.claimed_by} is deciding, until {local_time(row.claim_until, user)}.")


def ensure_same_card(row: Proposal, user: User, now: datetime, *, version: int, digest: str, is_barred: bool) -> None:
    """R1 (d) to (f): nobody else holds the card, it is the one that was read, and the person is not barred."""
    ensure_free_for(row, user, now)
    if (row.version, row.digest) != (version, digest):
        raise errors.Changed
    if is_barred:
        raise errors.SelfApproval(row)


def ensure_worth_asking(row: Proposal) -> None:
    """R5: raise AskedEnough for a card that came back three times."""
    if asking.is_enough(repeats_before(row)):
        raise errors.AskedEnough


def refusal_of_closed(row: Proposal, reader: User) -> errors.Refused:
    """Say to somebody who comes too late what became of a closed card, by whom and when."""
    return _already(row, _live(row).filter(final=True).select_related("actor").first(), reader)


def local_time(moment: datetime | None, user: User, *, seconds: bool = False) -> str:
    shape = "%H:%M:%S" if seconds else "%H:%M"
    return moment.astimezone(ZoneInfo(user.time_zone)).strftime(shape) if moment else "an unknown time"


def ensure_member(row: Proposal, user: User, right: str) -> None:
    """Outsiders learn nothing; members without the right learn which one is missing."""
    if not user.has_perm("approvals.view", row.team_id) and not user.has_perm(right, row.team_id):
        raise errors.NotFound
    if not user.has_perm(right, row.team_id):
        raise Forbidden(right, row.team_id)


def ensure_may_decide(row: Proposal, user: User, now: datetime) -> Standing:
    """Return by whose right a person decides. Outsiders learn nothing; a member without role or delegation is refused.

    A barred person passes: whether the card is still open is told first, and that they are barred when they decide.
    """
    if not user.has_perm("approvals.view", row.team_id):
        raise errors.NotFound
    found = reviewers.standing_of(user, row, at=now)
    if not found.may:
        is_reviewer = user.has_perm("approvals.decide", row.team_id)
        why = "The policy of this action names who decides it, and you are not among them." if is_reviewer else ""
        raise Forbidden("approvals.decide", row.team_id, why=why)
    return found


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
        # Before a verdict the decision says what moved; after an approval the executor noted it.
        told = final.reason if final is not None and final.verdict == "stale" else row.hold_reason
        return errors.Stale(told or "The target changed after it was proposed. Nothing was executed.")
    if final is None:
        return errors.AlreadyDecided(f"This is already {row.get_state_display().lower()}.")
    words = final.get_verdict_display().lower()
    return errors.AlreadyDecided(f"Already {words} by {by(final)} at {local_time(final.decided_at, reader)}.")


def _ensure_sound(row: Proposal, ask: _Ask, now: datetime) -> None:
    """R1 (d) to (g): everything that can be said about a verdict before the target is looked at."""
    ensure_same_card(row, ask.actor, now, version=ask.version, digest=ask.digest, is_barred=ask.is_barred)
    _ensure_well_formed(row, ask)
    if ask.verdict in _CONSENT:
        consents.ensure_meant(row, confirm=ask.confirm, signed_in_at=ask.signed_in_at, now=now)
    if ask.verdict == "ask":
        ensure_worth_asking(row)


def _decide(row: Proposal, ask: _Ask, now: datetime) -> Decided:
    ask = replace(ask, attention=ensure_attentive(row, verdict=ask.verdict, reason=ask.reason, actor=ask.actor, at=now))
    decided = _judge(row, ask, now)
    return replace(decided, revealed=after_verdict(row, decided.decision, ask.attention, at=now))


def _judge(row: Proposal, ask: _Ask, now: datetime) -> Decided:
    if ask.verdict != "edit":
        _ensure_sayable(row, ask)
    match ask.verdict:
        case "approve":
            return _consent(row, ask, now, given=row.approvals_given + 1)
        case "edit":
            return _edit(row, ask, now)
        case "reject":
            told = answer.refuse(wording.rejected(ask.reason))
            return _refuse(row, ask, Step("T8", "person"), told, now)
        case "respond":
            return _refuse(row, ask, Step("T9", "person"), answer.respond(ask.reason), now)
        case _:
            told = answer.refuse(wording.asked_back(ask.reason))
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
    args = row.args if ask.args is None else ask.args
    if ask.confirm is not None and not confirmation.names_it(ask.confirm, target=row.target, args=args):
        told = "What you typed is neither the target nor an amount of this action. Nothing was decided."
        raise errors.BadVerdict(told, code="bad_confirm", pointer="/confirm")
    needs_reason = ask.verdict not in _CONSENT
    if (needs_reason and len(ask.reason) < SHORTEST_REASON) or len(ask.reason) > LONGEST_REASON:
        raise errors.BadVerdict("Give a reason of 3 to 2,000 characters.", code="bad_reason", pointer="/reason")


def _ensure_sayable(row: Proposal, ask: _Ask) -> None:
    """§5.4: what an agent in another process could not be told in its own format is not decided."""
    asked = message_of(row)
    if asked is None:
        return
    try:
        formats.ensure_sayable(asked, row.position, Outcome(ask.verdict, ask.reason, ask.args))
    except BadAnswer as error:
        told = f"{error} Nothing was decided."
        raise errors.BadVerdict(told, code="not_on_offer", pointer="/verdict") from error


def _edit(row: Proposal, ask: _Ask, now: datetime) -> Decided:
    """Change the arguments: a new digest, the editor's own approval, and everybody else's is void."""
    kind, edited = row.action_type, dict(ask.args or {})
    problems = edit.edit_problems(kind.args_schema, editable=kind.editable_fields, current=row.args, edited=edited)
    found = _judged(row, edited)
    problems = problems or _policy_problems(row, found)
    if problems:
        raise errors.BadArgs(problems)
    _ensure_sayable(row, ask)
    weight = edit.materiality(kind.materiality, edit.changed_fields(row.args, edited))
    if row.approvals_given:
        _live(row).filter(verdict__in=_CONSENT).update(voided_at=now)
    row.args, row.digest = edited, row.action.with_args(edited).digest
    _ask_more_people(row, found)
    return _consent(row, ask, now, given=1, materiality=Decimal(str(round(weight, 3))))


def _judged(row: Proposal, edited: Mapping[str, Any]) -> policy.Assessment | None:
    """Run the policy again over what a person made of the arguments (R4)."""
    if row.policy is None:
        return None
    return policy.assess(row.policy.conditions, facts_of(row, edited), approvals=row.policy.approvals_needed)


def _policy_problems(row: Proposal, found: policy.Assessment | None) -> list[Problem]:
    if found is None or found.outcome != policy.DENY:
        return []
    told = f"Policy {row.policy} refuses this. {found.in_words}"
    return [Problem("policy_denies", edit.pointer([found.denied] if found.denied else []), told)]


def _ask_more_people(row: Proposal, found: policy.Assessment | None) -> None:
    """Let an edit need more people than the card did. Never fewer: what was asked for once stays asked for."""
    if found is None or found.approvals <= row.approvals_needed:
        return
    row.approvals_needed = found.approvals
    row.body.review_reason = found.in_words[:300]
    row.body.save(update_fields=["review_reason"])


def _consent(row: Proposal, ask: _Ask, now: datetime, *, given: int, materiality: Decimal | None = None) -> Decided:
    """Count one approval (T6 keeps the card open for the next person) or give the last one (T7, T13)."""
    is_last = given >= row.approvals_needed
    was_claimed = row.state == states.CLAIMED
    is_edited = row.args != row.args_original
    changes: dict[str, object] = {"approvals_given": given}
    if ask.verdict == "edit":
        changes |= {"args": row.args, "digest": row.digest, "approvals_needed": row.approvals_needed}
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
        on_behalf_of_id=ask.on_behalf_of,
        channel=ask.channel,
        digest=row.digest,
        policy_version=row.policy.version if row.policy else None,
        reason=ask.reason,
        args_edited=row.args if ask.verdict == "edit" else None,
        materiality=materiality,
        opened_at=ask.attention.opened_at,
        decided_at=now,
        final=final,
        is_evidence=not (ask.verdict in _CONSENT and ask.attention.includes("no_evidence")),
    )


def _tell(row: Proposal, ask: _Ask, steps: list[Step], *, final: bool) -> None:
    facts = {"verdict": ask.verdict, "final": final, "reason": ask.reason, "channel": ask.channel}
    if ask.verdict == "edit":
        facts["args"] = row.args
    approvals = f"{row.approvals_given}/{row.approvals_needed}"
    moves.tell(
        row,
        "proposal.decided",
        *steps,
        actor=ask.actor.actor,
        on_behalf_of=f"user:{ask.on_behalf_of}" if ask.on_behalf_of else None,
        payload={**facts, "approvals": approvals},
    )


def _live(row: Proposal) -> QuerySet[Decision]:
    return Decision.objects.filter(proposal=row, voided_at__isnull=True)
