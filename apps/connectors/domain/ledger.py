"""How an execution may move: an outcome is told once, and only `unknown` may still become known."""

from datetime import timedelta

STARTED, DONE, FAILED, UNKNOWN = "started", "done", "failed", "unknown"

MOVES: dict[str, frozenset[str]] = {
    STARTED: frozenset({DONE, FAILED, UNKNOWN}),
    UNKNOWN: frozenset({DONE, FAILED}),
    DONE: frozenset(),
    FAILED: frozenset(),
}
# Longer than three attempts of the longest call (10 s each): a row still started then has lost its worker.
STUCK_AFTER = timedelta(seconds=60)


def may_move(before: str, after: str) -> bool:
    """Say whether an execution in one state may be given another."""
    return after in MOVES[before]
