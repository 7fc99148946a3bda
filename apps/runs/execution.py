"""The narrow gate through which every write of an agent leaves: no claim, no write."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from apps.connectors import client
from apps.connectors.client import Record, Written


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every tool of a run may know; never part of a checkpoint."""

    run_id: int
    thread_id: str
    case: str
    connector_key: str
    fingerprint: str
    worker: str
    # As read just before the answer was handed to the thread; None outside a resume.
    target_now: Record | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A consumed proposal: the right to send exactly one change to exactly one target."""

    target: str
    etag: str | None
    idempotency_key: str
    actor: str


class WriteWithoutClaim(RuntimeError):
    """A write tool ran outside ExecutionClaim; nothing was sent."""


_claim: ContextVar[Claim | None] = ContextVar("claim", default=None)


@contextmanager
def claimed(claim: Claim) -> Iterator[None]:
    """Let the write tool inside send this one change."""
    token = _claim.set(claim)
    try:
        yield
    finally:
        _claim.reset(token)


def write(target: str, changes: Mapping[str, Any]) -> Written:
    """Send the claimed change. Raises WriteWithoutClaim for any other target, and the connectors' errors."""
    claim = _claim.get()
    if claim is None or claim.target != target:
        raise WriteWithoutClaim(f"No consumed proposal covers a write to {target}. Nothing was sent.")
    return client.write(
        target,
        changes=dict(changes),
        etag=claim.etag,
        idempotency_key=claim.idempotency_key,
        actor=claim.actor,
    )
