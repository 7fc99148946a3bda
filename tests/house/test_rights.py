"""Each right that the code asks for is one that a role can hold: a slip of the pen would lock everybody out."""

import ast
import re
from pathlib import Path

import pytest

from apps.accounts.domain.rights import RIGHTS

ROOT = Path(__file__).resolve().parents[2]
ASKING = {
    "has_perm",
    "team_ids_with",
    "users_with",
    "scoped",
    "object_or_404",
    "ensure",
    "ensure_may",
    "may",
    "Forbidden",
    "Hidden",
    "Item",
}
RIGHT = re.compile(r"[a-z]+\.[a-z_]+")
IN_TEMPLATES = re.compile(r"\bperms\.([a-z]+\.[a-z_]+)")


def asked_in_code():
    for path in sorted((ROOT / "apps").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _name(call.func) in ASKING:
                values = [*call.args, *(each.value for each in call.keywords if each.arg in {"right", "perm"})]
                for value in values:
                    if (
                        isinstance(value, ast.Constant)
                        and isinstance(value.value, str)
                        and RIGHT.fullmatch(value.value)
                    ):
                        yield value.value, f"{path.relative_to(ROOT)}:{value.lineno}"


def asked_in_templates():
    for path in sorted((ROOT / "templates").rglob("*.html")):
        for found in IN_TEMPLATES.finditer(path.read_text()):
            yield found.group(1), str(path.relative_to(ROOT))


def _name(function):
    return getattr(function, "attr", None) or getattr(function, "id", None)


ASKED = [*asked_in_code(), *asked_in_templates()]


def test_the_search_finds_the_rights_it_should_find():
    assert {"audit.search", "people.change", "people.view"} <= {right for right, _ in ASKED}


@pytest.mark.parametrize(("right", "place"), ASKED, ids=[f"{right}-{place}" for right, place in ASKED])
def test_every_right_asked_for_exists(right, place):
    assert right in RIGHTS, f"{place} asks for {right!r}, which no role gives"
