"""Real cases that people approved and that succeeded: what drills and second looks are made of."""

from datetime import datetime, timedelta

from apps.accounts.models import User
from apps.approvals.actions.execution import consume, record_outcome
from apps.approvals.actions.outbox import mark_handed
from apps.approvals.models import Proposal, ResumeOutbox, Vigilance
from tests.factories.approvals import (
    TEN,
    decide,
    make_action_type,
    make_agent,
    make_policy,
    make_proposal,
    make_version,
)

REFUND_SCHEMA = {
    "type": "object",
    "required": ["amount", "account"],
    "properties": {
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "account": {"type": "string", "maxLength": 40},
        "reason": {"type": "string", "enum": ["late", "broken", "other"]},
        "note": {"type": "string", "maxLength": 2000},
    },
}
REFUND_KIND = {
    "key": "payments.refund",
    "name": "Refund",
    "args_schema": REFUND_SCHEMA,
    "editable_fields": ["amount", "account", "reason", "note"],
    "materiality": {"amount": 1.0, "account": 1.0, "reason": 0.2, "note": 0.0},
    "consequence": "Approving sends {amount} EUR to {account}; {target} is told.",
}
REFUND = {
    "args": {"amount": 40.0, "account": "C-77", "reason": "late", "note": "Sorry for the delay of your parcel."},
    "title": "Refund 40.0 to C-77",
    "target": "desk:tickets/T-1001",
    "state_proposed": {"status": "open", "total": 40.0},
    "state_if_approved": {"refunded": 40.0},
    "evidence": [{"label": "Order", "text": "40.00 EUR, paid by C-77", "source": "order A1"}],
    "agent_text": "The parcel was late, so 40.0 goes back.",
}


def make_refund_agent(team, owner: User, **kind):
    agent = make_agent(team, owner, max_open=1000)
    make_version(agent)
    make_policy(make_action_type(agent, **{**REFUND_KIND, **kind}), undo_s=0)
    return agent


def make_case(agent, reviewer: User, *, at: datetime = TEN, **fields) -> Proposal:
    """Let an agent propose, a person approve and the executor succeed, all by the real verbs."""
    row = make_proposal(agent.team, agent.owner, agent=agent, at=at, **{**REFUND, **fields})
    decided = decide(row, reviewer, at=at + timedelta(minutes=1)).proposal
    mark_handed(ResumeOutbox.objects.get(proposal=decided).pk, at=at + timedelta(minutes=2))
    execution = consume(
        row.pk,
        args=decided.args,
        fingerprint=decided.agent_version.fingerprint,
        worker="w",
        state_now=decided.body.state_proposed,
        at=at + timedelta(minutes=2),
    )
    return record_outcome(
        row.pk, state="succeeded", execution=execution, external_ref="r-1", at=at + timedelta(minutes=3)
    )


def make_vigilance(user: User, response: str, *, at: datetime = TEN, **fields) -> Vigilance:
    """Put a person on one step of the ladder, as a night's measuring would."""
    facts = {"day": at.date(), "response": response, **fields}
    return Vigilance.objects.create(user=user, **facts)
