"""R8: what exactly is decided, as one number; an approval binds to it and to nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apps.audit.domain.canonical import canonical
from apps.audit.domain.hashing import digest_of


@dataclass(frozen=True, slots=True)
class Action:
    """The eight facts of an action; amounts and texts keep their types."""

    action_type: str
    schema_version: int
    args: Mapping[str, Any]
    target: str
    subject: str
    agent_fingerprint: str
    policy_version: int

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hex digits over the RFC 8785 text. Raises CanonicalError for what JSON cannot hold exactly."""
        return digest_of(
            {
                "v": 1,
                "action_type": self.action_type,
                "schema_version": self.schema_version,
                "args": dict(self.args),
                "target": self.target,
                "subject": self.subject,
                "agent_fingerprint": self.agent_fingerprint,
                "policy_version": self.policy_version,
            }
        )

    def with_args(self, args: Mapping[str, Any]) -> "Action":
        return replace(self, args=args)

    def with_fingerprint(self, fingerprint: str) -> "Action":
        return replace(self, agent_fingerprint=fingerprint)


@dataclass(frozen=True, slots=True)
class MovedField:
    """A watched field of the target that is no longer what the agent saw."""

    field: str
    proposed: Any
    now: Any


def state_digest(state: Mapping[str, Any], watched: Iterable[str]) -> str:
    """Digest of the watched fields alone, as many systems bump a record's version for trifles."""
    return digest_of({field: state.get(field) for field in watched})


def moved_fields(proposed: Mapping[str, Any], now: Mapping[str, Any], watched: Iterable[str]) -> list[MovedField]:
    """Return the watched fields that differ; a missing field equals null, types count (25 is not "25")."""
    return [
        MovedField(field, proposed.get(field), now.get(field))
        for field in watched
        if canonical(proposed.get(field)) != canonical(now.get(field))
    ]
