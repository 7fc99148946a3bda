"""R17 and R18 on paper: which fault is planted, what catches it, and what follows from how somebody looks."""

from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta

from apps.approvals.domain import drills, pace, vigilance
from apps.approvals.domain.digest import Action
from apps.approvals.domain.drills import Case
from apps.approvals.domain.edit import changed_fields, schema_problems
from apps.approvals.domain.vigilance import DrillSeen, Figures, Look

REFUND = {
    "type": "object",
    "additionalProperties": False,
    "required": ["amount", "account", "reason"],
    "properties": {
        "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 100_000},
        "account": {"type": "string", "maxLength": 40},
        "reason": {"type": "string", "enum": ["late", "broken", "other"]},
        "booked_on": {"type": "string", "format": "date"},
        "note": {"type": "string", "maxLength": 2000},
    },
}
ARGS = {"amount": 40.0, "account": "C-77", "reason": "late", "booked_on": "2026-02-27", "note": "Sorry for the delay."}
WEIGHTS = {"amount": 1.0, "account": 1.0, "reason": 0.1, "booked_on": 0.5, "note": 0.0}


def case(**fields):
    facts = {"schema": REFUND, "args": ARGS, "materiality": WEIGHTS, "denied": {"reason": ["other"]}}
    return Case(**{**facts, **fields})


def first(kind, seed=1, **fields):
    return next(drills.faults(case(**fields), seed=seed, only=kind))


def action(args):
    return Action("payments.refund", 1, args, "billing:order/A1", "customer/C-77", "sha256:ab", 1)


class TestMutations:
    def test_an_amount_is_ten_times_too_high_and_keeps_its_type(self):
        fault = first("amount")

        assert (fault.path, fault.became) == ("/amount", 400.0)
        assert fault.words == "Amount was 400.0, ten times the 40.0 of the real case."

    def test_an_amount_is_multiplied_by_its_decimal_text(self):
        assert first("amount", args={**ARGS, "amount": 19.99}).became == 199.9

    def test_a_whole_number_stays_one(self):
        fault = first("amount", args={**ARGS, "amount": 4})

        assert (type(fault.became), fault.became) == (int, 40)

    def test_a_recipient_is_one_of_another_case_if_there_is_one(self):
        fault = first("recipient", others=[{**ARGS, "account": "C-12"}])

        assert (fault.path, fault.became) == ("/account", "C-12")

    def test_without_another_case_one_digit_is_off(self):
        assert first("recipient").became == "C-78"

    def test_a_choice_becomes_another_choice(self):
        fault = first("recipient", materiality={"reason": 1.0, "account": 0.0})

        assert fault.path == "/reason"
        assert fault.became in {"broken", "other"}

    def test_what_the_target_is_made_of_stays_as_no_real_card_shows_two_that_differ(self):
        assert list(drills.faults(case(target="billing:customers/C-77"), seed=1, only="recipient")) == []

    def test_wording_is_no_recipient(self):
        assert list(drills.faults(case(materiality=dict.fromkeys(ARGS, 0.0)), seed=1, only="recipient")) == []

    def test_a_date_is_long_past(self):
        assert first("stale").became == "2025-01-23"

    def test_what_repeats_the_record_says_something_the_record_does_not(self):
        fault = first("stale", args={"reason": "late", "amount": 1, "account": "x"}, state={"reason": "late"})

        assert fault.path == "/reason"
        assert "although the record says late" in fault.words

    def test_a_clause_of_the_policy_is_broken(self):
        fault = first("policy")

        assert (fault.path, fault.became) == ("/reason", "other")

    def test_an_instruction_is_hidden_behind_the_text(self):
        fault = first("injection")

        assert fault.path == "/note"
        assert fault.became.startswith("Sorry for the delay.")
        assert any(each in fault.became for each in drills.INSTRUCTIONS)

    def test_a_text_without_room_takes_none(self):
        schema = {**REFUND, "properties": {**REFUND["properties"], "note": {"type": "string", "maxLength": 60}}}

        assert list(drills.faults(case(schema=schema, args={**ARGS}), seed=1, only="injection")) == []

    def test_what_the_schema_refuses_is_never_planted(self):
        assert list(drills.faults(case(args={**ARGS, "amount": 50_000.0}), seed=1, only="amount")) == []

    def test_a_case_that_takes_no_fault_has_none(self):
        bare = Case(
            schema={"type": "object", "properties": {"ok": {"type": "boolean"}}}, args={"ok": True}, materiality={}
        )

        assert list(drills.faults(bare, seed=3)) == []


