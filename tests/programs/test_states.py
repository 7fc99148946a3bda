from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.programs.domain.criteria import failure_rate_reading, lower_bound, smallest_sample, upper_bound
from apps.programs.domain.states import SATISFIED, Event, Kind, Reached, State, Verdict, reached, state_of

TODAY = date(2027, 2, 1)


def after(mode, *events, prerequisites_open=False, as_of=TODAY):
    return state_of(mode, events, prerequisites_open=prerequisites_open, as_of=as_of)


def happens(kind, at=TODAY, **facts):
    return Event(kind, at, **facts)


def reading(verdict, valid_until=None):
    return happens(Kind.READING, verdict=verdict, valid_until=valid_until)


def test_a_new_gate_is_not_started():
    assert after("manual") is State.NOT_STARTED


def test_an_open_prerequisite_makes_it_wait_and_lifts_by_itself():
    assert after("manual", prerequisites_open=True) is State.WAITING_ON
    assert after("manual", happens(Kind.STARTED), prerequisites_open=True) is State.WAITING_ON
    assert after("manual", happens(Kind.STARTED)) is State.IN_PROGRESS


def test_a_signature_passes_a_submitted_manual_gate():
    assert after("manual", happens(Kind.SUBMITTED), happens(Kind.SIGNED)) is State.PASSED


def test_a_signature_without_submission_changes_nothing():
    assert after("manual", happens(Kind.STARTED), happens(Kind.SIGNED)) is State.IN_PROGRESS


def test_a_refusal_fails_it_and_a_new_round_may_follow():
    refused = (happens(Kind.SUBMITTED), happens(Kind.REFUSED))

    assert after("manual", *refused) is State.FAILED
    assert after("manual", *refused, happens(Kind.SUBMITTED), happens(Kind.SIGNED)) is State.PASSED


def test_a_hybrid_gate_needs_both_the_number_and_the_signature():
    assert after("hybrid", happens(Kind.SUBMITTED), happens(Kind.SIGNED)) is State.SUBMITTED
    assert after("hybrid", reading(Verdict.PASS), happens(Kind.SUBMITTED), happens(Kind.SIGNED)) is State.PASSED


def test_nobody_can_tick_an_automatic_gate():
    assert after("automatic", happens(Kind.SUBMITTED), happens(Kind.SIGNED)) is State.NOT_STARTED


def test_unknown_is_not_pass():
    assert after("automatic", reading(Verdict.UNKNOWN)) is State.NOT_STARTED


def test_a_passed_automatic_gate_outlives_a_quiet_month_but_not_a_failure():
    passed = reading(Verdict.PASS, date(2027, 3, 1))

    assert after("automatic", passed, reading(Verdict.UNKNOWN)) is State.PASSED
    assert after("automatic", passed, reading(Verdict.FAIL)) is State.FAILED


@pytest.mark.parametrize(("as_of", "state"), [(date(2027, 4, 5), State.PASSED), (date(2027, 4, 6), State.EXPIRED)])
def test_a_pass_holds_through_its_last_day(as_of, state):
    signed = happens(Kind.SIGNED, valid_until=date(2027, 4, 5))

    assert after("manual", happens(Kind.SUBMITTED), signed, as_of=as_of) is state


@pytest.mark.parametrize(("as_of", "state"), [(date(2027, 2, 15), State.WAIVED), (date(2027, 2, 16), State.FAILED)])
def test_an_expired_waiver_is_a_failed_gate(as_of, state):
    assert after("manual", happens(Kind.WAIVED, valid_until=date(2027, 2, 15)), as_of=as_of) is state


def test_edited_evidence_sends_a_passed_gate_back_to_its_owning_team():
    assert after("manual", happens(Kind.SUBMITTED), happens(Kind.SIGNED), happens(Kind.REOPENED)) is State.SUBMITTED


@pytest.mark.parametrize(
    ("day", "state"), [(date(2027, 1, 31), State.PASSED), (date(2027, 2, 1), State.SUBMITTED)], ids=["last day", "over"]
)
def test_an_expired_gate_can_be_submitted_again(day, state):
    signed = happens(Kind.SIGNED, date(2027, 1, 5), valid_until=date(2027, 1, 31))
    history = [happens(Kind.SUBMITTED, date(2027, 1, 4)), signed, happens(Kind.SUBMITTED, day)]

    assert after("manual", *history, as_of=day) is state


def test_a_gate_passes_anew_after_it_expired():
    rounds = [(date(2027, 1, 4), date(2027, 1, 31)), (date(2027, 2, 10), date(2027, 8, 9))]
    history = []
    for day, until in rounds:
        history += [happens(Kind.SUBMITTED, day), happens(Kind.SIGNED, day, valid_until=until)]

    assert reached("manual", history, prerequisites_open=False, as_of=date(2027, 8, 9)) == Reached(
        State.PASSED, date(2027, 8, 9)
    )


