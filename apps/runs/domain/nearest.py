"""The nearest decided cases to a new text: TF-IDF over words, word pairs and pieces of words, compared by cosine.

Weights follow Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, ch. 6: (1 + ln tf) · idf, unit length.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

NEIGHBOURS = 10
"""So many nearest cases vote; fewer make single slips of a reviewer too loud, more drown small queues."""
VOTE_POWER = 2
"""A vote counts with its similarity to this power, so that one close case outweighs several distant ones."""
STRENGTH_OF = 3
"""The strength of an answer looks at this many of the nearest cases: one alone may be a coincidence."""
SCORE_MIDDLE = 0.14
"""The strength at which half the answers were right on the validation part of CLINC-150 (3,000 in and 100 out of scope)."""
SCORE_SLOPE = 12.4
"""How quickly right answers win beyond the middle; logistic fit on the same part."""
FAR = 0.3
"""A case less alike than this part of the nearest one's likeness has no vote: it would count for under a tenth."""
NOTHING_NEAR = 0.05
"""Below this similarity even the nearest case shares no more than a stray word."""
PIECE = 4
"""Length of the pieces of words; they let "printing" meet "printer" and survive a slip of the keyboard."""
TEXT_LIMIT = 4_000
"""Characters of a text that are compared; what a ticket is about stands at its beginning."""
REFIT_AT = 4
"""Word weights are computed anew once the cases added since are more than one in this many."""
SAME = 1e-5
"""Similarities closer than this are equal: sums of floats differ by their order."""

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


class Verdict(StrEnum):
    """What the nearest cases say."""

    NEAR = "near"
    NOT_SURE = "not_sure"
    OUT_OF_SCOPE = "out_of_scope"


@dataclass(frozen=True, slots=True)
class Case:
    """A decided case. An empty queue means that a person took it: outside the agent's scope."""

    id: int
    text: str
    queue: str
    priority: str = ""
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A decided case and how alike it is, from 0 (nothing in common) to 1 (the same words)."""

    case: Case
    similarity: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the neighbours vote for. `score` estimates how often such an answer is right; `share` is the winner's part of the votes."""

    verdict: Verdict
    queue: str
    priority: str
    score: float
    share: float
    neighbours: tuple[Neighbour, ...]

    @property
    def nearest(self) -> Neighbour | None:
        return self.neighbours[0] if self.neighbours else None


