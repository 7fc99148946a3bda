"""Everything that one version of a policy says; what a new version changes, and whether that lets more through."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from apps.approvals.domain import explained
from apps.approvals.domain.explained import Vocabulary
from apps.approvals.domain.policy import Conditions, Tier
from apps.approvals.domain.rules import ALONE, ASK, DENY, LISTED, ORDERED, TWO, Clause, Rule, exact, kind_of
from apps.audit.domain.canonical import canonical

_STRICT: Final = {ASK: 1, TWO: 2, DENY: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One version, parsed. `approvers` empty: every reviewer of the team."""

    conditions: Conditions
    approvals_needed: int
    window_s: int
    on_expiry: str
    undo_s: int
    approvers: frozenset[int] = frozenset()
    escalation: tuple[Tier, ...] = ()

    def stored(self) -> dict[str, Any]:
        """Return it as JSON, in one form only: equal terms have equal texts."""
        return {
            "conditions": self.conditions.stored(),
            "approvals_needed": self.approvals_needed,
            "window_s": self.window_s,
            "on_expiry": self.on_expiry,
            "undo_s": self.undo_s,
            "approvers": sorted(self.approvers),
            "escalation": [{"at": float(each.at), "to": each.to} for each in self.escalation],
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One difference in words. `loosens`: it lets something through, or past fewer eyes, that was asked about before."""

    words: str
    loosens: bool = False


def changes(before: Terms, after: Terms, vocabulary: Vocabulary) -> tuple[Change, ...]:
    """Return what a new version changes, what loosens first; nothing if they say the same."""
    found = [
        *_alone(before.conditions, after.conditions),
        *_refusals(before.conditions, after.conditions, vocabulary),
        *_rules(before.conditions, after.conditions, vocabulary),
        *_people(before, after, vocabulary),
        *_times(before, after, vocabulary),
    ]
    return tuple(sorted(found, key=lambda each: not each.loosens))


def covers(later: Rule, earlier: Rule) -> bool:
    """Say whether the later rule holds wherever the earlier one does; it may hold elsewhere too."""
    return all(any(_implies(one, other) for one in earlier.when) for other in later.when)


def _alone(before: Conditions, after: Conditions) -> Iterable[Change]:
    old, new = before.auto_from_confidence, after.auto_from_confidence
    if old == new:
        return
    if new is None:
        yield Change("Nothing runs alone any more.")
    elif old is None:
        yield Change(
            f"From a confidence of {new:g} on it may run alone where it has earned that. Before, nothing could.",
            loosens=True,
        )
    else:
        yield Change(f"It may run alone from a confidence of {new:g}, before from {old:g}.", loosens=new < old)


def _refusals(before: Conditions, after: Conditions, vocabulary: Vocabulary) -> Iterable[Change]:
    for name in sorted({*before.deny, *after.deny}):
        old = {canonical(each): each for each in before.deny.get(name, ())}
        new = {canonical(each): each for each in after.deny.get(name, ())}
        label = vocabulary.label(f"args.{name}")
        gone, come = [old[each] for each in old if each not in new], [new[each] for each in new if each not in old]
        if gone:
            yield Change(f"{label} may now be {explained.either(gone)}. Before, that was refused.", loosens=True)
        if come:
            yield Change(f"{label} may no longer be {explained.either(come)}.")


def _rules(before: Conditions, after: Conditions, vocabulary: Vocabulary) -> Iterable[Change]:
    gone, come = _only_in(before.rules, after.rules), _only_in(after.rules, before.rules)
    for rule in gone:
        yield Change(f"No longer: {explained.rule(rule, vocabulary)}", loosens=_was_needed(rule, before, after))
    for rule in come:
        is_new_freedom = rule.then == ALONE and _grants_more(rule, before, after)
        yield Change(f"New: {explained.rule(rule, vocabulary)}", loosens=is_new_freedom)


def _was_needed(rule: Rule, before: Conditions, after: Conditions) -> bool:
    """Say whether something slips through once a rule is gone: nothing at least as strict holds wherever it did."""
    if rule.then == ALONE:
        # Without any such rule everything that is sure enough may run alone, so the last one was a fence.
        was_fence = any(each.then == ALONE for each in before.rules)
        return was_fence and after.may_run_alone and not any(each.then == ALONE for each in after.rules)
    return not any(_STRICT.get(each.then, 0) >= _STRICT[rule.then] and covers(each, rule) for each in after.rules)


def _grants_more(rule: Rule, before: Conditions, after: Conditions) -> bool:
    if not after.may_run_alone:
        return False
    earlier = [each for each in before.rules if each.then == ALONE]
    return bool(earlier) and not any(covers(each, rule) for each in earlier)


def _people(before: Terms, after: Terms, vocabulary: Vocabulary) -> Iterable[Change]:
    if before.approvals_needed != after.approvals_needed:
        fewer = after.approvals_needed < before.approvals_needed
        told = f"{explained.people(after.approvals_needed)} must agree, before {before.approvals_needed}."
        yield Change(told, loosens=fewer)
    if before.approvers != after.approvers:
        who = explained.approvers(after.approvers, vocabulary)
        wider = bool(before.approvers) and not (after.approvers and after.approvers <= before.approvers)
        yield Change(f"{who} Before: {explained.approvers(before.approvers, vocabulary)}", loosens=wider)


def _times(before: Terms, after: Terms, vocabulary: Vocabulary) -> Iterable[Change]:
    if before.window_s != after.window_s:
        yield Change(f"People have {explained.span(after.window_s)}, before {explained.span(before.window_s)}.")
    if before.on_expiry != after.on_expiry:
        yield Change(explained.expiry(after.on_expiry))
    if before.undo_s != after.undo_s:
        told = f"An approval can be undone for {explained.span(after.undo_s)}, before {explained.span(before.undo_s)}."
        yield Change(told, loosens=after.undo_s < before.undo_s)
    if before.escalation != after.escalation:
        yield Change(f"{explained.escalation(after.escalation)} Before: {explained.escalation(before.escalation)}")


def _only_in(these: Sequence[Rule], those: Sequence[Rule]) -> list[Rule]:
    left = Counter(_text(each) for each in those)
    only = []
    for rule in these:
        text = _text(rule)
        if left[text]:
            left[text] -= 1
        else:
            only.append(rule)
    return only


def _text(rule: Rule) -> str:
    return canonical(rule.stored())


def _implies(one: Clause, other: Clause) -> bool:
    """Say whether the second holds wherever the first does. Only where that is certain: on doubt, no."""
    if one.field != other.field:
        return False
    if canonical(one.stored()) == canonical(other.stored()):
        return True
    if one.op in (*ORDERED, "=") and other.op in ORDERED:
        return _bounds(one, other)
    values = one.value if one.op == "in" else (one.value,)
    if one.op in ("=", "in") and other.op in LISTED:
        kept = {canonical(each) for each in other.value}
        given = {canonical(each) for each in values}
        if other.op == "in":
            return given <= kept
        # Compared with values of other kinds only, it could not be told.
        kinds = {kind_of(each) for each in other.value}
        return not given & kept and all(kind_of(each) in kinds for each in values)
    return False


def _bounds(one: Clause, other: Clause) -> bool:
    """Compare numeric bounds: at least 100 implies at least 50, above 99 and not below 10."""
    left, right = exact(one.value), exact(other.value)
    if left is None or right is None:
        return False
    if one.op == "=":
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[other.op]
    if one.op[0] != other.op[0]:
        return False
    beyond = left > right if one.op[0] == ">" else left < right
    return beyond or (left == right and (other.op.endswith("=") or one.op == other.op))
