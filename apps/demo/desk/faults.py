"""Faults that a tester asks for by name, so that outcomes can become unclear on purpose. Off unless named."""

import os
import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KINDS: Final = ("latency", "drop_before_write", "drop_after_write", "error_after_write")


@dataclass(frozen=True, slots=True)
class Faults:
    """`latency` in seconds before each answer; the others are probabilities in [0, 1] per write."""

    latency: float = 0.0
    drop_before_write: float = 0.0
    drop_after_write: float = 0.0
    error_after_write: float = 0.0

    def strikes(self, share: float) -> bool:
        return share > 0 and random.random() < share  # noqa: S311 chance of a fault, no secret


def parse(text: str) -> Faults:
    """Read `drop_after_write:0.1,latency:0.05`; anything else raises ValueError with a sentence."""
    found: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, amount = part.partition(":")
        if name not in KINDS:
            raise ValueError(f"DESK_FAULTS names {name!r}; it knows {', '.join(KINDS)}.")
        try:
            value = float(amount)
        except ValueError:
            raise ValueError(f"DESK_FAULTS: {name} needs a number, as in {name}:0.1.") from None
        if not 0 <= value <= (60 if name == "latency" else 1):
            raise ValueError(f"DESK_FAULTS: {name}:{amount} is out of range.")
        found[name] = value
    return Faults(**found)


def cut_connection(host: str, port: str) -> None:
    """Shut the connection of this client down, as a broken network would; no server interface can do it."""
    folder = Path("/proc/self/fd")
    for each in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError), socket.socket(fileno=os.dup(int(each.name))) as connection:
            if connection.getpeername()[:2] == (host, int(port)):
                connection.shutdown(socket.SHUT_RDWR)
