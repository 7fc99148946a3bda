"""A program from its opening to its first transition, and everything that is refused on the way."""

from datetime import date, timedelta

import pytest

from apps.accounts.models import Role
from apps.agents.models import Standing
from apps.programs.actions import gates, planning, readings, stages
from apps.programs.actions.board import refresh_states
from apps.programs.actions.catalogue import load_catalogue
from apps.programs.domain.states import Kind, State, Verdict
from apps.programs.errors import BadEvidence, NotReady, NotYours, ProgramError
from apps.programs.models import Dependency, GateEvent
from apps.programs.queries import readiness
from tests.factories.accounts import make_member
from tests.factories.approvals import make_action_type, make_agent, make_connector
from tests.factories.programs import NOW, gate, make_program, satisfy, signer, submitted, with_evidence

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent(team, ada):
    return make_agent(team, ada, stage="demo", name="Refund agent")


@pytest.fixture
def program(agent, dev):
    return make_program(agent, dev)


def test_a_medium_program_has_44_gates_81_edges_and_an_access_gate_for_its_system(program):
    assert program.gates.count() == 44
    assert Dependency.objects.filter(gate__program=program).count() == 81
    assert gate(program, "API-01:desk").team == make_connector(program.home_team).team


def test_gates_belong_to_the_teams_of_the_catalogue_which_are_made_when_missing(program):
    assert gate(program, "SEC-01").team.name == "Security"
    assert gate(program, "ML-02").team.name == "ML"


def test_an_agent_has_one_program(program, agent, dev):
    with pytest.raises(ProgramError, match="has a program already"):
        planning.open_program(agent, name="Again", tier="low", actor=dev)


def test_the_same_catalogue_file_is_one_version(program):
    again = load_catalogue(actor="system")

    assert again == program.catalogue


def test_only_the_first_gate_can_start_and_all_others_wait(program):
    states = dict(program.gates.values_list("key", "state"))

    assert states["PRD-01"] == State.NOT_STARTED
    assert set(states.values()) == {State.NOT_STARTED, State.WAITING_ON}
    assert [key for key, state in states.items() if state == State.NOT_STARTED] == ["PRD-01"]


