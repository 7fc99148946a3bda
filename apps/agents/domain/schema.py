"""What an action's arguments may look like: a closed JSON Schema (2020-12), and the sentence that says what would happen."""

from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SAYS_WHAT_IT_IS = ("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf")
# Words that would open a closed object again, or reverse the meaning of closing it.
_REFUSED_WORDS = ("not", "if", "then", "else", "patternProperties", "dependentSchemas", "unevaluatedProperties")
# Where the call that undoes an action finds a value: what was done, or how the target stood before.
ARGS = "args"
BEFORE = "before"
COMPENSATION_SOURCES = (ARGS, BEFORE)
# A sentence may also name what the action is about.
TARGET = "target"


class SchemaRefused(ValueError):
    """The definition of an action type cannot be used; `problems` holds one sentence with a JSON pointer each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = list(problems)


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the schema with `additionalProperties: false` on every object, or raise SchemaRefused.

    Every field must say what it is, and references stay inside the schema: an undeclared argument can hide nowhere.
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaRefused([f"{_pointer(error.absolute_path)}: {error.message}"]) from error
    problems = list(_problems(schema))
    if problems:
        raise SchemaRefused(problems)
    result: dict[str, Any] = _closed(schema)
    return result


def checked_definition(
    schema: Mapping[str, Any],
    *,
    editable_fields: Sequence[str],
    materiality: Mapping[str, float],
    consequence: str,
) -> dict[str, Any]:
    """Return the closed schema after checking that everything said about it names its fields."""
    shape = closed(schema)
    known = set(shape["properties"])
    problems = [f"/{name}: an editable field must be an argument." for name in editable_fields if name not in known]
    problems += [f"/{name}: materiality is given for no argument." for name in materiality if name not in known]
    problems += [f"/{name}: materiality lies in 0 to 1." for name, weight in materiality.items() if not _share(weight)]
    problems += _consequence_problems(consequence, known)
    if problems:
        raise SchemaRefused(problems)
    return shape


def checked_compensation(
    sources: Mapping[str, str], *, args_schema: Mapping[str, Any], undoing_schema: Mapping[str, Any]
) -> dict[str, str]:
    """
    Return how the call that undoes an action is made, after checking it: each of its fields from `args.<field>` or `before.<field>`.

    `args` are the action's own arguments, `before` what its target showed when it was proposed. Raises SchemaRefused.
    """
    fields, own = undoing_schema["properties"], args_schema["properties"]
    problems = [f"/{name}: the undoing action has no such argument." for name in sources if name not in fields]
    missing = [name for name in undoing_schema.get("required", ()) if name not in sources]
    problems += [f"/{name}: say where the undoing action takes it from." for name in missing]
    for name, source in sources.items():
        place, _, field = source.partition(".")
        if place not in COMPENSATION_SOURCES or not field:
            problems.append(f"/{name}: {source} is neither args.<field> nor before.<field>.")
        elif place == ARGS and field not in own:
            problems.append(f"/{name}: {field} is no argument of the action.")
    if problems:
        raise SchemaRefused(problems)
    return dict(sources)


def in_words(consequence: str, *, args: Mapping[str, Any], target: str) -> str:
    """Fill the sentence with the typed arguments; an absent one shows as “nothing”."""
    values = {**args, TARGET: target}
    parts = []
    for text, name, _spec, _conversion in Formatter().parse(consequence):
        parts.append(text)
        if name is not None:
            value = values.get(name)
            parts.append("nothing" if value in (None, "") else str(value))
    return "".join(parts)


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    if schema.get("$schema", _DIALECT) != _DIALECT:
        yield "/$schema: only JSON Schema 2020-12 is understood."
    if schema.get("type") != "object" or not schema.get("properties"):
        yield "/: arguments are an object with at least one named property."
        return
    for path, part in _parts(schema, ""):
        yield from _problems_of_one(path or "/", part)
    unknown = sorted(set(schema.get("required", [])) - set(schema["properties"]))
    for name in unknown:
        yield f"/required: {name} is no property."


def _problems_of_one(path: str, part: Any) -> Iterator[str]:
    if not isinstance(part, Mapping) or not any(word in part for word in _SAYS_WHAT_IT_IS):
        yield f"{path}: say what it is (type, enum, const or a reference)."
        return
    for word in _REFUSED_WORDS:
        if word in part:
            yield f"{path}: {word} is not allowed here."
    if not str(part.get("$ref", "#")).startswith("#"):
        yield f"{path}: references stay inside the schema."
    if _may_be(part, "array") and "items" not in part and "$ref" not in part:
        yield f"{path}: a list says what its items are."


def _parts(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each schema inside a schema, itself first."""
    yield path, schema
    if not isinstance(schema, Mapping):
        return
    for word in ("properties", "$defs"):
        for name, part in schema.get(word, {}).items():
            yield from _parts(part, f"{path}/{word}/{name}")
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for place, part in enumerate(schema.get(word, [])):
            yield from _parts(part, f"{path}/{word}/{place}")
    for word in ("items", "contains", "propertyNames"):
        # `items: false` closes a list after its prefixItems.
        if word in schema and schema[word] is not False:
            yield from _parts(schema[word], f"{path}/{word}")


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    result = dict(schema)
    for word in ("properties", "$defs"):
        if word in result:
            result[word] = {name: _closed(part) for name, part in result[word].items()}
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if word in result:
            result[word] = [_closed(part) for part in result[word]]
    for word in ("items", "contains"):
        if word in result:
            result[word] = _closed(result[word])
    if _may_be(result, "object"):
        result["additionalProperties"] = False
    return result


def _may_be(schema: Mapping[str, Any], kind: str) -> bool:
    named = schema.get("type")
    return kind in ([named] if isinstance(named, str) else named or [])


def _consequence_problems(consequence: str, known: set[str]) -> list[str]:
    try:
        parts = list(Formatter().parse(consequence))
    except ValueError as error:
        return [f"Consequence: {error}."]
    problems = []
    for _text, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in known | {TARGET}:
            problems.append(f"Consequence: {{{name}}} is neither an argument nor the target.")
        if spec or conversion:
            problems.append(f"Consequence: {{{name}}} takes no format.")
    return problems


def _share(weight: object) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight <= 1


def _pointer(path: Any) -> str:
    return "/" + "/".join(str(part) for part in path)
