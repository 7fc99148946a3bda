"""A signature is about the agent as it was: what changes afterwards re-opens exactly the gates that list it (rule 10)."""

from datetime import timedelta

import pytest

from apps.agents import actions as agents
from apps.agents.models import ActionType
from apps.approvals.actions.policies import ensure_policy
from apps.audit.models import AuditEvent
from apps.connectors import actions as connectors
from apps.programs.actions import gates, readings
from apps.programs.domain.states import Kind, State
from apps.programs.errors import BadEvidence, NotYours
from apps.programs.models import GateEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import (
    decide,
    make_action_type,
    make_agent,
    make_connector,
    make_policy,
    make_proposal,
    make_version,
)
from tests.factories.programs import NOW, gate, make_program, satisfy, signer, submitted, with_evidence

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(minutes=5)
# Gates without a number of ours keep the pass that `satisfy` wrote, so that only a change of the agent re-opens them.
LOOKED_AT = ("PRD-01", "PRD-03", "LGL-01", "API-01:desk", "PLT-01", "PLT-02", "ML-01", "ML-02", "ML-03", "SEC-01")
LOOKED_AT += ("PRV-01", "SEC-02", "SEC-03", "PRV-02", "LGL-03", "ML-04", "ML-07")


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, stage="pilot", name="Refund agent")
    make_version(row)
    make_action_type(row)
    return row


@pytest.fixture
def program(agent, dev):
    opened = make_program(agent, dev)
    satisfy(opened)
    readings.evaluate_gates(opened, at=NOW)
    return opened


def another_version(agent):
    agents.publish_version(
        agent, settings={"queues": []}, instructions="Route with care.", author=agent.owner, actor=agent.owner
    )


def another_model(agent):
    type(agent).objects.filter(pk=agent.pk).update(model="openai:gpt-5")


def another_action(agent):
    make_action_type(agent, key="tickets.close", name="Close a ticket")


def another_shape(agent):
    row = agent.action_types.get()
    schema = {**row.args_schema, "properties": {**row.args_schema["properties"], "tag": {"type": "string"}}}
    agents.revise_action_type(row, args_schema=schema, actor=agent.owner)


def another_risk(agent):
    ActionType.objects.filter(agent=agent).update(risk_class="high")


def another_policy(agent):
    make_policy(agent.action_types.get(), approvals_needed=2)


def other_approvers(agent):
    make_policy(agent.action_types.get(), approvers=[make_member(agent.team, "reviewer").pk])


def another_escalation(agent):
    make_policy(agent.action_types.get(), escalation=[{"at": 0.5, "to": "lead"}])


def another_path(agent):
    connectors.move_system(make_connector(agent.team), base_url="https://desk.example.com/v2", actor="system")


def another_host(agent):
    connectors.move_system(make_connector(agent.team), base_url="https://desk.example.com", actor="system")


@pytest.mark.parametrize(
    ("change", "reopened"),
    [
        (another_version, "ML-02 ML-03 ML-04 ML-07"),
        (another_model, "LGL-03 ML-02 ML-03 ML-04 ML-07 PLT-02 PRV-01 SEC-03"),
        (another_action, "ML-02 ML-07 PRD-03 SEC-01 SEC-02 SEC-03"),
        (another_shape, "PRD-03"),
        (another_risk, "PRD-03"),
        (another_policy, "PRD-03"),
        (other_approvers, "PRD-03"),
        (another_escalation, "PRD-03"),
        (another_host, "PLT-01 PLT-02 SEC-01"),
        (another_path, "API-01:desk PLT-01 PLT-02 SEC-01"),
    ],
)
def test_exactly_the_gates_that_list_the_change_are_open_again(program, agent, change, reopened):
    change(agent)

    readings.evaluate_gates(program, at=LATER)

    told = GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED)
    assert " ".join(sorted(told.values_list("gate__key", flat=True))) == reopened
    open_now = program.gates.filter(key__in=LOOKED_AT).exclude(state=State.PASSED)
    assert " ".join(sorted(open_now.values_list("key", flat=True))) == reopened


def test_a_change_is_told_once(program, agent):
    another_version(agent)

    for turn in range(3):
        readings.evaluate_gates(program, at=LATER + timedelta(minutes=turn))

    assert GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED).count() == 4
    assert AuditEvent.objects.filter(action="program.agent_changed").count() == 1


