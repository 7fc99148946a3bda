"""T19: what was executed is rolled back when the proposal that undoes it succeeded, and by nothing else."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from apps.agents.models import ActionType
from apps.agents.workflows import OUTSIDE
from apps.approvals import errors
from apps.approvals.actions import closing, execution, undoing
from apps.approvals.actions.claims import claim
from apps.approvals.actions.intake import propose
from apps.approvals.checking import mismatches
from apps.approvals.models import Proposal
from apps.approvals.queries import cards
from tests.factories.approvals import TEN, decide, make_proposal, make_request

SEEN = {"status": "open"}


def fresh(row):
    return Proposal.objects.select_related("action_type", "agent_version__agent").get(pk=row.pk)


def start(row, approver):
    """Approve a card and begin to execute it."""
    row = decide(row, approver).proposal
    return execution.consume(
        row.pk,
        args=row.args,
        fingerprint=row.agent_version.fingerprint,
        worker="w",
        state_now=SEEN,
        at=row.execute_after,
    )


def run(row, approver, state="succeeded"):
    started = start(row, approver)
    return execution.record_outcome(row.pk, state=state, execution=started, at=TEN)


@pytest.fixture
def original(team, ada, ben):
    return run(make_proposal(team, ada, policy={"undo_s": 0}), ben)


def undoing_of(original, **fields):
    row = fresh(original)
    return propose(make_request(row.agent_version, row.action_type, compensates=row, **fields), at=TEN)


def test_a_compensation_that_succeeds_rolls_the_original_back(original, ben, audit_events):
    undone = run(undoing_of(original), ben)

    row = fresh(original)
    assert (undone.state, row.state, row.version) == ("succeeded", "rolled_back", original.version + 1)
    event = audit_events(original)[-1]
    assert (event["action"], event["actor"], event["payload"]["moves"]) == ("proposal.rolled_back", "system", ["T19"])
    assert event["payload"]["compensation"] == undone.pk
    assert not list(mismatches())


@pytest.mark.parametrize("outcome", ["failed", "unknown"])
def test_one_that_does_not_succeed_leaves_it(original, ben, outcome):
    run(undoing_of(original), ben, outcome)

    assert fresh(original).state == "succeeded"


@pytest.mark.parametrize(("happened", "state"), [(True, "rolled_back"), (False, "succeeded")])
def test_an_operator_who_found_out_counts_the_same(original, ben, cora, happened, state):
    undone = run(undoing_of(original), ben, "unknown")

    execution.reconcile(undone.pk, happened=happened, note="Seen at the desk", actor=cora, at=TEN)

    assert fresh(original).state == state


def test_told_twice_it_moves_once(original, ben):
    undone = run(undoing_of(original), ben)

    execution.record_outcome(undone.pk, state="succeeded", at=TEN)

    assert fresh(original).version == original.version + 1


def test_what_stands_no_more_is_left_alone(original, ben):
    started = start(undoing_of(original), ben)
    Proposal.objects.filter(pk=original.pk).update(state="rolled_back")

    done = execution.record_outcome(started.proposal_id_value, state="succeeded", execution=started, at=TEN)

    assert done.state == "succeeded"
    assert fresh(original).version == original.version


class TestIntake:
    def test_only_what_succeeded_can_be_undone(self, team, ada, ben):
        open_card = make_proposal(team, ada)

        with pytest.raises(errors.Conflict, match="only what was done can be undone"):
            undoing_of(open_card)
        assert Proposal.objects.count() == 1

    def test_by_one_proposal_at_a_time(self, original):
        undoing_of(original)

        with pytest.raises(errors.Conflict, match="proposed already"):
            undoing_of(original)
        assert Proposal.objects.filter(compensates=original).count() == 1

    def test_the_same_call_again_is_the_same_proposal(self, original):
        first = undoing_of(original, thread_id="undo", tool_call_id="c1", interrupt_id="0" * 32)

        assert undoing_of(original, thread_id="undo", tool_call_id="c1", interrupt_id="0" * 32) == first

    @pytest.mark.parametrize("end", ["reject", "withdraw"])
    def test_after_a_no_it_may_be_proposed_anew(self, original, ben, end):
        first = undoing_of(original)
        if end == "reject":
            decide(first, ben, "reject")
        else:
            closing.withdraw(first.pk, reason="Not needed", actor="system", at=TEN)

        assert undoing_of(original).compensates_id == original.pk

    def test_what_is_rolled_back_is_not_undone_twice(self, original, ben):
        run(undoing_of(original), ben)

        with pytest.raises(errors.Conflict):
            undoing_of(original)


class TestWhoAskedForIt:
    """R2: whoever asked for an action does not decide it."""

    def test_they_may_neither_decide_nor_claim(self, original, ben):
        card = undoing_of(original, requested_by=ben)

        with pytest.raises(errors.SelfApproval):
            decide(card, ben)
        with pytest.raises(errors.SelfApproval):
            claim(card.pk, actor=ben, at=TEN)
        assert not cards.card(ben, card.pk, at=TEN).may_decide

    def test_without_anybody_who_asked_nobody_more_is_barred(self, original, ben):
        assert decide(undoing_of(original), ben).proposal.state == "queued"


class TestUndoTooLate:
    def test_it_says_when_it_started_and_what_can_still_be_done(self, original, ben):
        ActionType.objects.filter(pk=original.action_type_id).update(compensated_by="tickets.reopen")

        with pytest.raises(errors.AlreadyExecuting) as refused:
            undoing.undo(original.pk, actor=ben, at=TEN)

        told = "Started at 10:00:00. It cannot be taken back here. It can be rolled back by a compensation."
        assert (refused.value.status, refused.value.message) == (409, told)

    @pytest.mark.parametrize(
        ("state", "promised"),
        [
            ("executing", "Once it has succeeded it can be rolled back by a compensation."),
            ("unknown", "Once it has succeeded it can be rolled back by a compensation."),
            ("failed", "It cannot be taken back here."),
        ],
    )
    def test_it_promises_no_more_than_its_outcome_allows(self, team, ada, ben, state, promised):
        started = start(make_proposal(team, ada, policy={"undo_s": 0}), ben)
        row = started.proposal_id_value
        if state != "executing":
            execution.record_outcome(row, state=state, execution=started, at=TEN)
        ActionType.objects.update(compensated_by="tickets.reopen")

        with pytest.raises(errors.AlreadyExecuting) as refused:
            undoing.undo(row, actor=ben, at=TEN)

        assert refused.value.message.endswith(promised)

    def test_what_an_agent_elsewhere_did_is_promised_no_roll_back(self, original, ben):
        ActionType.objects.filter(pk=original.action_type_id).update(compensated_by="tickets.reopen")
        type(original.agent_version.agent).objects.update(workflow=OUTSIDE)

        with pytest.raises(errors.AlreadyExecuting) as refused:
            undoing.undo(original.pk, actor=ben, at=TEN)

        assert refused.value.message.endswith(
            "Its agent runs elsewhere, so it is not rolled back from here: let that agent ask for tickets.reopen,"
            " or put it right in desk itself."
        )

    def test_it_offers_nothing_that_there_is_not(self, original, ben):
        with pytest.raises(errors.AlreadyExecuting) as refused:
            undoing.undo(original.pk, actor=ben, at=TEN)

        assert refused.value.message.endswith("It cannot be taken back here.")


@pytest.mark.django_db(transaction=True)
def test_two_who_say_at_once_how_it_ended_never_wait_for_each_other(original, ben):
    """Both lock the original first: it has the lower id."""
    started = start(undoing_of(original), ben)

    def say():
        try:
            return execution.record_outcome(started.proposal_id_value, state="succeeded", execution=started, at=TEN)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        told = [each.result(timeout=30).state for each in [pool.submit(say) for _ in range(4)]]

    assert told == ["succeeded"] * 4
    assert (fresh(original).state, fresh(original).version) == ("rolled_back", original.version + 1)
