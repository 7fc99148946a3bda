"""R4: what a person may change in an action, judged by its JSON Schema; every problem names its place."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from apps.audit.domain.canonical import CanonicalError, canonical

# A field nobody has weighed counts as material: it may be an amount or a recipient.
UNSTATED_MATERIALITY: Final = 1.0

_KINDS: Final[tuple[tuple[str, type | tuple[type, ...]], ...]] = (
    ("true or false", bool),
    ("a number", (int, float)),
    ("text", str),
    ("a list", list),
    ("an object", dict),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why arguments are refused: bad_args, not_editable or no_change, with a JSON pointer (RFC 6901)."""

    code: str
    pointer: str
    message: str


def schema_problems(schema: Mapping[str, Any], args: Mapping[str, Any]) -> list[Problem]:
    """Return what the action type's JSON Schema (2020-12) refuses, undeclared fields first; no $ref is ever fetched."""
    registry: Registry[Any] = Registry()
    validator = Draft202012Validator(dict(schema), registry=registry)
    # What nobody declared tells more of a wrong call than what is missing beside it.
    errors = sorted(validator.iter_errors(dict(args)), key=lambda error: error.validator != "additionalProperties")
    return [problem for error in errors for problem in _problems(error)]


def edit_problems(
    schema: Mapping[str, Any], *, editable: Collection[str], current: Mapping[str, Any], edited: Mapping[str, Any]
) -> list[Problem]:
    """Return why an edit is refused; empty if it may stand. Unknown or wrong-typed first, then fixed fields, then no change."""
    problems = _inexact(edited) or schema_problems(schema, edited) or _changed_kinds(schema, current, edited)
    if problems:
        return problems
    changed = changed_fields(current, edited)
    if not changed:
        return [Problem("no_change", "", "Nothing was changed. Approve it as it is, or change a field.")]
    return [
        Problem("not_editable", pointer([field]), f"{field} cannot be changed here. Reject it instead.")
        for field in changed
        if field not in editable
    ]


def changed_fields(current: Mapping[str, Any], edited: Mapping[str, Any]) -> list[str]:
    """Return the top-level fields whose value differs, a missing field included, in the order of their names."""
    return [
        field
        for field in sorted({*current, *edited})
        if (field in current) != (field in edited) or canonical(current.get(field)) != canonical(edited.get(field))
    ]


def materiality(weights: Mapping[str, float], changed: Iterable[str]) -> float:
    """Return how much an edit matters in [0, 1]: its weightiest field; 0 if nothing changed."""
    return max((float(weights.get(field, UNSTATED_MATERIALITY)) for field in changed), default=0.0)


def pointer(path: Iterable[str | int]) -> str:
    """Write a path as a JSON pointer: ~ and / are escaped, the whole document is the empty text."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _inexact(args: Mapping[str, Any]) -> list[Problem]:
    """NaN, a lone surrogate, an integer too large: what has no one canonical text cannot be approved."""
    try:
        canonical(dict(args))
    except CanonicalError as error:
        return [Problem("bad_args", error.pointer, f"{error.problem.capitalize()} cannot be stored exactly.")]
    return []


def _problems(error: ValidationError) -> list[Problem]:
    path: list[str | int] = list(error.absolute_path)
    match error.validator, error.instance:
        case "additionalProperties", dict() as given:
            known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
            return [
                Problem("bad_args", pointer([*path, name]), f"{name} is not a field of this action.")
                for name in sorted(set(given) - set(known))
            ]
        case "required", dict() as given:
            wanted = error.validator_value if isinstance(error.validator_value, list) else []
            missing = next((name for name in wanted if name not in given and f"'{name}'" in error.message), "")
            return [Problem("bad_args", pointer([*path, missing]), f"{missing} is missing.")]
        case "type", _:
            return [Problem("bad_args", pointer(path), f"This must be {_type_in_words(error.validator_value)}.")]
        case "enum", _:
            choices = ", ".join(str(each) for each in _as_list(error.validator_value))
            return [Problem("bad_args", pointer(path), f"Choose one of: {choices}.")]
        case _:
            return [Problem("bad_args", pointer(path), f"{error.message[:200]}.")]


def _changed_kinds(schema: Mapping[str, Any], current: Mapping[str, Any], edited: Mapping[str, Any]) -> list[Problem]:
    """Where the schema leaves a field's type open, it keeps the type that the agent gave it."""
    described = schema.get("properties", {})
    return [
        Problem("bad_args", pointer([field]), f"This must stay {_kind(current[field])}.")
        for field in sorted(set(current) & set(edited))
        if not {"type", "enum", "const"} & set(described.get(field, {}))
        and _kind(current[field]) != _kind(edited[field])
    ]


def _kind(value: object) -> str:
    return next((name for name, types in _KINDS if isinstance(value, types)), "empty")


def _type_in_words(wanted: object) -> str:
    words = {"string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false"}
    words |= {"array": "a list", "object": "an object", "null": "empty"}
    return " or ".join(words.get(str(each), str(each)) for each in _as_list(wanted))


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
