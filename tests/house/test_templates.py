"""No template or module may open a hole in the strict policy (S1, S2) or in escaping (S3)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
MODULES = sorted((ROOT / "apps").rglob("*.py"))

HOLES = {
    "the safe filter": r"\|\s*safe(seq)?\b",
    "autoescape off": r"autoescape\s+off",
    "an inline style": r"<[^>]*\sstyle\s*=",
    "a style element": r"<style\b",
    "a script without src": r"<script\b(?![^>]*\ssrc=)",
    "an inline event handler": r"<[^>]*\son[a-z]+\s*=",
    "hx-on": r"\bhx-on\b",
    "a trigger filter": r"hx-trigger\s*=\s*[\"'][^\"']*\[",
    "a js: value": r"=\s*[\"'](js|javascript):",
    "something from elsewhere": r"(src|href)\s*=\s*[\"']\s*(https?:)?//",
}
EXAMPLES = {
    "the safe filter": "{{ text|safe }}",
    "autoescape off": "{% autoescape off %}",
    "an inline style": '<p class="a" style="color:red">',
    "a style element": "<style>",
    "a script without src": "<script>alert(1)</script>",
    "an inline event handler": '<button onclick="go()">',
    "hx-on": '<p hx-on:click="go()">',
    "a trigger filter": '<p hx-trigger="keyup[key==1]">',
    "a js: value": "<p hx-vals='js:{a: 1}'>",
    "something from elsewhere": '<img src="https://example.com/a.png">',
}
UNESCAPED = re.compile(r"\bmark_safe\b|\bSafeString\(|\bSafeText\b")


@pytest.mark.parametrize("hole", HOLES)
def test_each_rule_recognises_its_hole(hole):
    assert re.search(HOLES[hole], EXAMPLES[hole])


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_template_opens_no_hole(template):
    text = template.read_text()

    found = [hole for hole, pattern in HOLES.items() if re.search(pattern, text)]

    assert found == []


def test_no_module_declares_text_safe():
    found = [path.relative_to(ROOT).as_posix() for path in MODULES if UNESCAPED.search(path.read_text())]

    assert found == []


def test_no_view_hides_the_side_bar_by_a_variable_of_its_name():
    """The base page draws the side bar from `page`; a view that passes its own takes it away."""
    views = [path for path in MODULES if path.name.startswith("views")]

    assert [str(path) for path in views if '"page":' in path.read_text()] == []
