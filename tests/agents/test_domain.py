from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from apps.agents.domain import ladder, schema
from apps.agents.domain.ladder import Ceiling, Report

NOW = datetime(2027, 5, 4, 10, tzinfo=UTC)
FREE = Ceiling("auto", "")
GOOD = (Report("budget", "ok", NOW), Report("gates", "satisfied", NOW))


def decide(level="auto", *, frozen_reason="", top=FREE, reports=GOOD, at=NOW):
    return ladder.autonomy(level=level, frozen_reason=frozen_reason, top=top, reports=reports, at=at)


@pytest.mark.parametrize(
    ("risk_class", "reversibility", "regulated", "stage", "level"),
    [
        ("low", "reversible", False, "scaled", "auto"),
        ("medium", "reversible", False, "scaled", "sampled"),
        ("high", "reversible", False, "scaled", "approve"),
        ("low", "irreversible", False, "scaled", "approve"),
        ("low", "compensable", False, "scaled", "auto"),
        ("low", "reversible", True, "scaled", "approve"),
        ("low", "reversible", False, "production", "sampled"),
        ("low", "reversible", False, "pilot", "approve"),
        ("low", "reversible", False, "demo", "recommend"),
        ("high", "irreversible", True, "demo", "recommend"),
        ("medium", "reversible", False, "production", "sampled"),
        ("low", "reversible", False, "retired", "shadow"),
    ],
)
def test_the_ceiling_is_the_lower_of_risk_and_stage(risk_class, reversibility, regulated, stage, level):
    top = ladder.ceiling(risk_class=risk_class, reversibility=reversibility, regulated=regulated, stage=stage)

    assert top.level == level


def test_it_says_why_an_irreversible_action_stays_with_people():
    top = ladder.ceiling(risk_class="low", reversibility="irreversible", regulated=False, stage="scaled")

    assert decide(top=top, reports=[]).why == ["Stays with people: irreversible."]
    assert not decide(top=top).may_act_alone


@pytest.mark.parametrize(
    ("level", "ceiling", "worth", "is_shown"),
    [
        ("auto", "recommend", "recommend", True),
        ("auto", "shadow", "shadow", False),
        ("recommend", "auto", "recommend", True),
        ("shadow", "recommend", "shadow", False),
        (None, "recommend", "recommend", True),
    ],
)
def test_below_approve_an_action_is_only_advice(level, ceiling, worth, is_shown):
    advice = ladder.advice(level=level, top=Ceiling(ceiling, "Because."))

    assert (advice.level, advice.is_shown) == (worth, is_shown)


@pytest.mark.parametrize(("level", "ceiling"), [("approve", "approve"), ("auto", "approve"), (None, "auto")])
def test_from_approve_on_an_action_may_be_executed(level, ceiling):
    assert ladder.advice(level=level, top=Ceiling(ceiling, "")) is None


def test_advice_says_whether_the_ceiling_or_the_level_makes_it_so():
    top = Ceiling("recommend", "At stage demo the ceiling is “recommend”.")

    assert ladder.advice(level="auto", top=top).why == top.why
    assert ladder.advice(level="shadow", top=top).why == "Its level is “shadow”."


def test_it_acts_alone_when_nothing_speaks_against_it():
    assert decide() == ladder.Autonomy(level="auto", may_act_alone=True, why=[], ceiling="auto")


def test_it_asks_while_the_right_is_not_earned():
    verdict = decide("approve")

    assert not verdict.may_act_alone
    assert verdict.why == ["It has not yet earned the right to act alone."]


def test_a_missing_level_row_asks_a_person():
    verdict = decide(None)

    assert (verdict.level, verdict.may_act_alone) == ("approve", False)


def test_a_frozen_cell_asks_a_person():
    verdict = decide(frozen_reason="Confirmed wrong, severe")

    assert (verdict.level, verdict.may_act_alone) == ("approve", False)
    assert verdict.why == ["Frozen: Confirmed wrong, severe"]


@pytest.mark.parametrize("missing", ["budget", "gates"])
def test_a_missing_report_asks_a_person(missing):
    verdict = decide(reports=[each for each in GOOD if each.kind != missing])

    assert not verdict.may_act_alone
    assert verdict.level == "auto"
    assert "Nothing is known" in verdict.why[0]


def test_a_report_of_15_minutes_is_fresh_and_an_older_one_is_not():
    assert decide(at=NOW + timedelta(minutes=15)).may_act_alone
    assert not decide(at=NOW + timedelta(minutes=15, microseconds=1)).may_act_alone


@pytest.mark.parametrize(
    ("value", "level", "alone"),
    [
        ("ok", "auto", True),
        ("watch", "auto", True),
        ("restrict", "sampled", True),
        ("frozen", "approve", False),
        ("nonsense", "approve", False),
    ],
)
def test_the_budget_caps_the_level(value, level, alone):
    verdict = decide(reports=[Report("budget", value, NOW), GOOD[1]])

    assert (verdict.level, verdict.may_act_alone) == (level, alone)


