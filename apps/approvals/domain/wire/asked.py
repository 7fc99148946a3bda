"""What an agent in another process asks for and hears, whatever format it speaks; JSON values keep their types."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from apps.approvals.domain.edit import pointer

APPROVE: Final = "approve"
EDIT: Final = "edit"
REJECT: Final = "reject"
RESPOND: Final = "respond"
ASK: Final = "ask"
EXPIRED: Final = "expired"
STALE: Final = "stale"
WITHDRAWN: Final = "withdrawn"
# What a format may be able to say; the rest goes out as a refusal with the honest text.
SAYABLE: Final = frozenset({APPROVE, EDIT, REJECT, RESPOND})
# How many actions one message may hold: a person decides each of them.
MOST_ACTIONS: Final = 50


class BadFormat(ValueError):
    """A message that is not in the format it names; `pointer` is the place in it (RFC 6901)."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.pointer = pointer(path)


class BadAnswer(ValueError):
    """An answer that its agent could not take: nothing of it goes out."""


@dataclass(frozen=True, slots=True)
class AskedAction:
    """One action of a message. `allowed`: the verdicts that its agent can take; `shape`: what its answer must repeat or fit.

    `answer_by`: until when its agent waits, where the message says so.
    """

    position: int
    name: str
    args: Mapping[str, Any]
    description: str = ""
    allowed: frozenset[str] = SAYABLE
    shape: Mapping[str, Any] = field(default_factory=dict)
    answer_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One message: its actions by position, and what the whole answer must repeat."""

    format: str
    actions: tuple[AskedAction, ...]
    shape: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action: approve, edit, reject, respond, ask, expired, stale or withdrawn."""

    verdict: str
    message: str = ""
    args: Mapping[str, Any] | None = None

    @property
    def is_refusal(self) -> bool:
        return self.verdict not in {APPROVE, EDIT, RESPOND}


def said(outcome: Outcome) -> str:
    """Return the verdict as a format can say it: what is neither consent nor a stand-in answer is a refusal."""
    return REJECT if outcome.is_refusal else outcome.verdict


def ensure_answered(asked: Asked, outcomes: Sequence[Outcome]) -> None:
    """Raise BadAnswer unless there is one outcome for each action, and each is one that its agent can take."""
    if len(outcomes) != len(asked.actions):
        raise BadAnswer(f"{len(asked.actions)} actions were asked, {len(outcomes)} are answered.")
    for action, outcome in zip(asked.actions, outcomes, strict=True):
        ensure_allowed(action, outcome)


def ensure_allowed(action: AskedAction, outcome: Outcome) -> None:
    """Raise BadAnswer for a verdict that the agent did not offer; a refusal was made sure of when it asked."""
    if not outcome.is_refusal and outcome.verdict not in action.allowed:
        offered = ", ".join(sorted(action.allowed))
        raise BadAnswer(f"The agent takes no {outcome.verdict} here; it offers: {offered}.")
    if outcome.verdict == EDIT and outcome.args is None:
        raise BadAnswer("An edit carries its arguments.")


def to_json(asked: Asked) -> dict[str, Any]:
    """Return what must be kept of a message to answer it; its arguments are kept with the proposals."""
    return {
        "shape": dict(asked.shape),
        "actions": [
            {
                "name": each.name,
                "allowed": sorted(each.allowed),
                "shape": dict(each.shape),
                **({"answer_by": each.answer_by.isoformat()} if each.answer_by else {}),
            }
            for each in asked.actions
        ],
    }


def answer_by(kept: Mapping[str, Any], position: int) -> datetime | None:
    """Return until when an agent waits for one action of a message that was kept, or None where it did not say."""
    said_so = kept["actions"][position].get("answer_by")
    return None if said_so is None else datetime.fromisoformat(said_so)


def from_json(form: str, kept: Mapping[str, Any], args: Sequence[Mapping[str, Any]]) -> Asked:
    """Return the message again, with the arguments of its actions by position."""
    actions = tuple(
        AskedAction(
            position,
            each["name"],
            given,
            allowed=frozenset(each["allowed"]),
            shape=each["shape"],
            answer_by=answer_by(kept, position),
        )
        for position, (each, given) in enumerate(zip(kept["actions"], args, strict=True))
    )
    return Asked(form, actions, kept["shape"])


def an_object(value: Any, *path: str | int) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadFormat("This must be an object.", *path)
    return value


def a_list(value: Any, *path: str | int) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadFormat("This must be a list with at least one item.", *path)
    if len(value) > MOST_ACTIONS:
        raise BadFormat(f"One message holds {MOST_ACTIONS} actions at most.", *path)
    return value


def a_text(value: Any, *path: str | int) -> str:
    if not isinstance(value, str) or not value:
        raise BadFormat("This must be text, and not empty.", *path)
    return value


def maybe_text(value: Any, *path: str | int) -> str:
    return "" if value is None else a_text(value, *path) if value != "" else ""


def maybe_moment(value: Any, *path: str | int) -> datetime | None:
    """Return a time with its offset (RFC 3339), or None where none is given."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(a_text(value, *path))
    except ValueError as error:
        if isinstance(error, BadFormat):
            raise
        raise BadFormat("This must be a time like 2026-03-02T10:00:00Z.", *path) from error
    if moment.tzinfo is None:
        raise BadFormat("A time needs its offset, like 2026-03-02T10:00:00Z.", *path)
    return moment


def a_schema(value: Any, *path: str | int) -> Mapping[str, Any]:
    """Return a JSON Schema (2020-12) that an answer must fit. Raises BadFormat if it is none."""
    schema = an_object(value, *path)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise BadFormat(f"This is no JSON Schema: {error.message[:200]}.", *path, *error.absolute_path) from error
    return schema


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Say whether a value fits a schema; nothing is ever fetched for a reference."""
    registry: Registry[Any] = Registry()
    try:
        return Draft202012Validator(dict(schema), registry=registry).is_valid(value)
    except Exception:  # noqa: BLE001  # whatever a foreign schema does to the validator: its answer would not be understood
        return False


def unique(values: Iterable[str], *path: str | int) -> None:
    """Raise BadFormat if an id stands there twice: its answer could not be told apart."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise BadFormat(f"{value[:60]} is there twice, so its answer could not be told apart.", *path)
        seen.add(value)
