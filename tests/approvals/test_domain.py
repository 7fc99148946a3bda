"""The pure rules of proposals, with the vectors of the specification."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from apps.approvals.domain import answer, confirmation, edit, flood, hidden, order, policy, states, window, wording
from apps.approvals.domain.digest import Action, moved_fields, state_digest
from apps.approvals.models import State
from apps.audit.domain.canonical import CanonicalError, canonical

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(clock):
    hour, minute, *rest = clock.split(":")
    return NOON.replace(hour=int(hour), minute=int(minute), second=0) + timedelta(seconds=float(rest[0]) if rest else 0)


# The table of moves


class TestMoves:
    def test_it_spells_the_states_as_the_database_does(self):
        assert set(State.values) == states.STATES

    def test_it_knows_nineteen_moves(self):
        assert list(states.MOVES) == [f"T{number}" for number in range(1, 20)]

    @pytest.mark.parametrize(
        ("name", "source", "target"),
        [
            ("T7", "queued", "approved"),
            ("T8", "approved", "rejected"),
            ("T16", "approved", "executing"),
            ("T16", "pending", "executing"),
            ("T14", "executing", "pending"),
            ("T18", "executing", "succeeded"),
            ("T10", "queued", "expired"),
            ("T5", "pending", "approved"),
            ("T20", "pending", "claimed"),
        ],
    )
    def test_it_refuses_a_move_that_is_not_in_the_table(self, name, source, target):
        with pytest.raises(states.IllegalMove):
            states.after(name, source, target, cause="person")

    def test_it_refuses_a_cause_that_the_table_does_not_name(self):
        with pytest.raises(states.IllegalMove, match="not caused by timer"):
            states.after("T7", "pending", "approved", cause="timer")

    def test_it_asks_which_target_where_there_are_several(self):
        with pytest.raises(states.IllegalMove):
            states.after("T7", "pending", cause="person")

    def test_no_timer_and_no_agent_can_approve(self):
        consent = [move for move in states.MOVES.values() if move.targets & states.CONSENTED]

        assert {cause for move in consent for cause in move.causes} == {"person", "policy"}

    def test_nothing_leaves_a_terminal_state_but_a_rollback(self):
        leaving = {name for name, move in states.MOVES.items() if move.sources & states.TERMINAL}

        assert leaving == {"T19"}


class Lifecycle(RuleBasedStateMachine):
    """Walk the table at random and hold it to what the inbox promises."""

    def __init__(self):
        super().__init__()
        self.state = ""
        self.trail = []

    @rule(name=st.sampled_from(sorted(states.MOVES)), data=st.data())
    def try_a_move(self, name, data):
        move = states.MOVES[name]
        target = data.draw(st.sampled_from(sorted(move.targets)))
        cause = data.draw(st.sampled_from(sorted(move.causes)))
        if self.state not in (move.sources or {""}):
            with pytest.raises(states.IllegalMove):
                states.after(name, self.state, target, cause=cause)
            return
        self.state = states.after(name, self.state, target, cause=cause)
        self.trail.append((name, self.state))

    @invariant()
    def it_runs_once_at_most(self):
        assert [name for name, _ in self.trail].count("T16") <= 1

    @invariant()
    def it_runs_only_after_consent_that_was_not_taken_back(self):
        names = [name for name, _ in self.trail]
        if "T16" not in names:
            return
        before = names[: names.index("T16")]
        last_undo = max((place for place, name in enumerate(before) if name == "T14"), default=-1)
        assert {"T3", "T7"} & set(before[last_undo + 1 :])

    @invariant()
    def what_was_closed_unexecuted_never_runs(self):
        reached = [state for _, state in self.trail]
        closed = [place for place, state in enumerate(reached) if state in states.UNEXECUTED]
        assert not closed or "executing" not in reached[closed[0] :]


TestLifecycle = Lifecycle.TestCase


# Digest

FINGERPRINT = "sha256:" + "ab" * 32
BASE = Action(
    action_type="payments.refund",
    schema_version=3,
    args={"order_id": "A1", "amount": 40.0},
    target="billing:order/A1",
    subject="customer/C-77",
    agent_fingerprint=FINGERPRINT,
    policy_version=12,
)
BASE_DIGEST = "sha256:6f60273d47eae6f9269db22c18fa60b9e860dcb87199be8b1d4a34edd7e157d4"


class TestDigest:
    def test_it_hashes_the_text_of_the_specification(self):
        text = (
            '{"action_type":"payments.refund","agent_fingerprint":"' + FINGERPRINT + '",'
            '"args":{"amount":40,"order_id":"A1"},"policy_version":12,"schema_version":3,'
            '"subject":"customer/C-77","target":"billing:order/A1","v":1}'
        )

        assert canonical({"v": 1, **_facts(BASE)}) == text

    @pytest.mark.parametrize(
        ("args", "digest"),
        [
            ({"order_id": "A1", "amount": 40.0}, BASE_DIGEST),
            ({"order_id": "A1", "amount": 40}, BASE_DIGEST),
            ({"amount": 40.0, "order_id": "A1"}, BASE_DIGEST),
            (
                {"order_id": "A1", "amount": 25.0},
                "sha256:3bce6a042b64628d2e43f4cc4121f84c8308162cb5a7972afe2d1f284891fb73",
            ),
        ],
    )
    def test_it_gives_the_vectors(self, args, digest):
        assert BASE.with_args(args).digest == digest

    def test_another_policy_version_is_another_digest(self):
        moved = Action(**{**_facts(BASE), "policy_version": 13})

        assert moved.digest == "sha256:9791beda6931a606162cca6a077bb0833885757f71443c22a22f53939edd851f"

    @pytest.mark.parametrize("amount", [float("nan"), float("inf"), float("-inf"), 2**53, -(2**53)])
    def test_it_refuses_what_json_cannot_hold_exactly(self, amount):
        with pytest.raises(CanonicalError) as refused:
            _ = BASE.with_args({"order_id": "A1", "amount": amount}).digest

        assert refused.value.pointer == "/args/amount"

    @pytest.mark.parametrize("field", ["action_type", "target", "subject", "agent_fingerprint"])
    def test_every_text_counts(self, field):
        changed = Action(**{**_facts(BASE), field: getattr(BASE, field) + "x"})

        assert changed.digest != BASE_DIGEST

    @pytest.mark.parametrize("field", ["schema_version", "policy_version"])
    def test_every_version_counts(self, field):
        changed = Action(**{**_facts(BASE), field: getattr(BASE, field) + 1})

        assert changed.digest != BASE_DIGEST

    def test_only_watched_fields_make_the_state(self):
        seen = {"status": "open", "updated": "10:00"}

        assert state_digest(seen, ["status"]) == state_digest({**seen, "updated": "10:05"}, ["status"])

    def test_it_names_what_moved_with_both_values(self):
        moved = moved_fields({"status": "open", "queue": "a"}, {"status": "closed", "queue": "a"}, ["status", "queue"])

        assert [(each.field, each.proposed, each.now) for each in moved] == [("status", "open", "closed")]

    def test_a_changed_type_is_a_move_and_a_missing_field_is_null(self):
        assert moved_fields({"n": 25}, {"n": "25"}, ["n"])
        assert not moved_fields({"n": None}, {}, ["n"])


def _facts(action):
    return {name: getattr(action, name) for name in Action.__dataclass_fields__}


# Times


class TestWindow:
    def test_approved_at_ten_with_15_s_undo_runs_from_10_00_15_until_10_15_15(self):
        run = window.execution(at("10:00"), undo_s=15)

        assert (run.execute_after, run.valid_until) == (at("10:00:15"), at("10:15:15"))

    @pytest.mark.parametrize(("now", "over"), [("13:59:59.999", False), ("14:00", True), ("14:00:00.001", True)])
    def test_a_millisecond_before_the_deadline_still_counts(self, now, over):
        assert window.is_over(at("14:00"), at(now)) is over

    @pytest.mark.parametrize(("deadline", "expected"), [("10:30", "10:05"), ("10:02", "10:02")])
    def test_a_claim_ends_by_the_deadline(self, deadline, expected):
        assert window.claim_until(at("10:00"), at(deadline)) == at(expected)

    @pytest.mark.parametrize(("deadline", "expected"), [("10:30", "10:30"), ("10:02", "10:05")])
    def test_an_undo_leaves_five_minutes_at_least(self, deadline, expected):
        assert window.deadline_after_undo(at(deadline), at("10:00")) == at(expected)

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(14400, "4 h"), (60, "1 min"), (5400, "90 min"), (172800, "2 d"), (45, "45 s"), (3601, "60 min")],
    )
    def test_it_says_a_window_as_people_do(self, seconds, words):
        assert window.in_words(seconds) == words

    def test_the_agent_hears_that_silence_is_not_a_refusal(self):
        assert wording.nobody_answered(4 * 3600, "refunds v12") == (
            "Nobody answered within 4 h. This is not a refusal. Nothing was executed. Policy refunds v12."
        )

    @pytest.mark.parametrize(
        ("due", "words"),
        [
            ("12:22", "The promise to the customer breaks in 22 min."),
            ("14:05", "The promise to the customer breaks in 2 h 5 min."),
            ("11:59", "The promise to the customer broke 1 min ago."),
            ("12:00:30", "The promise to the customer breaks in less than a minute."),
        ],
    )
    def test_it_says_what_waiting_costs(self, due, words):
        assert wording.cost_of_delay(at(due), NOON) == words

    def test_without_a_promise_waiting_costs_nothing_to_say(self):
        assert wording.cost_of_delay(None, NOON) == ""

    @pytest.mark.parametrize(
        ("needed", "given", "undo_s", "words"),
        [
            (1, 0, 5, "Your approval is enough. It runs 5 s later, and can be undone until then."),
            (1, 0, 0, "Your approval is enough. It runs at once, and cannot be undone."),
            (2, 0, 30, "Your approval alone runs nothing: after you, one more person must approve."),
            (3, 0, 30, "Your approval alone runs nothing: after you, 2 more people must approve."),
            (2, 1, 30, "Your approval is enough. It runs 30 s later, and can be undone until then."),
        ],
    )
    def test_a_card_says_what_one_more_approval_sets_off(self, needed, given, undo_s, words):
        assert wording.once_approved(needed, given, undo_s) == words


# Order

P1 = order.Waiting(1, "low", at("11:00"), at("13:00"))
P2 = order.Waiting(2, "high", at("11:55"), at("15:55"))
P3 = order.Waiting(3, "medium", at("8:22"), at("12:22"))
P4 = order.Waiting(4, "low", at("11:06"), at("12:06"))


class TestOrder:
    @pytest.mark.parametrize(
        ("card", "urgency", "score"),
        [(P1, 0.5, 0.6), (P2, 0.0208, 0.4833), (P3, 0.9083, 2.0167), (P4, 0.9, 1.0)],
        ids=["P1", "P2", "P3", "P4"],
    )
    def test_it_gives_the_vectors(self, card, urgency, score):
        assert card.urgency(NOON) == pytest.approx(urgency, abs=5e-5)
        assert card.score(NOON) == pytest.approx(score, abs=5e-5)

    def test_what_ends_within_ten_minutes_comes_first(self):
        assert order.in_order([P1, P2, P3, P4], now=NOON) == [P4, P3, P1, P2]

    def test_the_customers_deadline_counts_if_it_is_sooner(self):
        promised = order.Waiting(5, "low", at("11:00"), at("16:00"), sla_due=at("12:05"))

        assert promised.due == at("12:05")
        assert promised.is_urgent(NOON)

    def test_a_card_without_any_time_is_fully_urgent(self):
        assert order.Waiting(6, "low", NOON, NOON).urgency(NOON) == 1.0

    @given(
        created=st.integers(-10_000, 10_000),
        length=st.integers(-10, 10_000),
        risk=st.sampled_from(sorted(order.WEIGHT)),
    )
    def test_urgency_stays_between_nought_and_one(self, created, length, risk):
        start = NOON + timedelta(seconds=created)
        card = order.Waiting(7, risk, start, start + timedelta(seconds=length))

        assert 0 <= card.urgency(NOON) <= 1

    def test_equal_cards_keep_their_ids_order(self):
        twins = [order.Waiting(pk, "low", at("11:00"), at("13:00")) for pk in (9, 8)]

        assert [card.id for card in order.in_order(twins, now=NOON)] == [8, 9]


# Edits

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["order_id", "amount"],
    "properties": {
        "order_id": {"type": "string"},
        "amount": {"type": "number", "maximum": 500},
        "note": {"type": "string", "maxLength": 20},
        "speed": {"enum": ["slow", "fast"]},
    },
}
CURRENT = {"order_id": "A1", "amount": 40.0}


def problems_of(edited, *, schema=SCHEMA, current=None):
    found = edit.edit_problems(schema, editable=["amount", "note", "speed"], current=current or CURRENT, edited=edited)
    return [(each.code, each.pointer) for each in found]


class TestEdit:
    @pytest.mark.parametrize(
        ("edited", "problems"),
        [
            ({"order_id": "A1", "amount": 25.0}, []),
            ({"order_id": "A1", "amount": 40.0, "note": "ok"}, []),
            ({"order_id": "A1", "amount": 40, "evil": 1}, [("bad_args", "/evil")]),
            ({"evil": 1}, [("bad_args", "/evil"), ("bad_args", "/amount"), ("bad_args", "/order_id")]),
            ({"order_id": "A1", "amount": "25"}, [("bad_args", "/amount")]),
            ({"order_id": "A1", "amount": "lots"}, [("bad_args", "/amount")]),
            ({"order_id": "A1", "amount": 501}, [("bad_args", "/amount")]),
            ({"order_id": "A1", "amount": 40, "speed": "warp"}, [("bad_args", "/speed")]),
            ({"order_id": "A1"}, [("bad_args", "/amount")]),
            ({"order_id": "B2", "amount": 40.0}, [("not_editable", "/order_id")]),
            ({"order_id": "A1", "amount": 40}, [("no_change", "")]),
        ],
    )
    def test_it_names_each_problem_and_its_place(self, edited, problems):
        assert sorted(problems_of(edited)) == sorted(problems)

    def test_where_the_schema_is_silent_the_type_is_kept(self):
        loose = {"type": "object", "properties": {"amount": {}}, "additionalProperties": False}

        assert problems_of({"amount": "25"}, schema=loose, current={"amount": 25}) == [("bad_args", "/amount")]

    def test_an_undeclared_field_is_named_before_what_is_missing(self):
        assert problems_of({"evil": 1})[0] == ("bad_args", "/evil")

    def test_it_points_into_nested_objects(self):
        nested = {
            "type": "object",
            "properties": {"a/b": {"type": "object", "properties": {}, "additionalProperties": False}},
            "additionalProperties": False,
        }

        assert edit.schema_problems(nested, {"a/b": {"c~": 1}})[0].pointer == "/a~1b/c~0"

    def test_it_says_what_it_wants_in_words(self):
        found = edit.schema_problems(SCHEMA, {"order_id": 7, "amount": 1, "speed": "warp"})

        assert {each.message for each in found} == {"This must be text.", "Choose one of: slow, fast."}

    def test_it_never_fetches_a_reference(self):
        remote = {"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1:9/schema"}}}

        with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
            edit.schema_problems(remote, {"x": 1})

    @pytest.mark.parametrize(
        ("changed", "weight"), [(["note"], 0.0), (["note", "amount"], 1.0), (["speed"], 1.0), ([], 0.0)]
    )
    def test_an_edit_weighs_as_much_as_its_weightiest_field(self, changed, weight):
        assert edit.materiality({"note": 0, "amount": 1}, changed) == weight

    def test_a_field_put_in_or_taken_out_is_a_change(self):
        assert edit.changed_fields({"a": None}, {}) == ["a"]
        assert edit.changed_fields({}, {"a": None}) == ["a"]


# Policies


class TestPolicy:
    @pytest.mark.parametrize(
        "stored",
        [
            None,
            [],
            "auto",
            {"auto_from_confidence": "0.9"},
            {"auto_from_confidence": True},
            {"auto_from_confidence": 1.5},
            {"auto_from_confidence": float("nan")},
            {"deny": ["queue"]},
            {"deny": {"queue": "billing"}},
            {"auto_above": 0.5},
        ],
    )
    def test_it_refuses_to_guess_what_conditions_mean(self, stored):
        with pytest.raises(policy.Unevaluable):
            policy.Conditions.parse(stored)

    @pytest.mark.parametrize(
        ("threshold", "confidence", "sure"),
        [(0.9, 0.9, True), (0.9, 0.899, False), (0.9, None, False), (None, 1.0, False), (0, 0.0, True)],
    )
    def test_it_is_sure_only_from_the_stated_confidence_on(self, threshold, confidence, sure):
        conditions = policy.Conditions.parse({"auto_from_confidence": threshold})

        assert conditions.is_sure(confidence) is sure

    def test_it_denies_by_value_and_type(self):
        conditions = policy.Conditions.parse({"deny": {"amount": [0, 1000.0]}})

        assert conditions.denied({"amount": 1000}) == "amount"
        assert conditions.denied({"amount": "1000"}) is None

    @pytest.mark.parametrize(
        ("stated", "risk", "reversibility", "needed"),
        [
            (1, "low", "reversible", 1),
            (1, "medium", "compensable", 1),
            (1, "high", "reversible", 2),
            (1, "low", "irreversible", 2),
            (3, "high", "reversible", 3),
            (2, "low", "reversible", 2),
        ],
    )
    def test_high_risk_and_the_irreversible_want_four_eyes(self, stated, risk, reversibility, needed):
        assert policy.approvals_needed(stated, risk=risk, reversibility=reversibility) == needed

    def test_two_long_names_never_share_a_policy_key(self):
        first, second = (policy.default_key("agent-" * 10, "tickets.route", number) for number in (1, 2))

        assert first != second
        assert len(second) <= 50


# Hidden characters, flood, answers


class TestHidden:
    @pytest.mark.parametrize(
        ("text", "seen"),
        [
            ("plain text", "plain text"),
            ("naïve café 中文 😀", "naïve café 中文 😀"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
            ("win\r\nline", "win\nline"),
            ("a\u202eb", "a[U+202E]b"),
            ("a\u2066b\u2069", "a[U+2066]b[U+2069]"),
            ("zero\u200bwidth", "zero[U+200B]width"),
            ("join\u200der", "join[U+200D]er"),
            ("\ufeffbom", "[U+FEFF]bom"),
            ("soft\u00adhyphen", "soft[U+00AD]hyphen"),
            ("tag\U000e0041", "tag[U+E0041]"),
            ("nul\x00 esc\x1b", "nul[U+0000] esc[U+001B]"),
            ("filler\u3164", "filler[U+3164]"),
            ("sel\ufe0f", "sel[U+FE0F]"),
            ("line\u2028sep", "line[U+2028]sep"),
        ],
    )
    def test_what_cannot_be_seen_is_shown_as_its_code(self, text, seen):
        assert hidden.reveal(text) == seen
        assert hidden.has_hidden(text) is (seen != text.replace("\r\n", "\n"))

    @given(st.text())
    def test_nothing_hidden_is_left(self, text):
        assert not hidden.has_hidden(hidden.reveal(text))


class TestFlood:
    @pytest.mark.parametrize(
        ("open_now", "last_minute", "has_room"), [(199, 0, True), (200, 0, False), (0, 59, True), (0, 60, False)]
    )
    def test_one_agent_has_200_open_cards_and_60_new_a_minute(self, open_now, last_minute, has_room):
        quota = flood.Quota(max_open=200, max_new_per_minute=60)

        assert quota.has_room(flood.Load(open_now, last_minute)) is has_room
        assert (quota.room(flood.Load(open_now, last_minute)) > 0) is has_room


class TestAnswers:
    def test_they_are_spelled_as_langchain_expects(self):
        assert answer.approve() == {"type": "approve"}
        assert answer.edit("refund", {"amount": 25.0}) == {
            "type": "edit",
            "edited_action": {"name": "refund", "args": {"amount": 25.0}},
        }
        assert answer.refuse("No.") == {"type": "reject", "message": "No."}
        assert answer.respond("Done.") == {"type": "respond", "message": "Done."}


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("40.00", True),
        ("40", True),
        (" A1 ", True),
        ("billing:order/A1", True),
        ("4", False),
        ("B2", False),
        ("", False),
        ("NaN", False),
        ("1", False),
    ],
)
def test_what_a_person_types_must_name_the_target_or_an_amount(typed, names):
    args = {"amount": 40.0, "urgent": True}

    assert confirmation.names_it(typed, target="billing:order/A1", args=args) is names
