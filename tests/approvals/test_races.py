"""Real connections at a barrier: of several deciders one wins, of many executors one runs."""

import multiprocessing
import os
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections

from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims, outbox, undoing
from apps.approvals.actions.execution import consume
from apps.approvals.actions.intake import propose
from apps.approvals.errors import NotConsumable
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_action_type, make_agent, make_proposal, make_request, make_version

pytestmark = pytest.mark.django_db(transaction=True)

TRIALS = 20
SEEN = {"status": "open"}


def at_once(*jobs):
    """Run every job on a connection of its own, all leaving the barrier together; return results or errors in order."""
    barrier = threading.Barrier(len(jobs))
    told = [None] * len(jobs)

    def work(place, job):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            told[place] = job()
        except Exception as error:  # noqa: BLE001  # the error is the result
            told[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return told


@pytest.fixture
def ann(team):
    return make_member(team, Role.REVIEWER, name="Ann")


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, max_open=1000)
    make_action_type(row)
    make_version(row)
    return row


def waiting(team, ada, agent):
    return make_proposal(team, ada, agent=agent, at=clock(), policy={"undo_s": 0})


def in_processes(number, job):
    """Run a job in so many processes with connections of their own, all leaving the barrier together; return what it told."""
    fork = multiprocessing.get_context("fork")
    barrier, told = fork.Barrier(number), fork.Queue()

    def work():
        connection.ensure_connection()
        barrier.wait(timeout=60)
        told.put(job())
        connection.close()

    # A connection that two processes share would end with the first of them.
    connections.close_all()
    processes = [fork.Process(target=work) for _ in range(number)]
    for process in processes:
        process.start()
    answers = [told.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    return answers


@pytest.mark.processes
def test_of_fifty_executors_in_processes_of_their_own_exactly_one_runs(team, ada, ben, agent):
    row = decide(waiting(team, ada, agent), ben, at=None).proposal
    job = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": SEEN}

    def execute():
        try:
            return consume(row.pk, worker=f"process:{os.getpid()}", **job).worker
        except NotConsumable as refused:
            return refused.code

    told = in_processes(50, execute)

    [ran] = ActionExecution.objects.all()
    assert sorted(told) == ["already_executed"] * 49 + [ran.worker]
    assert Proposal.objects.get(pk=row.pk).state == "executing"


def test_approve_against_reject_has_one_winner_in_every_trial(team, ada, ben, ann, agent):
    winners = []
    for _ in range(TRIALS):
        row = waiting(team, ada, agent)
        told = at_once(lambda row=row: decide(row, ben, at=None), lambda row=row: decide(row, ann, "reject", at=None))
        lost = [each for each in told if isinstance(each, errors.AlreadyDecided)]
        final = Decision.objects.get(proposal=row, final=True, voided_at=None)
        answer = ResumeOutbox.objects.get(proposal=row).answer["type"]
        winners.append((len(lost), final.verdict == answer, Proposal.objects.get(pk=row.pk).state))

    assert {(lost, agrees) for lost, agrees, _ in winners} == {(1, True)}
    assert {state for _, _, state in winners} <= {"queued", "rejected"}


def test_the_same_approval_twice_is_one_decision_in_every_trial(team, ada, ben, agent):
    for _ in range(TRIALS):
        row = waiting(team, ada, agent)
        told = at_once(*[lambda row=row: decide(row, ben, at=None)] * 2)
        assert sorted(each.replayed for each in told) == [False, True]
        assert Decision.objects.filter(proposal=row).count() == 1
        assert ResumeOutbox.objects.filter(proposal=row).count() == 1


def test_two_people_giving_the_last_two_approvals_at_once_count_as_two_or_one_reads_again(team, ada, ben, ann):
    agent = make_agent(team, ada)
    make_action_type(agent, risk_class="high")
    make_version(agent)
    row = waiting(team, ada, agent)

    told = at_once(lambda: decide(row, ben, at=None), lambda: decide(row, ann, at=None))

    # The second one had read 0 of 2; it must see the card as it is now before it can be the last.
    assert sorted(type(each).__name__ for each in told) == ["Changed", "Decided"]
    assert Proposal.objects.get(pk=row.pk).approvals_given == 1


def test_the_same_call_proposed_twice_at_once_is_one_proposal(agent):
    kind, version = agent.action_types.get(), agent.versions.select_related("agent").get()
    request = make_request(version, kind)

    told = at_once(*[lambda: propose(request)] * 4)

    assert len({each.pk for each in told}) == 1
    assert Proposal.objects.count() == 1


def test_two_first_proposals_at_once_make_one_policy(agent):
    kind, version = agent.action_types.get(), agent.versions.select_related("agent").get()
    requests = [make_request(version, kind) for _ in range(4)]

    told = at_once(*[lambda request=request: propose(request) for request in requests])

    assert {each.policy.version for each in told} == {1}


def test_a_claim_has_one_holder(team, ada, ben, ann, agent):
    row = waiting(team, ada, agent)

    told = at_once(lambda: claims.claim(row.pk, actor=ben), lambda: claims.claim(row.pk, actor=ann))

    assert [type(each).__name__ for each in told].count("Claimed") == 1


def test_undo_against_the_hand_over_never_ends_in_both(team, ada, ben, agent):
    for _ in range(TRIALS):
        row = decide(waiting(team, ada, agent), ben, at=None).proposal
        answer = ResumeOutbox.objects.get(proposal=row).pk

        at_once(lambda row=row: undoing.undo(row.pk, actor=ben), lambda answer=answer: outbox.mark_handed(answer))

        states = (Proposal.objects.get(pk=row.pk).state, ResumeOutbox.objects.get(pk=answer).state)
        assert states in {("pending", "cancelled"), ("queued", "handed")}


def test_undo_against_execution_never_ends_in_both(team, ada, ben, agent):
    for _ in range(TRIALS):
        row = decide(waiting(team, ada, agent), ben, at=None).proposal
        job = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "worker": "w", "state_now": SEEN}

        told = at_once(lambda row=row: undoing.undo(row.pk, actor=ben), lambda row=row, job=job: consume(row.pk, **job))

        ran = ActionExecution.objects.filter(proposal_id_value=row.pk).exists()
        assert (Proposal.objects.get(pk=row.pk).state, ran) in {("pending", False), ("executing", True)}
        assert sum(isinstance(each, errors.Refused) for each in told) == 1


def test_two_sweeps_never_send_the_same_answer_twice(team, ada, ben, agent):
    for _ in range(10):
        decide(waiting(team, ada, agent), ben, "reject", at=None)
    late = clock() + timedelta(seconds=31)

    first, second = at_once(lambda: outbox.resend_due(at=late), lambda: outbox.resend_due(at=late))

    assert not set(first) & set(second)
    assert len(first) + len(second) == 10


def test_time_is_read_after_the_lock(team, ada, ben, agent):
    """A decision that waited for the lock past the deadline is too late, although it was sent in time."""
    row = waiting(team, ada, agent)
    Proposal.objects.filter(pk=row.pk).update(deadline=clock() + timedelta(seconds=1))
    row.refresh_from_db()
    holding, done = threading.Event(), threading.Event()

    def hold():
        from django.db import transaction

        with transaction.atomic():
            Proposal.objects.select_for_update().get(pk=row.pk)
            holding.set()
            done.wait(timeout=10)

    def late():
        holding.wait(timeout=10)
        threading.Timer(1.2, done.set).start()
        return decide(row, ben, at=None)

    _, told = at_once(hold, late)

    assert isinstance(told, errors.Expired)
    assert Proposal.objects.get(pk=row.pk).state == "expired"
