"""The header of an event: fifteen keys, text or nothing, and no word about a person."""

from collections.abc import Mapping

from apps.audit.domain.canonical import CanonicalError, canonical

VERSION = 1
KEYS = frozenset(
    {
        "v",
        "id",
        "ts",
        "team",
        "actor",
        "on_behalf_of",
        "action",
        "object",
        "agent_version",
        "policy",
        "proposal",
        "digest",
        "outcome",
        "request_id",
        "trace_id",
    }
)
REQUIRED = ("id", "ts", "actor", "action", "object")

# The one value that is not known here: the database writes the moment at which it writes the row.
_MOMENT = "0000-00-00T00:00:00.000000Z"


def header_text(fields: Mapping[str, object]) -> str:
    """Return the canonical header; a key missing, unknown or of another type raises CanonicalError."""
    for key in sorted(KEYS ^ fields.keys()):
        raise CanonicalError("a header key missing" if key in KEYS else "an unknown header key", f"/{key}")
    if type(fields["v"]) is not int:
        raise CanonicalError("the header's version is not a whole number", "/v")
    for key in sorted(KEYS - {"v"}):
        value = fields[key]
        if not (value is None or isinstance(value, str)):
            raise CanonicalError(f"{type(value).__name__} in a header, where only text may be", f"/{key}")
        if value is not None and "\x00" in value:
            raise CanonicalError("a NUL character in a header", f"/{key}")
    for key in REQUIRED:
        if not fields[key]:
            raise CanonicalError("a header value missing", f"/{key}")
    return canonical(fields)


def around_the_moment(fields: Mapping[str, object]) -> tuple[str, str]:
    """Return the header's text before and after `ts`, for the database to put its own clock between."""
    before, after = header_text({**fields, "ts": _MOMENT}).rsplit(_MOMENT, 1)
    return before, after
