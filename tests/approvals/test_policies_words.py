"""A policy in words, and what a new version changes: above all, whether it lets more through."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.approvals.domain import explained, terms
from apps.approvals.domain.explained import Vocabulary
from apps.approvals.domain.policy import USUAL_TIERS, Conditions, escalation_tiers
from apps.approvals.domain.rules import Rule
from apps.approvals.domain.terms import Terms
from tests.factories.policies import CONDITIONS, FACTS, rule

WORDS = Vocabulary({"args.amount": "Amount", "args.iban": "IBAN"}, {3: "Ben", 5: "Kim"})


def version(conditions=None, **fields):
    facts = {"approvals_needed": 1, "window_s": 14400, "on_expiry": "expire", "undo_s": 15, **fields}
    return Terms(conditions=Conditions.parse(conditions or {}), **facts)


def said(before, after):
    return [(each.words, each.loosens) for each in terms.changes(before, after, WORDS)]


class TestSentences:
    @pytest.mark.parametrize(
        ("stored", "sentence"),
        [
            (rule("args.amount", ">=", 100), "Where amount is at least 100: two people decide."),
            (
                rule("args.amount", ">", 0.5, "ask", "Small sums too"),
                "Where amount is above 0.5: a person decides. Small sums too.",
            ),
            (rule("args.iban", "is empty", then="deny"), "Where IBAN is empty: it is refused."),
            (
                rule("args.note", "contains", "pass\u200bword", "deny"),
                "Where note contains “pass[U+200B]word”: it is refused.",
            ),
            (rule("risk", "in", ["low", "medium"], "alone"), "Where the risk is “low” or “medium”: it may run alone."),
            (rule("args.x", "not in", ["a", "b"]), "Where x is neither “a” nor “b”: two people decide."),
            (rule("args.x", "not in", ["a"]), "Where x is not “a”: two people decide."),
            (rule("args.x", "=", True), "Where x is yes: two people decide."),
            (rule("args.x", "changed"), "Where x was changed by a person: two people decide."),
        ],
    )
    def test_a_rule_is_one_sentence(self, stored, sentence):
        assert explained.rule(Rule.parse(stored), WORDS) == sentence

    @pytest.mark.parametrize(
        ("conditions", "approvals", "sentence"),
        [
            ({}, 1, "One person decides every time."),
            ({}, 2, "Two people decide every time."),
            (
                {"auto_from_confidence": 0.9},
                1,
                "From a confidence of 0.9 on it may run alone if it has earned that; otherwise one person decides.",
            ),
            ({"auto_from_confidence": 0.9}, 2, "Two people decide every time, however sure it is."),
            (
                {"deny": {"queue": ["x"]}, "rules": [rule("target", "is empty"), rule("subject", "is empty")]},
                1,
                "One person decides every time. Besides: 1 rule refuses, 2 rules ask two people.",
            ),
        ],
    )
    def test_a_policy_is_summed_up_in_one_sentence(self, conditions, approvals, sentence):
        assert explained.summary(Conditions.parse(conditions), approvals) == sentence

    def test_an_escalation_names_who_is_called_and_when(self):
        assert explained.escalation(escalation_tiers(list(USUAL_TIERS))) == (
            "After 50 % of that time whoever is on call is called and after 80 % of that time the team's lead is called."
        )

    @given(CONDITIONS, FACTS, st.integers(1, 5))
    def test_everything_can_be_said(self, stored, about, approvals):
        conditions = Conditions.parse(stored)

        assert explained.summary(conditions, approvals)
        assert all(explained.sentences(conditions, approvals, WORDS))
        read = explained.read(conditions, about, WORDS)
        assert [each.holds for each in read] == [each.read(about).holds for each in conditions.rules]


class TestChanges:
    def test_the_same_again_changes_nothing(self):
        assert said(version({"deny": {"a": [1]}}), version({"deny": {"a": [1.0]}})) == []

    @pytest.mark.parametrize(
        ("before", "after", "loosens"),
        [
            (version(approvals_needed=2), version(), True),
            (version(), version(approvals_needed=2), False),
            (version(), version({"auto_from_confidence": 0.9}), True),
            (version({"auto_from_confidence": 0.9}), version({"auto_from_confidence": 0.8}), True),
            (version({"auto_from_confidence": 0.9}), version({"auto_from_confidence": 0.95}), False),
            (version({"auto_from_confidence": 0.9}), version(), False),
            (version({"deny": {"queue": ["a", "b"]}}), version({"deny": {"queue": ["a"]}}), True),
            (version({"deny": {"queue": ["a"]}}), version({"deny": {"queue": ["a", "b"]}}), False),
            (version(undo_s=15), version(undo_s=5), True),
            (version(undo_s=15), version(undo_s=30), False),
            (version(window_s=60), version(window_s=3600), False),
            (version(on_expiry="expire"), version(on_expiry="extend_once"), False),
            (version(approvers=frozenset({3})), version(), True),
            (version(approvers=frozenset({3})), version(approvers=frozenset({3, 5})), True),
            (version(approvers=frozenset({3, 5})), version(approvers=frozenset({3})), False),
            (version(), version(approvers=frozenset({3})), False),
            (version(), version(escalation=escalation_tiers(list(USUAL_TIERS))), False),
        ],
    )
    def test_what_lets_more_through_is_told_apart(self, before, after, loosens):
        [(words, found)] = said(before, after)

        assert words
        assert found is loosens

    @pytest.mark.parametrize(
        ("gone", "come", "loosens"),
        [
            (rule("args.amount", ">=", 100, "two"), rule("args.amount", ">=", 50, "two"), False),
            (rule("args.amount", ">=", 100, "two"), rule("args.amount", ">=", 150, "two"), True),
            (rule("args.amount", ">=", 100, "two"), rule("args.amount", ">", 100, "two"), True),
            (rule("args.amount", ">", 100, "two"), rule("args.amount", ">=", 100, "two"), False),
            (rule("args.amount", "<", 5, "two"), rule("args.amount", "<", 10, "deny"), False),
            (rule("args.amount", "=", 100, "ask"), rule("args.amount", ">=", 50, "two"), False),
            (rule("args.amount", ">=", 100, "deny"), rule("args.amount", ">=", 50, "two"), True),
            (rule("args.x", "=", "a", "two"), rule("args.x", "in", ["a", "b"], "two"), False),
            (rule("args.x", "in", ["a", "b"], "two"), rule("args.x", "=", "a", "two"), True),
            (rule("args.x", "=", "a", "two"), rule("args.x", "not in", ["b"], "two"), False),
            (rule("args.x", "=", "a", "two"), rule("args.x", "not in", [1], "two"), True),
            (rule("args.x", "=", "a", "two"), rule("args.y", "=", "a", "two"), True),
            (rule("args.amount", "=", 5, "two"), None, True),
            (None, rule("args.amount", "=", 5, "two"), False),
        ],
    )
    def test_a_rule_that_another_covers_is_not_missed(self, gone, come, loosens):
        before, after = (version({"rules": [each] if each else []}) for each in (gone, come))

        assert any(found for _, found in said(before, after)) is loosens

    def test_the_last_rule_that_says_alone_was_a_fence(self):
        small = rule("args.amount", "<", 10, "alone")
        fenced = version({"auto_from_confidence": 0.9, "rules": [small]})

        assert said(fenced, version({"auto_from_confidence": 0.9}))[0][1] is True
        assert said(version({"auto_from_confidence": 0.9}), fenced)[0][1] is False

    def test_another_way_to_run_alone_is_new_freedom(self):
        small, any_of_b = rule("args.amount", "<", 10, "alone"), rule("args.x", "=", "b", "alone")
        smaller = rule("args.amount", "<", 5, "alone")

        def fenced(*rules):
            return version({"auto_from_confidence": 0.9, "rules": list(rules)})

        assert said(fenced(small), fenced(small, any_of_b))[0][1] is True
        assert not any(found for _, found in said(fenced(small), fenced(smaller)))

    def test_what_loosens_is_said_first(self):
        found = said(version(undo_s=15, window_s=60), version(undo_s=5, window_s=120))

        assert [loosens for _, loosens in found] == [True, False]

    @settings(max_examples=400)
    @given(CONDITIONS, CONDITIONS, FACTS, st.integers(1, 3), st.integers(1, 3))
    def test_what_is_not_called_a_loosening_never_is_one(self, old, new, about, fewer, more):
        before, after = version(old, approvals_needed=fewer), version(new, approvals_needed=more)
        first = before.conditions.assess(about, approvals=fewer)
        second = after.conditions.assess(about, approvals=more)

        if not first.unclear and second.strictness < first.strictness:
            assert any(each.loosens for each in terms.changes(before, after, WORDS))

    @given(CONDITIONS, FACTS, st.data())
    def test_nor_is_a_small_change_of_one_rule(self, old, about, data):
        rules = list(old["rules"])
        if rules:
            place = data.draw(st.integers(0, len(rules) - 1))
            clause = dict(rules[place]["when"][0])
            if isinstance(clause.get("value"), int | float) and not isinstance(clause["value"], bool):
                clause["value"] += data.draw(st.sampled_from([-1, 1]))
            then = data.draw(st.sampled_from(["deny", "two", "ask", "alone"]))
            rules[place] = {"when": [clause, *rules[place]["when"][1:]], "then": then}
        before, after = version(old), version({**old, "rules": rules})
        first, second = before.conditions.assess(about), after.conditions.assess(about)

        if not first.unclear and second.strictness < first.strictness:
            assert any(each.loosens for each in terms.changes(before, after, WORDS))
