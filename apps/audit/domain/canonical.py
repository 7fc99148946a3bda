"""One text for one value: RFC 8785 (JSON Canonicalization Scheme), the only canonicaliser of the house."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring

# Beyond this a JSON number no longer names one integer in every reader.
MAX_INTEGER = 2**53 - 1
# Nothing honest is nested deeper, and Python's own stack ends soon after.
MAX_DEPTH = 100

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class CanonicalError(ValueError):
    """A value has no single canonical text. `pointer` is the JSON pointer (RFC 6901) of the part at fault."""

    def __init__(self, problem: str, pointer: str) -> None:
        super().__init__(f"{problem} at {pointer or 'the top'}")
        self.problem = problem
        self.pointer = pointer


def canonical(value: object) -> str:
    """Return the canonical text: keys in UTF-16 order, no spaces, ECMAScript numbers. Hash its UTF-8 bytes.

    Refused with CanonicalError: NaN, infinities, integers beyond ±(2^53−1), lone surrogates, keys that are
    not text, types that JSON does not have. No Unicode normalisation.
    """
    return _text(value, ())


def parse(text: str) -> object:
    """Read JSON as strictly as `canonical` writes it; a key given twice is refused too."""
    try:
        loaded = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_Constant)
    except RecursionError:
        raise CanonicalError("nested too deeply", "") from None
    return _settled(loaded, ())


class _Pairs(list[tuple[str, object]]):
    """An object's members as written, so that a repeated key is still visible."""


class _Constant(str):
    """NaN or Infinity, which Python's reader accepts and JSON does not have."""

    __slots__ = ()


_Path = tuple[str | int, ...]


def _text(value: object, path: _Path) -> str:
    if isinstance(value, str):
        return _string(value, path)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return _integer(value, path)
    if isinstance(value, float):
        return _number(value, path)
    if len(path) > MAX_DEPTH:
        raise CanonicalError("nested too deeply", _pointer(path))
    if isinstance(value, Mapping):
        return _object(value, path)
    if isinstance(value, list | tuple):
        return "[" + ",".join([_text(each, (*path, index)) for index, each in enumerate(value)]) + "]"
    raise CanonicalError(f"{type(value).__name__} is a type that JSON does not have", _pointer(path))


def _object(value: Mapping[object, object], path: _Path) -> str:
    for key in value:
        if not isinstance(key, str):
            raise CanonicalError(f"the key {key!r} is not text", _pointer(path))
    members = [(_string(key, (*path, key)), _text(value[key], (*path, key))) for key in _sorted(value)]
    return "{" + ",".join([f"{key}:{member}" for key, member in members]) + "}"


def _sorted(keys: Iterable[object]) -> list[str]:
    texts = [str.__str__(key) for key in keys if isinstance(key, str)]
    # Code points and UTF-16 code units order alike until a key leaves the basic plane.
    if all(key.isascii() for key in texts):
        return sorted(texts)
    return sorted(texts, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _string(value: str, path: _Path) -> str:
    if not value.isascii() and _LONE_SURROGATE.search(value):
        raise CanonicalError("a lone surrogate", _pointer(path))
    return encode_basestring(value)


def _integer(value: int, path: _Path) -> str:
    if abs(value) > MAX_INTEGER:
        raise CanonicalError("an integer beyond ±(2^53-1)", _pointer(path))
    return int.__repr__(value)


def _number(value: float, path: _Path) -> str:
    """ECMAScript Number::toString (ECMA-262, 6.1.6.1.20) on Python's shortest digits."""
    if not math.isfinite(value):
        raise CanonicalError(f"{value} is no JSON number", _pointer(path))
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # Decimal(repr) keeps exactly the shortest digits that read back as this float.
    shortest = Decimal(float.__repr__(value)).normalize().as_tuple()
    digits = "".join(map(str, shortest.digits))
    point = len(digits) + int(shortest.exponent)
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:  # noqa: PLR2004  # ECMA-262 names 21 and -6 itself
        return digits.ljust(point, "0")
    if 0 < point <= 21:  # noqa: PLR2004  # as above
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:  # noqa: PLR2004  # as above
        return "0." + "0" * -point + digits
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _settled(value: object, path: _Path) -> object:
    if isinstance(value, _Pairs):
        return _members(value, path)
    if isinstance(value, list):
        return [_settled(each, (*path, index)) for index, each in enumerate(value)]
    if isinstance(value, _Constant):
        raise CanonicalError(f"{value} is no JSON number", _pointer(path))
    _text(value, path)
    return value


def _members(pairs: _Pairs, path: _Path) -> dict[str, object]:
    members: dict[str, object] = {}
    for key, member in pairs:
        if key in members:
            raise CanonicalError("a key given twice", _pointer((*path, key)))
        _string(key, (*path, key))
        members[key] = _settled(member, (*path, key))
    return members


def _pointer(path: _Path) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
