"""What a draft of a policy would have made of last month's cases, beside what people decided about them."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import OperationalError, connection, transaction
from django.db.models import BooleanField, Case, F, OuterRef, QuerySet, Subquery, Value, When
from psycopg.errors import QueryCanceled

from apps.accounts.models import User
from apps.agents.models import ActionType
from apps.approvals.domain import policy
from apps.approvals.domain.policy import Assessment, Facts
from apps.approvals.domain.terms import Terms
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock

LOOKS_BACK: Final = timedelta(days=30)
# So many of the newest cases are tried, for so long: somebody waits before the page.
MOST_CASES: Final = 5_000
LONGEST_S: Final = 5.0
# The query alone gets as long: PostgreSQL stops it by itself.
QUERY_WITHIN_MS: Final = 5_000
# Cases that are shown one by one; beyond, their number says enough.
SHOWN: Final = 10
_BATCH: Final = 500
_LIMIT: Final = "set_config('statement_timeout', %s, true)"

OUTCOMES: Final = {
    "deny": "Refused",
    "two": "Two people or more",
    "one": "One person",
    "alone": "May run alone",
}
APPROVED, EDITED, REJECTED, OTHER = "approved", "edited", "rejected", "other"


@dataclass(frozen=True, slots=True)
class Tally:
    """One outcome: how many cases the version in force leads to it, how many the draft, and what people had decided of those."""

    outcome: str
    words: str
    before: int
    after: int
    approved: int
    edited: int
    rejected: int
    other: int


@dataclass(frozen=True, slots=True)
class TellingCase:
    """A case in which a person decided otherwise than the draft would: the card, and the draft's reason."""

    id: int
    title: str
    decided: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a draft would have done. The cases themselves are empty for a reader who may not see cards."""

    cases: int
    since: datetime
    is_cut: bool
    tallies: tuple[Tally, ...]
    unclear: int
    stricter: int
    looser: int
    dangerous: int
    dangerous_cases: tuple[TellingCase, ...]
    needless: int
    needless_cases: tuple[TellingCase, ...]
    may_see_cases: bool


class TooSlow(Exception):
    """The cases could not be read in the time that somebody waits before the page; nothing was counted or changed."""

    message = (
        f"Reading the last {LOOKS_BACK.days} days took longer than {LONGEST_S:.0f} s, so it was stopped. Nothing changed. "
        "Try again when the house is quieter, or look at single past cases."
    )


def dry_run(
    user: User, kind: ActionType, draft: Terms, in_force: Terms | None, *, at: datetime | None = None
) -> DryRun:  # 3 queries besides rights: two set its time limit
    """Judge the newest 5,000 live cases of the last 30 days by a draft and by the version in force; nothing is stored.

    Raises TooSlow where the database needs longer than 5 s to find them.
    """
    since = (at or clock()) - LOOKS_BACK
    may_see = user.has_perm("approvals.view", kind.agent.team_id)
    counted = _Count()
    deadline = time.monotonic() + LONGEST_S
    for place, row in enumerate(_read(_cases(kind, since)[: MOST_CASES + 1])):
        if place == MOST_CASES or (place % _BATCH == 0 and time.monotonic() > deadline):
            counted.is_cut = True
            break
        facts = _facts(row)
        before = _judge(in_force, facts)
        counted.add(row, before, draft.conditions.assess(facts, approvals=draft.approvals_needed), may_see=may_see)
    return counted.result(since, may_see=may_see)


def may_try_drafts(user: User, kind: ActionType) -> bool:
    """Say whether a person may try rules of their own making: counts alone would answer any question about arguments."""
    return user.has_perm("approvals.view", kind.agent.team_id)


@dataclass(slots=True)
class _Count:
    """What was seen so far."""

    before: Counter[str] = field(default_factory=Counter)
    after: Counter[tuple[str, str]] = field(default_factory=Counter)
    cases: int = 0
    unclear: int = 0
    stricter: int = 0
    looser: int = 0
    is_cut: bool = False
    dangerous: int = 0
    needless: int = 0
    dangerous_cases: list[TellingCase] = field(default_factory=list)
    needless_cases: list[TellingCase] = field(default_factory=list)

    def add(self, row: dict[str, Any], before: Assessment, after: Assessment, *, may_see: bool) -> None:
        decided, outcome = _decided(row), _outcome(after)
        self.cases += 1
        self.before[_outcome(before)] += 1
        self.after[outcome, decided] += 1
        self.unclear += bool(after.unclear) or not after.is_readable
        self.stricter += after.strictness > before.strictness
        self.looser += after.strictness < before.strictness
        if outcome == "alone" and decided in (EDITED, REJECTED):
            self.dangerous += 1
            _keep(self.dangerous_cases, row, decided, after, may_see=may_see)
        if outcome == "deny" and decided in (APPROVED, EDITED):
            self.needless += 1
            _keep(self.needless_cases, row, decided, after, may_see=may_see)

    def result(self, since: datetime, *, may_see: bool) -> DryRun:
        return DryRun(
            cases=self.cases,
            since=since,
            is_cut=self.is_cut,
            tallies=tuple(self._tallies()),
            unclear=self.unclear,
            stricter=self.stricter,
            looser=self.looser,
            dangerous=self.dangerous,
            dangerous_cases=tuple(self.dangerous_cases),
            needless=self.needless,
            needless_cases=tuple(self.needless_cases),
            may_see_cases=may_see,
        )

    def _tallies(self) -> Iterator[Tally]:
        for outcome, words in OUTCOMES.items():
            people = [self.after[outcome, decided] for decided in (APPROVED, EDITED, REJECTED, OTHER)]
            yield Tally(outcome, words, self.before[outcome], sum(people), *people)


def _cases(kind: ActionType, since: datetime) -> "QuerySet[Any, Any]":
    final = Decision.objects.filter(
        proposal=OuterRef("pk"), final=True, voided_at__isnull=True, by_kind=Decision.By.PERSON
    )
    return (
        # By the agent's versions, as the index that is in the order of time begins with them.
        Proposal.objects.filter(
            agent_version__in=kind.agent.versions.all(),
            action_type=kind,
            kind=Proposal.Kind.LIVE,
            created_at__gte=since,
        )
        .annotate(
            decided=Subquery(final.values("verdict")[:1]),
            was_edited=Case(
                When(args=F("args_original"), then=Value(value=False)),
                default=Value(value=True),
                output_field=BooleanField(),
            ),
        )
        .order_by("-created_at", "-pk")
        .values(
            "pk",
            "title",
            "args_original",
            "target",
            "subject",
            "risk_class",
            "reversibility",
            "confidence",
            "decided",
            "was_edited",
        )
    )


def _read(rows: "QuerySet[Any, Any]") -> Sequence[dict[str, Any]]:
    """Run the query under a time limit of its own, so that nobody's question holds a connection for minutes."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SELECT current_setting('statement_timeout'), {_LIMIT}", [f"{QUERY_WITHIN_MS}ms"])
            before, _ = cursor.fetchone()
            found = list(rows)
            # Inside a transaction that goes on, the limit must not outlive its query.
            cursor.execute(f"SELECT {_LIMIT}", [before])
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise
    return found


def _facts(row: dict[str, Any]) -> Facts:
    """The case as the agent proposed it: what a person changed later, the policy had not seen."""
    return Facts(
        args=row["args_original"],
        target=row["target"],
        subject=row["subject"],
        risk=row["risk_class"],
        reversibility=row["reversibility"],
        confidence=row["confidence"],
    )


def _judge(found: Terms | None, facts: Facts) -> Assessment:
    if found is None:
        return policy.assess(None, facts)
    return found.conditions.assess(facts, approvals=found.approvals_needed)


def _outcome(found: Assessment) -> str:
    if found.outcome != policy.ASK:
        return found.outcome
    return "one" if found.approvals == 1 else "two"


def _decided(row: dict[str, Any]) -> str:
    if row["decided"] in ("approve", "edit"):
        return EDITED if row["was_edited"] else APPROVED
    return REJECTED if row["decided"] == "reject" else OTHER


def _keep(cases: list[TellingCase], row: dict[str, Any], decided: str, after: Assessment, *, may_see: bool) -> None:
    if may_see and len(cases) < SHOWN:
        cases.append(TellingCase(row["pk"], row["title"], decided, after.in_words))
