"""What a finished thread means for its run, and what people read of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NOT_SURE: Final = "not_sure"
OUT_OF_SCOPE: Final = "out_of_scope"
NOT_FOUND: Final = "not_found"
REFUSED: Final = "refused"
ANSWERED: Final = "answered"
EXPIRED: Final = "expired"
TOO_LATE: Final = "too_late"
STALE: Final = "stale"
TECHNICAL: Final = "technical"
ADVISED: Final = "advised"

ADVICE: Final = "advice"
"""What `outcome` is told of a proposal that was only recorded: nobody decided it, and a person acts."""
LAPSED: Final = "lapsed"
"""What `outcome` is told of a proposal that expired although it was approved: somebody did answer."""

ASKED_BACK: Final = "asked"
RESPONDED: Final = "responded"
OUTDATED: Final = "stale"
GOES_ON: Final = frozenset({ASKED_BACK, RESPONDED, OUTDATED})
"""R5: what became of a call after which the agent has the next word; after any other answer to an ending call a person takes over."""

HAND_OVER_TOOL: Final = "hand_over"
_MODEL_MAY_SAY: Final = frozenset({NOT_SURE, OUT_OF_SCOPE, NOT_FOUND})
_REASON_BY_STATE: Final[Mapping[str, str]] = {
    "rejected": REFUSED,
    "answered": ANSWERED,
    "withdrawn": REFUSED,
    "expired": EXPIRED,
    LAPSED: TOO_LATE,
    ADVICE: ADVISED,
    "stale": STALE,
    "failed": TECHNICAL,
}
_REASON_BY_ANSWER: Final[Mapping[str, str]] = {ASKED_BACK: ANSWERED, RESPONDED: ANSWERED, OUTDATED: STALE}
DETAIL_CHARACTERS: Final = 600
"""A step keeps so much of what was said; the whole is in the thread."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the model."""

    id: str
    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a thread in plain words: a turn of the model with its calls, or the answer to one call."""

    by: str
    text: str = ""
    name: str = ""
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    is_error: bool = False
    code: str = ""
    nearest: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` empty: the case is done by the call `call_id`. Otherwise a person takes over, for this reason."""

    reason: str = ""
    text: str = ""
    call_id: str = ""

    @property
    def is_done(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class TraceStep:
    position: int
    kind: str
    name: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def outcome(thread: Sequence[Said], states: Mapping[str, str]) -> Outcome:
    """
    Say how a thread without open questions ended. `states` holds the proposal's state by tool call, or LAPSED or ADVICE.

    A write that succeeded wins over everything said before it; a thread that ends without any act is "not sure".
    """
    for call_id, state in states.items():
        if state == "succeeded":
            return Outcome(call_id=call_id)
    answers = {said.call_id: said for said in thread if said.by == "tool"}
    for said in reversed(thread):
        for call in reversed(said.calls):
            if call.name == HAND_OVER_TOOL and call.id in answers:
                return _handed_over(call, _last_heard(thread))
            if call.id in states:
                return _refused(states[call.id], answers.get(call.id))
    return Outcome(NOT_SURE, "The agent stopped without proposing anything.")


def has_ended(thread: Sequence[Said], *, ends: Collection[str]) -> bool:
    """
    Say whether the last turn leaves nothing to do: the model called nothing, or all that it called ends the task and is answered.

    An answer after which the agent has the next word is no end, whatever else the turn called.
    """
    turn = next((at for at in range(len(thread) - 1, -1, -1) if thread[at].by == "model"), None)
    if turn is None:
        return False
    answers = {said.call_id: said for said in thread[turn + 1 :] if said.by == "tool"}
    calls = thread[turn].calls
    if any(call.name not in ends or call.id not in answers for call in calls):
        return False
    return not any(said.code in GOES_ON for said in answers.values())


def words_with(thread: Sequence[Said], call_id: str) -> str:
    """Return what the model said beside one of its calls."""
    return next((said.text for said in thread if any(call.id == call_id for call in said.calls)), "")


def trace(thread: Sequence[Said], *, model: str, writes: frozenset[str]) -> list[TraceStep]:
    """Return the steps of a thread; the same message always has the same position, so writing them twice is safe."""
    steps: list[TraceStep] = []
    for index, said in enumerate(thread):
        if said.by == "model":
            calls = [{"name": call.name, "args": _short(call.args)} for call in said.calls]
            steps.append(TraceStep(2 * index, "model", model, {"calls": calls, "text": said.text[:DETAIL_CHARACTERS]}))
            if asked := [call for call in said.calls if call.name in writes]:
                steps.append(TraceStep(2 * index + 1, "propose", asked[0].name, {"args": _short(asked[0].args)}))
        elif said.by == "tool":
            steps.append(TraceStep(2 * index, _kind(said, writes), said.name, {"text": said.text[:DETAIL_CHARACTERS]}))
    return steps


def facts(thread: Sequence[Said]) -> dict[str, str]:
    """Return the last good answer of each tool by its name."""
    return {said.name: said.text for said in thread if said.by == "tool" and not said.is_error}


def nearest(thread: Sequence[Said]) -> tuple[Mapping[str, Any], ...]:
    """Return the precedents that the model's last turn named, if it answers from precedents."""
    return next((said.nearest for said in reversed(thread) if said.by == "model" and said.nearest), ())


def _handed_over(call: Call, heard: str) -> Outcome:
    """Take the model's word for the reason; where it is only not sure, what it heard last says more."""
    said = call.args.get("reason")
    reason = said if said in _MODEL_MAY_SAY else NOT_SURE
    if reason == NOT_SURE:
        reason = _REASON_BY_ANSWER.get(heard, NOT_SURE)
    text = str(call.args.get("explanation") or "").strip()
    return Outcome(reason, text or "The agent gave no explanation.", call.id)


def _last_heard(thread: Sequence[Said]) -> str:
    return next((said.code for said in reversed(thread) if said.by == "tool" and said.code in GOES_ON), "")


def _refused(state: str, answer: Said | None) -> Outcome:
    reason = STALE if answer is not None and answer.code == "changed" else _REASON_BY_STATE.get(state, TECHNICAL)
    text = answer.text if answer is not None else f"The proposal ended {state}."
    return Outcome(reason, text)


def _kind(said: Said, writes: frozenset[str]) -> str:
    if said.name == HAND_OVER_TOOL:
        return "hand_over"
    if said.name in writes and said.code in GOES_ON:
        return "answer"
    if said.is_error:
        return "error"
    return "write" if said.name in writes else "read"


def _short(args: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value[:DETAIL_CHARACTERS] if isinstance(value, str) else value for key, value in args.items()}
