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
    """One fact in the history of a gate; `valid_until` is the last day on which a pass holds."""

    kind: Kind
    verdict: Verdict | None = None
    valid_until: date | None = None


def state_of(mode: Mode, events: Iterable[Event], *, prerequisites_open: bool, as_of: date) -> State:
    """Return the state after these events, oldest first.

    An open prerequisite makes a gate that nobody submitted wait; it lifts by itself. A pass or a waiver ends after its last
    day. An automatic gate can only be moved by readings: signatures on it are ignored.
    """
    state, valid_until, last_verdict = State.NOT_STARTED, None, Verdict.UNKNOWN
    for event in events:
        if event.kind is Kind.READING:
            last_verdict = event.verdict or Verdict.UNKNOWN
        moved = _after(mode, state, event, last_verdict)
        if moved is not state or event.kind in {Kind.SIGNED, Kind.WAIVED, Kind.READING}:
            valid_until = _validity(moved, event, valid_until)
        state = moved
    if state in {State.PASSED, State.WAIVED} and valid_until is not None and as_of > valid_until:
        state = State.EXPIRED if state is State.PASSED else State.FAILED
    if state in {State.NOT_STARTED, State.IN_PROGRESS} and prerequisites_open:
        return State.WAITING_ON
    return state


def may_submit(state: State) -> bool:
    """Tell whether the gate may be put before its owning team."""
    return state in {State.NOT_STARTED, State.WAITING_ON, State.IN_PROGRESS, State.FAILED, State.EXPIRED}


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
        case Kind.READING if event.verdict is Verdict.FAIL and (mode == "automatic" or state is State.PASSED):
            return State.FAILED
        case Kind.READING if (
            event.verdict is Verdict.PASS and mode == "automatic" and state is not State.NOT_APPLICABLE
        ):
            return State.PASSED
        case Kind.REOPENED if state in {State.PASSED, State.WAIVED}:
            return State.NOT_STARTED if mode == "automatic" else State.SUBMITTED
        case Kind.WAIVED if state not in {State.PASSED, State.NOT_APPLICABLE}:
            return State.WAIVED
        case Kind.WAIVER_ENDED if state is State.WAIVED:
            return State.FAILED
        case Kind.NOT_APPLICABLE:
            return State.NOT_APPLICABLE
    return state


def _validity(state: State, event: Event, before: date | None) -> date | None:
    return (event.valid_until or before) if state in {State.PASSED, State.WAIVED} else None
