"""Rules of runs without a database: what a thread's end means, what people read of it, when a failure is tried again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.runs.domain.lease import HEARTBEAT, LEASE, MAX_ATTEMPTS, pause_after
from apps.runs.domain.outcome import Call, Outcome, Said, facts, has_ended, nearest, outcome, trace
from apps.runs.workflows.ticket_desk import cards, scope

WRITES = frozenset({"route_ticket"})


def model(*calls, nearest=()):
    return Said("model", calls=tuple(Call(*each) for each in calls), nearest=nearest)


def tool(call_id, name, text="", **fields):
    return Said("tool", text, name=name, call_id=call_id, **fields)


ROUTE = model(("c1", "route_ticket", {"queue": "login"}))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("rejected", "refused"),
        ("answered", "answered"),
        ("withdrawn", "refused"),
        ("expired", "expired"),
        ("lapsed", "too_late"),
        ("advice", "advised"),
        ("stale", "stale"),
        ("failed", "technical"),
        ("unknown", "technical"),
    ],
)
def test_what_was_not_executed_is_handed_over_for_its_reason(state, reason):
    thread = [ROUTE, tool("c1", "route_ticket", "Why.", is_error=True)]

    assert outcome(thread, {"c1": state}) == Outcome(reason, "Why.")


def test_a_write_that_succeeded_is_the_end():
    thread = [ROUTE, tool("c1", "route_ticket", "Written.")]

    assert outcome(thread, {"c1": "succeeded"}) == Outcome(call_id="c1")


def test_a_case_that_changed_while_it_was_written_is_stale():
    thread = [ROUTE, tool("c1", "route_ticket", "It changed.", is_error=True, code="changed")]

    assert outcome(thread, {"c1": "failed"}).reason == "stale"


@pytest.mark.parametrize(
    ("said", "heard"), [("out_of_scope", "out_of_scope"), ("because", "not_sure"), (None, "not_sure")]
)
def test_a_hand_over_gives_one_of_the_reasons_a_model_may_give(said, heard):
    thread = [model(("c1", "hand_over", {"reason": said, "explanation": "A refund."})), tool("c1", "hand_over")]

    assert outcome(thread, {}) == Outcome(heard, "A refund.", "c1")


def test_a_thread_that_ends_without_an_act_is_not_sure():
    assert outcome([model()], {}).reason == "not_sure"


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        ("asked", "not_sure", "answered"),
        ("responded", "not_sure", "answered"),
        ("stale", "not_sure", "stale"),
        ("stale", "out_of_scope", "out_of_scope"),
        ("", "not_sure", "not_sure"),
    ],
)
def test_a_hand_over_after_an_answer_is_for_what_was_heard_unless_the_model_knows_more(code, said, reason):
    thread = [
        *[ROUTE, tool("c1", "route_ticket", "Why?", is_error=True, code=code)],
        *[model(("c2", "hand_over", {"reason": said, "explanation": "I do not know."})), tool("c2", "hand_over")],
    ]

    assert outcome(thread, {"c1": "answered"}) == Outcome(reason, "I do not know.", "c2")


TWO = model(("c1", "route_ticket", {}), ("c2", "route_ticket", {}))


@pytest.mark.parametrize(
    ("thread", "ended"),
    [
        ([], False),
        ([Said("user", "Route T-1.")], False),
        ([model()], True),
        ([ROUTE], False),
        ([ROUTE, tool("c1", "route_ticket")], True),
        ([ROUTE, tool("c1", "route_ticket", is_error=True, code="rejected")], True),
        ([ROUTE, tool("c1", "route_ticket", is_error=True, code="expired")], True),
        ([ROUTE, tool("c1", "route_ticket", is_error=True, code="withdrawn")], True),
        ([ROUTE, tool("c1", "route_ticket", is_error=True, code="asked")], False),
        ([ROUTE, tool("c1", "route_ticket", is_error=True, code="stale")], False),
        ([ROUTE, tool("c1", "route_ticket", code="responded")], False),
        ([model(("c1", "read_ticket", {})), tool("c1", "read_ticket")], False),
        ([TWO, tool("c1", "route_ticket")], False),
        ([TWO, tool("c1", "route_ticket"), tool("c2", "route_ticket")], True),
        ([TWO, tool("c1", "route_ticket", code="asked"), tool("c2", "route_ticket")], False),
        (
            [ROUTE, tool("c1", "route_ticket", code="asked"), model(("c2", "hand_over", {})), tool("c2", "hand_over")],
            True,
        ),
    ],
)
def test_a_thread_has_ended_when_nobody_has_the_next_word(thread, ended):
    assert has_ended(thread, ends={"route_ticket", "hand_over"}) is ended


def test_what_a_call_heard_is_a_step_of_its_own():
    thread = [ROUTE, tool("c1", "route_ticket", "A reviewer asks: Why?", is_error=True, code="asked")]

    assert [step.kind for step in trace(thread, model="m", writes=WRITES)] == ["model", "propose", "answer"]


@given(st.lists(st.sampled_from([ROUTE, model(), tool("c1", "route_ticket"), tool("c2", "read_ticket")]), max_size=8))
def test_the_same_thread_always_has_the_same_steps_at_the_same_places(thread):
    whole = trace(thread, model="m", writes=WRITES)

    for cut in range(len(thread) + 1):
        steps = trace(thread[:cut], model="m", writes=WRITES)
        assert steps == whole[: len(steps)]
    assert len({step.position for step in whole}) == len(whole)


def test_a_trace_tells_reads_proposals_writes_and_hand_overs_apart():
    thread = [
        Said("user", "Route ticket T-1."),
        model(("c0", "read_ticket", {"ticket": "T-1"})),
        tool("c0", "read_ticket", "{}"),
        ROUTE,
        tool("c1", "route_ticket", "Written."),
        tool("c2", "hand_over"),
        tool("c3", "read_ticket", "No.", is_error=True),
    ]

    kinds = [step.kind for step in trace(thread, model="m", writes=WRITES)]

    assert kinds == ["model", "read", "model", "propose", "write", "hand_over", "error"]


def test_facts_are_the_last_good_answers():
    thread = [tool("a", "read_ticket", "old"), tool("b", "read_ticket", "new"), tool("c", "x", "bad", is_error=True)]

    assert facts(thread) == {"read_ticket": "new"}


def test_the_nearest_precedents_are_those_of_the_last_turn_that_named_some():
    thread = [model(nearest=({"queue": "a"},)), model(nearest=({"queue": "b"},)), model()]

    assert nearest(thread) == ({"queue": "b"},)


def test_pauses_grow_and_end():
    pauses = [pause_after(attempts) for attempts in range(1, MAX_ATTEMPTS + 1)]

    assert pauses == [timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=90), None]


def test_a_lease_survives_two_lost_beats():
    assert LEASE >= 3 * HEARTBEAT


@pytest.mark.parametrize(
    ("stated", "kept"), [(0.8, 0.8), (1, 1.0), (0, 0.0), (None, None), (1.5, None), (True, None), ("0.9", None)]
)
def test_a_confidence_that_is_no_share_counts_as_not_stated(stated, kept):
    ask = cards.ask(
        {"ticket": "T-1", "queue": "login", "priority": "low", "reply": "", "confidence": stated},
        connector_key="desk",
        case="T-1",
        facts={},
        nearest=(),
        settings={},
        watched=["status"],
    )

    assert ask.confidence == kept
    assert "confidence" not in ask.args


def test_the_instructions_name_every_queue_and_the_border():
    text = scope.instructions({"queues": [{"key": "login", "name": "Login", "hint": "passwords"}], "sure_at": 0.6})

    assert "- login: passwords" in text
    assert "below 0.6" in text
    assert scope.OUT_OF_SCOPE in text
