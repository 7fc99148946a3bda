"""How many planted cards a team gets, and which of its decisions are looked at twice."""

from datetime import timedelta
from typing import Final

# Often enough that a reviewer of forty cards a day meets two, rare enough that nineteen of twenty cards are work.
DRILL_SHARE: Final = 0.05
# As many decisions are judged by a second person: twenty agreements in a month already say something about a pair.
SECOND_LOOK_SHARE: Final = 0.05
# The share is kept over a week, so that a quiet day neither starves nor floods anybody.
SHARE_OF: Final = timedelta(days=7)
# A team must have seen this many real cards of an agent lately: nobody is drilled on work they do not do.
FEWEST_CARDS: Final = 5
# A drill that is due waits for a toss: cards that came exactly every ten minutes would give themselves away.
CHANCE_PER_TICK: Final = 0.4

_RANGE: Final = float(2**48)


def has_room(*, real: int, planted: int, share: float = DRILL_SHARE) -> bool:
    """Say whether one more planted card keeps the planted ones at or below their share of all new cards."""
    return planted + 1 <= share * (real + planted + 1)


def drawn(mac: bytes) -> float:
    """Turn a keyed hash (6 bytes or more) into a number in [0, 1): the same case always draws the same one."""
    return int.from_bytes(mac[:6], "big") / _RANGE