def test_the_owning_team_signs_and_what_waited_becomes_free(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    gates.submit_gate(charter, actor=ada, at=NOW)

    gates.sign_gate(charter, actor=signer(charter), at=NOW)

    charter.refresh_from_db()
    assert charter.state == State.PASSED
    assert charter.valid_until == date(2028, 2, 1)
    assert gate(program, "PRD-02").state == State.NOT_STARTED


def test_a_signature_freezes_the_evidence_and_the_catalogue(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    gates.submit_gate(charter, actor=ada, at=NOW)

    sign_off = gates.sign_gate(charter, actor=signer(charter), at=NOW)

    assert sign_off.frozen["catalogue"] == program.catalogue.version
    assert sign_off.frozen["evidence"][0] == [0, 1, "https://docs.example.com/0"]


def test_submission_needs_every_item_of_evidence(program, ada):
    with pytest.raises(BadEvidence, match="one-page charter"):
        gates.submit_gate(gate(program, "PRD-01"), actor=ada)


def test_nobody_signs_for_another_team(program, ada, dev):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    gates.submit_gate(charter, actor=ada, at=NOW)

    with pytest.raises(NotYours, match="Only Product signs PRD-01"):
        gates.sign_gate(charter, actor=dev)


def test_nobody_signs_what_they_submitted_or_gave_evidence_for(program, ada):
    charter = gate(program, "PRD-01")
    paul = signer(charter, "Paul")
    with_evidence(charter, paul)
    gates.submit_gate(charter, actor=ada, at=NOW)

    with pytest.raises(NotYours, match="You uploaded evidence"):
        gates.sign_gate(charter, actor=paul)


@pytest.mark.parametrize("role", [Role.EXECUTIVE, Role.AUDITOR])
def test_executives_and_auditors_of_the_owning_team_do_not_sign(program, ada, role):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    gates.submit_gate(charter, actor=ada, at=NOW)

    with pytest.raises(NotYours):
        gates.sign_gate(charter, actor=make_member(charter.team, role))


def test_no_gate_passes_while_a_prerequisite_is_open(program, ada):
    sets = with_evidence(gate(program, "PRD-04"), ada)
    gates.submit_gate(sets, actor=ada, at=NOW)

    with pytest.raises(ProgramError, match="PRD-02 Human baseline measured"):
        gates.sign_gate(sets, actor=signer(sets), at=NOW)


def test_an_automatic_gate_can_be_ticked_by_nobody(program, ada):
    with pytest.raises(ProgramError, match="computed from records"):
        gates.submit_gate(gate(program, "PLT-04"), actor=ada)
    with pytest.raises(ProgramError, match="computed from records"):
        gates.sign_gate(gate(program, "PLT-04"), actor=ada)


def test_a_refusal_needs_a_reason_and_fails_the_gate(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    gates.submit_gate(charter, actor=ada, at=NOW)
    paul = signer(charter)

    with pytest.raises(BadEvidence):
        gates.refuse_gate(charter, actor=paul, reason="  ")
    gates.refuse_gate(charter, actor=paul, reason="The never-do list is empty.", at=NOW)

    charter.refresh_from_db()
    assert charter.state == State.FAILED


def test_new_evidence_sends_a_passed_gate_back_to_its_team(program, ada):
    satisfy(program, "PRD-01")
    charter = gate(program, "PRD-01")

    gates.add_evidence(charter, item=0, name="Charter 2", url="https://docs.example.com/2", actor=ada, at=NOW)

    charter.refresh_from_db()
    assert charter.state == State.SUBMITTED


def test_new_evidence_on_a_passed_gate_opens_a_round_that_somebody_else_signs(program, ada):
    charter = submitted(gate(program, "PRD-01"), ada)
    gates.sign_gate(charter, actor=signer(charter), at=NOW)
    paul, later = signer(charter, "Paul"), NOW + timedelta(days=1)

    gates.add_evidence(charter, item=0, name="Charter 2", url="https://docs.example.com/2", actor=paul, at=later)

    with pytest.raises(NotYours, match="You submitted this"):
        gates.sign_gate(charter, actor=paul, at=later)
    again = gates.sign_gate(charter, actor=signer(charter, "Pia"), at=later)
    assert (again.round, again.requester) == (2, paul)
    assert gate(program, "PRD-01").state == State.PASSED
    assert again.frozen["evidence"][0] == [0, 2, "https://docs.example.com/2"]


def test_new_evidence_during_a_round_stays_in_that_round(program, ada):
    charter = submitted(gate(program, "PRD-01"), ada)

    gates.add_evidence(charter, item=0, name="Charter 2", url="https://docs.example.com/2", actor=ada, at=NOW)

    assert charter.sign_offs.count() == 1


def test_an_automatic_gate_takes_no_evidence(program, ada):
    log = gate(program, "PLT-04")

    with pytest.raises(ProgramError, match="PLT-04 is computed from records; it takes no evidence"):
        gates.add_evidence(log, item=0, name="Log", url="https://docs.example.com/log", actor=ada, at=NOW)

    assert not log.evidence.exists()


def test_evidence_on_a_pass_that_ran_out_meanwhile_opens_no_round(program, ada):
    charter = submitted(gate(program, "PRD-01"), ada)
    gates.sign_gate(charter, actor=signer(charter), at=NOW)
    # Nobody looked since the last day of the pass, so the kept state still says passed.
    later = NOW + timedelta(days=400)

    gates.add_evidence(charter, item=0, name="Charter 2", url="https://docs.example.com/2", actor=ada, at=later)

    assert gate(program, "PRD-01").state == State.EXPIRED
    assert charter.sign_offs.count() == 1


def test_an_expired_gate_is_submitted_and_signed_again(program, ada):
    charter = submitted(gate(program, "PRD-01"), ada)
    gates.sign_gate(charter, actor=signer(charter), at=NOW)
    later = NOW + timedelta(days=400)

    gates.submit_gate(charter, actor=ada, at=later)
    gates.sign_gate(charter, actor=signer(charter, "Pia"), at=later)

    charter.refresh_from_db()
    assert (charter.state, charter.valid_until) == (State.PASSED, date(2029, 3, 7))


class TestHybrid:
    """PRD-03: every action must have a risk class, and Product signs the table."""

    @pytest.fixture
    def table(self, program, ada):
        satisfy(program, "PRD-01")
        return submitted(gate(program, "PRD-03"), ada)

    def test_a_signature_reads_the_number_at_that_instant(self, program, table):
        make_action_type(program.agent)

        sign_off = gates.sign_gate(table, actor=signer(table), at=NOW)

        table.refresh_from_db()
        assert table.state == State.PASSED
        assert list(table.events.order_by("pk").values_list("kind", flat=True))[-2:] == [Kind.READING, Kind.SIGNED]
        assert sign_off.frozen["reading"] == table.readings.get().pk

    def test_a_signature_is_refused_when_the_number_does_not_pass_any_more(self, program, table):
        action_type = make_action_type(program.agent)
        readings.evaluate_gates(program, at=NOW)
        type(action_type).objects.all().delete()

        with pytest.raises(ProgramError, match="PRD-03 also needs its number: No record of"):
            gates.sign_gate(table, actor=signer(table), at=NOW + timedelta(minutes=1))

        table.refresh_from_db()
        assert table.state == State.SUBMITTED
        assert table.sign_offs.get().outcome == ""

    def test_a_signature_needs_no_earlier_reading_of_the_same_verdict(self, program, table):
        make_action_type(program.agent)
        readings.evaluate_gates(program, at=NOW)

        gates.sign_gate(table, actor=signer(table), at=NOW + timedelta(minutes=1))

        assert gate(program, "PRD-03").state == State.PASSED
        assert table.readings.count() == 1


def test_a_prerequisite_that_ran_out_meanwhile_blocks_the_signature(program, ada):
    charter, support = submitted(gate(program, "PRD-01"), ada), submitted(gate(program, "PRD-06"), ada)
    paul = signer(charter)
    gates.sign_gate(charter, actor=paul, at=NOW)

    with pytest.raises(ProgramError, match="PRD-06 cannot pass while it waits on PRD-01"):
        gates.sign_gate(support, actor=paul, at=NOW + timedelta(days=400))


def test_a_pass_expires_after_its_last_day(program, ada):
    charter = with_evidence(gate(program, "PRD-01"), ada)
    gates.submit_gate(charter, actor=ada, at=NOW)
    gates.sign_gate(charter, actor=signer(charter), at=NOW)

    refresh_states(program, at=NOW + timedelta(days=366))

    charter.refresh_from_db()
    assert charter.state == State.EXPIRED


def test_a_loop_is_refused_with_its_way_round(program, dev):
    with pytest.raises(ProgramError, match="PLT-01 → SEC-01 → PLT-02 → PLT-01"):
        planning.add_dependency(gate(program, "PLT-01"), needs=gate(program, "SEC-01"), actor=dev)


def test_a_gate_cannot_wait_on_a_gate_of_another_program(program, team, ada, dev):
    other = make_program(make_agent(team, ada, name="Other agent"), dev)

    with pytest.raises(ProgramError, match="PLT-02 cannot wait on PLT-01 of Other agent to production"):
        planning.add_dependency(gate(program, "PLT-02"), needs=gate(other, "PLT-01"), actor=dev)

    readings.evaluate_gates(program, at=NOW)


def test_a_gate_cannot_wait_on_a_later_transition(program, dev):
    with pytest.raises(ProgramError, match="later transition G2"):
        planning.add_dependency(gate(program, "PRD-01"), needs=gate(program, "ML-04"), actor=dev)


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
        stages.advance(program, transition="G1", actor=dev, at=NOW)

    assert len(caught.value.open_gates) == 17
    program.agent.refresh_from_db()
    assert program.agent.stage == "demo"


def test_a_transition_is_recorded_once_every_gate_is_satisfied(program, dev):
    satisfy(program)

    event = stages.advance(program, transition="G1", actor=dev, at=NOW)

    program.agent.refresh_from_db()
    assert program.agent.stage == event.stage == "pilot"


def test_gates_that_waited_for_the_stage_are_free_the_moment_it_is_recorded(program, dev):
    satisfy(program, *program.gates.filter(transition="G1").values_list("key", flat=True))
    before = gate(program, "ML-04").state

    stages.advance(program, transition="G1", actor=dev, at=NOW)

    assert (before, gate(program, "ML-04").state) == (State.WAITING_ON, State.NOT_STARTED)


def test_a_transition_cannot_be_skipped(program, dev):
    satisfy(program)

    with pytest.raises(ProgramError, match="next transition is G1"):
        stages.advance(program, transition="G2", actor=dev, at=NOW)


def test_gates_that_need_pilot_data_wait_for_the_pilot(program):
    satisfy(program, *program.gates.filter(transition="G1").values_list("key", flat=True))

    assert gate(program, "ML-04").state == State.WAITING_ON
    assert gate(program, "OPS-06").state == State.NOT_STARTED


def test_a_missing_number_is_unknown_and_never_a_pass(program):
    readings.evaluate_gates(program, at=NOW)

    drill = gate(program, "PLT-05")
    assert drill.readings.get().verdict == Verdict.UNKNOWN
    assert drill.state == State.WAITING_ON


def test_an_open_gate_of_a_made_transition_is_told_to_the_agent(program, dev):
    satisfy(program)
    stages.advance(program, transition="G1", actor=dev, at=NOW)
    before = Standing.objects.get(agent=program.agent, kind="gates").value

    GateEvent.objects.create(gate=gate(program, "PRD-01"), kind=Kind.REOPENED, at=NOW, actor="user:1")
    readings.evaluate_gates(program, at=NOW + timedelta(minutes=5))

    assert (before, Standing.objects.get(agent=program.agent, kind="gates").value) == ("satisfied", "open")
