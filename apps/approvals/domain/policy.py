"""What a policy makes of a proposal: refuse it, let it through, or ask people; when in doubt, ask two."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from apps.approvals.domain.rules import ALONE, ASK, DENY, MAX_VALUES, TWO, Facts, Rule, Unevaluable, exact
from apps.audit.domain.canonical import CanonicalError, canonical

# Callers speak of a policy's words and facts without knowing that rules have a file of their own.
__all__ = [
    "ALONE",
    "ASK",
    "DENY",
    "FOUR_EYES",
    "TWO",
    "Assessment",
    "Conditions",
    "Facts",
    "Tier",
    "Unevaluable",
    "approvals_needed",
    "approver_ids",
    "assess",
    "default_key",
    "escalation_tiers",
]

# Two people look wherever a mistake is dear or cannot be taken back, and wherever a policy cannot be read.
FOUR_EYES: Final = 2
# A team that wants more signatures than this wants another process.
MOST_APPROVALS: Final = 5
MAX_RULES: Final = 50
MAX_TIERS: Final = 3
MAX_PEOPLE: Final = 50
# Who can be called when a card has waited too long; domain words, resolved by whoever escalates.
ESCALATE_TO: Final = ("on_duty", "lead", "deputy")
# R6: at half of the window whoever is on call, at four fifths whoever leads the team.
USUAL_TIERS: Final = ({"at": 0.5, "to": "on_duty"}, {"at": 0.8, "to": "lead"})


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a policy makes of one action: `deny`, `ask` so many people (`approvals`), or `alone`.

    `rules` and `unclear` are places in the list of rules, from 0: those that hold, and those that could not be judged.
    `denied` names the argument whose value is refused. `is_readable` is False if the conditions make no sense at all.
    """

    outcome: str
    approvals: int
    reasons: tuple[str, ...]
    rules: tuple[int, ...] = ()
    unclear: tuple[int, ...] = ()
    denied: str = ""
    is_readable: bool = True

    @property
    def strictness(self) -> float:
        """Order outcomes: alone 0, then the number of people, refusal above all."""
        return {DENY: math.inf, ALONE: 0}.get(self.outcome, self.approvals)

    @property
    def in_words(self) -> str:
        return " ".join(self.reasons)


