"""Values as people type them into a policy: read to what the schema has, and written so that they read the same again."""

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from apps.approvals.domain.fields import Field
from apps.approvals.domain.rules import MAX_VALUES, exact
from apps.audit.domain.canonical import canonical

_TRUTH: Final = (("yes", True), ("no", False))
_WANTED: Final = {
    "text": "text",
    "choice": "one of the choices",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}


def values_of(known: Field, given: str | Sequence[str]) -> list[Any]:
    """Read several values: ticked ones, a JSON list, or text with commas. Raises ValueError saying what is wrong."""
    if not isinstance(given, str):
        return [typed(known.value_kind, each, known.choices) for each in given]
    text = given.strip()
    if text.startswith("["):
        return _json_list(known, text)
    if known.kind in ("other", "list") and text:
        raise ValueError("Write a JSON list, for example [1, 2].")
    values = [typed(known.value_kind, each.strip(), known.choices) for each in text.split(",") if each.strip()]
    if len(values) > MAX_VALUES:
        raise ValueError(f"At most {MAX_VALUES} values.")
    return values


def typed(kind: str, text: str, choices: Sequence[Any]) -> Any:
    """Read one value as the schema has it. Raises ValueError saying what is wanted."""
    if kind in ("number", "integer"):
        return _number(kind, text.strip())
    if kind == "boolean":
        truth = dict(_TRUTH)
        if text not in truth:
            raise ValueError("Choose yes or no.")
        return truth[text]
    if kind == "choice" and text not in choices:
        raise ValueError(f"Choose one of: {', '.join(map(str, choices))}.")
    if not text:
        raise ValueError("Write a value; “is empty” looks for none.")
    return text.replace("\r\n", "\n")


def text_of(values: Sequence[Any]) -> str:
    """Write values so that `values_of` reads the same again."""
    plain = all(
        isinstance(each, str) and each == each.strip() and each and "," not in each and not each.startswith("[")
        for each in values
    )
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    return ", ".join(map(str, values)) if plain or numbers else json.dumps(list(values), ensure_ascii=False)


def _json_list(known: Field, text: str) -> list[Any]:
    try:
        found = json.loads(text)
        canonical(found)
    except (ValueError, RecursionError) as error:
        raise ValueError("This is no JSON list that can be stored exactly.") from error
    fits = {
        "text": lambda each: isinstance(each, str),
        "choice": lambda each: each in known.choices,
        "number": lambda each: exact(each) is not None,
        "integer": lambda each: isinstance(each, int) and not isinstance(each, bool),
        "boolean": lambda each: isinstance(each, bool),
    }.get(known.kind)
    if not isinstance(found, list) or len(found) > MAX_VALUES or (fits and not all(map(fits, found))):
        raise ValueError(f"Each value must be {_WANTED.get(known.kind, 'JSON')}, at most {MAX_VALUES} of them.")
    return found


def _number(kind: str, text: str) -> int | float:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or (kind == "integer" and number % 1):
        raise ValueError(f"This must be {_WANTED[kind]}.")
    if not number % 1 and abs(number) < 2**53:
        return int(number)
    if exact(float(number)) != number:
        raise ValueError("This number has more digits than can be kept exactly.")
    return float(number)
