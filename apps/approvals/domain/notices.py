"""What a team is told of its cards outside the pages, in which words, and when a message that failed goes again.

A message says what and how long, from typed facts alone: no arguments, no agent's prose. It never decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from apps.approvals.domain import states
from apps.approvals.domain.hidden import reveal

ASKED, ESCALATED, DECIDED, EXPIRED = "asked", "escalated", "decided", "expired"
STALE, WITHDRAWN, UNKNOWN = "stale", "withdrawn", "unknown"

# What a channel may choose from, in words.
EVENTS: Final = {
    ASKED: "A card waits for a person",
    ESCALATED: "A card was escalated",
    DECIDED: "A person decided",
    EXPIRED: "Time ran out",
    STALE: "The target moved",
    WITHDRAWN: "It was withdrawn",
    UNKNOWN: "The outcome is unknown",
}
ASKING: Final = frozenset({ASKED, ESCALATED})
# The audit event that tells of it → ours. What was undone waits for a person again.
_OF_ACTIONS: Final = {
    "proposal.pending": ASKED,
    "proposal.undone": ASKED,
    "proposal.escalated": ESCALATED,
    "proposal.decided": DECIDED,
    "proposal.expired": EXPIRED,
    "proposal.stale": STALE,
    "proposal.withdrawn": WITHDRAWN,
    "proposal.unknown": UNKNOWN,
}
RISKS: Final = ("low", "medium", "high")
# A receiver that restarts is back within minutes; one that is repaired, within a day. Then a person has to look.
PAUSES: Final = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(hours=12),
)
MAX_ATTEMPTS: Final = len(PAUSES) + 1
# Messages of one channel that failed at the same moment shall not all come back at the same moment.
JITTER: Final = 0.2
# A failing receiver gets one try a minute at most, however many messages wait for it: each may take a worker 10 s.
LONGEST_REST: Final = timedelta(minutes=1)
# Whoever asks for a longer pause than this is left to the usual ones.
LONGEST_RETRY_AFTER: Final = timedelta(hours=6)
NEVER_DECIDES: Final = "This link opens the card; it never decides."


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One proposal as it stands when a message about it leaves. `by` and `decided_at` speak of the last word on it."""

    event: str
    proposal_id: int
    team_id: int
    team: str
    agent: str
    action_type: str
    title: str
    risk: str
    digest: str
    version: int
    state: str
    deadline: datetime | None
    link: str
    by: str = ""
    verdict: str = ""
    verdict_words: str = ""
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, before it takes the form of its channel. `short` is all that a follow-up in a chat says."""

    id: str
    type: str
    at: datetime
    headline: str
    short: str
    lines: tuple[str, ...]
    link: str
    is_asking: bool
    data: Mapping[str, Any]


def event_of(action: str, *, state: str) -> str | None:
    """Return our event for what the audit log tells, or None where no channel hears of it.

    A first approval of two is no decision yet: the card still waits.
    """
    event = _OF_ACTIONS.get(action)
    return None if event == DECIDED and state in states.OPEN else event


def spelt(event: str, tier: int) -> str:
    """Write an event as it is stored: a second escalation is another message than the first, of the same version."""
    return f"{event}{tier}" if event == ESCALATED and tier > 1 else event


def event_in(stored: str) -> str:
    """Read what `spelt` wrote."""
    return stored.rstrip("0123456789")


def thresholds(risk: str) -> list[str]:
    """Return the lowest risks that channels may have chosen and still hear of a card of this risk."""
    return list(RISKS[: RISKS.index(risk) + 1])


def is_moot(event: str, state: str) -> bool:
    """Say whether a message is no longer true: nobody is asked any more, or the verdict was taken back, or it is settled."""
    if event == UNKNOWN:
        return state != states.UNKNOWN
    return (state in states.OPEN) != (event in ASKING)


def pause(attempts: int, *, chance: float) -> timedelta | None:
    """Return how long to wait after so many failed attempts, or None to give up. `chance` in [0, 1) spreads the pauses."""
    if attempts >= MAX_ATTEMPTS:
        return None
    return PAUSES[max(attempts, 1) - 1] * (1 - JITTER + 2 * JITTER * chance)


def message(told: Told, *, message_id: str, at: datetime, now: datetime, zone: ZoneInfo) -> Message:
    """Put one message into words. `at` is when what it tells happened, `now` is when it leaves."""
    title, when = _one_line(told.title), _clock(told.decided_at, zone)
    headline, sentence, short = _words(told, title, when, now)
    return Message(
        id=message_id,
        type=f"proposal.{told.event}",
        at=at,
        headline=headline,
        short=short,
        lines=(sentence, f"Agent: {_one_line(told.agent)}. Team: {_one_line(told.team)}. Risk: {told.risk}."),
        link=told.link,
        is_asking=told.event in ASKING,
        data=_data(told, title),
    )


def trial(*, message_id: str, channel: str, team_id: int, link: str, at: datetime) -> Message:
    """Return what "Send a test" sends."""
    words = f"Test of the channel {_one_line(channel)}"
    return Message(
        id=message_id,
        type="channel.test",
        at=at,
        headline=words,
        short=f"{words}: it works.",
        lines=("It works: messages about your team's cards arrive here.",),
        link=link,
        is_asking=False,
        data={"channel": _one_line(channel), "team": team_id, "link": link},
    )


def left(deadline: datetime | None, now: datetime) -> str:
    """Say how long is left, to the minute: "2 h", "3 h 45 min", "2 d 3 h"; empty without a deadline."""
    if deadline is None:
        return ""
    minutes = round((deadline - now).total_seconds() / 60)
    if minutes < 1:
        return "under 1 min"
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (0 if days else rest, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def _words(told: Told, title: str, when: str, now: datetime) -> tuple[str, str, str]:
    """Return headline, sentence and follow-up."""
    if told.event in ASKING:
        span = left(told.deadline, now)
        prefix = ", ".join(
            each for each in ("Escalated" * (told.event == ESCALATED), f"{span} left" * bool(span)) if each
        )
        headline = f"{prefix or 'Waiting'}: {title}, {told.risk} risk"
        return headline, "A person has to decide. If nobody answers in time, nothing is executed.", headline
    ends = {
        DECIDED: ("Decided", f"Decided by {_one_line(told.by) or 'somebody'}{f' at {when}' * bool(when)}"),
        EXPIRED: ("Expired", "Time ran out"),
        STALE: ("Out of date", "The target changed meanwhile"),
        WITHDRAWN: ("Withdrawn", "It was withdrawn"),
        UNKNOWN: ("Outcome unknown", "It may or may not have happened"),
    }
    word, happened = ends[told.event]
    what_now = {
        DECIDED: f": {told.verdict_words.lower()}." if told.verdict_words else ".",
        UNKNOWN: ". An operator looks there and settles it.",
    }.get(told.event, ". Nothing was executed.")
    return f"{word}: {title}", f"{happened}{what_now}", f"{happened}: {title}"


def _data(told: Told, title: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "proposal": told.proposal_id,
        "version": told.version,
        "state": told.state,
        "team": told.team_id,
        "agent": _one_line(told.agent),
        "action_type": told.action_type,
        "title": title,
        "risk": told.risk,
        "digest": told.digest,
        "deadline": stamp(told.deadline),
        "link": told.link,
    }
    if told.verdict:
        data["decision"] = {"verdict": told.verdict, "by": _one_line(told.by), "at": stamp(told.decided_at)}
    return data


def stamp(moment: datetime | None) -> str | None:
    """Write a moment for programs, in UTC."""
    return None if moment is None else moment.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _clock(moment: datetime | None, zone: ZoneInfo) -> str:
    return "" if moment is None else moment.astimezone(zone).strftime("%H:%M %Z")


def _one_line(text: str) -> str:
    """A line break in a subject would begin another header; hidden characters are shown as codes."""
    return reveal(" ".join(text.split()))
