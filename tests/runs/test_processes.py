"""Real workers, the real broker, the real database: killed, emptied and raced at the points where others lose or double work."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from apps.approvals.actions import execution, outbox
from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.errors import Refused
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from apps.demo.desk.store import Store
from apps.runs import threads
from apps.runs.actions import runs
from apps.runs.graph import graph_for
from apps.runs.models import Run, WorkItem
from config.celery import app
from tests.factories.accounts import make_member
from tests.runs.conftest import ROOT, empty_broker, eventually

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

DUELS = 4
LATER = timedelta(minutes=2)
"""What the sweeps are told to be the time, so that no test waits for a lease."""


def load_cases(agent, desk, count, *, prefix="P"):
    names = [f"{prefix}-{number}" for number in range(count)]
    desk.load(tickets=[{"id": name, "text": "My printer does not print", "customer": "C-77"} for name in names])
    WorkItem.objects.bulk_create(WorkItem(agent=agent, external_id=name) for name in names)
    return names


def asked(count):
    return lambda: Proposal.objects.filter(state="pending").count() == count


def sweep():
    """Do what the beat does, two minutes later."""
    later = clock() + LATER
    runs.resend_due(at=later)
    for answer in outbox.resend_due(at=later):
        app.send_task("runs.resume", [answer])
    execution.mark_stuck_executions(at=later)


def approve(proposal, ben):
    proposal.refresh_from_db()
    return decide_proposal(proposal.pk, verdict="approve", version=proposal.version, digest=proposal.digest, actor=ben)


def start_here(agent, desk, count=1):
    """Let this process bring runs to their question, so that the test may start its workers when it wants to."""
    load_cases(agent, desk, count)
    runs.open_runs()
    empty_broker(app)
    for pk in Run.objects.filter(agent=agent).values_list("pk", flat=True):
        threads.start(pk, graph_for=graph_for, worker="test:0")
    return list(Proposal.objects.order_by("pk"))


def test_two_people_at_once_have_one_winner_and_one_write_at_most(agent, desk, workers, ben, team):
    kim = make_member(team, "reviewer", name="Kim")
    proposals = start_here(agent, desk, 2 * DUELS)
    workers.start()

    agreed = [duel(proposal, [(ben, "approve"), (kim, "approve")]) for proposal in proposals[:DUELS]]
    opposed = [duel(proposal, [(ben, "approve"), (kim, "reject")]) for proposal in proposals[DUELS:]]

    eventually(lambda: not ResumeOutbox.objects.exclude(state="delivered").exists())
    assert agreed == [["decided", "replayed"]] * DUELS
    assert opposed == [["already_decided", "decided"]] * DUELS
    approved = Decision.objects.filter(verdict="approve", final=True, voided_at=None).select_related("proposal")
    assert sorted(row["id"] for row in desk.journal()) == sorted(
        each.proposal.target.rpartition("/")[2] for each in approved
    )
    assert Decision.objects.filter(final=True, voided_at=None).count() == 2 * DUELS
    assert not Run.objects.exclude(state__in=["done", "handed_over"]).exists()


def test_two_workers_given_the_same_answer_write_once(agent, desk, workers, ben):
    proposals = start_here(agent, desk, 5)
    for proposal in proposals:
        approve(proposal, ben)
    for _ in range(3):
        for answer in ResumeOutbox.objects.values_list("pk", flat=True):
            app.send_task("runs.resume", [answer])

    workers.start()

    eventually(lambda: Run.objects.filter(state="done").count() == 5)
    assert Proposal.objects.filter(state="succeeded").count() == 5
    assert len(desk.journal()) == 5


def test_a_killed_worker_loses_no_run_and_asks_no_question_twice(agent, desk, workers):
    doomed, other = workers.start(), workers.start()
    load_cases(agent, desk, 30)
    runs.open_runs()
    eventually(lambda: Proposal.objects.count() >= 5)

    workers.kill(doomed)
    # Nobody waits 45 s here for the leases of the dead to end; a living worker's run is protected by its thread's lock.
    Run.objects.filter(state=Run.State.RUNNING).update(lease_until=clock())

    def all_asked():
        sweep()
        return Run.objects.filter(state=Run.State.WAITING).count() == 30

    # A run that the killed worker had in hand is free again once its lease has run out.
    eventually(all_asked, within=90, every=1)
    assert other.poll() is None
    assert Proposal.objects.values("work_item_id_value").distinct().count() == Proposal.objects.count() == 30
    assert desk.journal() == []


def test_what_the_broker_lost_is_sent_again(agent, desk, workers, ben):
    (proposal,) = start_here(agent, desk)
    load_cases(agent, desk, 3, prefix="Q")
    runs.open_runs()
    approve(proposal, ben)
    empty_broker(app)

    workers.start()
    sweep()

    eventually(asked(3))
    eventually(lambda: Proposal.objects.get(pk=proposal.pk).state == "succeeded")
    assert len(desk.journal()) == 1


def test_decisions_whose_worker_was_killed_run_once_or_are_unknown(agent, desk, workers, ben):
    proposals = start_here(agent, desk, 8)
    doomed, other = workers.start(), workers.start()
    for proposal in proposals:
        approve(proposal, ben)
    eventually(desk.journal)
    workers.kill(doomed)

    def settled():
        sweep()
        return not Proposal.objects.filter(state__in=["queued", "executing"]).exists()

    eventually(settled, every=1)
    written = [row["id"] for row in desk.journal()]
    succeeded = Proposal.objects.filter(state="succeeded").count()
    unknown = Proposal.objects.filter(state="unknown").count()
    assert len(written) == len(set(written))
    assert succeeded <= len(written) <= succeeded + unknown
    assert succeeded + unknown == 8
    assert other.poll() is None


def test_a_worker_killed_after_the_effect_leaves_it_unknown_and_nobody_writes_again(agent, desk, workers, ben, cora):
    (proposal,) = start_here(agent, desk)
    desk.stop()
    # Each answer comes late, but the write is done at once: the worker dies in between.
    desk.start(faults="latency:2")
    worker = workers.start()
    approve(proposal, ben)
    eventually(lambda: Store(desk.store).journal(after=0, limit=1))
    workers.kill(worker)
    desk.stop()
    desk.start()
    assert ActionExecution.objects.get(proposal_id_value=proposal.pk).state == "started"

    eventually(lambda: execution.mark_stuck_executions(at=clock() + LATER) == 1)
    proposal.refresh_from_db()
    assert proposal.state == "unknown"
    workers.start()
    sweep()
    execution.reconcile(proposal.pk, happened=True, note="It is on the desk.", actor=cora)

    eventually(lambda: Run.objects.get(pk=proposal.run_id_value).state == "done")
    ledger = ActionExecution.objects.get(proposal_id_value=proposal.pk)
    assert (ledger.state, ledger.suppressed) == ("done", 1)
    assert len(desk.journal()) == 1


def test_four_migrations_of_the_checkpoints_at_once_all_succeed(workers):
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS checkpoints, checkpoint_blobs, checkpoint_writes, checkpoint_migrations")

    four = [
        subprocess.Popen([sys.executable, "manage.py", "migrate_checkpoints"], cwd=ROOT, env=workers.environment)
        for _ in range(4)
    ]

    assert [each.wait(90) for each in four] == [0, 0, 0, 0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM checkpoint_migrations")
        assert cursor.fetchone()[0] > 0


def duel(proposal, people):
    """Let people decide at a barrier; return what each was told."""
    barrier = threading.Barrier(len(people))

    def decide(person, verdict):
        try:
            barrier.wait(5)
            reason = "Wrong queue." if verdict == "reject" else ""
            done = decide_proposal(
                proposal.pk,
                verdict=verdict,
                version=proposal.version,
                digest=proposal.digest,
                reason=reason,
                actor=person,
            )
        except Refused as refusal:
            return refusal.code
        else:
            return "replayed" if done.replayed else "decided"
        finally:
            connection.close()

    with ThreadPoolExecutor(len(people)) as pool:
        return sorted(each.result(15) for each in [pool.submit(decide, *person) for person in people])