class NearestIndex:
    """Cases by the features of their texts. The order in which cases come does not matter.

    Cases added later are found at once, but the word weights lag: they are those of the last fit until a quarter is new.
    """

    def __init__(self, cases: Iterable[Case] = ()) -> None:
        self._cases: list[Case] = list(cases)
        self._fit()

    def __len__(self) -> int:
        return len(self._cases)

    def add(self, case: Case) -> None:
        """Take one more decided case in: some 0.1 ms, and a new fit each time that the index has grown by a quarter."""
        self._cases.append(case)
        if len(self._cases) > self._fitted + max(64, self._fitted // REFIT_AT):
            self._fit()
        else:
            self._append(case, len(self._cases) - 1)

    def answer(self, text: str, *, neighbours: int = NEIGHBOURS) -> Answer:
        """Return the vote of the nearest cases; nothing near, or no words at all, means not sure with score 0."""
        nearest, similarities = self._nearest(text, neighbours)
        if not len(nearest) or similarities[0] < NOTHING_NEAR:
            return Answer(Verdict.NOT_SURE, "", "", 0.0, 0.0, ())
        weights = similarities**VOTE_POWER
        queues = self._queues[nearest]
        votes = np.bincount(queues, weights=weights, minlength=len(self._queue_names))
        # Equal votes go to the queue first in the alphabet, so that the order of cases cannot matter.
        winner = min(np.flatnonzero(votes >= votes.max() - SAME), key=lambda each: self._queue_names[each])
        share = float(votes[winner] / votes.sum())
        score = score_of(share * float(similarities[:STRENGTH_OF].sum()) / STRENGTH_OF)
        near = self._ranked(nearest, similarities)[:neighbours]
        queue = self._queue_names[winner]
        verdict = Verdict.NEAR if queue else Verdict.OUT_OF_SCOPE
        return Answer(verdict, queue, _priority(near, queue), score, share, tuple(near))

    def _fit(self) -> None:
        self._fitted = len(self._cases)
        self._vocabulary: dict[str, int] = {}
        self._pieces: dict[str, list[int]] = {}
        self._queue_names: list[str] = sorted({case.queue for case in self._cases})
        ids = {name: position for position, name in enumerate(self._queue_names)}
        self._queues = np.fromiter((ids[case.queue] for case in self._cases), np.int32, self._fitted)
        # Cases added after the fit, by feature: positions and weights.
        self._added: dict[int, tuple[list[int], list[float]]] = {}

        found = [self._features(case.text) for case in self._cases]
        lengths = np.fromiter((len(each) for each in found), np.int64, self._fitted)
        features = np.fromiter((each for some in found for each in some), np.int64, int(lengths.sum()))
        rows = np.repeat(np.arange(self._fitted), lengths)
        size = len(self._vocabulary)
        pairs, counts = np.unique(features * max(1, self._fitted) + rows, return_counts=True)
        columns, rows = np.divmod(pairs, max(1, self._fitted))
        frequencies = np.bincount(columns, minlength=size)
        self._rare = math.log(self._fitted + 1) + 1
        self._weights = (np.log((self._fitted + 1) / (frequencies + 1)) + 1).astype(np.float64)
        values = (1 + np.log(counts)) * self._weights[columns]
        norms = np.sqrt(np.bincount(rows, weights=values**2, minlength=self._fitted))
        self._starts = np.concatenate(([0], np.cumsum(frequencies))).tolist()
        self._rows: Integers = rows.astype(np.int32)
        # The query's own weight is multiplied in here already: most words stand once in a query.
        self._values: Floats = (values * self._weights[columns] / np.where(norms > 0, norms, 1)[rows]).astype(
            np.float32
        )
        self._weight_list: list[float] = self._weights.tolist()
        self._size = size

    def _append(self, case: Case, position: int) -> None:
        if case.queue not in self._queue_names:
            self._queue_names.append(case.queue)
        self._queues = np.append(self._queues, np.int32(self._queue_names.index(case.queue)))
        counts = Counter(self._features(case.text))
        weighed = {each: (1 + math.log(count)) * self._weight(each) for each, count in counts.items()}
        norm = math.sqrt(sum(value * value for value in weighed.values())) or 1.0
        for each, value in weighed.items():
            rows, values = self._added.setdefault(each, ([], []))
            rows.append(position)
            values.append(value * self._weight(each) / norm)

    def _weight(self, feature: int) -> float:
        return self._weight_list[feature] if feature < self._size else self._rare

    def _features(self, text: str) -> list[int]:
        """Give the numbers of a text's features, and new features a number."""
        vocabulary, known = self._vocabulary, self._pieces
        words = words_of(text)
        found: list[int] = []
        for word in words:
            numbers = known.get(word)
            if numbers is None:
                numbers = known[word] = [vocabulary.setdefault(each, len(vocabulary)) for each in pieces_of(word)]
            found += numbers
        found += [vocabulary.setdefault(f"{a} {b}", len(vocabulary)) for a, b in pairwise(words)]
        return found

    def _asked(self, text: str) -> tuple[Counter[int], float]:
        """Count the known features of a question, and give its length: unknown ones make every case less alike."""
        words = words_of(text)
        vocabulary, known = self._vocabulary, self._pieces
        counts: Counter[int] = Counter()
        unknown: Counter[str] = Counter()
        for word in words:
            numbers = known.get(word)
            if numbers is None:
                for each in pieces_of(word):
                    number = vocabulary.get(each)
                    if number is None:
                        unknown[each] += 1
                    else:
                        counts[number] += 1
            else:
                counts.update(numbers)
        for a, b in pairwise(words):
            number = vocabulary.get(f"{a} {b}")
            if number is None:
                unknown[f"{a} {b}"] += 1
            else:
                counts[number] += 1
        square = sum(((1 + math.log(count)) * self._weight(each)) ** 2 for each, count in counts.items())
        square += sum(((1 + math.log(count)) * self._rare) ** 2 for count in unknown.values())
        return counts, math.sqrt(square)

    def _nearest(self, text: str, neighbours: int) -> tuple[Integers, Floats]:
        """Return positions and similarities of the nearest cases, nearest first; those as near as the last one come along."""
        counts, length = self._asked(text)
        sums = np.zeros(len(self._cases), np.float32)
        starts, rows, values = self._starts, self._rows, self._values
        for each, count in counts.items():
            often = 1 + math.log(count) if count > 1 else 1.0
            if each < self._size:
                start, end = starts[each], starts[each + 1]
                some = values[start:end]
                sums[rows[start:end]] += some if count == 1 else some * np.float32(often)
            if each in self._added:
                for row, value in zip(*self._added[each], strict=True):
                    sums[row] += value * often
        if length:
            sums /= np.float32(length)
        found = np.flatnonzero(sums >= max(float(sums.max(initial=0.0)) * FAR, SAME))
        near = sums[found]
        if len(near) > neighbours:
            last = np.partition(near, -neighbours)[-neighbours] - SAME
            found, near = found[near >= last], near[near >= last]
        order = np.argsort(-near, kind="stable")
        return found[order].astype(np.int32), np.minimum(near[order], 1.0)

    def _ranked(self, nearest: Integers, similarities: Floats) -> list[Neighbour]:
        found = [
            Neighbour(self._cases[row], round(float(similarity), 4))
            for row, similarity in zip(nearest.tolist(), similarities.tolist(), strict=True)
        ]
        return sorted(found, key=lambda each: (-each.similarity, each.case.text, each.case.queue, each.case.priority))


def score_of(strength: float) -> float:
    """Turn the strength of a vote (share times similarity) into the share of such answers that people agreed with."""
    return round(1 / (1 + math.exp(-SCORE_SLOPE * (strength - SCORE_MIDDLE))), 3)


_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")


def words_of(text: str) -> list[str]:
    """Split a text into words, without regard to case or the form of its letters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text[:TEXT_LIMIT]).casefold())


def pieces_of(word: str) -> Sequence[str]:
    """Return the word itself and every piece of it, its beginning and end marked."""
    marked = f"^{word}$"
    return (word, *(f"#{marked[at : at + PIECE]}" for at in range(len(marked) - PIECE + 1)))


def _priority(near: Sequence[Neighbour], queue: str) -> str:
    votes: dict[str, float] = {}
    for each in near:
        if each.case.queue == queue and each.case.priority:
            votes[each.case.priority] = votes.get(each.case.priority, 0.0) + each.similarity**VOTE_POWER
    return max(sorted(votes), key=lambda each: round(votes[each], 5)) if votes else ""
