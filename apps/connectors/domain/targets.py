"""How a record in an outside system is named: `desk:tickets/T-1001`."""

import re
from dataclasses import dataclass

_CONNECTOR = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}", re.IGNORECASE)
_COLLECTION = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.IGNORECASE)
# As a path segment it needs no quoting, so it cannot name another path.
_ID = re.compile(r"[A-Za-z0-9._~:-]{1,120}")


class BadTarget(ValueError):
    """A text that names no record."""


@dataclass(frozen=True, slots=True)
class Target:
    """One record: the connector's key, the collection and the id there."""

    connector: str
    collection: str
    id: str

    def __str__(self) -> str:
        return f"{self.connector}:{self.collection}/{self.id}"

    @property
    def path(self) -> str:
        return f"/{self.collection}/{self.id}"


def parse_target(text: str) -> Target:
    """Read `desk:tickets/T-1001`. Raises BadTarget."""
    connector, _, rest = text.partition(":")
    collection, _, record_id = rest.partition("/")
    if not (_CONNECTOR.fullmatch(connector) and is_collection(collection) and is_record_id(record_id)):
        raise BadTarget(f"{text[:200]!r} names no record. A target reads like desk:tickets/T-1001.")
    return Target(connector, collection, record_id)


def is_record_id(text: str) -> bool:
    """Say whether a text can be the id of a record. Only dots would lead to another path."""
    return _ID.fullmatch(text) is not None and bool(text.strip("."))


def is_collection(text: str) -> bool:
    """Say whether a text can be the name of a collection."""
    return _COLLECTION.fullmatch(text) is not None
