from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.programs.domain.criteria import failure_rate_reading, lower_bound, smallest_sample, upper_bound
from apps.programs.domain.states import Event, Kind, State, Verdict, state_of

TODAY = date(2027, 2, 1)


def after(mode, *events, prerequisites_open=False, as_of=TODAY):
    return state_of(mode, events, prerequisites_open=prerequisites_open, as_of=as_of)


def reading(verdict, valid_until=None):
    return Event(Kind.READING, verdict, valid_until)


def test_a_new_gate_is_not_started():
    assert after("manual") is State.NOT_STARTED


def test_an_open_prerequisite_makes_it_wait_and_lifts_by_itself():
    assert after("manual", prerequisites_open=True) is State.WAITING_ON
    assert after("manual", Event(Kind.STARTED), prerequisites_open=True) is State.WAITING_ON
    assert after("manual", Event(Kind.STARTED)) is State.IN_PROGRESS


def test_a_signature_passes_a_submitted_manual_gate():
    assert after("manual", Event(Kind.SUBMITTED), Event(Kind.SIGNED)) is State.PASSED


def test_a_signature_without_submission_changes_nothing():
    assert after("manual", Event(Kind.STARTED), Event(Kind.SIGNED)) is State.IN_PROGRESS


def test_a_refusal_fails_it_and_a_new_round_may_follow():
    refused = (Event(Kind.SUBMITTED), Event(Kind.REFUSED))

    assert after("manual", *refused) is State.FAILED
    assert after("manual", *refused, Event(Kind.SUBMITTED), Event(Kind.SIGNED)) is State.PASSED


def test_a_hybrid_gate_needs_both_the_number_and_the_signature():
    assert after("hybrid", Event(Kind.SUBMITTED), Event(Kind.SIGNED)) is State.SUBMITTED
    assert after("hybrid", reading(Verdict.PASS), Event(Kind.SUBMITTED), Event(Kind.SIGNED)) is State.PASSED


def test_nobody_can_tick_an_automatic_gate():
    assert after("automatic", Event(Kind.SUBMITTED), Event(Kind.SIGNED)) is State.NOT_STARTED


def test_unknown_is_not_pass():
    assert after("automatic", reading(Verdict.UNKNOWN)) is State.NOT_STARTED


def test_a_passed_automatic_gate_outlives_a_quiet_month_but_not_a_failure():
    passed = reading(Verdict.PASS, date(2027, 3, 1))

    assert after("automatic", passed, reading(Verdict.UNKNOWN)) is State.PASSED
    assert after("automatic", passed, reading(Verdict.FAIL)) is State.FAILED


@pytest.mark.parametrize(("as_of", "state"), [(date(2027, 4, 5), State.PASSED), (date(2027, 4, 6), State.EXPIRED)])
def test_a_pass_holds_through_its_last_day(as_of, state):
    signed = Event(Kind.SIGNED, valid_until=date(2027, 4, 5))

    assert after("manual", Event(Kind.SUBMITTED), signed, as_of=as_of) is state


@pytest.mark.parametrize(("as_of", "state"), [(date(2027, 2, 15), State.WAIVED), (date(2027, 2, 16), State.FAILED)])
def test_an_expired_waiver_is_a_failed_gate(as_of, state):
    assert after("manual", Event(Kind.WAIVED, valid_until=date(2027, 2, 15)), as_of=as_of) is state


def test_edited_evidence_sends_a_passed_gate_back_to_its_owning_team():
    assert after("manual", Event(Kind.SUBMITTED), Event(Kind.SIGNED), Event(Kind.REOPENED)) is State.SUBMITTED


events = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    verdict=st.one_of(st.none(), st.sampled_from(Verdict)),
    valid_until=st.one_of(st.none(), st.dates(date(2027, 1, 1), date(2027, 3, 1))),
)


@given(st.lists(events, max_size=12))
def test_an_automatic_gate_passes_only_by_a_passing_reading(history):
    if after("automatic", *history) is State.PASSED:
        assert any(event.kind is Kind.READING and event.verdict is Verdict.PASS for event in history)


@given(st.lists(events, max_size=12), st.sampled_from(["manual", "hybrid"]))
def test_a_signed_gate_passes_only_by_a_signature_after_a_submission(history, mode):
    if after(mode, *history) is State.PASSED:
        kinds = [event.kind for event in history]
        assert Kind.SIGNED in kinds[kinds.index(Kind.SUBMITTED) :]


@given(st.lists(events, max_size=12), st.sampled_from(["automatic", "manual", "hybrid"]))
def test_an_open_prerequisite_never_makes_a_gate_better(history, mode):
    free, waiting = after(mode, *history), after(mode, *history, prerequisites_open=True)

    assert waiting is free or waiting is State.WAITING_ON


@pytest.mark.parametrize(
    ("failures", "cases", "bar", "fewest", "verdict"),
    [
        (2, 120, 0.05, 400, Verdict.UNKNOWN),
        (12, 400, 0.05, 400, Verdict.PASS),
        (13, 400, 0.05, 400, Verdict.UNKNOWN),
        (27, 400, 0.05, 400, Verdict.UNKNOWN),
        (28, 400, 0.05, 400, Verdict.FAIL),
        (3, 3000, 0.003, 3000, Verdict.PASS),
        (4, 3000, 0.003, 3000, Verdict.UNKNOWN),
    ],
)
def test_the_verdict_at_the_edges_of_the_vectors(failures, cases, bar, fewest, verdict):
    assert failure_rate_reading(failures, cases, bar=bar, fewest=fewest).verdict is verdict


@pytest.mark.parametrize(
    ("failures", "cases", "upper"),
    [(0, 40, 0.072158), (1, 40, 0.113188), (3, 120, 0.063344), (7, 250, 0.051947), (12, 600, 0.032203)],
)
def test_the_upper_bound_is_exact(failures, cases, upper):
    assert upper_bound(failures, cases) == pytest.approx(upper, abs=1e-6)


@pytest.mark.parametrize(("failures", "cases", "lower"), [(1, 40, 0.001282), (12, 600, 0.011580)])
def test_the_lower_bound_is_exact(failures, cases, lower):
    assert lower_bound(failures, cases) == pytest.approx(lower, abs=1e-6)


@pytest.mark.parametrize(
    ("bar", "needed"),
    [
        (0.05, [59, 93, 124, 153]),
        (0.02, [149, 236, 313, 386]),
        (0.015, [199, 315, 418, 515]),
        (0.003, [998, 1580, 2097, 2583]),
    ],
)
def test_the_smallest_sample_for_no_to_three_failures(bar, needed):
    assert [smallest_sample(failures, 0, bar=bar) for failures in range(4)] == needed


def test_the_text_says_how_many_more_are_needed():
    assert "needs 10 more" in failure_rate_reading(13, 400, bar=0.05, fewest=400).text
