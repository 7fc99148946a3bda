"""The nine rules of AgentAck (ACK001 to ACK009, version 0.1) over what an agent in another process can do here.

AgentAck reads a trace of what was proposed, decided and executed, and finds executions that no approval covers. The
traces below are of real requests: what the audit log and the ledger say, put in the order in which it was written.
"""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from apps.agents import actions as agents
from apps.approvals.models import Decision, OutsideRequest, Proposal
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from tests.api.test_requests import Door
from tests.factories.approvals import decide
from tests.factories.outside import make_outside_agent, make_token

EDIT = {"order_id": "A1", "amount": 25.0}


@dataclass(frozen=True)
class Executed:
    """One execution, with the consent that stands behind it."""

    digest: str
    at: object
    consents: tuple
    valid_until: object


def executions():
    rows = []
    for each in ActionExecution.objects.order_by("pk"):
        row = Proposal.objects.get(pk=each.proposal_id_value)
        consents = Decision.objects.filter(
            proposal=row, voided_at__isnull=True, final=True, verdict__in=["approve", "edit"]
        )
        rows.append(Executed(each.digest, each.started_at, tuple(consents), row.valid_until))
    return rows


def broken():
    """Return which rules the trace breaks; an honest house breaks none."""
    rules = set()
    for each in executions():
        if not each.consents:
            denied = Decision.objects.filter(verdict="reject", digest=each.digest)
            rules.add("ACK002" if denied.exists() else "ACK001")
            continue
        consent = each.consents[0]
        if consent.digest != each.digest:
            rules.add("ACK003")
        if each.at >= each.valid_until:
            rules.add("ACK005")
        if consent.decided_at > each.at:
            rules.add("ACK006")
        if not consent.digest or not consent.actor_id:
            rules.add("ACK009")
    per_proposal = list(ActionExecution.objects.values_list("proposal_id_value", flat=True))
    if len(per_proposal) != len(set(per_proposal)):
        rules.add("ACK004")
    return rules


@pytest.fixture
def agent(team, ada):
    return make_outside_agent(team, ada)


@pytest.fixture
def door(client, agent):
    return Door(client, make_token(agent)[1])


def the_card(told):
    request = OutsideRequest.objects.get(pk=told["id"])
    return Proposal.objects.get(source=request.source, external_id=request.external_id)


def required_approval_missing(door, ben, cora, agent):
    """ACK001: nobody decided."""
    told = door.ask().json()
    return [door.consume(told["id"], told["digest"])]


def denied_action_executed(door, ben, cora, agent):
    """ACK002: somebody said no."""
    told = door.ask().json()
    decide(the_card(told), ben, "reject", at=None)
    return [door.consume(told["id"], told["digest"])]


def action_changed_after_approval(door, ben, cora, agent):
    """ACK003: approved as one thing, executed as another."""
    told = door.ask().json()
    decide(the_card(told), ben, "edit", args=EDIT, at=None)
    return [door.consume(told["id"], told["digest"])]


def approval_replayed(door, ben, cora, agent):
    """ACK004: one approval, two executions."""
    told = door.ask().json()
    decide(the_card(told), ben, at=None)
    first = door.consume(told["id"], told["digest"])
    assert first.status_code == 200
    return [door.consume(told["id"], told["digest"]) for _ in range(3)]


def approval_expired(door, ben, cora, agent):
    """ACK005: approved too long ago."""
    told = door.ask().json()
    decide(the_card(told), ben, at=clock() - timedelta(hours=1))
    return [door.consume(told["id"], told["digest"])]


def approval_ordering_invalid(door, ben, cora, agent):
    """ACK006: executed first, approved afterwards."""
    told = door.ask().json()
    early = door.consume(told["id"], told["digest"])
    decide(the_card(told), ben, at=None)
    return [early]


def denial_routed_around(door, ben, cora, agent):
    """ACK007: denied, and then tried under another id."""
    first = door.ask().json()
    decide(the_card(first), ben, "reject", at=None)
    again = door.ask().json()
    return [door.consume(first["id"], first["digest"]), door.consume(again["id"], again["digest"])]


def interrupt_bypassed(door, ben, cora, agent):
    """ACK008: executed after somebody pulled the brake."""
    told = door.ask().json()
    decide(the_card(told), ben, at=None)
    agents.engage_switch("agent", agent.pk, actor=cora, reason="Stop.")
    return [door.consume(told["id"], told["digest"])]


def approval_evidence_incomplete(door, ben, cora, agent):
    """ACK009: an execution that names no action, or one that nobody ever proposed."""
    told = door.ask().json()
    decide(the_card(told), ben, at=None)
    return [door.consume(told["id"], ""), door.consume(told["id"] + 1, told["digest"])]


@pytest.mark.parametrize(
    "attempt",
    [
        required_approval_missing,
        denied_action_executed,
        action_changed_after_approval,
        approval_replayed,
        approval_expired,
        approval_ordering_invalid,
        denial_routed_around,
        interrupt_bypassed,
        approval_evidence_incomplete,
    ],
    ids=[f"ACK00{number}" for number in range(1, 10)],
)
def test_each_way_around_an_approval_is_closed(door, ben, cora, agent, attempt):
    answers = attempt(door, ben, cora, agent)

    assert {each.status_code for each in answers} <= {404, 409}
    assert broken() == set()
    assert ActionExecution.objects.count() == (1 if attempt is approval_replayed else 0)


def test_an_execution_without_an_approval_would_be_found(door, ben, agent):
    """The check can fail: what no verb of ours writes, it finds."""
    told = door.ask().json()
    decide(the_card(told), ben, at=None)
    door.consume(told["id"], told["digest"])
    Decision.objects.update(voided_at=clock())

    assert broken() == {"ACK001"}
