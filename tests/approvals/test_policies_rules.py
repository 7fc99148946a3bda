"""What the rules of a policy make of an action, as arithmetic; nothing here knows a database."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.approvals.domain import policy
from apps.approvals.domain.rules import Clause, Facts, Rule, Unevaluable, exact
from tests.factories.policies import CONDITIONS, FACTS, JSON, SCALARS, clauses, rule


def facts(args=None, **fields):
    return Facts(**{"args": args or {}, "risk": "low", "reversibility": "reversible", **fields})


def judge(*rules, at=None, approvals=1, auto=None, deny=None, **fields):
    stored = {"rules": list(rules)}
    stored |= {} if auto is None else {"auto_from_confidence": auto}
    stored |= {} if deny is None else {"deny": deny}
    return policy.assess(stored, facts(at, **fields), approvals=approvals)


class TestClauses:
    @pytest.mark.parametrize(
        ("found", "op", "value", "holds"),
        [
            (40, "=", 40.0, True),
            (40, "!=", 40.0, False),
            (0.1, "=", 0.1, True),
            (99.99, ">=", 100, False),
            (100, ">=", 100, True),
            (100.01, ">", 100, True),
            (0.1, "<", 0.10000000000000001, False),
            (-1, "<", 0, True),
            (9007199254740993, ">", 9007199254740992, True),
            (2, "<=", 2.0, True),
            ("gold", "=", "gold", True),
            ("gold", "=", "Gold", False),
            ("gold", "!=", "silver", True),
            ("gold", "in", ["silver", "gold"], True),
            ("gold", "not in", ["silver"], True),
            (3, "in", [1, 2], False),
            (True, "=", True, True),
            (True, "!=", False, True),
            ("Send my PASSWORD now", "contains", "password", True),
            ("nothing", "contains", "password", False),
            (["a", "b"], "contains", "b", True),
            ([1, 2], "contains", 3, False),
            ([], "contains", "x", False),
            ("", "is empty", None, True),
            ([], "is empty", None, True),
            ({}, "is empty", None, True),
            (None, "is empty", None, True),
            (0, "is empty", None, False),
            (False, "is not empty", None, True),
        ],
    )
    def test_it_compares_by_value_and_kind(self, found, op, value, holds):
        clause = Clause.parse(rule("args.x", op, value)["when"][0])

        assert clause.read(facts({"x": found})).holds is holds

    @pytest.mark.parametrize(
        ("found", "op", "value"),
        [
            ("100", ">=", 100),
            ("100", "=", 100),
            (100, "=", "100"),
            (True, "=", 1),
            (1, "=", True),
            (True, ">", 0),
            (float("nan"), "=", 1),
            (float("nan"), ">=", 1),
            (float("inf"), ">", 1),
            ([1], "=", 1),
            ({}, "=", "x"),
            (None, "=", "x"),
            (1, "in", ["1"]),
            (1, "not in", ["1"]),
            (5, "contains", 5),
            ("5", "contains", 5),
            ([{}], "contains", "x"),
        ],
    )
    def test_another_kind_or_nothing_at_all_cannot_be_told(self, found, op, value):
        reading = Clause.parse(rule("args.x", op, value)["when"][0]).read(facts({"x": found}))

        assert reading.holds is None
        assert reading.problem

    def test_it_reaches_into_objects_and_lists(self):
        args = {"customer": {"tier": "gold"}, "lines": [{"amount": 5}, {"amount": 7}]}

        assert Clause("args.customer.tier", "=", "gold").read(facts(args)).holds
        assert Clause("args.lines.1.amount", "=", 7).read(facts(args)).holds
        assert Clause("args.lines.2.amount", "is empty").read(facts(args)).holds
        assert Clause("args.lines.x", "is empty").read(facts(args)).holds
        assert Clause("args.customer.tier.deep", "is empty").read(facts(args)).holds

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("target", "desk:tickets/T-1"),
            ("subject", "customer/C-77"),
            ("risk", "low"),
            ("reversibility", "reversible"),
            ("confidence", 0.62),
        ],
    )
    def test_it_also_knows_what_the_action_is_about(self, field, value):
        about = facts(target="desk:tickets/T-1", subject="customer/C-77", confidence=Decimal("0.62"))

        assert Clause(field, "=", value).read(about).holds

    def test_an_empty_target_and_an_unstated_confidence_are_missing(self):
        assert Clause("target", "=", "x").read(facts()).holds is None
        assert Clause("confidence", "<", 0.5).read(facts()).holds is None

    @pytest.mark.parametrize(
        ("original", "changed"),
        [(None, False), ({"x": 40.0}, False), ({"x": 41}, True), ({}, True), ({"x": "40"}, True), ({"x": True}, True)],
    )
    def test_it_knows_what_a_person_changed(self, original, changed):
        assert Clause("args.x", "changed").read(facts({"x": 40}, original=original)).holds is changed

    @pytest.mark.parametrize(
        "stored",
        [
            None,
            "amount >= 100",
            {},
            {"field": "amount", "op": "=", "value": 1},
            {"field": "args.", "op": "=", "value": 1},
            {"field": "args.a..b", "op": "=", "value": 1},
            {"field": 5, "op": "=", "value": 1},
            {"field": "args.x", "op": "==", "value": 1},
            {"field": "args.x", "op": ["="], "value": 1},
            {"field": "args.x", "op": "="},
            {"field": "args.x", "op": "=", "value": None},
            {"field": "args.x", "op": "=", "value": float("nan")},
            {"field": "args.x", "op": ">", "value": "100"},
            {"field": "args.x", "op": ">", "value": True},
            {"field": "args.x", "op": "in", "value": "gold"},
            {"field": "args.x", "op": "in", "value": []},
            {"field": "args.x", "op": "in", "value": [["gold"]]},
            {"field": "args.x", "op": "in", "value": ["x"] * 201},
            {"field": "args.x", "op": "is empty", "value": None},
            {"field": "target", "op": "changed"},
            {"field": "args.x", "op": "=", "value": 1, "unless": 2},
        ],
    )
    def test_it_refuses_to_guess_what_a_condition_means(self, stored):
        with pytest.raises(Unevaluable):
            Clause.parse(stored)

    @pytest.mark.parametrize(
        ("number", "text"), [(0.1, "0.1"), (100, "100"), (1e-7, "1E-7"), (Decimal("1.10"), "1.10"), (40.0, "40.0")]
    )
    def test_a_number_is_the_decimal_that_is_written(self, number, text):
        assert str(exact(number)) == text


class TestRules:
    @pytest.mark.parametrize(
        "stored",
        [
            None,
            [],
            {"then": "deny"},
            {"when": [], "then": "deny"},
            {"when": [{"field": "target", "op": "is empty"}] * 11, "then": "deny"},
            {"when": [{"field": "target", "op": "is empty"}]},
            {"when": [{"field": "target", "op": "is empty"}], "then": "approve"},
            {"when": [{"field": "target", "op": "is empty"}], "then": ["deny"]},
            {"when": [{"field": "target", "op": "is empty"}], "then": "deny", "why": 5},
            {"when": [{"field": "target", "op": "is empty"}], "then": "deny", "why": "x" * 201},
            {"when": [{"field": "target", "op": "is empty"}], "then": "deny", "else": "ask"},
        ],
    )
    def test_it_refuses_to_guess_what_a_rule_means(self, stored):
        with pytest.raises(Unevaluable):
            Rule.parse(stored)

    def test_all_conditions_must_hold(self):
        both = {"when": [*rule("args.x", ">", 1)["when"], *rule("args.y", ">", 1)["when"]], "then": "two"}

        assert judge(both, at={"x": 2, "y": 2}).rules == (0,)
        assert judge(both, at={"x": 2, "y": 1}).rules == ()

    @pytest.mark.parametrize("args", [{"x": 1}, {"y": 1}])
    def test_a_condition_that_does_not_hold_settles_it_even_beside_one_that_cannot_be_told(self, args):
        both = {"when": [*rule("args.x", ">", 1)["when"], *rule("args.y", ">", 1)["when"]], "then": "deny"}

        assert judge(both, at=args).unclear == ()

    def test_a_guard_for_what_may_be_missing_can_be_written(self):
        guarded = {
            "when": [*rule("args.note", "is not empty")["when"], *rule("args.note", "contains", "refund")["when"]],
            "then": "two",
        }

        assert judge(guarded, at={}).approvals == 1
        assert judge(guarded, at={"note": "Refund it"}).approvals == 2


class TestAssessment:
    def test_without_rules_a_person_is_asked_every_time(self):
        found = judge()

        assert (found.outcome, found.approvals, found.reasons) == ("ask", 1, ("The policy asks a person every time.",))

    def test_a_refusal_wins_wherever_it_stands(self):
        found = judge(
            rule("args.x", ">", 0, "alone"), rule("args.x", ">", 0, "two"), rule("args.x", ">", 1, "deny"), at={"x": 2}
        )

        assert (found.outcome, found.reasons, found.denied) == ("deny", ("Rule 3: the policy refuses it.",), "x")
        assert found.rules == (0, 1, 2)

    def test_a_refused_value_is_named(self):
        found = judge(deny={"queue": ["billing"]}, at={"queue": "billing"})

        assert (found.outcome, found.denied) == ("deny", "queue")
        assert found.in_words == "The policy refuses this value of queue."

    def test_a_refusal_wins_over_what_cannot_be_judged(self):
        found = judge(rule("args.y", ">", 1, "two"), rule("args.x", ">", 1, "deny"), at={"x": 2})

        assert (found.outcome, found.unclear) == ("deny", (0,))

    def test_the_strictest_of_what_holds_counts_and_says_why(self):
        found = judge(
            rule("args.x", ">", 0, "ask"), rule("args.x", ">", 1, "two", "From 2 two people look."), at={"x": 2}
        )

        assert (found.outcome, found.approvals) == ("ask", 2)
        assert found.in_words == "Rule 2: From 2 two people look. Rule 1: a person decides."

    @pytest.mark.parametrize("then", ["deny", "two", "ask", "alone"])
    def test_a_rule_that_cannot_be_judged_asks_two_people_and_says_why(self, then):
        found = judge(rule("args.amount", ">=", 100, then), auto=0.5, confidence=0.9, at={"amount": "100"})

        assert (found.outcome, found.approvals, found.unclear) == ("ask", 2, (0,))
        assert found.in_words == (
            "Rule 1 cannot be judged: amount is text, which cannot be compared. So two people decide."
        )

    def test_a_missing_field_is_named(self):
        assert "amount is missing" in judge(rule("args.amount", ">=", 100), at={}).in_words

    @pytest.mark.parametrize("broken", [{"surprise": 1}, None, [], {"rules": {}}, {"rules": [{}]}, {"rules": [1] * 51}])
    def test_conditions_that_make_no_sense_ask_two_people(self, broken):
        found = policy.assess(broken, facts())

        assert (found.outcome, found.approvals, found.is_readable) == ("ask", 2, False)
        assert "cannot be evaluated" in found.in_words

    def test_a_broken_rule_is_named_by_its_place(self):
        with pytest.raises(Unevaluable, match="rule 2: it must lead to"):
            policy.Conditions.parse({"rules": [rule("target", "is empty"), rule("target", "is empty", then="maybe")]})

    def test_arguments_that_have_no_one_text_ask_two_people(self):
        found = judge(deny={"x": [1]}, at={"x": float("nan")})

        assert (found.outcome, found.approvals, found.is_readable) == ("ask", 2, False)

    @pytest.mark.parametrize(
        ("auto", "confidence", "outcome"),
        [(None, 0.99, "ask"), (0.9, None, "ask"), (0.9, 0.89, "ask"), (0.9, 0.9, "alone"), (0.9, float("nan"), "ask")],
    )
    def test_alone_needs_a_stated_confidence_that_is_high_enough(self, auto, confidence, outcome):
        assert judge(auto=auto, confidence=confidence).outcome == outcome
        assert judge(rule("args.x", ">", 0, "alone"), at={"x": 1}, auto=auto, confidence=confidence).outcome == outcome

    @pytest.mark.parametrize("confidence", [1.01, -0.5, 5, float("inf")])
    def test_a_confidence_that_is_no_share_is_none(self, confidence):
        assert judge(auto=0, confidence=confidence).outcome == "ask"

    def test_where_rules_say_alone_nothing_else_runs_alone(self):
        small = rule("args.x", "<", 10, "alone")

        assert judge(small, at={"x": 5}, auto=0.5, confidence=0.9).outcome == "alone"
        found = judge(small, at={"x": 50}, auto=0.5, confidence=0.9)
        assert (found.outcome, found.in_words) == ("ask", "No rule lets this one run alone.")

    @pytest.mark.parametrize(
        ("floor", "approvals"),
        [({"risk": "high"}, 1), ({"reversibility": "irreversible"}, 1), ({}, 2)],
    )
    def test_nothing_goes_below_the_floor(self, floor, approvals):
        found = judge(
            rule("args.x", ">", 0, "alone"), at={"x": 1}, auto=0.1, confidence=1, approvals=approvals, **floor
        )

        assert (found.outcome, found.approvals) == ("ask", 2)

    def test_two_never_lowers_a_policy_that_wants_three(self):
        assert judge(rule("args.x", ">", 0, "two"), at={"x": 1}, approvals=3).approvals == 3


class TestProperties:
    @given(JSON, st.dictionaries(st.text(max_size=4), JSON, max_size=4), st.none() | st.floats())
    def test_it_never_raises_whatever_is_stored_and_whatever_is_proposed(self, stored, args, confidence):
        found = policy.assess(stored, facts(args, confidence=confidence))

        assert found.outcome in {"deny", "ask", "alone"}
        assert found.reasons

    @given(st.lists(st.fixed_dictionaries({"when": JSON, "then": JSON}), max_size=3), JSON)
    def test_it_never_raises_for_anything_that_looks_like_rules(self, rules, deny):
        assert policy.assess({"rules": rules, "deny": deny}, facts({"a": 1})).reasons

    @given(CONDITIONS, FACTS, st.integers(1, 3))
    def test_alone_is_never_given_below_the_floor_or_without_confidence(self, stored, about, approvals):
        found = policy.assess(stored, about, approvals=approvals)

        assert found.approvals >= approvals
        assert found.approvals >= (2 if about.risk == "high" or about.reversibility == "irreversible" else 1)
        if found.outcome == "alone":
            assert found.approvals == 1
            assert about.confidence >= stored["auto_from_confidence"]

    @given(CONDITIONS, FACTS, st.lists(clauses(), min_size=1, max_size=2), st.sampled_from(["deny", "two", "ask"]))
    def test_one_more_rule_that_asks_or_refuses_never_loosens(self, stored, about, when, then):
        stricter = {**stored, "rules": [*stored["rules"], {"when": when, "then": then}]}

        assert policy.assess(stricter, about).strictness >= policy.assess(stored, about).strictness

    @given(CONDITIONS, FACTS, st.sampled_from(["a", "b"]), SCALARS)
    def test_one_more_refused_value_never_loosens(self, stored, about, name, value):
        deny = stored.get("deny", {})
        stricter = {**stored, "deny": {**deny, name: [*deny.get(name, []), value]}}

        assert policy.assess(stricter, about).strictness >= policy.assess(stored, about).strictness

    @given(CONDITIONS, FACTS, st.integers(1, 3))
    def test_more_people_never_loosens(self, stored, about, approvals):
        more = policy.assess(stored, about, approvals=approvals + 1)

        assert more.strictness >= policy.assess(stored, about, approvals=approvals).strictness

    @given(CONDITIONS, FACTS)
    def test_the_order_of_rules_does_not_matter(self, stored, about):
        turned = {**stored, "rules": stored["rules"][::-1]}

        assert policy.assess(turned, about).strictness == policy.assess(stored, about).strictness

    @given(CONDITIONS)
    def test_what_is_parsed_is_stored_as_it_was(self, stored):
        conditions = policy.Conditions.parse(stored)

        assert policy.Conditions.parse(conditions.stored()) == conditions

    @given(CONDITIONS, FACTS)
    def test_what_was_stored_again_judges_the_same(self, stored, about):
        again = policy.Conditions.parse(stored).stored()

        assert policy.assess(again, about) == policy.assess(stored, about)


class TestPeopleAndTiers:
    @pytest.mark.parametrize(
        "stored",
        [
            None,
            {},
            "half",
            [{"at": 0, "to": "lead"}],
            [{"at": 1, "to": "lead"}],
            [{"at": "0.5", "to": "lead"}],
            [{"at": True, "to": "lead"}],
            [{"at": float("nan"), "to": "lead"}],
            [{"at": 0.5}],
            [{"at": 0.5, "to": "everybody"}],
            [{"at": 0.5, "to": ["lead"]}],
            [{"at": 0.5, "to": "lead", "by": "post"}],
            [{"at": 0.8, "to": "on_duty"}, {"at": 0.5, "to": "lead"}],
            [{"at": 0.5, "to": "on_duty"}, {"at": 0.5, "to": "lead"}],
            [{"at": 0.1 * place, "to": "lead"} for place in range(1, 5)],
        ],
    )
    def test_an_escalation_that_cannot_be_read_is_refused(self, stored):
        with pytest.raises(Unevaluable):
            policy.escalation_tiers(stored)

    def test_tiers_are_exact_shares_in_their_order(self):
        stored = [{"at": 0.5, "to": "on_duty"}, {"at": 0.8, "to": "lead"}]

        assert policy.escalation_tiers(stored) == (
            policy.Tier(Decimal("0.5"), "on_duty"),
            policy.Tier(Decimal("0.8"), "lead"),
        )
        assert policy.escalation_tiers([]) == ()

    @pytest.mark.parametrize(
        "stored",
        [None, [], {"teams": [1]}, {"people": 5}, {"people": ["5"]}, {"people": [True]}, {"people": [0]}],
    )
    def test_approvers_that_cannot_be_read_are_refused(self, stored):
        with pytest.raises(Unevaluable):
            policy.approver_ids(stored)

    def test_no_names_mean_everybody_who_reviews(self):
        assert policy.approver_ids({}) == policy.approver_ids({"people": []}) == frozenset()
        assert policy.approver_ids({"people": [3, 5, 3]}) == {3, 5}

    @given(JSON)
    def test_nothing_else_is_ever_raised(self, stored):
        for read in (policy.escalation_tiers, policy.approver_ids, policy.Conditions.parse):
            with contextlib.suppress(Unevaluable):
                read(stored)
