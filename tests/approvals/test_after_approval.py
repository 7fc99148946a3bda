"""The specification's test vectors for what changes between an approval and its execution: nothing of it is sent."""

from datetime import timedelta

import pytest

from apps.agents.models import ActionType, AgentVersion
from apps.approvals.actions import execution, outbox, undoing
from apps.approvals.errors import NotConsumable, Refused
from apps.approvals.models import Proposal, ResumeOutbox
from apps.audit.domain.hashing import digest_of
from apps.connectors.models import ActionExecution
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_policy, make_proposal

SEEN = {"status": "open"}


@pytest.fixture
def approved(team, ada, ben):
    return decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal


def of_the_row(row, **columns):
    Proposal.objects.filter(pk=row.pk).update(**columns)


def in_another_version_of_the_digest(row):
    action = row.action
    facts = {name: getattr(action, name) for name in action.__slots__}
    of_the_row(row, digest=digest_of({**facts, "v": 2}))


ALTERED = {
    "v": in_another_version_of_the_digest,
    "action_type": lambda row: ActionType.objects.filter(pk=row.action_type_id).update(key="tickets.delete"),
    "schema_version": lambda row: of_the_row(row, schema_version=9),
    "args": lambda row: of_the_row(row, args={**ROUTE_ARGS, "queue": "network"}),
    "target": lambda row: of_the_row(row, target="desk:tickets/T-2"),
    "subject": lambda row: of_the_row(row, subject="customer/C-1"),
    "agent_fingerprint": lambda row: AgentVersion.objects.filter(pk=row.agent_version_id).update(
        fingerprint="sha256:" + "00" * 32
    ),
    "policy_version": lambda row: of_the_row(row, policy=make_policy(row.action_type)),
}


def executed(row, **given):
    """Let an executor try what it loaded when it was approved."""
    facts = {
        "args": row.args,
        "fingerprint": row.agent_version.fingerprint,
        "worker": "w",
        "state_now": SEEN,
        "at": TEN,
    }
    return execution.consume(row.pk, **{**facts, **given})


@pytest.mark.parametrize("field", list(ALTERED))
def test_any_of_the_eight_digest_fields_altered_is_stale_and_sends_nothing(approved, board, field):
    fingerprint, args = approved.agent_version.fingerprint, approved.args
    asked = list(board.asked)
    ALTERED[field](approved)

    with pytest.raises(NotConsumable) as refused:
        executed(approved, fingerprint=fingerprint, args=args)

    row = Proposal.objects.get(pk=approved.pk)
    assert (refused.value.code, row.state, row.consumed_at) == ("stale", "stale", None)
    assert (ActionExecution.objects.count(), board.asked) == (0, asked)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"at": TEN + timedelta(minutes=15)}, "expired"),
        ({"state_now": {"status": "closed"}}, "stale"),
        ({"args": {**ROUTE_ARGS, "evil": 1}}, "stale"),
        ({"fingerprint": "sha256:" + "00" * 32}, "stale"),
    ],
)
def test_too_late_or_moved_or_not_what_was_approved_sends_nothing(approved, given, state):
    with pytest.raises(NotConsumable) as refused:
        executed(approved, **given)

    assert (refused.value.code, Proposal.objects.get(pk=approved.pk).state) == (state, state)
    assert not ActionExecution.objects.exists()


@pytest.mark.parametrize(
    ("handed", "undone", "state", "runs"),
    [(None, 14.9, "pending", 0), (None, 20, "pending", 0), (15.3, 20, "executing", 1)],
)
def test_an_undo_counts_until_the_thread_has_heard(team, ada, ben, handed, undone, state, runs):
    row = decide(make_proposal(team, ada, policy={"undo_s": 15}), ben).proposal
    assert (row.execute_after, row.valid_until) == (
        TEN + timedelta(seconds=15),
        TEN + timedelta(minutes=15, seconds=15),
    )
    if handed is not None:
        outbox.mark_handed(ResumeOutbox.objects.get().pk, at=TEN + timedelta(seconds=handed))

    told = []
    for attempt in (
        lambda: undoing.undo(row.pk, actor=ben, at=TEN + timedelta(seconds=undone)),
        lambda: executed(row, at=TEN + timedelta(seconds=21)),
    ):
        try:
            attempt()
        except Refused as refusal:
            told.append(refusal.code)

    assert told == (["already_executing"] if runs else ["not_queued"])
    assert (Proposal.objects.get().state, ActionExecution.objects.count()) == (state, runs)


def test_unaltered_it_runs_once(approved):
    assert executed(approved).state == "started"
    with pytest.raises(NotConsumable):
        executed(approved)
    assert ActionExecution.objects.count() == 1
