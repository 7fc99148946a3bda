"""A program from its opening to its first transition, and everything that is refused on the way."""

from datetime import UTC, date, datetime, timedelta

import pytest

from apps.accounts.models import Role
from apps.agents.models import Standing
from apps.programs import actions
from apps.programs.domain.states import Kind, State, Verdict
from apps.programs.errors import BadEvidence, NotReady, NotYours, ProgramError
from apps.programs.models import Dependency, Gate, GateEvent
from apps.programs.queries import readiness
from tests.factories.accounts import make_member
from tests.factories.approvals import make_agent, make_connector

pytestmark = pytest.mark.django_db
NOW = datetime(2027, 2, 1, 12, tzinfo=UTC)


@pytest.fixture
def agent(team, ada):
    return make_agent(team, ada, stage="demo", name="Refund agent")


@pytest.fixture
def program(agent, dev):
    return actions.open_program(
        agent, name="Refund agent to production", tier="medium", actor=dev, start_date=date(2027, 1, 4)
    )


def gate(program, key):
    return Gate.objects.get(program=program, key=key)


def signer(the_gate, name="Sana"):
    return make_member(the_gate.team, Role.OPERATOR, name=name)


def with_evidence(the_gate, actor):
    for position in range(len(the_gate.evidence_items)):
        actions.add_evidence(
            the_gate, item=position, name="Document", url=f"https://docs.example.com/{position}", actor=actor, at=NOW
        )
    return the_gate


def satisfy(program, *keys):
    for each in program.gates.filter(key__in=keys) if keys else program.gates.all():
        GateEvent.objects.create(gate=each, kind=Kind.READING, verdict=Verdict.PASS, at=NOW, actor="timer")
        GateEvent.objects.create(gate=each, kind=Kind.SUBMITTED, at=NOW, actor="user:1")
        GateEvent.objects.create(gate=each, kind=Kind.SIGNED, at=NOW, actor="user:2")
    actions.refresh_states(program, at=NOW)


def test_a_medium_program_has_44_gates_81_edges_and_an_access_gate_for_its_system(program):
    assert program.gates.count() == 44
    assert Dependency.objects.filter(gate__program=program).count() == 81
    assert gate(program, "API-01:desk").team == make_connector(program.home_team).team


def test_gates_belong_to_the_teams_of_the_catalogue_which_are_made_when_missing(program):
    assert gate(program, "SEC-01").team.name == "Security"
    assert gate(program, "ML-02").team.name == "ML"


def test_an_agent_has_one_program(program, agent, dev):
    with pytest.raises(ProgramError, match="has a program already"):
        actions.open_program(agent, name="Again", tier="low", actor=dev)


def test_the_same_catalogue_file_is_one_version(program):
    again = actions.load_catalogue(actor="system")

    assert again == program.catalogue


def test_only_the_first_gate_can_start_and_all_others_wait(program):
    states = dict(program.gates.values_list("key", "state"))

    assert states["PRD-01"] == State.NOT_STARTED
    assert set(states.values()) == {State.NOT_STARTED, State.WAITING_ON}
    assert [key for key, state in states.items() if state == State.NOT_STARTED] == ["PRD-01"]