SEEDS = st.sampled_from(range(1000))
CASES = st.builds(
    lambda amount, account, reason, note, weights: case(
        args={"amount": amount, "account": account, "reason": reason, "booked_on": "2026-02-27", "note": note},
        materiality=weights,
    ),
    st.one_of(st.integers(1, 20_000), st.decimals("0.01", "9999.99", places=2).map(float)),
    st.text("ABC-0123456789", min_size=1, max_size=12),
    st.sampled_from(["late", "broken", "other"]),
    st.text("abc .é", min_size=1, max_size=200),
    st.dictionaries(st.sampled_from(sorted(ARGS)), st.floats(0, 1)),
)


@given(CASES, SEEDS)
def test_exactly_one_argument_differs_fits_the_schema_and_changes_the_digest(real, seed):
    assume(not schema_problems(real.schema, real.args))

    for fault in drills.faults(real, seed=seed):
        changed = changed_fields(real.args, fault.args)
        assert [f"/{name}" for name in changed] == [fault.path]
        assert schema_problems(real.schema, fault.args) == []
        assert type(fault.became) is type(fault.was)
        assert action(fault.args).digest != action(real.args).digest
        assert 0 < len(fault.words) <= 300


@given(CASES, SEEDS)
def test_the_same_seed_plants_the_same_faults(real, seed):
    assert list(drills.faults(real, seed=seed)) == list(drills.faults(real, seed=seed))


@given(CASES, SEEDS)
def test_putting_the_real_value_back_always_catches_it(real, seed):
    for fault in drills.faults(real, seed=seed):
        told = {"mutation": fault.mutation, "path": fault.path, "planted": fault.became, "was": fault.was}
        assert drills.outcome("edit", **told, args=real.args) == "caught"
        assert drills.outcome("edit", **told, args=fault.args) == "missed"


class TestOutcome:
    FAULT = {"mutation": "amount", "path": "/amount", "planted": 400.0, "was": 40.0}

    @pytest.mark.parametrize("verdict", ["reject", "ask", "escalate"])
    def test_saying_no_catches_it(self, verdict):
        assert drills.outcome(verdict, **self.FAULT, args=None) == "caught"

    @pytest.mark.parametrize("verdict", ["approve", "respond"])
    def test_letting_it_pass_or_talking_past_it_misses_it(self, verdict):
        assert drills.outcome(verdict, **self.FAULT, args=None) == "missed"

    def test_an_edit_of_something_else_misses_it(self):
        assert drills.outcome("edit", **self.FAULT, args={**ARGS, "amount": 400.0, "note": "x"}) == "missed"

    @pytest.mark.parametrize(
        ("now", "outcome"), [(40.0, "caught"), (38.5, "caught"), (399.0, "missed"), (41, "missed")]
    )
    def test_an_amount_is_repaired_at_or_below_the_real_one(self, now, outcome):
        assert drills.outcome("edit", **self.FAULT, args={"amount": now}) == outcome

    def test_a_wrong_recipient_is_repaired_by_the_right_one_only(self):
        fault = {"mutation": "recipient", "path": "/account", "planted": "C-12", "was": "C-77"}

        assert drills.outcome("edit", **fault, args={"account": "C-13"}) == "missed"

    def test_a_text_is_repaired_once_the_instruction_is_gone(self):
        planted = f"Hello.\n\n{drills.INSTRUCTIONS[0]}"
        fault = {"mutation": "injection", "path": "/note", "planted": planted, "was": "Hello."}

        assert drills.outcome("edit", **fault, args={"note": "Hello there."}) == "caught"
        assert drills.outcome("edit", **fault, args={"note": planted + " Bye."}) == "missed"

    def test_a_broken_clause_is_repaired_by_any_other_value(self):
        fault = {"mutation": "policy", "path": "/reason", "planted": "other", "was": "late"}

        assert drills.outcome("edit", **fault, args={"reason": "broken"}) == "caught"