@dataclass(frozen=True, slots=True)
class Conditions:
    """auto_from_confidence: a number in [0, 1] or None; deny: refused values by top-level field; rules: in their order."""

    auto_from_confidence: float | None = None
    deny: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    # The canonical text of each refused value, made once: a policy is read for thousands of proposals.
    _refused: Mapping[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, stored: object) -> "Conditions":
        """Read what a policy row holds; unknown keys are refused, as ignoring a rule would be worse than asking.

        Raises Unevaluable, saying what is wrong.
        """
        if not isinstance(stored, Mapping) or set(stored) - {"auto_from_confidence", "deny", "rules"}:
            raise Unevaluable("the conditions hold something this version does not know")
        threshold, deny, rules = stored.get("auto_from_confidence"), stored.get("deny", {}), stored.get("rules", [])
        is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold is not None and not (is_number and math.isfinite(threshold) and 0 <= threshold <= 1):
            raise Unevaluable("auto_from_confidence must be a number from 0 to 1, or absent")
        if not isinstance(deny, Mapping) or not all(isinstance(values, list) for values in deny.values()):
            raise Unevaluable("deny must name fields, each with a list of refused values")
        if not isinstance(rules, list) or len(rules) > MAX_RULES:
            raise Unevaluable(f"rules must be a list of at most {MAX_RULES}")
        kept = {name: tuple(values) for name, values in deny.items()}
        return cls(threshold, kept, _parsed_rules(rules), _refused_texts(kept))

    def stored(self) -> dict[str, Any]:
        """Return what `parse` reads; what is absent stays absent."""
        kept: dict[str, Any] = {}
        if self.auto_from_confidence is not None:
            kept["auto_from_confidence"] = self.auto_from_confidence
        if self.deny:
            kept["deny"] = {name: list(values) for name, values in self.deny.items()}
        if self.rules:
            kept["rules"] = [each.stored() for each in self.rules]
        return kept

    def denied(self, args: Mapping[str, Any]) -> str | None:
        """Return the first field whose value the policy refuses."""
        for name, texts in self._refused.items():
            if name in args and canonical(args[name]) in texts:
                return name
        return None

    def is_sure(self, confidence: Decimal | float | None) -> bool:
        """No stated confidence is never enough, nor is one outside 0 to 1."""
        stated, threshold = exact(confidence), exact(self.auto_from_confidence)
        return stated is not None and threshold is not None and threshold <= stated <= 1

    def assess(self, facts: Facts, *, approvals: int = 1) -> Assessment:
        """Judge one action: a refusal wins wherever it stands; otherwise the strictest of what holds. Never raises."""
        readings = [rule.read(facts) for rule in self.rules]
        holding = tuple(place for place, each in enumerate(readings) if each.holds)
        unclear = tuple(place for place, each in enumerate(readings) if each.holds is None)
        needed = approvals_needed(approvals, risk=facts.risk, reversibility=facts.reversibility)
        refused, odd = self._refusal(facts.args)
        if refused:
            told = f"The policy refuses this value of {refused}."
            return Assessment(DENY, needed, (told,), holding, unclear, refused)
        denying = [place for place in holding if self.rules[place].then == DENY]
        if denying:
            return Assessment(DENY, needed, (self._reason(denying[0]),), holding, unclear, self._argument(denying[0]))
        if odd:
            told = f"The policy cannot be evaluated: {odd}. So two people decide."
            return Assessment(ASK, max(FOUR_EYES, needed), (told,), holding, unclear, is_readable=False)
        asking = [place for place in holding if self.rules[place].then in (TWO, ASK)]
        if unclear or any(self.rules[place].then == TWO for place in asking):
            needed = max(FOUR_EYES, needed)
        reasons = [self._reason(place) for place in sorted(asking, key=lambda place: self.rules[place].then != TWO)]
        reasons += [
            f"Rule {place + 1} cannot be judged: {readings[place].problem}. So two people decide." for place in unclear
        ]
        reasons = reasons or self._usual_reasons(facts, needed, holding)
        if not reasons:
            # Only the rules that let it through are left to name.
            by_rule = tuple(self._reason(place) for place in holding)
            sure = ("It is sure enough and may act alone.",)
            return Assessment(ALONE, needed, by_rule or sure, holding, unclear)
        return Assessment(ASK, needed, tuple(reasons), holding, unclear)

    @property
    def may_run_alone(self) -> bool:
        """Say whether any action at all may run without a person under these conditions."""
        return self.auto_from_confidence is not None

    def _refusal(self, args: Mapping[str, Any]) -> tuple[str, str]:
        """Return the argument that is refused by its value, and what makes the arguments unreadable; empty for none."""
        try:
            return self.denied(args) or "", ""
        except CanonicalError as error:
            return "", str(error)

    def _usual_reasons(self, facts: Facts, needed: int, holding: Sequence[int]) -> list[str]:
        """Say why people are asked where no rule asks for them."""
        why_two = [_why_two(facts)] if needed >= FOUR_EYES else []
        if self.auto_from_confidence is None:
            return ["The policy asks a person every time.", *why_two]
        if not self.is_sure(facts.confidence):
            return [_unsure(facts.confidence, self.auto_from_confidence), *why_two]
        if why_two:
            return why_two
        if not holding and any(rule.then == ALONE for rule in self.rules):
            return ["No rule lets this one run alone."]
        return []

    def _reason(self, place: int) -> str:
        rule = self.rules[place]
        return f"Rule {place + 1}: {rule.why or _PLAIN_REASON[rule.then]}"

    def _argument(self, place: int) -> str:
        """Name the first argument that a rule is about, for the form field beside which its refusal is shown."""
        fields = (clause.field for clause in self.rules[place].when)
        return next((each.split(".")[1] for each in fields if each.startswith("args.")), "")


def _why_two(facts: Facts) -> str:
    if facts.risk == "high":
        return "It is of high risk, so two people decide."
    if facts.reversibility == "irreversible":
        return "It cannot be taken back, so two people decide."
    return "Two people decide this kind of action."