def test_the_owning_team_signs_and_what_waited_becomes_free(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    actions.submit_gate(charter, actor=ada, at=NOW)

    actions.sign_gate(charter, actor=signer(charter), at=NOW)

    charter.refresh_from_db()
    assert charter.state == State.PASSED
    assert charter.valid_until == date(2028, 2, 1)
    assert gate(program, "PRD-02").state == State.NOT_STARTED


def test_a_signature_freezes_the_evidence_and_the_catalogue(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    actions.submit_gate(charter, actor=ada, at=NOW)

    sign_off = actions.sign_gate(charter, actor=signer(charter), at=NOW)

    assert sign_off.frozen["catalogue"] == program.catalogue.version
    assert sign_off.frozen["evidence"][0] == [0, 1, "https://docs.example.com/0"]


def test_submission_needs_every_item_of_evidence(program, ada):
    with pytest.raises(BadEvidence, match="one-page charter"):
        actions.submit_gate(gate(program, "PRD-01"), actor=ada)


def test_nobody_signs_for_another_team(program, ada, dev):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    actions.submit_gate(charter, actor=ada, at=NOW)

    with pytest.raises(NotYours, match="Only Product signs PRD-01"):
        actions.sign_gate(charter, actor=dev)


def test_nobody_signs_what_they_submitted_or_gave_evidence_for(program, ada):
    charter = gate(program, "PRD-01")
    paul = signer(charter, "Paul")
    with_evidence(charter, paul)
    actions.submit_gate(charter, actor=ada, at=NOW)

    with pytest.raises(NotYours, match="You uploaded evidence"):
        actions.sign_gate(charter, actor=paul)


@pytest.mark.parametrize("role", [Role.EXECUTIVE, Role.AUDITOR])
def test_executives_and_auditors_of_the_owning_team_do_not_sign(program, ada, role):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    actions.submit_gate(charter, actor=ada, at=NOW)

    with pytest.raises(NotYours):
        actions.sign_gate(charter, actor=make_member(charter.team, role))


def test_no_gate_passes_while_a_prerequisite_is_open(program, ada):
    sets = with_evidence(gate(program, "PRD-04"), ada)
    actions.submit_gate(sets, actor=ada, at=NOW)

    with pytest.raises(ProgramError, match="PRD-02 Human baseline measured"):
        actions.sign_gate(sets, actor=signer(sets), at=NOW)


def test_an_automatic_gate_can_be_ticked_by_nobody(program, ada):
    with pytest.raises(ProgramError, match="computed from records"):
        actions.submit_gate(gate(program, "PLT-04"), actor=ada)
    with pytest.raises(ProgramError, match="computed from records"):
        actions.sign_gate(gate(program, "PLT-04"), actor=ada)


def test_a_refusal_needs_a_reason_and_fails_the_gate(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    actions.submit_gate(charter, actor=ada, at=NOW)
    paul = signer(charter)

    with pytest.raises(BadEvidence):
        actions.refuse_gate(charter, actor=paul, reason="  ")
    actions.refuse_gate(charter, actor=paul, reason="The never-do list is empty.", at=NOW)

    charter.refresh_from_db()
    assert charter.state == State.FAILED


def test_new_evidence_sends_a_passed_gate_back_to_its_team(program, ada):
    satisfy(program, "PRD-01")
    charter = gate(program, "PRD-01")

    actions.add_evidence(charter, item=0, name="Charter 2", url="https://docs.example.com/2", actor=ada, at=NOW)

    charter.refresh_from_db()
    assert charter.state == State.SUBMITTED


def test_a_pass_expires_after_its_last_day(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    actions.submit_gate(charter, actor=ada, at=NOW)
    actions.sign_gate(charter, actor=signer(charter), at=NOW)

    actions.refresh_states(program, at=NOW + timedelta(days=366))

    charter.refresh_from_db()
    assert charter.state == State.EXPIRED


def test_a_loop_is_refused_with_its_way_round(program, dev):
    with pytest.raises(ProgramError, match="PLT-01 → SEC-01 → PLT-02 → PLT-01"):
        actions.add_dependency(gate(program, "PLT-01"), needs=gate(program, "SEC-01"), actor=dev)


def test_a_gate_cannot_wait_on_a_later_transition(program, dev):
    with pytest.raises(ProgramError, match="later transition G2"):
        actions.add_dependency(gate(program, "PRD-01"), needs=gate(program, "ML-04"), actor=dev)


def test_the_sentence_names_the_longest_chain_from_the_launch_to_its_root(program):
    answer = readiness(program)

    assert answer.sentence == (
        "Refund agent cannot enter pilot: Access model sign-off (Security), which waits on Data-flow document matches "
        "observed traffic (Platform), which waits on Integration built with durable state and safe write-back (Platform), "
        "which waits on 2 further gates, which waits on Narrow workflow charter (Product: not started). 11 more gates are open."
    )
    assert answer.chain == ("SEC-01", "PLT-02", "PLT-01", "API-01:desk", "PRD-03", "PRD-01")


def test_a_transition_is_refused_with_the_list_of_open_gates(program, dev):
    with pytest.raises(NotReady) as caught:
        actions.advance(program, transition="G1", actor=dev, at=NOW)

    assert len(caught.value.open_gates) == 17
    program.agent.refresh_from_db()
    assert program.agent.stage == "demo"


def test_a_transition_is_recorded_once_every_gate_is_satisfied(program, dev):
    satisfy(program)

    event = actions.advance(program, transition="G1", actor=dev, at=NOW)

    program.agent.refresh_from_db()
    assert program.agent.stage == event.stage == "pilot"


def test_a_transition_cannot_be_skipped(program, dev):
    satisfy(program)

    with pytest.raises(ProgramError, match="next transition is G1"):
        actions.advance(program, transition="G2", actor=dev, at=NOW)


def test_gates_that_need_pilot_data_wait_for_the_pilot(program):
    satisfy(program, *program.gates.filter(transition="G1").values_list("key", flat=True))

    assert gate(program, "ML-04").state == State.WAITING_ON
    assert gate(program, "OPS-06").state == State.NOT_STARTED


def test_a_missing_number_is_unknown_and_never_a_pass(program):
    actions.evaluate_gates(program, at=NOW)

    drill = gate(program, "PLT-05")
    assert drill.readings.get().verdict == Verdict.UNKNOWN
    assert drill.state == State.WAITING_ON


def test_an_open_gate_of_a_made_transition_is_told_to_the_agent(program, dev):
    satisfy(program)
    actions.advance(program, transition="G1", actor=dev, at=NOW)
    before = Standing.objects.get(agent=program.agent, kind="gates").value

    GateEvent.objects.create(gate=gate(program, "PRD-01"), kind=Kind.REOPENED, at=NOW, actor="user:1")
    actions.evaluate_gates(program, at=NOW + timedelta(minutes=5))

    assert (before, Standing.objects.get(agent=program.agent, kind="gates").value) == ("satisfied", "open")
