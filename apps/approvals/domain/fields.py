"""What a rule may be about for one kind of action, read from the JSON Schema of its arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apps.approvals.domain.rules import (
    ARGS,
    LISTED,
    ORDERED,
    REVERSIBILITIES,
    RISKS,
    WITHOUT_VALUE,
)

# Deeper objects exist; a rule about them is written better as a field of its own.
_DEEPEST: Final = 3
_BY_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("=", "!=", *LISTED, "contains"),
    "choice": ("=", "!=", *LISTED),
    "number": ("=", "!=", *ORDERED, *LISTED),
    "integer": ("=", "!=", *ORDERED, *LISTED),
    "boolean": ("=",),
    "list": ("contains",),
    "other": (),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `name` as rules have it, its `kind` (text, choice, number, integer, boolean, list, other), its choices."""

    name: str
    label: str
    kind: str
    choices: tuple[Any, ...] = ()
    # What a list holds, for what it is said to contain.
    items: str = "text"

    @property
    def ops(self) -> tuple[str, ...]:
        """The comparisons that make sense for it."""
        without = WITHOUT_VALUE if self.name.startswith(ARGS) else WITHOUT_VALUE[:2]
        return (*_BY_KIND[self.kind], *(() if self.name in _NEVER_EMPTY else without))

    @property
    def value_kind(self) -> str:
        return self.items if self.kind == "list" else self.kind


def fields_of(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return what rules may be about: the arguments in the order of the schema, then what every action has."""
    return (*_arguments(schema, ARGS, "", 1), *_OF_EVERY_ACTION)


def labels_of(schema: Mapping[str, Any]) -> dict[str, str]:
    """Return how each field is called, by its name."""
    return {each.name: each.label for each in fields_of(schema)}


_NEVER_EMPTY: Final = ("risk", "reversibility")
_OF_EVERY_ACTION: Final = (
    Field("target", "The target", "text"),
    Field("subject", "The subject", "text"),
    Field("risk", "The risk", "choice", RISKS),
    Field("reversibility", "The reversibility", "choice", REVERSIBILITIES),
    Field("confidence", "The confidence", "number"),
)


def _arguments(schema: Mapping[str, Any], path: str, label: str, depth: int) -> Iterator[Field]:
    for name, part in schema.get("properties", {}).items():
        # A dot in a name would read as a step into an object.
        if "." in name or not isinstance(part, Mapping):
            continue
        named = str(part.get("title") or name.replace("_", " ").capitalize())
        whole = f"{label} · {named}" if label else named
        if part.get("properties") and depth < _DEEPEST:
            yield from _arguments(part, f"{path}{name}.", whole, depth + 1)
        else:
            items = part.get("items")
            held = _kind(items) if isinstance(items, Mapping) else "text"
            held = held if held in ("text", "number", "integer", "boolean") else "text"
            yield Field(f"{path}{name}", whole, _kind(part), _choices(part), held)


def _kind(part: Mapping[str, Any]) -> str:
    if _choices(part):
        return "choice"
    named = part.get("type")
    kinds = [each for each in (named if isinstance(named, list) else [named]) if each != "null"]
    known = {"string": "text", "number": "number", "integer": "integer", "boolean": "boolean", "array": "list"}
    return known.get(str(kinds[0]), "other") if len(kinds) == 1 else "other"


def _choices(part: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values that a field is limited to, where each can be shown as a word."""
    found = part.get("enum")
    is_simple = isinstance(found, list) and bool(found) and all(isinstance(each, str) for each in found)
    return tuple(found) if is_simple and found else ()
