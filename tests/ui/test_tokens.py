"""The contrast of every pair of tokens that carries text or a boundary, by the WCAG 2.2 formula, in both themes."""

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).resolve().parents[2] / "static" / "ui" / "tokens.css").read_text()
TOKENS = {
    name: (light, dark) for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", CSS)
}
TEXT, BOUNDARY = 4.5, 3.0
STATUSES = ("ok", "warn", "bad", "wait", "idle")
PAIRS = [
    *(
        (name, ground, TEXT)
        for name in ("text", "muted", "accent-text")
        for ground in ("canvas", "surface", "sunken", "hover")
    ),
    *((status, ground, TEXT) for status in STATUSES for ground in (f"{status}-tint", "surface", "canvas", "hover")),
    *(("text", f"{status}-tint", TEXT) for status in STATUSES),
    ("on-accent", "accent", TEXT),
    ("line-strong", "surface", BOUNDARY),
    ("line-strong", "canvas", BOUNDARY),
    ("accent", "surface", BOUNDARY),
    ("accent", "canvas", BOUNDARY),
    ("amber", "surface", BOUNDARY),
]


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_agrees_with_the_table_of_the_design():
    assert round(contrast(TOKENS["text"][0], TOKENS["surface"][0]), 1) == 16.4
    assert round(contrast(TOKENS["muted"][1], TOKENS["canvas"][1]), 1) == 8.3


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "ground", "least"), PAIRS)
def test_a_pair_of_tokens_can_be_read(theme, name, ground, least):
    assert contrast(TOKENS[name][theme], TOKENS[ground][theme]) >= least
