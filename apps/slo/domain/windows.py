"""Keys of the roll-ups and the pieces of a window. Instants are UTC; keys are the END of their minute or hour in epoch seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTE = 60
HOUR = 3600
# Events of a running transaction may still appear: the instant evaluated lies this far behind now (slo.md rule 10).
SETTLE = timedelta(seconds=60)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def minute_key(at: datetime) -> int:
    """Row m holds the events of (m − 60, m]."""
    micro = (at - EPOCH) // timedelta(microseconds=1)
    return -(-micro // (MINUTE * 1_000_000)) * MINUTE


def hour_key(minute: int) -> int:
    """Row h holds the minutes of (h − 3600, h]."""
    return (minute - MINUTE) // HOUR * HOUR + HOUR


def evaluated_at(now: datetime, *, settle: timedelta = SETTLE) -> int:
    """Return t: the newest full minute whose events have settled, in epoch seconds."""
    micro = (now - settle - EPOCH) // timedelta(microseconds=1)
    return micro // (MINUTE * 1_000_000) * MINUTE


def moment(seconds: int) -> datetime:
    """Return the instant of a key."""
    return EPOCH + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Pieces:
    """The window (t − W, t] as half-open ranges: whole hours between two edges of minutes. An empty range has start = end."""

    head: tuple[int, int]
    hours: tuple[int, int]
    tail: tuple[int, int]


def pieces(t: int, length: int) -> Pieces:
    """Split (t − length, t] so that every event is read once; `t` and `length` in seconds, whole minutes."""
    start = t - length
    up = -(-start // HOUR) * HOUR
    down = t // HOUR * HOUR
    if up >= down:
        return Pieces(head=(start, t), hours=(t, t), tail=(t, t))
    return Pieces(head=(start, up), hours=(up, down), tail=(down, t))