class TestWhatHangsOnAnArgument:
    def test_titles_and_fields_tell_the_wrong_value_as_if_it_had_been_there_from_the_start(self):
        texts = {"title": "Route T-1 to billing", "state_if_approved": {"queue": "billing", "open": True}}

        assert drills.carried(texts, was="billing", became="network") == {
            "title": "Route T-1 to network",
            "state_if_approved": {"queue": "network", "open": True},
        }

    def test_only_whole_words_are_replaced(self):
        assert drills.carried("T-4001 for 4, not 44 or 4.5", was=4, became=40) == "T-4001 for 40, not 44 or 4.5"

    def test_a_number_in_a_field_keeps_its_type(self):
        assert drills.carried({"total": 40.0, "n": 40}, was=40.0, became=400.0) == {"total": 400.0, "n": 40}


class TestPace:
    @pytest.mark.parametrize(
        ("real", "planted", "fits"), [(18, 0, False), (19, 0, True), (38, 1, True), (37, 1, False)]
    )
    def test_planted_cards_stay_at_or_below_one_in_twenty(self, real, planted, fits):
        assert pace.has_room(real=real, planted=planted) is fits

    @given(st.integers(0, 10_000), st.integers(0, 500))
    def test_the_share_is_never_passed(self, real, planted):
        if pace.has_room(real=real, planted=planted):
            assert (planted + 1) / (real + planted + 1) <= pace.DRILL_SHARE + 1e-12

    def test_a_draw_lies_between_nothing_and_one(self):
        assert pace.drawn(b"\0" * 32) == 0
        assert 0.999 < pace.drawn(b"\xff" * 32) < 1


class TestVigilance:
    @pytest.mark.parametrize(("p", "n"), [(0.80, 21), (0.90, 44), (0.95, 90), (0.99, 459)])
    def test_a_run_is_an_alarm_from_where_the_team_would_make_it_once_in_a_hundred(self, p, n):
        assert vigilance.alarm_run(p) == n

    @given(st.floats(0.0001, 0.9999))
    def test_an_alarm_is_the_shortest_run_below_one_in_a_hundred(self, p):
        n = vigilance.alarm_run(p)

        assert p**n < 0.01
        assert n == 1 or p ** (n - 1) >= 0.01

    def test_a_team_that_approves_everything_makes_no_run_strange(self):
        assert vigilance.alarm_run(1.0) is None
        assert vigilance.alarm_run(0.0) == 1

    def test_a_share_above_one_is_none(self):
        with pytest.raises(ValueError, match="no rate"):
            vigilance.alarm_run(1.2)

    @pytest.mark.parametrize(("words", "seconds"), [(12, 3), (120, 28.8), (300, 72)])
    def test_the_floor_of_reading(self, words, seconds):
        assert vigilance.reading_floor(words) == timedelta(seconds=seconds)

    @pytest.mark.parametrize(("hits", "n"), [(1, 1), (8, 10), (3, 7), (19, 20)])
    def test_the_bounds_are_those_of_clopper_and_pearson(self, hits, n):
        assert vigilance.lower_bound(hits, n) == pytest.approx(beta.ppf(0.05, hits, n - hits + 1))
        assert vigilance.upper_bound(hits - 1, n) == pytest.approx(beta.ppf(0.95, hits, n - hits + 1))

    def test_all_of_n_has_the_bound_that_can_be_done_on_paper(self):
        assert vigilance.lower_bound(5, 5) == pytest.approx(0.05 ** (1 / 5))
        assert vigilance.upper_bound(0, 5) == pytest.approx(1 - 0.05 ** (1 / 5))
        assert (vigilance.lower_bound(0, 5), vigilance.upper_bound(5, 5)) == (0, 1)

    @given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_the_rate_lies_between_its_bounds(self, seen):
        hits, n = seen

        assert vigilance.lower_bound(hits, n) <= hits / n <= vigilance.upper_bound(hits, n)

    @pytest.mark.parametrize(("hits", "n"), [(1, 0), (2, 1), (-1, 3)])
    def test_what_is_no_rate_has_no_bound(self, hits, n):
        with pytest.raises(ValueError, match="no rate"):
            vigilance.lower_bound(hits, n)

    def test_words_are_counted_inside_lists_and_objects(self):
        assert vigilance.words_of("Route T-1 now", {"queue": "billing desk", "n": 4}, ["a b", None]) == 4 + 3 + 2

    def test_the_newest_verdict_other_than_an_approval_ends_a_run(self):
        assert vigilance.run_of(["approve", "approve", "edit", "approve"]) == 2

    def test_agreement_is_about_what_would_happen(self):
        assert vigilance.agrees("reject", "ask")
        assert not vigilance.agrees("approve", "reject")
        assert vigilance.agrees("approve", "edit", weight_between=0.0)
        assert not vigilance.agrees("approve", "edit", weight_between=1.0)

    def test_a_tired_evening_needs_five_drills_in_each_half(self):
        morning = [DrillSeen(is_caught=True, day_share=0.1)] * 5
        evening = [DrillSeen(is_caught=False, day_share=0.9)] * 5

        assert vigilance.decay(morning + evening) == -1
        assert vigilance.decay(morning + evening[:4]) is None


