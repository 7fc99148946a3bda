"""R18: whether people look before they approve. It protects them from a queue that trains them to click.

Two kinds of signs, and they weigh differently. A missed drill or a second look that disagrees is *direct*: something
wrong went past. Haste, a long run of approvals or a tired evening are *indirect*: they are also what a practised person
on a good day looks like, who clears 100 low-risk cards in five minutes. So indirect signs alone open the evidence, which
costs nobody a second, and only direct ones ask for time.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from scipy.special import betaincinv

# One bound in twenty may be wrong: the usual one-sided 95 %.
CONFIDENCE: Final = 0.95
# Silent reading of plain text by adults, words in a minute (Brysbaert 2019: 238 on average); faster than that is skimming.
WORDS_PER_MINUTE: Final = 250
# Even a card of three words takes this long to see, to judge and to answer; 100 such cards are five minutes of work.
SHORTEST_LOOK_S: Final = 3.0
# A run of approvals is an alarm when a team that rejects as often as this one would produce it once in a hundred times.
RUN_ALARM_P: Final = 0.01
# Below so many approvals in a row nobody is asked anything: a good half hour is no offence, whatever the team's rate.
SHORTEST_RUN: Final = 21
# The team's approval rate of a type is known from so many decisions of others; with fewer there is no alarm.
FEWEST_OF_TEAM: Final = 50
# Two missed drills may be bad luck, three are a pattern worth a sentence.
FEWEST_DRILLS: Final = 3
# Agreement of fewer second looks than this says more about the cases than about the person.
FEWEST_LOOKS: Final = 5
# Haste is a habit only over this many cards that were timed.
FEWEST_TIMED: Final = 20
# Half of the cards that matter decided faster than anybody reads them.
HASTY_SHARE: Final = 0.5
# Each half of the day needs this many drills before one may be called worse than the other.
FEWEST_PER_HALF: Final = 5
# Catching three drills in ten fewer after the middle of the day is tiredness, not chance.
DECAY: Final = -0.3
# Where even the kindest reading of the drills (upper bound) lies below this share, reasons are asked for: a reason is a look.
REASON_BELOW: Final = 0.8
# … below this one approvals wait until the card can have been read.
SLOW_BELOW: Final = 0.6
# … below this one a missed drill or an alarming run is followed by ten minutes off.
COOL_DOWN_BELOW: Final = 0.5
# … below this one approvals are no ground for giving an agent more freedom: two of three wrong ones would pass.
NO_EVIDENCE_BELOW: Final = 0.35
# Long enough to stand up and look out of a window, short enough that nobody's queue breaks.
COOL_DOWN: Final = timedelta(minutes=10)
# Edits that weigh less than this are wording: whoever approved as it was and whoever polished it agree.
WORDING: Final = 0.1

RESPONSES: Final = ("none", "expanded", "reason", "slow", "cool_down", "no_evidence")
_LETS_IT_HAPPEN: Final = frozenset({"approve", "edit"})
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of what may follow: in words, and what leads to it."""

    response: str
    words: str
    when: str


def _of_drills(bar: float) -> str:
    return f"even the kindest reading of at least {FEWEST_DRILLS} drills says that fewer than {bar:.0%} are caught"


STEPS: Final = (
    Step("none", "Nothing is asked of you", "you look as people do, or too little is known"),
    Step(
        "expanded",
        "Evidence opens by itself",
        f"a run of approvals that your team's rate makes unlikely (at least {SHORTEST_RUN} in a row), half of at least"
        f" {FEWEST_TIMED} medium or high risk cards decided faster than anybody reads, or fewer drills caught late in the day",
    ),
    Step(
        "reason",
        "Approving asks for a reason",
        f"{_of_drills(REASON_BELOW)}, or of at least {FEWEST_LOOKS} second looks so few agree",
    ),
    Step("slow", "Approving waits until the card can have been read", _of_drills(SLOW_BELOW)),
    Step(
        "cool_down",
        "Ten minutes away from approving",
        f"{_of_drills(COOL_DOWN_BELOW)} and one more is missed; or a run is an alarm while approving waits already",
    ),
    Step("no_evidence", "Approvals give no agent more freedom", _of_drills(NO_EVIDENCE_BELOW)),
)


def includes(response: str, wanted: str) -> bool:
    """Say whether a response holds a milder one: each includes those before it."""
    return RESPONSES.index(response) >= RESPONSES.index(wanted)


@dataclass(frozen=True, slots=True)
class Attention:
    """How a person stands before one card; `only_approved`: all of their last verdicts of its kind were approvals."""

    response: str = "none"
    cool_down_until: datetime | None = None
    opened_at: datetime | None = None
    only_approved: bool = False

    def includes(self, response: str) -> bool:
        return includes(self.response, response)

    def is_cooling_down(self, now: datetime) -> bool:
        return self.cool_down_until is not None and now < self.cool_down_until


def lower_bound(hits: int, n: int, *, confidence: float = CONFIDENCE) -> float:
    """One-sided exact lower bound of a rate (Clopper and Pearson, Biometrika 26, 1934): beta quantile of (k, n-k+1).

    0 for no hit; n of n gives (1-confidence)^(1/n). Raises ValueError unless 0 <= hits <= n and n > 0.
    """
    _ensure_counts(hits, n)
    return 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, 1 - confidence))


