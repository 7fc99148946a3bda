"""One round of reading the numbers: each gate settles before the next is read."""

from datetime import timedelta

import pytest

from apps.agents.models import Standing
from apps.programs.actions import gates, readings
from apps.programs.domain.states import Kind, State, Verdict
from apps.programs.models import GateEvent
from tests.factories.approvals import make_agent
from tests.factories.oncall import make_schedule
from tests.factories.programs import NOW, gate, make_catalogue, make_program, signer, submitted

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(minutes=5)


def people(operator, value):
    return {"metric": "oncall_people", "op": operator, "value": value}


@pytest.fixture
def open_with(team, ada, dev):
    """Open a program for a demo agent with a catalogue of these gates only."""

    def opened(*entries):
        return make_program(make_agent(team, ada, stage="demo"), dev, catalogue=make_catalogue(*entries))

    return opened


def states(program):
    return dict(program.gates.values_list("key", "state"))


def test_a_chain_of_computed_gates_settles_in_one_round(open_with):
    # The keys run against the chain, so that their order does not settle it by chance.
    program = open_with(
        {"id": "C-01", "criterion": people(">=", 0)},
        {"id": "B-01", "criterion": people(">=", 0), "prerequisites": ["C-01"]},
        {"id": "A-01", "criterion": people(">=", 0), "prerequisites": ["B-01"]},
    )

    readings.evaluate_gates(program, at=NOW)

    assert states(program) == {"C-01": State.PASSED, "B-01": State.PASSED, "A-01": State.PASSED}


def test_no_gate_passes_on_a_prerequisite_that_fails_in_the_same_round(open_with, team, cora):
    program = open_with(
        {"id": "B-01", "criterion": people("<=", 0)},
        {"id": "A-01", "criterion": people(">=", 1), "prerequisites": ["B-01"]},
    )
    readings.evaluate_gates(program, at=NOW)
    before = states(program)
    make_schedule(team, cora)

    readings.evaluate_gates(program, at=LATER)

    assert before == {"B-01": State.PASSED, "A-01": State.FAILED}
    assert states(program) == {"B-01": State.FAILED, "A-01": State.FAILED}
    assert gate(program, "A-01").readings.latest("at").verdict == Verdict.PASS


def test_a_number_that_counts_gates_sees_what_passed_in_the_same_round(open_with):
    program = open_with(
        {"id": "A-01", "stage": "G2", "criterion": people(">=", 0)},
        {
            "id": "B-01",
            "stage": "G2",
            "criterion": {"metric": "other_G2_gates_not_passed_or_waived", "op": "==", "value": 0},
            "prerequisites": ["A-01"],
        },
    )

    readings.evaluate_gates(program, at=NOW)

    assert states(program) == {"A-01": State.PASSED, "B-01": State.PASSED}


def test_the_gate_that_counts_the_others_waits_for_them_and_has_not_failed(open_with):
    program = open_with(
        {"id": "A-01", "stage": "G2", "criterion": people(">=", 1)},
        {
            "id": "B-01",
            "stage": "G2",
            "criterion": {"metric": "other_G2_gates_not_passed_or_waived", "op": "==", "value": 0},
        },
    )

    readings.evaluate_gates(program, at=NOW)

    assert states(program)["B-01"] == State.NOT_STARTED
    assert gate(program, "B-01").readings.get().text == "Waits on 1 other gate of this transition."


@pytest.mark.parametrize("kind", [Kind.WAIVED, Kind.NOT_APPLICABLE])
def test_a_failing_number_leaves_a_waived_or_inapplicable_gate_satisfied(open_with, kind):
    program = open_with({"id": "A-01", "criterion": people(">=", 1)})
    GateEvent.objects.create(gate=gate(program, "A-01"), kind=kind, at=NOW, actor="user:1")

    readings.evaluate_gates(program, at=NOW)

    assert gate(program, "A-01").readings.get().verdict == Verdict.FAIL
    assert gate(program, "A-01").state == kind.value


def test_a_passing_number_closes_a_waiver(open_with):
    program = open_with({"id": "A-01", "criterion": people(">=", 0)})
    GateEvent.objects.create(gate=gate(program, "A-01"), kind=Kind.WAIVED, at=NOW, actor="user:1")

    readings.evaluate_gates(program, at=NOW)

    assert gate(program, "A-01").state == State.PASSED


def test_a_reading_that_says_nothing_new_adds_nothing_to_the_history(open_with):
    program = open_with({"id": "A-01", "criterion": people(">=", 0)}, {"id": "B-01", "criterion": people(">=", 1)})

    changed = [readings.evaluate_gates(program, at=NOW + timedelta(minutes=5 * turn)) for turn in range(3)]

    assert changed == [2, 0, 0]
    assert GateEvent.objects.filter(gate__program=program, kind=Kind.READING).count() == 2


def test_each_day_of_a_passing_number_moves_the_end_of_its_pass(open_with):
    program = open_with({"id": "A-01", "criterion": people(">=", 0), "validity_days": 7})

    readings.evaluate_gates(program, at=NOW)
    readings.evaluate_gates(program, at=NOW + timedelta(days=1))

    assert gate(program, "A-01").valid_until == (NOW + timedelta(days=8)).date()


def test_a_passing_number_does_not_renew_the_signature_of_a_hybrid_gate(open_with, ada):
    program = open_with({"id": "A-01", "mode": "hybrid", "criterion": people(">=", 0), "validity_days": 30})
    hybrid = submitted(gate(program, "A-01"), ada)
    gates.sign_gate(hybrid, actor=signer(hybrid), at=NOW)

    readings.evaluate_gates(program, at=NOW + timedelta(days=20))
    held = gate(program, "A-01").valid_until
    readings.evaluate_gates(program, at=NOW + timedelta(days=31))

    assert held == (NOW + timedelta(days=30)).date()
    assert gate(program, "A-01").state == State.EXPIRED


def test_a_failing_number_sends_a_submitted_hybrid_back_each_time(open_with, ada):
    program = open_with({"id": "A-01", "mode": "hybrid", "criterion": people(">=", 1)})
    found = []
    for turn in range(2):
        at = NOW + timedelta(hours=turn)
        gates.submit_gate(gate(program, "A-01"), actor=ada, at=at)
        readings.evaluate_gates(program, at=at + timedelta(minutes=5))
        found.append(gate(program, "A-01").state)

    assert found == [State.FAILED, State.FAILED]


def test_an_open_gate_of_a_coming_transition_is_no_matter_of_the_agent_yet(open_with):
    program = open_with({"id": "A-01", "criterion": people(">=", 1)})

    readings.evaluate_gates(program, at=NOW)

    assert Standing.objects.get(agent=program.agent, kind="gates").value == "satisfied"
