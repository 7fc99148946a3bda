"""Where a proposal may go from where it stands, and who or what may move it. There are no other moves."""

from dataclasses import dataclass
from typing import Final

PROPOSED: Final = "proposed"
PENDING: Final = "pending"
CLAIMED: Final = "claimed"
APPROVED: Final = "approved"
EDITED: Final = "edited"
AUTO: Final = "auto"
QUEUED: Final = "queued"
EXECUTING: Final = "executing"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"
ROLLED_BACK: Final = "rolled_back"
REJECTED: Final = "rejected"
ANSWERED: Final = "answered"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"
STALE: Final = "stale"

OPEN: Final = frozenset({PENDING, CLAIMED})
CONSENTED: Final = frozenset({APPROVED, EDITED, AUTO})
AFTER_CONSENT: Final = frozenset({QUEUED, EXECUTING, SUCCEEDED, FAILED, UNKNOWN, ROLLED_BACK})
TERMINAL: Final = frozenset({REJECTED, ANSWERED, EXPIRED, WITHDRAWN, STALE, FAILED, ROLLED_BACK, SUCCEEDED})
# Closed without anything having run: the waiting thread must be told so.
UNEXECUTED: Final = frozenset({REJECTED, ANSWERED, EXPIRED, WITHDRAWN, STALE})
STATES: Final = OPEN | CONSENTED | AFTER_CONSENT | TERMINAL | {PROPOSED}


class IllegalMove(Exception):
    """The table has no such move."""


@dataclass(frozen=True, slots=True)
class Move:
    """One named arrow of the state machine; no sources means that it makes the proposal."""

    name: str
    sources: frozenset[str]
    targets: frozenset[str]
    causes: frozenset[str]


def _move(name: str, sources: str, targets: str, causes: str) -> tuple[str, Move]:
    return name, Move(name, frozenset(sources.split()), frozenset(targets.split()), frozenset(causes.split()))


MOVES: Final[dict[str, Move]] = dict(
    (
        _move("T1", "", "proposed", "intake"),
        _move("T2", "proposed", "rejected", "policy"),
        _move("T3", "proposed", "auto", "policy"),
        _move("T4", "proposed", "pending", "policy"),
        _move("T5", "pending", "claimed", "person"),
        _move("T6", "claimed", "pending", "person timer"),
        _move("T7", "pending claimed", "approved edited", "person"),
        _move("T8", "pending claimed", "rejected", "person"),
        _move("T9", "pending claimed", "answered", "person"),
        _move("T10", "pending claimed", "expired", "timer"),
        _move("T11", "proposed pending claimed queued", "withdrawn", "agent person system"),
        _move("T12", "pending claimed", "stale", "system"),
        _move("T13", "approved edited auto", "queued", "system"),
        _move("T14", "queued", "pending", "person"),
        _move("T15", "queued", "expired stale withdrawn", "executor timer"),
        _move("T16", "queued", "executing", "executor"),
        _move("T17", "executing", "succeeded failed unknown", "executor timer agent"),
        _move("T18", "unknown", "succeeded failed", "person"),
        _move("T19", "succeeded", "rolled_back", "system"),
    )
)


def edges() -> frozenset[tuple[str, str]]:
    """Return every change of state that one UPDATE may make: each arrow, and consent together with what follows it.

    The database holds the same list (trigger `only_known_moves`), so that no other code can move a proposal either.
    """
    arrows = {(source, target) for move in MOVES.values() for source in move.sources for target in move.targets}
    both = {(source, QUEUED) for source, target in arrows if target in CONSENTED}
    return frozenset(arrows | both)


def after(name: str, source: str, target: str | None = None, *, cause: str) -> str:
    """Return the state that a named move leads to; `target` may be left out where the move has only one.

    Raises IllegalMove if the table does not hold this move from this state, to this target, by this cause.
    """
    move = MOVES.get(name)
    if move is None:
        raise IllegalMove(f"there is no move {name}")
    if source not in (move.sources or {""}):
        raise IllegalMove(f"{name} does not start at {source or 'nothing'}")
    if cause not in move.causes:
        raise IllegalMove(f"{name} is not caused by {cause}")
    if target is None and len(move.targets) == 1:
        return next(iter(move.targets))
    if target is None or target not in move.targets:
        raise IllegalMove(f"{name} does not lead to {target}")
    return target