@pytest.mark.parametrize("mode", ["manual", "hybrid"])
def test_a_gate_whose_waiver_ran_out_has_failed_and_can_be_submitted(mode):
    waived = happens(Kind.WAIVED, date(2027, 2, 1), valid_until=date(2027, 2, 15))

    assert after(mode, waived, happens(Kind.SUBMITTED, date(2027, 2, 15)), as_of=date(2027, 2, 15)) is State.WAIVED
    assert after(mode, waived, happens(Kind.SUBMITTED, date(2027, 2, 16)), as_of=date(2027, 2, 16)) is State.SUBMITTED


def test_a_second_waiver_does_not_renew_the_first_but_may_follow_it():
    first = happens(Kind.WAIVED, date(2027, 2, 1), valid_until=date(2027, 2, 15))
    too_soon = happens(Kind.WAIVED, date(2027, 2, 10), valid_until=date(2027, 3, 10))
    after_it = happens(Kind.WAIVED, date(2027, 2, 20), valid_until=date(2027, 3, 10))

    assert after("manual", first, too_soon, as_of=date(2027, 2, 16)) is State.FAILED
    assert after("manual", first, after_it, as_of=date(2027, 3, 10)) is State.WAIVED


def test_new_evidence_does_not_submit_what_had_expired():
    signed = happens(Kind.SIGNED, date(2027, 1, 5), valid_until=date(2027, 1, 31))
    history = [happens(Kind.SUBMITTED, date(2027, 1, 4)), signed, happens(Kind.REOPENED, date(2027, 2, 1))]

    assert after("manual", *history) is State.EXPIRED


def test_an_automatic_gate_passes_its_last_day_and_is_renewed_by_a_later_reading():
    first = happens(Kind.READING, date(2027, 1, 5), verdict=Verdict.PASS, valid_until=date(2027, 4, 5))
    later = happens(Kind.READING, date(2027, 3, 1), verdict=Verdict.PASS, valid_until=date(2027, 5, 30))

    assert after("automatic", first, as_of=date(2027, 4, 5)) is State.PASSED
    assert after("automatic", first, as_of=date(2027, 4, 6)) is State.EXPIRED
    assert after("automatic", first, later, as_of=date(2027, 4, 6)) is State.PASSED


def test_a_later_reading_does_not_make_a_signature_younger():
    history = [
        happens(Kind.SUBMITTED, date(2027, 1, 4)),
        happens(Kind.READING, date(2027, 1, 5), verdict=Verdict.PASS),
        happens(Kind.SIGNED, date(2027, 1, 5), valid_until=date(2027, 1, 31)),
        happens(Kind.READING, date(2027, 1, 20), verdict=Verdict.PASS, valid_until=date(2027, 7, 1)),
    ]

    assert after("hybrid", *history) is State.EXPIRED


BEFORE = {
    State.NOT_STARTED: [],
    State.IN_PROGRESS: [happens(Kind.STARTED)],
    State.SUBMITTED: [happens(Kind.SUBMITTED)],
    State.FAILED: [happens(Kind.SUBMITTED), happens(Kind.REFUSED)],
    State.WAIVED: [happens(Kind.WAIVED)],
    State.NOT_APPLICABLE: [happens(Kind.NOT_APPLICABLE)],
    State.EXPIRED: [
        happens(Kind.SUBMITTED, date(2027, 1, 4)),
        happens(Kind.READING, date(2027, 1, 4), verdict=Verdict.PASS, valid_until=date(2027, 1, 31)),
        happens(Kind.SIGNED, date(2027, 1, 4), valid_until=date(2027, 1, 31)),
    ],
    State.PASSED: [happens(Kind.SUBMITTED), reading(Verdict.PASS), happens(Kind.SIGNED)],
}
ANY, AUTOMATIC, HYBRID = ("automatic", "manual", "hybrid"), ("automatic",), ("hybrid",)
SIGNED_FOR = ("manual", "hybrid")


