"""R3: many verdicts at once, but only on what was shown, and only after some of it was looked at."""

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

# More than this at once is not decided any more, it is waved through.
MOST: Final = 50
# Whoever decides several at once has looked at two of them at least, and at one in ten.
LEAST_OPENED: Final = 2
ONE_IN: Final = 10
# What was shown counts for so long; after that the page is too old to decide from.
SHOWN_FOR_SECONDS: Final = 15 * 60
# High risk is decided one by one.
RISKS: Final = ("low", "medium")
VERDICTS: Final = ("approve", "reject")


@dataclass(frozen=True, slots=True)
class Shown:
    """One card as a page showed it."""

    id: int
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What cards that may be decided together have in common; `policy` is None where no policy asked."""

    kind: int
    risk: str
    policy: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` wrote; None for anything else."""
        kind, _, rest = text.partition(".")
        risk, _, policy = rest.partition(".")
        if not (_is_number(kind) and risk in RISKS and _is_number(policy)):
            return None
        return cls(int(kind), risk, int(policy) or None)

    def __str__(self) -> str:
        return f"{self.kind}.{self.risk}.{self.policy or 0}"


def sample_size(n: int) -> int:
    """Return how many of n cards must have been opened: k = min(n, max(2, ceil(n/10)))."""
    return min(n, max(LEAST_OPENED, -(-n // ONE_IN)))


def sample(chosen: Collection[int], *, shown: Iterable[Shown], key: bytes) -> tuple[int, ...]:
    """Name the cards among the chosen ones that must have been opened, in the order of the page.

    Each card has its place by a keyed hash over everything that the page showed. So nobody can tell beforehand which
    ones it will be, the same page always names the same ones, and leaving one out only puts the next in its place.
    Versions are no part of it: a claim changes them, and looking must not change what is to be looked at.
    """
    places = _places(list(shown), key)
    first = sorted(chosen, key=lambda each: (places.get(each, b"\xff"), each))[: sample_size(len(chosen))]
    return tuple(each for each in chosen if each in first)


def duplicates(cards: Sequence[tuple[int, int, str]]) -> Mapping[int, int]:
    """Map each card that an earlier one of the same agent equals to that one; a card is (id, agent, digest)."""
    first: dict[tuple[int, str], int] = {}
    return {pk: original for pk, agent, digest in cards if (original := first.setdefault((agent, digest), pk)) != pk}


def _places(shown: Sequence[Shown], key: bytes) -> dict[int, bytes]:
    everything = "\n".join(sorted(f"{each.id} {each.digest}" for each in shown)).encode()
    page = hmac.new(key, everything, sha256).digest()
    return {each.id: hmac.new(page, f"{each.id}".encode(), sha256).digest() for each in shown}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