def assess(stored: object, facts: Facts, *, approvals: int = 1) -> Assessment:
    """Judge one action by stored conditions and the number of people that the policy states. Never raises.

    Conditions that make no sense ask two people (T4).
    """
    try:
        conditions = Conditions.parse(stored)
    except Unevaluable as problem:
        needed = approvals_needed(approvals, risk=facts.risk, reversibility=facts.reversibility)
        told = f"The policy cannot be evaluated, so two people decide: {problem}."
        return Assessment(ASK, max(FOUR_EYES, needed), (told,), is_readable=False)
    return conditions.assess(facts, approvals=approvals)


def approvals_needed(stated: int, *, risk: str, reversibility: str) -> int:
    """How many people must agree: at least one, at least two for high risk or what cannot be taken back."""
    floor = FOUR_EYES if risk == "high" or reversibility == "irreversible" else 1
    return max(stated, floor)


@dataclass(frozen=True, slots=True)
class Tier:
    """After `at` of the window (a share between 0 and 1) somebody is called: on_duty, lead or deputy."""

    at: Decimal
    to: str


def escalation_tiers(stored: object) -> tuple[Tier, ...]:
    """Read the tiers of a policy, the earliest first; none is an empty list. Raises Unevaluable."""
    if not isinstance(stored, list) or len(stored) > MAX_TIERS:
        raise Unevaluable(f"escalation must be a list of at most {MAX_TIERS} tiers")
    tiers = tuple(_tier(each) for each in stored)
    if not all(earlier.at < later.at for earlier, later in pairwise(tiers)):
        raise Unevaluable("each tier of the escalation must come later than the one before")
    return tiers


def approver_ids(stored: object) -> frozenset[int]:
    """Read who alone may decide; an empty set means every reviewer of the team. Raises Unevaluable."""
    if not isinstance(stored, Mapping) or set(stored) - {"people"}:
        raise Unevaluable("approvers hold something this version does not know")
    people = stored.get("people", [])
    if not isinstance(people, list) or len(people) > MAX_PEOPLE:
        raise Unevaluable(f"people must be a list of at most {MAX_PEOPLE}")
    if not all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in people):
        raise Unevaluable("people must be named by their numbers")
    return frozenset(people)


def default_key(agent: str, action_type: str, number: int) -> str:
    """Return the key of the policy an action type starts with: a slug of at most 50 characters, its own by the number."""
    words = f"{agent}-{action_type}".replace(".", "-").replace("_", "-").lower()
    return f"{words[:38].strip('-')}-{number}"


_PLAIN_REASON: Final = {
    DENY: "the policy refuses it.",
    TWO: "two people decide.",
    ASK: "a person decides.",
    ALONE: "it may run alone.",
}


def _parsed_rules(stored: Sequence[object]) -> tuple[Rule, ...]:
    parsed = []
    for place, each in enumerate(stored, start=1):
        try:
            parsed.append(Rule.parse(each))
        except Unevaluable as problem:
            raise Unevaluable(f"rule {place}: {problem}") from problem
    return tuple(parsed)


def _refused_texts(deny: Mapping[str, tuple[Any, ...]]) -> dict[str, frozenset[str]]:
    if any(len(values) > MAX_VALUES for values in deny.values()):
        raise Unevaluable(f"deny lists at most {MAX_VALUES} values of a field")
    try:
        return {name: frozenset(canonical(each) for each in values) for name, values in deny.items()}
    except CanonicalError as error:
        raise Unevaluable(f"deny holds what JSON cannot store exactly: {error}") from error


def _tier(stored: object) -> Tier:
    if not isinstance(stored, Mapping) or set(stored) != {"at", "to"}:
        raise Unevaluable("a tier says at which share of the window and to whom")
    at, to = exact(stored["at"]), stored["to"]
    if at is None or not 0 < at < 1:
        raise Unevaluable("a tier comes at a share of the window between 0 and 1")
    if not isinstance(to, str) or to not in ESCALATE_TO:
        raise Unevaluable(f"a tier calls one of: {', '.join(ESCALATE_TO)}")
    return Tier(at, to)


def _unsure(confidence: Decimal | float | None, threshold: float) -> str:
    stated = exact(confidence)
    if stated is None or not 0 <= stated <= 1:
        return f"It does not state how sure it is; alone it needs {threshold:.2f}."
    return f"Its confidence {float(stated):.2f} is below {threshold:.2f}."
