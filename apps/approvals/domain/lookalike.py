"""R20: letters that look like others. A word that mixes alphabets, or only pretends to be Latin, is called by name."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

# More warnings than this tell nothing that the first ones did not.
MOST: Final = 5

_WORD: Final = re.compile(r"[^\W\d_]+(?:[\d_]*[^\W\d_]+)*")
_ALPHABETS: Final = {
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARMENIAN": "Armenian",
    "CHEROKEE": "Cherokee",
    "COPTIC": "Coptic",
    "LISU": "Lisu",
}
# Letters drawn like Latin ones (Unicode TR39, confusables, the single letters of everyday fonts).
_LIKE_LATIN: Final = frozenset(
    "аеорсухіјѕһԁԛԝӏңґвкмнтАВЕКМНОРСТУХІЈЅԌԚԜҮ"  # these are the Cyrillic ones
    "οανυικρτχγΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳ"  # and these the Greek ones
    "օսոհցզԱՍՕ"  # and the Armenian ones
)


def warnings(texts: Iterable[str]) -> list[str]:
    """Return one sentence for each letter that is not what it looks like: "The letter 'а' in 'pаypal' is Cyrillic."

    Texts in one foreign alphabet are fine, and so are units and formulas such as kΩ: only what can deceive is told.
    """
    found = [sentence for text in texts if not text.isascii() for sentence in _in_text(text)]
    return list(dict.fromkeys(found))[:MOST]


def _in_text(text: str) -> list[str]:
    words = _WORD.findall(text)
    is_latin = any(_alphabets(word) == {"LATIN"} for word in words)
    foreign = {alphabet for word in words for alphabet in _honest(word)}
    found = []
    for word in words:
        found += [_dressed(letter, word) for letter in word if _dress(letter)]
        used = _alphabets(word)
        if "LATIN" in used and len(used) > 1:
            found += [_told(letter, word) for letter in word if _deceives(letter)]
        elif is_latin and len(word) > 1 and used and not used & (foreign | {"LATIN"}):
            found += [_told(word[0], word)] if all(letter in _LIKE_LATIN for letter in word) else []
    return found


def _alphabets(word: str) -> set[str]:
    return {alphabet for letter in word if (alphabet := _alphabet(letter))}


def _honest(word: str) -> set[str]:
    """Return the alphabets that a word is openly written in: it holds a letter that looks like no Latin one."""
    used = _alphabets(word)
    return used if len(used) == 1 and any(_alphabet(each) and each not in _LIKE_LATIN for each in word) else set()


def _alphabet(letter: str) -> str:
    first = unicodedata.name(letter, "").partition(" ")[0]
    return first if first in _ALPHABETS else ""


def _deceives(letter: str) -> bool:
    """In a word with Latin letters every Cyrillic one is out of place; a Greek one may be a symbol unless it looks Latin."""
    alphabet = _alphabet(letter)
    return alphabet not in ("", "LATIN") and (alphabet != "GREEK" or letter in _LIKE_LATIN)


def _dress(letter: str) -> str:
    name = unicodedata.name(letter, "")
    if name.startswith("FULLWIDTH LATIN"):
        return "full-width"
    return "a mathematical sign" if name.startswith("MATHEMATICAL ") else ""


def _dressed(letter: str, word: str) -> str:
    return f"The letter '{letter}' in '{word}' is {_dress(letter)}."


def _told(letter: str, word: str) -> str:
    return f"The letter '{letter}' in '{word}' is {_ALPHABETS[_alphabet(letter)]}."
