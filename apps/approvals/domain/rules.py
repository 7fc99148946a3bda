"""One rule of a policy: where all its clauses hold, it says what follows. A clause answers yes, no, or "cannot be told"."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

DENY, TWO, ASK, ALONE = "deny", "two", "ask", "alone"
# What a rule may lead to, the strictest first.
THENS: Final = (DENY, TWO, ASK, ALONE)
# What a clause may be about besides `args.<name>` and, inside an object or a list, `args.<name>.<name>`.
RISKS: Final = ("low", "medium", "high")
REVERSIBILITIES: Final = ("reversible", "compensable", "irreversible")
PLAIN_FIELDS: Final = ("target", "subject", "risk", "reversibility", "confidence")
ARGS: Final = "args."
WITHOUT_VALUE: Final = ("is empty", "is not empty", "changed")
ORDERED: Final = ("<", "<=", ">", ">=")
LISTED: Final = ("in", "not in")
OPS: Final = ("=", "!=", *ORDERED, *LISTED, "contains", *WITHOUT_VALUE)
# More than this nobody reads, and everything of it is read for every proposal.
MAX_CLAUSES: Final = 10
MAX_VALUES: Final = 200
MAX_WHY: Final = 200


class Unevaluable(Exception):
    """The stored conditions make no sense, so nobody can say what they allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a policy may know of one action. `original`: its arguments as the agent proposed them, None if as now."""

    args: Mapping[str, Any]
    original: Mapping[str, Any] | None = None
    target: str = ""
    subject: str = ""
    risk: str
    reversibility: str
    confidence: Decimal | float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clause found. `holds` is None where it cannot be told, and `problem` then says why."""

    holds: bool | None
    found: Any = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison: a field, how it is compared, and with what (a list for `in`, nothing for `is empty`)."""

    field: str
    op: str
    value: Any = None

    @classmethod
    def parse(cls, stored: object) -> "Clause":
        """Read one clause as it is stored. Raises Unevaluable."""
        if not isinstance(stored, Mapping) or set(stored) - {"field", "op", "value"}:
            raise Unevaluable("a condition holds something this version does not know")
        field, op = stored.get("field"), stored.get("op")
        value: Any = stored.get("value")
        if not isinstance(field, str) or not _is_field(field):
            raise Unevaluable(f"{str(field)[:60]} is no field of an action")
        if not isinstance(op, str) or op not in OPS:
            raise Unevaluable(f"{str(op)[:20]} is no comparison")
        if problem := _value_problem(field, op, value, is_given="value" in stored):
            raise Unevaluable(f"{field[:60]} {op}: {problem}")
        return cls(field, op, tuple(value) if op in LISTED else value)

    def stored(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        start: dict[str, Any] = {"field": self.field, "op": self.op}
        if self.op in WITHOUT_VALUE:
            return start
        return {**start, "value": list(self.value) if self.op in LISTED else self.value}

    def read(self, facts: Facts) -> Reading:
        """Compare. A field that is missing, or of another type than the value, cannot be told."""
        found = value_of(facts, self.field)
        if self.op == "changed":
            before = found if facts.original is None else _dig(facts.original, self.field)
            return Reading(not _same_json(found, before), found)
        if self.op in WITHOUT_VALUE:
            return Reading(is_empty(found) is (self.op == "is empty"), found)
        if found is None:
            return Reading(None, None, "is missing")
        holds = _COMPARED[self.op](found, self.value)
        return Reading(holds, found, "" if holds is not None else f"is {kind_of(found)}, which cannot be compared")


@dataclass(frozen=True, slots=True)
class Rule:
    """Where all clauses hold: refuse it, ask two people, ask a person, or let it run alone."""

    when: tuple[Clause, ...]
    then: str
    why: str = ""

    @classmethod
    def parse(cls, stored: object) -> "Rule":
        """Read one rule as it is stored. Raises Unevaluable."""
        if not isinstance(stored, Mapping) or set(stored) - {"when", "then", "why"}:
            raise Unevaluable("it holds something this version does not know")
        when, then, why = stored.get("when"), stored.get("then"), stored.get("why", "")
        if not isinstance(when, list) or not 1 <= len(when) <= MAX_CLAUSES:
            raise Unevaluable(f"it needs 1 to {MAX_CLAUSES} conditions")
        if not isinstance(then, str) or then not in THENS:
            raise Unevaluable(f"it must lead to one of: {', '.join(THENS)}")
        if not isinstance(why, str) or len(why) > MAX_WHY:
            raise Unevaluable(f"its reason must be text of at most {MAX_WHY} characters")
        return cls(tuple(Clause.parse(each) for each in when), then, why)

    def stored(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        start: dict[str, Any] = {"when": [each.stored() for each in self.when], "then": self.then}
        return {**start, "why": self.why} if self.why else start

    def read(self, facts: Facts) -> Reading:
        """Yes where all clauses hold, no where one does not; cannot be told if it hangs on one that cannot."""
        open_one = None
        for clause in self.when:
            reading = clause.read(facts)
            if reading.holds is False:
                return reading
            if reading.holds is None and open_one is None:
                open_one = Reading(None, reading.found, f"{name_of(clause.field)} {reading.problem}")
        return open_one or Reading(True)


def value_of(facts: Facts, field: str) -> Any:
    """Return what a field holds; None if it is missing, null, or (for target and subject) empty."""
    if field.startswith(ARGS):
        return _dig(facts.args, field)
    return getattr(facts, field) if field == "confidence" else getattr(facts, field) or None


def name_of(field: str) -> str:
    """Name a field as a sentence does: `args.amount` is just the amount."""
    return field.removeprefix(ARGS).replace("_", " ")


def is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | Mapping | list | tuple) and not value)


def exact(value: object) -> Decimal | None:
    """Return a JSON number as the decimal that is written, 0.1 as 0.1; None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() else None


