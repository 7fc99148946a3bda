"""What a ticket and a customer look like, and what the desk refuses to store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

type_names: Final = {str: "text", int: "a whole number", list: "a list of texts"}

MAX_LIST: Final = 200


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `limit` is characters for text, the largest value for numbers, characters per entry for lists."""

    kind: type
    limit: int
    is_required: bool = False
    choices: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Problem:
    """One refused value: a JSON pointer and a sentence."""

    pointer: str
    message: str


STATUSES: Final = ("new", "open", "routed", "waiting", "solved", "closed")

COLLECTIONS: Final[Mapping[str, Mapping[str, Field]]] = {
    "tickets": {
        "subject": Field(str, 300),
        "text": Field(str, 20_000, is_required=True),
        "customer": Field(str, 120),
        "queue": Field(str, 80),
        "priority": Field(str, 40),
        "status": Field(str, 20, choices=frozenset(STATUSES)),
        "reply": Field(str, 20_000),
        "opened_at": Field(str, 40),
    },
    "customers": {
        "name": Field(str, 200, is_required=True),
        "plan": Field(str, 80),
        "site": Field(str, 120),
        "contact": Field(str, 200),
        "seats": Field(int, 1_000_000),
        "devices": Field(list, 200),
        "note": Field(str, 2_000),
    },
}
DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {"tickets": {"status": "new"}, "customers": {}}

ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~:-")


def problems_with_changes(collection: str, changes: object) -> list[Problem]:
    """Say what is wrong with the body of a PATCH; an empty list means it may be written."""
    if not isinstance(changes, dict):
        return [Problem("", "Send a JSON object of fields.")]
    if not changes:
        return [Problem("", "Name at least one field to change.")]
    return [problem for name, value in changes.items() for problem in _problems_with(collection, str(name), value)]


def problems_with_record(collection: str, record: object) -> list[Problem]:
    """Say what is wrong with a new record."""
    if not isinstance(record, dict):
        return [Problem("", "Send a JSON object.")]
    found = _problems_with_id(record.get("id"))
    fields = COLLECTIONS[collection]
    found += [
        Problem(f"/{name}", f"{name} is missing.")
        for name, field in fields.items()
        if field.is_required and name not in record
    ]
    for name, value in record.items():
        if name != "id":
            found += _problems_with(collection, str(name), value)
    return found


def complete(collection: str, record: Mapping[str, object]) -> dict[str, object]:
    """Return every field of the collection in its order, absent ones with their default or null."""
    defaults = DEFAULTS[collection]
    return {name: record.get(name, defaults.get(name)) for name in COLLECTIONS[collection]}


def _problems_with_id(value: object) -> list[Problem]:
    if isinstance(value, str) and 0 < len(value) <= 120 and set(value) <= ID_CHARACTERS and value.strip("."):  # noqa: PLR2004 as long as a path segment should be
        return []
    return [Problem("/id", "id must be 1 to 120 letters, digits or ._~:- and not only dots.")]


def _problems_with(collection: str, name: str, value: object) -> list[Problem]:
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    field = COLLECTIONS[collection].get(name)
    if field is None:
        return [Problem(pointer, f"{collection} have no field {name!r} that can be written.")]
    if value is None:
        return [Problem(pointer, f"{name} cannot be empty.")] if field.is_required else []
    if type(value) is not field.kind:
        return [Problem(pointer, f"{name} must be {type_names[field.kind]}.")]
    message = _beyond_limit(name, field, value)
    return [Problem(pointer, message)] if message else []


def _beyond_limit(name: str, field: Field, value: object) -> str:
    if isinstance(value, str):
        if not _is_whole_text(value):
            return f"{name} holds half a character (a lone surrogate)."
        if field.choices and value not in field.choices:
            return f"{name} must be one of {', '.join(sorted(field.choices))}."
        return f"{name} may have {field.limit} characters, not {len(value)}." if len(value) > field.limit else ""
    if isinstance(value, int):
        return "" if 0 <= value <= field.limit else f"{name} must be between 0 and {field.limit}."
    if isinstance(value, list) and (
        len(value) > MAX_LIST
        or not all(isinstance(each, str) and len(each) <= field.limit and _is_whole_text(each) for each in value)
    ):
        return f"{name} must be a list of at most {MAX_LIST} texts of at most {field.limit} characters."
    return ""


def _is_whole_text(value: str) -> bool:
    """JSON can spell half of a surrogate pair; no store can keep it."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
