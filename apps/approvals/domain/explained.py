"""A policy in words: one readable sentence for each thing it says, made from its data and from nothing else."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from apps.approvals.domain import window
from apps.approvals.domain.hidden import reveal
from apps.approvals.domain.policy import Conditions, Facts, Tier
from apps.approvals.domain.rules import (
    ALONE,
    ARGS,
    ASK,
    DENY,
    LISTED,
    TWO,
    WITHOUT_VALUE,
    Clause,
    Reading,
    Rule,
    name_of,
)

_LONGEST_SHOWN: Final = 60
# How each comparison is said; a form offers the same words.
OPS_IN_WORDS: Final = {
    "=": "is",
    "!=": "is not",
    "<": "is below",
    "<=": "is at most",
    ">": "is above",
    ">=": "is at least",
    "in": "is one of",
    "not in": "is none of",
    "contains": "contains",
    "is empty": "is empty",
    "is not empty": "is not empty",
    "changed": "was changed by a person",
}
THENS_IN_WORDS: Final = {
    DENY: "it is refused",
    TWO: "two people decide",
    ASK: "a person decides",
    ALONE: "it may run alone",
}
_DOES: Final = {
    DENY: ("refuses", "refuse"),
    TWO: ("asks two people", "ask two people"),
    ASK: ("asks a person", "ask a person"),
    ALONE: ("lets it run alone", "let it run alone"),
}
_COUNTS: Final = {1: "One person", 2: "Two people", 3: "Three people", 4: "Four people", 5: "Five people"}
_CALLED: Final = {"on_duty": "whoever is on call", "lead": "the team's lead", "deputy": "the deputy"}
_PLAIN: Final = {"target": "The target", "subject": "The subject", "risk": "The risk", "confidence": "The confidence"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a page calls fields and people: labels by field ("args.amount"), names by id."""

    labels: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[int, str] = field(default_factory=dict)

    def label(self, name: str) -> str:
        known = self.labels.get(name) or _PLAIN.get(name)
        plain = known or name_of(name)
        return plain[:1].upper() + plain[1:]


@dataclass(frozen=True, slots=True)
class ClauseRead:
    """One comparison of one action: what was found, what was wanted, and the answer (None: cannot be told)."""

    wanted: str
    found: str
    holds: bool | None


@dataclass(frozen=True, slots=True)
class RuleRead:
    """What one rule made of one action."""

    number: int
    sentence: str
    holds: bool | None
    clauses: tuple[ClauseRead, ...]


def rule(each: Rule, vocabulary: Vocabulary) -> str:
    """Say one rule in one sentence, and its reason in another."""
    when = " and ".join([_lower(clause(one, vocabulary)) for one in each.when])
    why = f" {_ended(each.why)}" if each.why else ""
    return f"Where {when}: {THENS_IN_WORDS[each.then]}.{why}"


def clause(one: Clause, vocabulary: Vocabulary) -> str:
    label = vocabulary.label(one.field)
    if one.op in WITHOUT_VALUE:
        return f"{label} {OPS_IN_WORDS[one.op]}"
    if one.op in LISTED:
        if one.op == "in":
            return f"{label} is {either(one.value)}"
        return f"{label} is {'neither' if len(one.value) > 1 else 'not'} {_joined(one.value, 'nor')}"
    return f"{label} {OPS_IN_WORDS[one.op]} {value(one.value)}"


def sentences(conditions: Conditions, approvals: int, vocabulary: Vocabulary) -> list[str]:
    """Say what the conditions do, without the rules: who decides usually, and which values are refused."""
    told = [usual(conditions, approvals)]
    for name, values in conditions.deny.items():
        if values:
            told.append(f"It is refused where {_lower(vocabulary.label(ARGS + name))} is {either(values)}.")
    return told