def upper_bound(hits: int, n: int, *, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound of a rate (Clopper and Pearson): the kindest reading of what was seen; 1 for n of n."""
    _ensure_counts(hits, n)
    return 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, confidence))


def words_of(*parts: Any) -> int:
    """Count the words of what a card shows: texts, and the values inside lists and objects."""
    return sum(_words(part) for part in parts)


def reading_floor(words: int) -> timedelta:
    """Return the least time in which a card can have been read: max(3 s, words at 250 a minute)."""
    return timedelta(seconds=max(SHORTEST_LOOK_S, words * 60 / WORDS_PER_MINUTE))


def alarm_run(p: float) -> int | None:
    """Return the shortest run of approvals n with p^n < 0.01, p being the team's approval rate; None if there is none.

    A team that approves everything (p = 1) makes every run ordinary; with p = 0 one approval is already strange.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"{p} is no rate.")
    if p == 1:
        return None
    if p == 0:
        return 1
    n = max(1, math.floor(math.log(RUN_ALARM_P) / math.log(p)))
    while p**n >= RUN_ALARM_P:
        n += 1
    while n > 1 and p ** (n - 1) < RUN_ALARM_P:
        n -= 1
    return n


def run_alarm_at(approved: int, decided: int) -> int | None:
    """Return the run at which the alarm goes off, by what others of the team decided; None while too little is known."""
    if decided < FEWEST_OF_TEAM:
        return None
    n = alarm_run(approved / decided)
    return None if n is None else max(n, SHORTEST_RUN)


def agrees(first: str, second: str, *, weight_between: float = 1.0) -> bool:
    """Say whether two verdicts agree; `weight_between` is the materiality of what the two would let happen differently."""
    if (first in _LETS_IT_HAPPEN) != (second in _LETS_IT_HAPPEN):
        return False
    return first not in _LETS_IT_HAPPEN or weight_between < WORDING


@dataclass(frozen=True, slots=True)
class Look:
    """One timed decision: how long the card was open, and the least time in which it can have been read."""

    took: timedelta
    floor: timedelta
    risk: str

    @property
    def is_hasty(self) -> bool:
        return self.took < self.floor


@dataclass(frozen=True, slots=True)
class DrillSeen:
    """One drill that a person decided: whether they caught it, and at which share of their working day, in [0, 1]."""

    is_caught: bool
    day_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What 30 days say about one reviewer. Shares lie in [0, 1]; None where nothing can be said."""

    decided: int = 0
    drills: int = 0
    caught: int = 0
    looked_twice: int = 0
    agreed: int = 0
    median_s: float | None = None
    below_floor: float | None = None
    timed: int = 0
    approve_run: int = 0
    run_alarm_at: int | None = None
    decay: float | None = None

    @property
    def catch_rate(self) -> float | None:
        return self.caught / self.drills if self.drills else None

    @property
    def catch_lower(self) -> float | None:
        return lower_bound(self.caught, self.drills) if self.drills else None

    @property
    def is_run_alarming(self) -> bool:
        return self.run_alarm_at is not None and self.approve_run >= self.run_alarm_at

    @property
    def is_hasty(self) -> bool:
        return self.timed >= FEWEST_TIMED and self.below_floor is not None and self.below_floor >= HASTY_SHARE

    @property
    def is_tiring(self) -> bool:
        return self.decay is not None and self.decay <= DECAY

    @property
    def misses(self) -> bool:
        """Even the kindest reading of the drills says that too many go past."""
        return self._by_drills != "none"

    @property
    def disagrees(self) -> bool:
        """Even the kindest reading of the second looks says that two people often see it differently."""
        return self.looked_twice >= FEWEST_LOOKS and upper_bound(self.agreed, self.looked_twice) < REASON_BELOW

    @property
    def response(self) -> str:
        """Return what follows from the figures, in the order of R18; see the head of this module for why."""
        by_drills = self._by_drills
        indirect = self.is_run_alarming or self.is_hasty or self.is_tiring
        milder = "reason" if self.disagrees else "expanded" if indirect else "none"
        return max(by_drills, milder, key=RESPONSES.index)

    @property
    def _by_drills(self) -> str:
        if self.drills < FEWEST_DRILLS:
            return "none"
        kindest = upper_bound(self.caught, self.drills)
        ladder = (
            (NO_EVIDENCE_BELOW, "no_evidence"),
            (COOL_DOWN_BELOW, "cool_down"),
            (SLOW_BELOW, "slow"),
            (REASON_BELOW, "reason"),
        )
        return next((response for bar, response in ladder if kindest < bar), "none")


def median_seconds(looks: Sequence[Look]) -> float | None:
    return median(each.took.total_seconds() for each in looks) if looks else None


def that_matter(looks: Iterable[Look]) -> list[Look]:
    """Keep the cards whose haste may be held against anybody: a low-risk card may be approved at a glance."""
    return [each for each in looks if each.risk != "low"]


def below_floor(looks: Sequence[Look]) -> float | None:
    """Return the share of cards decided faster than they can be read."""
    return sum(each.is_hasty for each in looks) / len(looks) if looks else None


def decay(seen: Sequence[DrillSeen]) -> float | None:
    """Return the catch rate of the later half of the working day minus that of its first half; None with too few drills."""
    early = [each.is_caught for each in seen if each.day_share < 0.5]  # noqa: PLR2004  # halves
    late = [each.is_caught for each in seen if each.day_share >= 0.5]  # noqa: PLR2004  # halves
    if min(len(early), len(late)) < FEWEST_PER_HALF:
        return None
    return sum(late) / len(late) - sum(early) / len(early)


def run_of(verdicts: Iterable[str]) -> int:
    """Return the length of the run of plain approvals, the newest verdict first."""
    n = 0
    for verdict in verdicts:
        if verdict != "approve":
            break
        n += 1
    return n


def _words(part: Any) -> int:
    if isinstance(part, Mapping):
        return sum(_words(each) for each in part.values())
    if isinstance(part, (list, tuple)):
        return sum(_words(each) for each in part)
    return 0 if part is None else len(_WORD.findall(str(part)))


def _ensure_counts(hits: int, n: int) -> None:
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} of {n} is no rate.")