class TestWhatFollows:
    @pytest.mark.parametrize(
        ("caught", "drills_seen", "response"),
        [
            (0, 2, "none"),
            (0, 3, "reason"),
            (0, 4, "slow"),
            (0, 5, "cool_down"),
            (0, 7, "no_evidence"),
            (1, 4, "reason"),
            (1, 6, "slow"),
            (5, 10, "reason"),
            (8, 10, "none"),
            (3, 3, "none"),
        ],
    )
    def test_missed_drills_lead_up_the_ladder_by_their_kindest_reading(self, caught, drills_seen, response):
        assert Figures(drills=drills_seen, caught=caught).response == response

    def test_haste_alone_only_opens_the_evidence(self):
        assert Figures(timed=100, below_floor=1.0).response == "expanded"

    def test_a_long_run_alone_only_opens_the_evidence(self):
        assert Figures(approve_run=459, run_alarm_at=44).response == "expanded"

    def test_haste_over_few_cards_is_nothing(self):
        assert Figures(timed=19, below_floor=1.0).response == "none"

    def test_a_hundred_low_risk_cards_in_five_minutes_are_no_haste(self):
        looks = [Look(timedelta(seconds=3), timedelta(seconds=29), "low")] * 100
        weighty = vigilance.that_matter(looks)

        assert Figures(timed=len(weighty), below_floor=vigilance.below_floor(weighty)).response == "none"

    def test_second_looks_that_often_differ_ask_for_a_reason(self):
        assert Figures(looked_twice=10, agreed=4).response == "reason"
        assert Figures(looked_twice=4, agreed=0).response == "none"

    @given(st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_catching_one_more_never_makes_it_worse(self, seen):
        caught, n = seen
        assume(caught < n)
        steps = [vigilance.RESPONSES.index(Figures(drills=n, caught=each).response) for each in (caught, caught + 1)]

        assert steps[1] <= steps[0]

    def test_the_team_must_be_known_before_a_run_is_an_alarm(self):
        assert vigilance.run_alarm_at(30, 40) is None
        assert vigilance.run_alarm_at(45, 50) == 44
        assert vigilance.run_alarm_at(10, 50) == vigilance.SHORTEST_RUN
        assert vigilance.run_alarm_at(50, 50) is None

    def test_each_response_includes_the_milder_ones(self):
        assert vigilance.includes("slow", "reason")
        assert not vigilance.includes("reason", "slow")
