"""What a person types into the search of the inbox: `risk:high agent:refunds due:<2h mine:yes text`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from apps.approvals.domain import states

# As long as a saved view may be; longer text is no search any more.
LONGEST: Final = 300
RISKS: Final = ("low", "medium", "high")
OPEN: Final = "open"
# What a person may ask for by its state; the ones that last no longer than a transaction are left out.
STATES: Final = (
    OPEN,
    *sorted(states.OPEN),
    *sorted((states.AFTER_CONSENT | states.TERMINAL) - {states.QUEUED, states.UNKNOWN}),
    states.QUEUED,
    states.UNKNOWN,
)
OPEN_STATES: Final = frozenset({OPEN, *states.OPEN})
_UNITS: Final = {"m": 60, "h": 3600, "d": 86400}
# Ten years: further away nothing is due, and the database's calendar still reaches.
_LONGEST_SPAN: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition, its value in its one spelling: `due` `<2h`; or, without a name, one word or phrase of the text."""

    name: str
    value: str
    is_not: bool = False

    def __str__(self) -> str:
        sign, name = "-" if self.is_not else "", f"{self.name}:" if self.name else ""
        bare = f"{sign}{name}{self.value}"
        reads_back = " " not in bare and _read_token(bare) == (self.is_not, self.name, self.value)
        return bare if reads_back else f'{sign}{name}"{self.value}"'


@dataclass(frozen=True, slots=True)
class Search:
    """What was understood, in the order it was typed, and a sentence for each part that was not."""

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(str(each) for each in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def named(self, name: str) -> tuple[Term, ...]:
        return tuple(each for each in self.terms if each.name == name)

    @property
    def words(self) -> tuple[Term, ...]:
        return self.named("")

    @property
    def is_about_open(self) -> bool:
        """Only what still waits for a person: without a word about the state, or with one that says so."""
        return all(each.value in OPEN_STATES and not each.is_not for each in self.named("state"))

    @property
    def shows_snoozed(self) -> bool:
        return any(each.value == "yes" for each in self.named("snoozed"))


def parse(text: str) -> Search:
    """Read a search; never raises. A part that cannot be read is named among the problems, and the rest still counts.

    `parse(str(search))` is the same search without its problems.
    """
    terms: dict[Term, None] = {}
    problems: dict[str, None] = {}
    for token in _TOKEN.findall(_cleaned(text)):
        is_not, name, value = _read_token(token)
        if name:
            _read_term(name, value, is_not=is_not, into=terms, problems=problems)
        elif any(each.isalnum() for each in value):
            terms[Term("", value, is_not)] = None
    return Search(tuple(terms), tuple(problems))


def comparison(value: str) -> tuple[str, str]:
    """Split "<2h" into its sign and its amount."""
    return value[0], value[1:]


def span(amount: str) -> timedelta:
    """Return the length of "90m", "2h" or "1d"."""
    return timedelta(seconds=int(amount[:-1]) * _UNITS[amount[-1]])


_Reader = Callable[[str], str | None]


def _one_of(*allowed: str) -> _Reader:
    return lambda value: value if value in allowed else None


def _named(value: str) -> str | None:
    return value


def _span_bound(value: str) -> str | None:
    found = re.fullmatch(r"([<>])\s*([0-9]{1,7})\s*([mhd])", value)
    if found is None:
        return None
    sign, number, unit = found.groups()
    seconds = int(number) * _UNITS[unit]
    if timedelta(seconds=seconds) > _LONGEST_SPAN:
        return None
    size = next(each for each in ("d", "h", "m") if seconds % _UNITS[each] == 0)
    return f"{sign}{seconds // _UNITS[size]}{size}"


def _share_bound(value: str) -> str | None:
    try:
        share = Decimal(value[1:])
    except InvalidOperation:
        return None
    if value[0] not in "<>" or not share.is_finite() or not 0 <= share <= 1 or len(value) > len("<0.12345"):
        return None
    # Written out: Decimal would say 0E-3.
    return f"{value[0]}{share.normalize():f}"


def _count(value: str) -> str | None:
    return value if value.isascii() and value.isdigit() and len(value) == 1 else None


# Each term with how its value is read and what it takes, in the words that people are told.
TERMS: Final[Mapping[str, tuple[_Reader, str]]] = {
    "risk": (_one_of(*RISKS), "low, medium or high"),
    "agent": (_named, "how an agent's name or short name begins"),
    "action": (_named, "how an action's name or key begins"),
    "team": (_named, "how a team's name or short name begins"),
    "state": (_one_of(*STATES), f"one of {', '.join(STATES)}"),
    "due": (_span_bound, "< or > and a time, as <2h, >1d or <30m"),
    "age": (_span_bound, "< or > and a time, as >2h, <1d or >30m"),
    "mine": (_one_of("yes", "no"), "yes or no"),
    "snoozed": (_one_of("yes", "no"), "yes or no"),
    "duplicate": (_one_of("yes", "no"), "yes or no"),
    "approvals": (_count, "a number, as 1"),
    "confidence": (_share_bound, "< or > and a number from 0 to 1, as <0.8"),
}
# Yes and no are each other's negation: one spelling of each.
_OPPOSITE: Final = {"yes": "no", "no": "yes"}
# A run of what is no space; spaces in quotes belong to it, and a quote that nothing closes is closed by the end.
_TOKEN: Final = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')
_NAME: Final = re.compile(r"([^\W\d_]+):")


def _cleaned(text: str) -> str:
    """Leave out what no database stores or nobody sees: control characters, and what lies beyond the longest search."""
    return "".join(each if each.isprintable() else " " for each in text.lower())[:LONGEST]


def _read_token(token: str) -> tuple[bool, str, str]:
    """Split one token into its sign, the name of its term if it has one, and its value without quotes."""
    is_not = token.startswith("-") and len(token) > 1
    rest = token[1:] if is_not else token
    named = _NAME.match(rest)
    value = rest[named.end() :] if named else rest
    return is_not, named[1] if named else "", " ".join(value.replace('"', "").split())


def _read_term(name: str, value: str, *, is_not: bool, into: dict[Term, None], problems: dict[str, None]) -> None:
    if name not in TERMS:
        problems[f'There is no term "{name}:". Known are {", ".join(TERMS)}. In quotes it is searched as text.'] = None
        return
    read, takes = TERMS[name]
    found = read(value) if value else None
    if found is None:
        problems[f"{name}: takes {takes}."] = None
    elif is_not and found in _OPPOSITE:
        into[Term(name, _OPPOSITE[found])] = None
    else:
        into[Term(name, found, is_not)] = None