def test_the_worst_of_several_budgets_wins():
    reports = [*GOOD, Report("budget", "frozen", NOW)]

    assert decide(reports=reports).level == "approve"


def test_open_gates_ask_a_person():
    assert not decide(reports=[GOOD[0], Report("gates", "open", NOW)]).may_act_alone


reports = st.lists(
    st.builds(
        Report,
        kind=st.sampled_from(["budget", "gates"]),
        value=st.sampled_from(["ok", "watch", "restrict", "frozen", "satisfied", "open", "?"]),
        as_of=st.integers(0, 30).map(lambda minutes: NOW - timedelta(minutes=minutes)),
    ),
    max_size=4,
)


@given(
    level=st.sampled_from([None, *ladder.LEVELS]),
    frozen_reason=st.sampled_from(["", "by hand"]),
    risk=st.sampled_from(["low", "medium", "high"]),
    stage=st.sampled_from(["demo", "pilot", "production", "scaled", "retired"]),
    reports=reports,
)
def test_it_never_acts_above_the_ceiling_and_always_says_why_not(level, frozen_reason, risk, stage, reports):
    top = ladder.ceiling(risk_class=risk, reversibility="reversible", regulated=False, stage=stage)

    verdict = decide(level, frozen_reason=frozen_reason, top=top, reports=reports)

    assert ladder.rank(verdict.level) <= ladder.rank(top.level)
    assert verdict.may_act_alone is (not verdict.why)
    if verdict.may_act_alone:
        assert {each.kind for each in reports} == {"budget", "gates"}
        assert level in {"sampled", "auto"}
        assert not frozen_reason


NESTED = {
    "type": "object",
    "properties": {
        "to": {"type": "object", "properties": {"mail": {"type": "string"}}, "additionalProperties": True},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sum": {"type": "integer"}}}},
        "either": {"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "null"}]},
        "ref": {"$ref": "#/$defs/person"},
    },
    "$defs": {"person": {"type": ["object", "null"], "properties": {"name": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    "args",
    [
        {"smuggled": 1},
        {"to": {"mail": "a", "smuggled": 1}},
        {"lines": [{"sum": 1, "smuggled": 1}]},
        {"either": {"smuggled": 1}},
        {"ref": {"name": "a", "smuggled": 1}},
    ],
)
def test_an_undeclared_argument_is_refused_at_every_depth(args):
    validator = Draft202012Validator(schema.closed(NESTED))

    assert not validator.is_valid(args)
    assert validator.is_valid({"to": {"mail": "a"}, "lines": [{"sum": 1}], "either": None, "ref": {"name": "a"}})


@pytest.mark.parametrize(
    ("broken", "pointer"),
    [
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "/properties/a/type"),
        ({"type": "object", "properties": {"a": {}}}, "/properties/a"),
        ({"type": "object", "properties": {"a": True}}, "/properties/a"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "/properties/a"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {}}}}, "/properties/a/items"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/a"}}}, "/properties/a"),
        ({"type": "object", "properties": {"a": {"type": "object", "patternProperties": {".": {}}}}}, "/properties/a"),
        ({"type": "object", "properties": {"a": {"type": "string", "not": {"const": "x"}}}}, "/properties/a"),
        ({"type": "object", "properties": {}}, "/"),
        ({"type": "array", "items": {"type": "string"}}, "/"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}, "/required"),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"a": {"type": "string"}},
            },
            "/$schema",
        ),
    ],
)
def test_it_refuses_a_schema_that_leaves_something_open_and_points_at_it(broken, pointer):
    with pytest.raises(schema.SchemaRefused) as refused:
        schema.closed(broken)

    assert refused.value.problems[0].startswith(f"{pointer}:")


ONE = {"type": "object", "properties": {"queue": {"type": "string"}}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"editable_fields": ["other"]}, "editable field"),
        ({"materiality": {"other": 1}}, "given for no argument"),
        ({"materiality": {"queue": 1.5}}, "0 to 1"),
        ({"materiality": {"queue": float("nan")}}, "0 to 1"),
        ({"consequence": "Moves to {other}."}, "neither an argument nor the target"),
        ({"consequence": "Moves to {queue.__class__}."}, "neither an argument nor the target"),
        ({"consequence": "Moves to {queue!r}."}, "takes no format"),
        ({"consequence": "Moves to {queue:>999999}."}, "takes no format"),
        ({"consequence": "Moves to {}."}, "neither an argument nor the target"),
        ({"consequence": "Moves to {queue."}, "Consequence"),
    ],
)
def test_what_is_said_about_an_action_names_its_arguments(fields, words):
    given = {"editable_fields": ["queue"], "materiality": {"queue": 1}, "consequence": "To {queue}.", **fields}

    with pytest.raises(schema.SchemaRefused, match=words):
        schema.checked_definition(ONE, **given)


def test_the_sentence_is_filled_with_typed_arguments_only():
    words = schema.in_words(
        "Moves {target} to {queue}, asks {note}.", args={"queue": "{target}"}, target="desk:tickets/1"
    )

    assert words == "Moves desk:tickets/1 to {target}, asks nothing."
