"""The duels and kill points of the specification, each trial by two real worker processes that leave one barrier together."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection

from apps.approvals.actions import execution, outbox
from apps.approvals.actions.policies import publish_policy
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from apps.demo.desk.store import Store
from apps.runs import direct, threads
from apps.runs.actions import runs
from apps.runs.actions.compensations import propose_compensation
from apps.runs.models import Run
from tests.factories.accounts import make_member
from tests.factories.runs import make_work_item
from tests.runs import duelist
from tests.runs.conftest import ROOT, eventually

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

TRIALS = 20
LATER = timedelta(minutes=2)


class Duelist:
    """One process, its orders and its answers."""

    def __init__(self, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.runs.duelist"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def hear(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else "died"

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


def at_once(*orders):
    """Give each duelist its order; let them leave the barrier together; return what each was told."""
    for one, order in orders:
        one.tell(json.dumps(order))
    assert [one.hear() for one, _ in orders] == ["ready"] * len(orders)
    for one, _ in orders:
        one.tell("go")
    return [one.hear() for one, _ in orders]


@pytest.fixture(scope="module")
def stable():
    """Keep the living processes of one test for the next: each takes seconds to start."""
    living = []
    yield living
    for each in living:
        each.kill()


@pytest.fixture
def duelists(agent, broker, stable):
    at = connection.settings_dict
    user = at["USER"] + (f":{at['PASSWORD']}" if at["PASSWORD"] else "")
    url = f"postgresql://{user}@/{at['NAME']}?host={at['HOST']}" + (f"&port={at['PORT']}" if at["PORT"] else "")
    environment = {**os.environ, "DATABASE_URL": url, "CELERY_BROKER_URL": broker, "LOG_LEVEL": "CRITICAL"}
    fresh = [Duelist(environment) for _ in range(2 - len(stable))]
    assert [each.hear() for each in fresh] == ["ready"] * len(fresh)
    stable.extend(fresh)
    yield list(stable)
    for each in [each for each in stable if each.process.poll() is not None]:
        each.kill()
        stable.remove(each)


@pytest.fixture
def kim(team):
    return make_member(team, "reviewer", name="Kim")


@pytest.fixture
def pair(agent, desk):
    """Let the agent work by the workflow of the duels."""
    type(agent).objects.filter(pk=agent.pk).update(workflow=duelist.WORKFLOW, max_new_per_minute=1000)
    agent.refresh_from_db()

    def begin(kind, count):
        """Bring cases to their questions; return them, oldest first, each with its proposals."""
        cases = [f"{kind}-{number}" for number in range(count)]
        names = [name for case in cases for name in duelist.tickets_of(case)]
        desk.load(tickets=[{"id": name, "text": "My printer does not print"} for name in names])
        for case in cases:
            make_work_item(agent, case)
        runs.open_runs_of(agent)
        begun = Run.objects.filter(agent=agent, work_item__external_id__in=cases).order_by("pk")
        for run in begun:
            threads.start(run.pk, **duelist.DOORS)
        return [(run, list(Proposal.objects.filter(run_id_value=run.pk).order_by("pk"))) for run in begun]

    return begin


def order(proposal, person, verdict="approve", **more):
    facts = {"proposal": proposal.pk, "version": proposal.version, "digest": proposal.digest}
    return {"do": "decide", "verdict": verdict, "by": person.pk, **facts, **more}


def sweep():
    """Do what the beat does, two minutes later, with this process as the worker."""
    later = clock() + LATER
    for answer in outbox.resend_due(at=later):
        threads.resume(answer, **duelist.DOORS)
    execution.mark_stuck_executions(at=later)


def written(desk):
    return [row["id"] for row in desk.journal()]


def ticket(proposal):
    return proposal.target.rpartition("/")[2]


def finals(proposals):
    """Return the one final verdict of each proposal, as the history has it."""
    rows = Decision.objects.filter(proposal__in=proposals, final=True, voided_at=None)
    return {row.proposal_id: row.verdict for row in rows}


def test_a_the_same_approval_twice_is_one_decision_and_one_write(pair, duelists, desk, ben):
    one, two = duelists
    begun = pair("one", TRIALS)

    told = [at_once((one, order(row, ben)), (two, order(row, ben))) for _, [row] in begun]

    sweep()
    assert [sorted(each) for each in told] == [["decided", "replayed"]] * TRIALS
    assert sorted(written(desk)) == sorted(run.work_item.external_id for run, _ in begun)
    assert Run.objects.filter(state=Run.State.DONE).count() == TRIALS


def test_b_of_approve_against_reject_one_wins_and_the_write_and_the_history_agree(pair, duelists, desk, ben, kim):
    one, two = duelists
    begun = pair("one", TRIALS)

    told = [at_once((one, order(row, ben)), (two, order(row, kim, "reject"))) for _, [row] in begun]

    sweep()
    verdicts = finals([row for _, [row] in begun])
    approved = sorted(run.work_item.external_id for run, [row] in begun if verdicts[row.pk] == "approve")
    assert [sorted(each) for each in told] == [["already_decided", "decided"]] * TRIALS
    assert sum(each[0] == "decided" for each in told) == len(approved)
    assert sorted(written(desk)) == approved
    assert Run.objects.filter(state=Run.State.DONE).count() == len(approved)
    assert Run.objects.filter(state=Run.State.HANDED_OVER).count() == TRIALS - len(approved)


def test_c_two_people_who_decide_two_calls_of_one_thread_finish_it(pair, duelists, desk, ben, kim):
    one, two = duelists
    begun = pair("two", TRIALS)

    told = [at_once((one, order(first, ben)), (two, order(second, kim))) for _, [first, second] in begun]

    sweep()
    assert told == [["decided", "decided"]] * TRIALS
    assert sorted(written(desk)) == sorted(name for run, _ in begun for name in duelist.tickets_of(str(run.work_item)))
    assert Run.objects.filter(state=Run.State.DONE).count() == TRIALS
    assert not ResumeOutbox.objects.undelivered().exists()


def test_d_approve_against_reject_of_one_call_leaves_the_other_its_own(pair, duelists, desk, ben, kim):
    one, two = duelists
    begun = pair("two", TRIALS)

    told = [at_once((one, order(first, ben)), (two, order(first, kim, "reject"))) for _, [first, _] in begun]
    for _, [_, second] in begun:
        at_once((one, order(second, ben)))

    sweep()
    verdicts = finals([first for _, [first, _] in begun])
    approved = [first for _, [first, _] in begun if verdicts[first.pk] == "approve"]
    assert [sorted(each) for each in told] == [["already_decided", "decided"]] * TRIALS
    assert sorted(written(desk)) == sorted(map(ticket, [*approved, *(second for _, [_, second] in begun)]))
    assert Run.objects.filter(state=Run.State.DONE).count() == TRIALS


def test_a_process_killed_between_the_decision_and_the_consumption_costs_nothing(pair, duelists, desk, ben):
    one, two = duelists
    (run, [row]), (other, [late]) = pair("one", 2)

    assert at_once((one, order(row, ben, then="die"))) == ["died"]
    assert at_once((two, order(late, ben, fault="die_before_consume"))) == ["died"]
    assert written(desk) == []
    sweep()

    assert sorted(written(desk)) == sorted([str(run.work_item), str(other.work_item)])
    assert Run.objects.filter(state=Run.State.DONE).count() == 2
    assert set(ActionExecution.objects.values_list("state", "suppressed")) == {("done", 0)}


def test_a_process_killed_after_the_effect_leaves_it_unknown_until_somebody_looked(pair, duelists, desk, ben, cora):
    one, two = duelists
    [(run, [row])] = pair("one", 1)
    asked_as = row.interrupt_id

    assert at_once((one, order(row, ben, fault="die_after_effect"))) == ["died"]
    sweep()
    row.refresh_from_db()
    assert (row.state, row.interrupt_id, len(written(desk))) == ("unknown", asked_as, 1)
    assert at_once((two, order(row, ben, "reject"))) == ["already_decided"]
    execution.reconcile(row.pk, happened=True, note="The desk shows it.", actor=cora)
    at_once((two, {"do": "resume", "proposal": row.pk}))

    row.refresh_from_db()
    run.refresh_from_db()
    ledger = ActionExecution.objects.get()
    assert (row.state, run.state, ledger.suppressed, len(written(desk))) == ("succeeded", "done", 1, 1)


def test_after_the_tool_failed_a_reject_comes_too_late_and_the_same_answer_is_sent_again(
    pair, duelists, desk, ben, kim
):
    one, two = duelists
    [(run, [row])] = pair("one", 1)

    assert at_once((one, order(row, ben, fault="raise_before_consume"))) == ["decided"]
    assert at_once((two, {**order(row, kim, "reject"), "do": "decide"})) == ["already_decided"]
    sweep()

    run.refresh_from_db()
    assert (run.state, written(desk)) == ("done", [str(run.work_item)])
    assert Decision.objects.get(final=True, voided_at=None).verdict == "approve"


def test_a_roll_back_whose_process_was_killed_after_the_effect_is_unknown_and_never_sent_twice(
    pair, duelists, agent, desk, ben, kim
):
    one, two = duelists
    publish_policy(agent.action_types.get(key="tickets.route_back"), actor="system", undo_s=0)
    [(_, [row])] = pair("one", 1)
    at_once((one, order(row, ben)))
    undo = propose_compensation(row.pk, reason="Wrong team.", actor=ben)
    at_once((one, order(undo, kim)))
    desk.stop()
    # Each answer comes late, but the write is done at once: the process dies in between.
    desk.start(faults="latency:2")
    two.tell(json.dumps({"do": "execute", "proposal": undo.pk}))
    two.hear()
    two.tell("go")
    eventually(lambda: len(Store(desk.store).journal(after=0, limit=9)) == 2)

    two.kill()
    desk.stop()
    desk.start()
    eventually(lambda: execution.mark_stuck_executions(at=clock() + LATER) == 1)
    direct.execute(undo.pk, worker="test:1")

    undo.refresh_from_db()
    row.refresh_from_db()
    assert (undo.state, row.state, len(written(desk))) == ("unknown", "succeeded", 2)


def test_of_two_processes_one_rolls_back(pair, duelists, agent, desk, ben, kim):
    one, two = duelists
    publish_policy(agent.action_types.get(key="tickets.route_back"), actor="system", undo_s=0)
    begun = pair("one", 5)
    for _, [row] in begun:
        at_once((one, order(row, ben)))
        undo = propose_compensation(row.pk, reason="Wrong team.", actor=ben)
        at_once((one, order(undo, kim)))
        at_once(*((each, {"do": "execute", "proposal": undo.pk}) for each in (one, two)))

    assert len(written(desk)) == 10
    assert Proposal.objects.filter(state="rolled_back").count() == 5
    assert Proposal.objects.filter(source="compensation", state="succeeded").count() == 5
