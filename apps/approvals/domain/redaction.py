"""S8: secrets in what an agent hands in are replaced by marks before anything is stored or shown."""

import hmac
import math
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from apps.approvals.domain.edit import pointer

# Shorter runs of random characters are too often ids, and longer ones with less entropy are words.
MIN_LENGTH: Final = 20
MIN_BITS: Final = 4.0
# The share of neighbours of different kinds (letter case, digit) in random text is about 0.6; in names it is far less.
MIN_SWITCHES: Final = 0.28

# What is secret is the group `secret`; what stands around it says what it was, and stays.
_PATTERNS: Final = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"(?P<secret>-----BEGIN [A-Z0-9 ]{2,40}-----.*?(?:-----END [A-Z0-9 ]{2,40}-----|\Z))", re.DOTALL),
        (
            (
                r"\bauthorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|digest|token|apikey)\s+"
                r"(?P<secret>[^\s\"',;\[][^\s\"',;]{3,})"
            ),
            re.IGNORECASE,
        ),
        # Without a scheme it must look like a key: "authorization: required" is prose.
        (
            r"\bauthorization[\"']?\s*[:=]\s*[\"']?(?P<secret>(?=[^\s\"',;]*\d|[^\s\"',;]{16})[^\s\"',;\[][^\s\"',;]{7,})",
            re.IGNORECASE,
        ),
        (r"\bbearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{16,})", re.IGNORECASE),
        (r"\b(?:set-)?cookie[\"']?\s*:\s*[\"']?(?P<secret>[\w.$%-]+=[^\r\n\"']+)", re.IGNORECASE),
        (r"(?P<secret>\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)", 0),
        (
            (
                r"(?P<secret>\b(?:[spr]k_(?:live|test)_[A-Za-z0-9]{10,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
                r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}"
                r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{20,}"
                r"|dop_v1_[a-f0-9]{20,}|whsec_[A-Za-z0-9+/=]{16,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
                r"|pp_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}))"
            ),
            0,
        ),
        # The password of a connection string; who connects and where to is no secret.
        (r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"']*:(?P<secret>[^\s/@\"'\[][^\s/@\"']*)@", re.IGNORECASE),
        (
            (
                r"\b(?:password|passwd|pwd|secret|client_secret|api[_-]?key|access[_-]?key|access[_-]?token|token|sig"
                r"|signature|accountkey|sharedaccesskey)[\"']?=[\"']?(?P<secret>(?!\[redacted:)[^\s\"',;&]{6,})"
            ),
            re.IGNORECASE,
        ),
    )
)
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://\S+", re.IGNORECASE)
_NAMED_DIGEST: Final = re.compile(r"\bsha(?:1|224|256|384|512)[:-][A-Za-z0-9+/=]+", re.IGNORECASE)
_MARK: Final = re.compile(r"\[redacted:[0-9a-f]{8}\]")
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HEX: Final = re.compile(r"[0-9a-f]+", re.IGNORECASE)
_RUN: Final = re.compile(r"[A-Za-z0-9+=_-]{20,}")
_LEFT_ALONE: Final = re.compile("|".join(each.pattern for each in (_MARK, _URL, _NAMED_DIGEST)), re.IGNORECASE)


def redacted(value: Any, *, key: bytes) -> Any:
    """Return text, or a JSON value with every text in it, with each secret as `[redacted:…]`: 8 hex of its keyed HMAC.

    Equal secrets leave equal marks and cannot be guessed from them without the key. Twice is the same as once.
    """
    match value:
        case str():
            return _redacted(value, key)
        case Mapping():
            return {name: redacted(each, key=key) for name, each in value.items()}
        case list() | tuple():
            return [redacted(each, key=key) for each in value]
        case _:
            return value


def has_secret(value: Any) -> bool:
    return next(_places(value, []), None) is not None


def places(value: Any, *, under: str = "") -> list[str]:
    """Return the JSON pointer (RFC 6901) of every text that holds a secret, below the pointer given."""
    return [under + pointer(path) for path in _places(value, [])]


def _places(value: Any, path: list[str | int]) -> Any:
    match value:
        case str():
            if _redacted(value, b"") != value:
                yield path
        case Mapping():
            for name, each in value.items():
                yield from _places(each, [*path, name])
        case list() | tuple():
            for number, each in enumerate(value):
                yield from _places(each, [*path, number])
        case _:
            return


def _redacted(text: str, key: bytes) -> str:
    if len(text) < MIN_LENGTH and not any(mark in text for mark in ":=@"):
        return text
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: _marked(found, key), text)
    parts, end = [], 0
    for kept in _LEFT_ALONE.finditer(text):
        parts += [_without_random(text[end : kept.start()], key), kept.group()]
        end = kept.end()
    return "".join([*parts, _without_random(text[end:], key)])


def _marked(found: re.Match[str], key: bytes) -> str:
    secret = found.group("secret")
    if _MARK.fullmatch(secret):
        return found.group()
    start = found.start("secret") - found.start()
    whole = found.group()
    return f"{whole[:start]}{_mark(secret, key)}{whole[start + len(secret) :]}"


def _mark(secret: str, key: bytes) -> str:
    return f"[redacted:{hmac.digest(key, secret.encode('utf-8', 'surrogatepass'), 'sha256').hex()[:8]}]"


def _without_random(text: str, key: bytes) -> str:
    return _RUN.sub(lambda run: _mark(run.group(), key) if _is_random(run.group()) else run.group(), text)


def _is_random(run: str) -> bool:
    """Say whether a run of characters is too even to be words, a slug, a date, an id of ours or a plain digest."""
    if _UUID.search(run) or _HEX.fullmatch(run.replace("-", "")) or bits_each(run) < MIN_BITS:
        return False
    if not any(each.isdigit() for each in run) or not any(each.isalpha() for each in run):
        return False
    longest = max(re.split(r"[-_+=]", run), key=len)
    switches = sum(_kind(a) != _kind(b) for a, b in pairwise(longest))
    return len(longest) >= MIN_LENGTH // 2 and switches / (len(longest) - 1) >= MIN_SWITCHES


def _kind(character: str) -> int:
    return 0 if character.isdigit() else 1 if character.isupper() else 2


def bits_each(text: str) -> float:
    """Return the Shannon entropy of a text's characters, in bits each; 0 for none."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts) if text else 0.0
