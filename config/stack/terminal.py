"""Speaks to the person at the terminal: steps with their time, and trouble in one sentence."""

import contextlib
import sys
import time
from collections.abc import Iterator


class Trouble(Exception):
    """One sentence for the person: what happened, what is safe, what now. No traceback follows it."""


def say(text: str = "") -> None:
    print(text, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[list[str]]:
    """Print what is being done, then how long it took. The body may append words on how it went."""
    began = time.monotonic()
    result: list[str] = []
    print(f"  {text} …", end="", flush=True)
    try:
        yield result
    except BaseException:
        print(" stopped", flush=True)
        raise
    print(f" {result[-1] if result else 'done'} ({time.monotonic() - began:.1f} s)", flush=True)


def plain_output() -> None:
    """Replace characters that an old terminal cannot show, instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
