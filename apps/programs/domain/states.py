"""The state of a gate: a pure function of what happened to it, so that any past date can be replayed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal

Mode = Literal["automatic", "manual", "hybrid"]


class State(StrEnum):
    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    WAITING_ON = "waiting_on"
    SUBMITTED = "submitted"
    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"
    EXPIRED = "expired"
    NOT_APPLICABLE = "not_applicable"


SATISFIED = frozenset({State.PASSED, State.WAIVED, State.NOT_APPLICABLE})
# A waiver stands until it ends, whatever the number says, and what does not apply has no number.
NEVER_FAILED_BY_A_NUMBER = SATISFIED - {State.PASSED}


class Kind(StrEnum):
    """What can happen to a gate."""

    STARTED = "started"
    EVIDENCE = "evidence"
    SUBMITTED = "submitted"
    SIGNED = "signed"
    REFUSED = "refused"
    READING = "reading"
    REOPENED = "reopened"
    WAIVED = "waived"
    WAIVER_ENDED = "waiver_ended"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    """What one evaluation of a criterion said. Unknown is not pass."""

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact in the history of a gate: `at` is its day in the program's zone, `valid_until` the last day it holds."""

    kind: Kind
    at: date
    verdict: Verdict | None = None
    valid_until: date | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a gate stands; `valid_until` is the last day of its pass or waiver, None where there is neither or no end."""

    state: State
    valid_until: date | None = None


def state_of(mode: Mode, events: Iterable[Event], *, prerequisites_open: bool, as_of: date) -> State:
    """Return the state alone; see `reached`."""
    return reached(mode, events, prerequisites_open=prerequisites_open, as_of=as_of).state


def reached(mode: Mode, events: Iterable[Event], *, prerequisites_open: bool, as_of: date) -> Reached:
    """Return where these events, oldest first, have led by the day `as_of` (readiness.md, rule 7).

    What has run out by the day of an event has run out before it counts: an expired gate can be submitted again. An open
    prerequisite makes a gate that nobody submitted wait; it lifts by itself. An automatic gate can only be moved by
    readings: signatures on it are ignored.
    """
    now, last_verdict = Reached(State.NOT_STARTED), Verdict.UNKNOWN
    for event in events:
        now = _run_out(now, event.at)
        if event.kind is Kind.READING:
            last_verdict = event.verdict or Verdict.UNKNOWN
        now = _moved(now, _after(mode, now.state, event, last_verdict), event, mode)
    now = _run_out(now, as_of)
    if now.state in {State.NOT_STARTED, State.IN_PROGRESS} and prerequisites_open:
        return Reached(State.WAITING_ON)
    return now


def may_submit(state: State) -> bool:
    """Tell whether the gate may be put before its owning team."""
    return state in {State.NOT_STARTED, State.WAITING_ON, State.IN_PROGRESS, State.FAILED, State.EXPIRED}


def _run_out(now: Reached, day: date) -> Reached:
    """A pass holds through its last day and is then too old; what only a waiver let through has then failed."""
    if now.valid_until is None or day <= now.valid_until:
        return now
    return Reached(State.EXPIRED if now.state is State.PASSED else State.FAILED)


def _moved(before: Reached, state: State, event: Event, mode: Mode) -> Reached:
    if state not in {State.PASSED, State.WAIVED}:
        return Reached(state)
    # A signature is as old as it is, whatever the number says later; only what passes by readings is renewed by one.
    is_renewed = mode == "automatic" and event.kind is Kind.READING and event.verdict is Verdict.PASS
    if state is before.state and not is_renewed:
        return before
    return Reached(state, event.valid_until)


def _after(mode: Mode, state: State, event: Event, last_verdict: Verdict) -> State:  # noqa: C901, PLR0911  # a table: one case per kind of event
    match event.kind:
        case Kind.STARTED | Kind.EVIDENCE if state is State.NOT_STARTED:
            return State.IN_PROGRESS
        case Kind.SUBMITTED if mode != "automatic" and state not in SATISFIED:
            return State.SUBMITTED
        case Kind.SIGNED if state is State.SUBMITTED and (mode == "manual" or last_verdict is Verdict.PASS):
            return State.PASSED
        case Kind.REFUSED if state is State.SUBMITTED:
            return State.FAILED
        case Kind.READING if (
            event.verdict is Verdict.FAIL and mode != "manual" and state not in NEVER_FAILED_BY_A_NUMBER
        ):
            return State.FAILED
        case Kind.READING if (
            event.verdict is Verdict.PASS and mode == "automatic" and state is not State.NOT_APPLICABLE
        ):
            return State.PASSED
        case Kind.REOPENED if state in {State.PASSED, State.WAIVED}:
            return State.NOT_STARTED if mode == "automatic" else State.SUBMITTED
        # A second waiver while the first runs would renew it (rule 19).
        case Kind.WAIVED if state not in SATISFIED:
            return State.WAIVED
        case Kind.WAIVER_ENDED if state is State.WAIVED:
            return State.FAILED
        case Kind.NOT_APPLICABLE:
            return State.NOT_APPLICABLE
    return state
