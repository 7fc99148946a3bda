"""The ladder of autonomy: its levels, its ceilings (rule R1) and when an agent must ask a person."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Lowest first. From `sampled` on an agent may act without asking.
LEVELS = ("shadow", "recommend", "approve", "sampled", "auto")

# A budget or gate report older than this says nothing about now; silence is never permission.
STANDING_MAX_AGE = timedelta(minutes=15)

_CEILING_BY_RISK = {"low": "auto", "medium": "sampled", "high": "approve"}
_CEILING_BY_STAGE = {
    "demo": "recommend",
    "pilot": "approve",
    "production": "sampled",
    "scaled": "auto",
    "retired": "shadow",
}
_CAP_BY_BUDGET = {"ok": "auto", "watch": "auto", "restrict": "sampled", "frozen": "approve"}

IN_WORDS = {
    "shadow": "Runs silently, nobody is asked",
    "recommend": "Advises, a person acts",
    "approve": "A person approves each action",
    "sampled": "Acts alone, a share is checked",
    "auto": "Acts alone, a small share is checked",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a higher floor last said about the budget or the gates."""

    kind: str
    value: str
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The highest level that risk and stage allow, whatever the evidence; `why` is one sentence for people."""

    level: str
    why: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What an action is worth below `approve`: it is recorded and never executed. At shadow nobody is shown it."""

    level: str
    why: str

    @property
    def is_shown(self) -> bool:
        return rank(self.level) > rank("shadow")


@dataclass(frozen=True, slots=True)
class Autonomy:
    """The level in force now. `why` holds one sentence for each reason to ask a person; empty exactly when it may act alone."""

    level: str
    may_act_alone: bool
    why: list[str] = field(default_factory=list)
    ceiling: str = "approve"

    @property
    def in_words(self) -> str:
        return IN_WORDS[self.level]


def rank(level: str) -> int:
    """Return the place of a level, 0 for shadow; an unknown level is a ValueError."""
    return LEVELS.index(level)


def lowest(*levels: str) -> str:
    """Return the lowest of several levels."""
    return min(levels, key=rank)


def ceiling(*, risk_class: str, reversibility: str, regulated: bool, stage: str) -> Ceiling:
    """Return the ceiling of rule R1: by risk, by reversibility, by regulation and by stage, the lowest wins."""
    by_risk = _by_risk(risk_class, reversibility=reversibility, regulated=regulated)
    by_stage = Ceiling(_CEILING_BY_STAGE[stage], f"At stage {stage} the ceiling is “{_CEILING_BY_STAGE[stage]}”.")
    return min(by_risk, by_stage, key=lambda each: rank(each.level))


def advice(*, level: str | None, top: Ceiling) -> Advice | None:
    """Return why an action may only be advice, or None if a person may be asked to let it run. No level means: ask."""
    held = "approve" if level is None else level
    now = lowest(held, top.level)
    if rank(now) >= rank("approve"):
        return None
    return Advice(now, top.why if now == top.level else f"Its level is “{held}”.")


def autonomy(
    *, level: str | None, frozen_reason: str, top: Ceiling, reports: Sequence[Report], at: datetime
) -> Autonomy:
    """
    Decide whether an action may run without a person.

    A missing level row, a frozen cell, and a budget or gate report that is missing, too old or unknown all mean: ask.
    """
    why: list[str] = []
    held = level if level is not None else "approve"
    if level is None:
        why.append("No level is recorded for this action.")
    if frozen_reason:
        why.append(f"Frozen: {frozen_reason}")
        held = lowest(held, "approve")
    budget = [each for each in reports if each.kind == "budget"]
    cap = lowest("auto", *(_CAP_BY_BUDGET.get(each.value, "approve") for each in budget))
    now = lowest(held, top.level, cap)
    if rank(top.level) < rank("sampled"):
        # At the ceiling nothing else matters: no evidence, budget or gate would change the answer.
        return Autonomy(level=now, may_act_alone=False, why=[top.why, *why], ceiling=top.level)
    if rank(held) < rank("sampled") and not why:
        why.append("It has not yet earned the right to act alone.")
    why.extend(_asks_because(budget, wanted=("ok", "watch", "restrict"), noun="error budget", at=at))
    gates = [each for each in reports if each.kind == "gates"]
    why.extend(_asks_because(gates, wanted=("satisfied",), noun="launch gates", at=at))
    return Autonomy(level=now, may_act_alone=not why and rank(now) >= rank("sampled"), why=why, ceiling=top.level)


def _by_risk(risk_class: str, *, reversibility: str, regulated: bool) -> Ceiling:
    if reversibility == "irreversible":
        return Ceiling("approve", "Stays with people: irreversible.")
    if regulated:
        return Ceiling("approve", "Stays with people: regulated.")
    if risk_class == "high":
        return Ceiling("approve", "Stays with people: high risk.")
    level = _CEILING_BY_RISK[risk_class]
    return Ceiling(level, f"At {risk_class} risk the ceiling is “{level}”.")


def _asks_because(reports: Iterable[Report], *, wanted: tuple[str, ...], noun: str, at: datetime) -> list[str]:
    rows = list(reports)
    if not rows:
        return [f"Nothing is known about its {noun}."]
    if any(at - each.as_of > STANDING_MAX_AGE for each in rows):
        return [f"The last word on its {noun} is older than 15 minutes."]
    bad = sorted({each.value for each in rows if each.value not in wanted})
    return [f"Its {noun}: {', '.join(bad)}."] if bad else []
