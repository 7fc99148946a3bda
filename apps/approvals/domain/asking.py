"""R5: how often a question may come back before somebody has to decide it."""

from typing import Final

# A question that three new proposals did not settle is not settled by a fourth answer of the agent.
MOST_REPEATS: Final = 3


def comes_instead(state: str, *, was_asked: bool) -> bool:
    """Say whether a new proposal of the same kind takes the place of an earlier one: it was asked back, or went stale."""
    return state == "stale" or (state == "answered" and was_asked)


def is_enough(repeats: int) -> bool:
    """Say whether a proposal, before which so many came in place of another, is to be decided and not asked back."""
    return repeats >= MOST_REPEATS