def usual(conditions: Conditions, approvals: int) -> str:
    """Say what happens where no rule says otherwise."""
    who = _COUNTS.get(approvals, f"{approvals} people")
    threshold = conditions.auto_from_confidence
    if threshold is None:
        return f"{who} {'decides' if approvals == 1 else 'decide'} every time."
    if approvals > 1:
        return f"{who} decide every time, however sure it is."
    where = "where a rule lets it, " if any(each.then == ALONE for each in conditions.rules) else ""
    return f"From a confidence of {threshold:g} on it may run alone {where}if it has earned that; otherwise one person decides."


def summary(conditions: Conditions, approvals: int) -> str:
    """Say in one sentence what a policy does."""
    refused = sum(bool(values) for values in conditions.deny.values())
    counts = {then: sum(each.then == then for each in conditions.rules) for then in _DOES}
    counts[DENY] += refused
    parts = [f"{n} {'rule' if n == 1 else 'rules'} {_DOES[then][n > 1]}" if n else "" for then, n in counts.items()]
    said = ", ".join(part for part in parts if part)
    start = usual(conditions, approvals)
    return f"{start} Besides: {said}." if said else start


def read(conditions: Conditions, facts: Facts, vocabulary: Vocabulary) -> tuple[RuleRead, ...]:
    """Work one action through all rules, comparison by comparison."""
    found = []
    for number, each in enumerate(conditions.rules, start=1):
        clauses = tuple(_read(one, one.read(facts), vocabulary) for one in each.when)
        found.append(RuleRead(number, rule(each, vocabulary), each.read(facts).holds, clauses))
    return tuple(found)


def approvers(ids: Collection[int], vocabulary: Vocabulary) -> str:
    if not ids:
        return "Every reviewer of the team may decide."
    names = sorted(vocabulary.people.get(each, f"person {each}") for each in ids)
    return f"Only {_joined_words(names, 'or')} may decide."


def people(count: int) -> str:
    return _COUNTS.get(count, f"{count} people")


def expiry(on_expiry: str) -> str:
    if on_expiry == "extend_once":
        return "If nobody decides in time, the window is extended once; then it expires and nothing is executed."
    return "If nobody decides in time, it expires and nothing is executed."


def escalation(tiers: Sequence[Tier]) -> str:
    if not tiers:
        return "Nobody is called while it waits."
    called = [f"after {_percent(each.at)} of that time {_CALLED[each.to]} is called" for each in tiers]
    told = _joined_words(called, "and")
    return f"{told[:1].upper()}{told[1:]}."


def times(window_s: int, tiers: Sequence[Tier], on_expiry: str, undo_s: int) -> list[str]:
    """Say in the order of time what happens while it waits, when nobody decides, and once somebody did."""
    undo = f"An approval can be undone for {span(undo_s)}." if undo_s else "An approval cannot be undone."
    return [f"People have {span(window_s)} to decide.", escalation(tiers), expiry(on_expiry), undo]


def span(seconds: int) -> str:
    return window.in_words(seconds)


def value(each: Any) -> str:
    """Write a value for the eye: text in quotes, hidden characters as codes."""
    if isinstance(each, bool):
        return "yes" if each else "no"
    if isinstance(each, str):
        text = reveal(each)
        return f"“{text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + '…'}”"
    if each is None:
        return "nothing"
    if isinstance(each, list | tuple):
        return f"a list of {len(each)}"
    return "an object" if isinstance(each, Mapping) else f"{each}"


def either(values: Sequence[Any]) -> str:
    return _joined(values, "or")


def _read(one: Clause, reading: Reading, vocabulary: Vocabulary) -> ClauseRead:
    return ClauseRead(clause(one, vocabulary), value(reading.found), reading.holds)


def _joined(values: Sequence[Any], word: str) -> str:
    return _joined_words([value(each) for each in values], word)


def _joined_words(words: Iterable[str], word: str) -> str:
    *first, last = words
    return f"{', '.join(first)} {word} {last}" if first else last


def _lower(text: str) -> str:
    """Put a label into a sentence; what is written in capitals stays so."""
    first = text.partition(" ")[0]
    return text if len(first) > 1 and first.isupper() else text[:1].lower() + text[1:]


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %"