def kind_of(value: object) -> str:
    """Name the JSON type of a value in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float | Decimal):
        return "a number" if exact(value) is not None else "no finite number"
    return {str: "text", list: "a list", dict: "an object", type(None): "empty"}.get(type(value), "something else")


def _is_field(field: str) -> bool:
    return field in PLAIN_FIELDS or (field.startswith(ARGS) and all(field.split(".")))


def _value_problem(field: str, op: str, value: object, *, is_given: bool) -> str:
    if op in WITHOUT_VALUE:
        if is_given:
            return "this comparison takes no value"
        return "only an argument can be changed" if op == "changed" and not field.startswith(ARGS) else ""
    if op in LISTED:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_VALUES:
            return f"this comparison takes a list of 1 to {MAX_VALUES} values"
        return next((problem for each in value if (problem := _scalar_problem(each))), "")
    if op in ORDERED:
        return "" if exact(value) is not None else "this comparison takes a number"
    return _scalar_problem(value)


def _scalar_problem(value: object) -> str:
    if isinstance(value, bool | str) or exact(value) is not None:
        return ""
    return "a value is text, a finite number, or true or false"


def _dig(args: Mapping[str, Any], field: str) -> Any:
    found: Any = args
    for name in field.removeprefix(ARGS).split("."):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isascii() and name.isdigit() and len(name) <= 4:  # noqa: PLR2004  # a place in a list, not a huge number
            found = found[int(name)] if int(name) < len(found) else None
        else:
            return None
    return found


def _equal(found: object, value: object) -> bool | None:
    """Compare two scalars; None if they are of different kinds, as 25 is not "25"."""
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value if isinstance(found, bool) and isinstance(value, bool) else None
    if isinstance(found, str) or isinstance(value, str):
        return found == value if isinstance(found, str) and isinstance(value, str) else None
    left, right = exact(found), exact(value)
    return None if left is None or right is None else left == right


def _negated(answer: bool | None) -> bool | None:  # noqa: FBT001  # one of three answers
    return None if answer is None else not answer


def _is_in(found: object, values: Sequence[object]) -> bool | None:
    answers = [answer for each in values if (answer := _equal(found, each)) is not None]
    return any(answers) if answers else None


def _contains(found: object, value: object) -> bool | None:
    """Look for a text inside a text, in whatever case, or for an item of a list."""
    if isinstance(found, str):
        return value.casefold() in found.casefold() if isinstance(value, str) else None
    if not isinstance(found, list):
        return None
    answers = [_equal(each, value) for each in found]
    if True in answers:
        return True
    return None if None in answers else False


def _ordered(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[object, object], bool | None]:
    def answer(found: object, value: object) -> bool | None:
        left, right = exact(found), exact(value)
        return None if left is None or right is None else compare(left, right)

    return answer


def _same_json(one: object, other: object) -> bool:
    """Say whether two JSON values are the same, types included: true is not 1, but 40 is 40.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(_same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_json, one, other))
    return (one is None and other is None) or _equal(one, other) is True


_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool | None]]] = {
    "=": _equal,
    "!=": lambda found, value: _negated(_equal(found, value)),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": _is_in,
    "not in": lambda found, values: _negated(_is_in(found, values)),
    "contains": _contains,
}
