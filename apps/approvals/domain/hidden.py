"""R20: characters that a reader cannot see, or that reorder what they see, are shown as their codes."""

import unicodedata
from typing import Final

# Blank to the eye, a letter to the machine.
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
_PLAIN: Final = frozenset("\n\t")
# Cf: bidi marks, zero-width, tags. Cc: controls. Zl, Zp: other line ends. Cs, Co: no agreed meaning.
_HIDDEN_CATEGORIES: Final = frozenset({"Cf", "Cc", "Zl", "Zp", "Cs", "Co"})


def is_hidden(character: str) -> bool:
    """Say whether it cannot be seen: bidi and zero-width characters, controls, fillers, tags and variation selectors."""
    if character.isascii():
        return not (character.isprintable() or character in _PLAIN)
    return (
        character in _FILLERS
        or unicodedata.category(character) in _HIDDEN_CATEGORIES
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def reveal(text: str) -> str:
    """Return the text with every hidden character written as [U+202E]; visible text is unchanged."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"[U+{ord(each):04X}]" if is_hidden(each) else each for each in text.replace("\r\n", "\n"))


def has_hidden(text: str) -> bool:
    return any(is_hidden(each) for each in text.replace("\r\n", "\n"))