@pytest.mark.parametrize(
    ("modes", "before", "event", "then"),
    [
        # "any open or passed → failed: verdict fail"; a waiver stands until it ends, and manual gates have no number.
        (("automatic", "hybrid"), State.NOT_STARTED, reading(Verdict.FAIL), State.FAILED),
        (("automatic", "hybrid"), State.IN_PROGRESS, reading(Verdict.FAIL), State.FAILED),
        (HYBRID, State.SUBMITTED, reading(Verdict.FAIL), State.FAILED),
        (("automatic", "hybrid"), State.PASSED, reading(Verdict.FAIL), State.FAILED),
        (("automatic", "hybrid"), State.EXPIRED, reading(Verdict.FAIL), State.FAILED),
        (ANY, State.WAIVED, reading(Verdict.FAIL), State.WAIVED),
        (ANY, State.NOT_APPLICABLE, reading(Verdict.FAIL), State.NOT_APPLICABLE),
        (("manual",), State.PASSED, reading(Verdict.FAIL), State.PASSED),
        # "any open automatic → passed: verdict pass"; "waived → passed: it passes".
        (AUTOMATIC, State.NOT_STARTED, reading(Verdict.PASS), State.PASSED),
        (AUTOMATIC, State.EXPIRED, reading(Verdict.PASS), State.PASSED),
        (AUTOMATIC, State.WAIVED, reading(Verdict.PASS), State.PASSED),
        (AUTOMATIC, State.NOT_APPLICABLE, reading(Verdict.PASS), State.NOT_APPLICABLE),
        (SIGNED_FOR, State.WAIVED, reading(Verdict.PASS), State.WAIVED),
        (HYBRID, State.FAILED, reading(Verdict.PASS), State.FAILED),
        # "in_progress, failed, expired → submitted"; what is satisfied is not submitted.
        (SIGNED_FOR, State.IN_PROGRESS, happens(Kind.SUBMITTED), State.SUBMITTED),
        (SIGNED_FOR, State.FAILED, happens(Kind.SUBMITTED), State.SUBMITTED),
        (SIGNED_FOR, State.EXPIRED, happens(Kind.SUBMITTED), State.SUBMITTED),
        (SIGNED_FOR, State.PASSED, happens(Kind.SUBMITTED), State.PASSED),
        (ANY, State.WAIVED, happens(Kind.SUBMITTED), State.WAIVED),
        (ANY, State.NOT_APPLICABLE, happens(Kind.SUBMITTED), State.NOT_APPLICABLE),
        # "passed or waived → submitted (automatic: not_started)".
        (SIGNED_FOR, State.PASSED, happens(Kind.REOPENED), State.SUBMITTED),
        (SIGNED_FOR, State.WAIVED, happens(Kind.REOPENED), State.SUBMITTED),
        (AUTOMATIC, State.PASSED, happens(Kind.REOPENED), State.NOT_STARTED),
        (AUTOMATIC, State.WAIVED, happens(Kind.REOPENED), State.NOT_STARTED),
        (ANY, State.NOT_APPLICABLE, happens(Kind.REOPENED), State.NOT_APPLICABLE),
        # "any open → waived"; "waived → failed: the waiver expires".
        (ANY, State.NOT_STARTED, happens(Kind.WAIVED), State.WAIVED),
        (ANY, State.EXPIRED, happens(Kind.WAIVED), State.WAIVED),
        (ANY, State.PASSED, happens(Kind.WAIVED), State.PASSED),
        (ANY, State.WAIVED, happens(Kind.WAIVER_ENDED), State.FAILED),
        (ANY, State.PASSED, happens(Kind.WAIVER_ENDED), State.PASSED),
    ],
)
def test_each_move_of_the_table_and_what_is_refused(modes, before, event, then):
    for mode in modes:
        assert after(mode, *BEFORE[before]) is before
        assert after(mode, *BEFORE[before], event) is then


DAYS = st.dates(date(2027, 1, 1), date(2027, 3, 1))
events = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    at=DAYS,
    verdict=st.one_of(st.none(), st.sampled_from(Verdict)),
    valid_until=st.one_of(st.none(), DAYS),
)
histories = st.lists(events, max_size=12).map(lambda each: sorted(each, key=lambda event: event.at))


@given(histories, st.sampled_from(["automatic", "manual", "hybrid"]), DAYS)
def test_no_pass_and_no_waiver_outlives_its_last_day(history, mode, as_of):
    now = reached(mode, history, prerequisites_open=False, as_of=as_of)

    assert now.valid_until is None or (as_of <= now.valid_until and now.state in {State.PASSED, State.WAIVED})


@given(histories, st.sampled_from(["manual", "hybrid"]), DAYS)
def test_whatever_is_open_can_be_submitted(history, mode, day):
    until_then = [event for event in history if event.at <= day]
    is_open = after(mode, *until_then, as_of=day) not in SATISFIED

    then = after(mode, *until_then, happens(Kind.SUBMITTED, day), as_of=day)

    assert (then is State.SUBMITTED) is is_open


@given(histories, st.sampled_from(["automatic", "manual", "hybrid"]))
def test_a_failing_number_takes_nothing_from_a_waiver_that_runs(history, mode):
    free = after(mode, *history)

    then = after(mode, *history, reading(Verdict.FAIL))

    assert then is free or free not in {State.WAIVED, State.NOT_APPLICABLE}


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