def test_without_a_change_nothing_is_open_again(program):
    readings.evaluate_gates(program, at=LATER)

    assert not GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED).exists()


def test_writing_down_the_policy_that_holds_anyway_changes_nothing(program, agent):
    ensure_policy(agent.action_types.get())

    readings.evaluate_gates(program, at=LATER)

    assert not GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED).exists()


def test_another_port_of_the_same_host_changes_nothing(program, agent):
    type(make_connector(agent.team)).objects.update(base_url="http://127.0.0.1:2")

    readings.evaluate_gates(program, at=LATER)

    assert not GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED).exists()


def test_a_computed_gate_starts_anew_and_a_signed_one_waits_for_its_team(program, agent):
    another_version(agent)
    another_action(agent)

    readings.evaluate_gates(program, at=LATER)

    assert gate(program, "ML-03").state == State.NOT_STARTED
    assert gate(program, "SEC-02").state == State.SUBMITTED
    assert gate(program, "SEC-02").events.latest("pk").payload["reason"] == "The agent may now also do tickets.close."


def test_the_round_that_a_change_opens_is_asked_by_nobody_and_signed_by_the_team(program, agent, ada):
    access = with_evidence(gate(program, "SEC-01"), ada)
    gates.sign_gate(access, actor=signer(access, "Sven"), at=NOW)
    another_action(agent)
    readings.evaluate_gates(program, at=LATER)

    sign_off = gates.sign_gate(access, actor=signer(access, "Selma"), at=LATER)

    assert (sign_off.requester, sign_off.outcome) == (None, "sign")
    assert gate(program, "SEC-01").state == State.PASSED


def test_what_a_change_re_opens_is_not_signed_without_evidence(program, agent):
    access = gate(program, "SEC-01")
    another_action(agent)
    readings.evaluate_gates(program, at=LATER)

    with pytest.raises(BadEvidence, match="Evidence is missing: permission matrix"):
        gates.sign_gate(access, actor=signer(access), at=LATER)


def test_a_change_lets_nobody_sign_their_own_evidence(program, agent):
    threats = gate(program, "SEC-02")
    selma = signer(threats, "Selma")
    gates.add_evidence(threats, item=0, name="Threats", url="https://docs.example.com/t", actor=selma, at=NOW)
    gates.sign_gate(threats, actor=signer(threats, "Sven"), at=NOW)
    another_action(agent)
    readings.evaluate_gates(program, at=LATER)

    with pytest.raises(NotYours, match="You uploaded evidence"):
        gates.sign_gate(threats, actor=selma, at=LATER)


def test_a_signature_given_after_a_change_is_about_the_changed_agent(team, ada, dev, agent):
    opened = make_program(agent, dev)
    satisfy(opened, "PRD-01", "PRD-02", "PRD-03", "LGL-01", "API-01:desk", "PLT-01", "PLT-02", "PLT-03")
    access = submitted(gate(opened, "SEC-01"), ada)
    another_action(agent)

    gates.sign_gate(access, actor=signer(access), at=NOW)
    readings.evaluate_gates(opened, at=LATER)

    assert gate(opened, "SEC-01").state == State.PASSED
    assert gate(opened, "PRD-03").state == State.SUBMITTED


def test_after_a_change_a_number_counts_later_decisions_only(program, agent, team, ada, ben):
    for day in range(3):
        decide(make_proposal(team, ada, agent=agent, at=NOW - timedelta(days=day)), ben, at=NOW - timedelta(days=day))
    readings.evaluate_gates(program, at=NOW + timedelta(minutes=1))
    before = gate(program, "ML-04").readings.latest("pk").n
    another_version(agent)
    readings.evaluate_gates(program, at=LATER)

    decide(make_proposal(team, ada, agent=agent, at=LATER), ben, at=LATER + timedelta(minutes=1))
    readings.evaluate_gates(program, at=LATER + timedelta(minutes=2))

    assert (before, gate(program, "ML-04").readings.latest("pk").n) == (3, 1)


def test_a_program_from_before_there_were_looks_takes_its_first_one(program, agent):
    type(program).objects.update(seen={})
    another_version(agent)

    readings.evaluate_gates(program, at=LATER)

    program.refresh_from_db()
    assert program.seen["version"] == agent.versions.get(is_current=True).fingerprint
    assert not GateEvent.objects.filter(gate__program=program, kind=Kind.REOPENED).exists()
