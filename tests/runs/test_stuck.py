"""What goes wrong with a thread is counted, kept and shown: nothing fails for ever without an operator knowing."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from apps.approvals.actions import outbox
from apps.approvals.models import Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from apps.runs import checkpoints, queries, tasks, threads
from apps.runs.actions import repairs
from apps.runs.errors import NotRepaired
from apps.runs.models import Run
from tests.factories.accounts import make_member
from tests.factories.runs import make_run
from tests.runs.conftest import HAND_OVER, READ, ROUTE, decided, fault, forget_checkpoints_after, told_of

pytestmark = pytest.mark.django_db(transaction=True)


class ProviderMissing(Exception):
    """What a provider that is not installed raises as the graph is built."""


@pytest.fixture
def asked(agent, worker):
    """A run that waits for its question's answer, and the worker that brought it there."""
    hands = worker(READ, ROUTE)
    return hands, hands.start(make_run(agent))


def break_graph(hands):
    def missing(version, action_types):
        raise ProviderMissing("no such provider")

    hands.doors = {**hands.doors, "graph_for": missing}


def due_for(answer, length):
    ResumeOutbox.objects.filter(pk=answer.pk).update(not_before=clock() - length)


def listed(person):
    return [(each.run_id, each.error) for each in queries.stuck_threads(person)]


@pytest.mark.parametrize("broken", ["workflow", "provider", "checkpoints"])
def test_a_resume_that_cannot_even_begin_is_noted_and_after_the_second_time_left_to_an_operator(
    asked, agent, ben, broken
):
    hands, run = asked
    answer = decided(run, ben)
    if broken == "workflow":
        type(agent).objects.filter(pk=agent.pk).update(workflow="gone")
    if broken == "provider":
        break_graph(hands)
    if broken == "checkpoints":
        # A record of the thread that nobody can read.
        with checkpoints.saver()._cursor() as cursor:
            cursor.execute("UPDATE checkpoint_blobs SET blob = '\\xc1' WHERE thread_id = %s", [run.thread_id])

    hands.resume(answer)
    first = (answer.state, answer.attempts, bool(answer.last_error))
    hands.resume(answer)

    assert first == ("new", 1, True)
    assert (answer.state, answer.attempts) == ("parked", 2)


def test_an_answer_that_may_still_be_taken_back_is_not_touched_by_a_failure(asked, ben):
    hands, run = asked
    answer = decided(run, ben)
    due_for(answer, -timedelta(minutes=1))
    break_graph(hands)

    hands.resume(answer)

    assert (answer.state, answer.attempts, answer.last_error) == ("new", 0, "")


def test_a_failure_after_the_thread_has_heard_its_answer_is_counted_too(asked, ben, desk):
    hands, run = asked
    answer = decided(run, ben)

    with fault("runs_workitem", "state <> 'done'"):
        hands.resume(answer)
        first = (answer.state, answer.attempts)
        hands.resume(answer)

    assert first == ("handed", 1)
    assert (answer.state, answer.attempts) == ("parked", 2)
    assert "IntegrityError" in answer.last_error
    assert len(desk.journal()) == 1


def test_a_failure_of_the_surroundings_never_parks_an_answer_but_is_shown(asked, ben, cora, desk):
    hands, run = asked
    answer = decided(run, ben)
    desk.kill()

    for _ in range(4):
        hands.resume(answer)
    due_for(answer, timedelta(minutes=2))

    assert (answer.state, answer.attempts) == ("new", 0)
    assert listed(cora) == [(run.pk, answer.last_error)]
    assert "NotSent" in answer.last_error


def test_a_provider_that_lost_its_connection_is_a_failure_of_the_surroundings():
    wrapped = RuntimeError("the provider's own error")
    wrapped.__cause__ = ConnectionError("reset")

    assert [type(each) for each in threads._causes(wrapped)] == [RuntimeError, ConnectionError]


def test_an_answer_that_has_just_failed_is_left_to_the_next_try(asked, ben, cora, desk):
    hands, run = asked
    answer = decided(run, ben)
    desk.kill()

    hands.resume(answer)
    due_for(answer, timedelta(minutes=1))

    assert answer.last_error
    assert listed(cora) == []


def test_a_waiting_run_whose_thread_fails_keeps_the_error_until_somebody_gets_through(asked, cora):
    hands, run = asked
    Proposal.objects.all().delete()
    working = hands.doors
    break_graph(hands)

    hands.project(run)

    assert (run.state, run.last_error) == ("waiting", "ProviderMissing: no such provider")
    assert listed(cora) == [(run.pk, run.last_error)]
    hands.doors = working
    hands.project(run)
    assert (run.state, run.last_error) == ("waiting", "")
    assert listed(cora) == []


def test_a_run_that_failed_before_it_asked_is_no_longer_stuck_once_it_asks(agent, worker, desk, cora):
    desk.kill()
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    assert listed(cora) == [(run.pk, run.last_error)]
    desk.start()

    Run.objects.filter(pk=run.pk).update(lease_until=clock())
    hands.start(run)

    assert (run.state, run.last_error) == ("waiting", "")
    assert listed(cora) == []


def test_a_run_stands_in_the_list_once(asked, ben, cora):
    _, run = asked
    outbox.park(decided(run, ben).pk, error="It raised twice.")
    Run.objects.filter(pk=run.pk).update(last_error="It raised here too.")

    assert listed(cora) == [(run.pk, "It raised twice.")]


def test_the_answer_of_a_run_that_ended_is_nobodys_work(asked, ben, cora):
    _, run = asked
    outbox.park(decided(run, ben).pk, error="It raised twice.")
    Run.objects.filter(pk=run.pk).update(state=Run.State.DONE)

    assert listed(cora) == []


def test_the_list_costs_the_same_however_long_it_is(client, asked, agent, ben, cora, django_assert_num_queries):
    _, run = asked
    answer = decided(run, ben)
    due_for(answer, timedelta(minutes=3))
    outbox.note_failure(answer.pk, error="It raised.")
    for number in range(5):
        Run.objects.filter(pk=make_run(agent, f"T-{number + 10}").pk).update(last_error="It raised.")
    Run.objects.filter(pk=make_run(agent, "T-20").pk).update(state=Run.State.WAITING)
    assert cora.roles_by_team

    with django_assert_num_queries(5):
        assert len(queries.stuck_threads(cora)) == 7
    client.force_login(cora)
    assert "7 threads may need you" in client.get(reverse("runs:threads")).content.decode()


def test_a_thread_that_cannot_be_read_keeps_no_case_from_people(agent, worker):
    hands = worker(READ, HAND_OVER)
    run = make_run(agent)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "test:1")
    thread.__dict__["graph"] = None

    thread.hand_over(threads.HandOver("technical", "The agent went in circles and was stopped."))

    run.refresh_from_db()
    assert (run.state, run.reason) == ("handed_over", "technical")
    assert not run.steps.exists()


def test_an_agent_that_goes_on_in_circles_is_stopped_again(agent, worker):
    hands = worker(*[READ] * 80)
    run = make_run(agent)
    hands.start(run)
    Run.objects.filter(pk=run.pk).update(state=Run.State.WAITING, reason="", ended_at=None)

    hands.project(run)

    assert (run.state, run.reason, run.last_error) == ("handed_over", "technical", "")


def test_a_repair_is_recorded_under_the_name_of_whoever_ordered_it(agent, team, desk):
    run = make_run(agent)
    tasks.start(run.pk)
    kim = make_member(team, "operator", name="Kim", email="kim@example.com")

    call_command("repair_thread", run.thread_id, apply=True)
    call_command("repair_thread", run.thread_id, apply=True, actor="Kim@example.com")

    assert told_of(run) == [("thread.repaired", "system"), ("thread.repaired", kim.actor)]


def test_a_repair_for_somebody_unknown_changes_nothing(agent, desk):
    run = make_run(agent)
    tasks.start(run.pk)

    with pytest.raises(CommandError, match="Nobody here has the address nobody@"):
        call_command("repair_thread", run.thread_id, apply=True, actor="nobody@example.com")

    assert told_of(run) == []


def test_a_thread_that_is_worked_on_or_has_ended_is_not_repaired(asked):
    hands, run = asked

    with checkpoints.thread_lock(run.thread_id), pytest.raises(NotRepaired, match="is being worked on"):
        threads.repair(run.thread_id, actor="system", **hands.doors)
    Run.objects.filter(pk=run.pk).update(state=Run.State.CANCELLED, reason_text="Not wanted.")
    with pytest.raises(NotRepaired, match="only a waiting one"):
        threads.repair(run.thread_id, actor="system", **hands.doors)

    assert told_of(run) == []


def ask_repair(client, run, person):
    client.force_login(person)
    return client.post(reverse("runs:repair", args=[run.pk]), follow=True)


@pytest.fixture
def bricked(asked, ben):
    hands, run = asked
    answer = decided(run, ben)
    outbox.park(answer.pk, error="It raised twice.")
    return hands, run, answer


def test_an_operator_repairs_a_bricked_thread_from_the_list_and_its_answer_follows(client, bricked, cora, desk, broker):
    hands, run, answer = bricked
    before = answer.interrupt_id

    page = ask_repair(client, run, cora).content.decode()
    threads.repair_asked(run.pk, **hands.doors)

    answer.refresh_from_db()
    run.refresh_from_db()
    assert "A worker plans the last turn of T-1 anew" in page
    assert "A worker is asked to repair it" in page
    assert (answer.state, run.repair_asked_at, Proposal.objects.count()) == ("new", None, 1)
    assert answer.interrupt_id != before
    assert told_of(run)[-2:] == [("thread.repair_asked", cora.actor), ("thread.repaired", cora.actor)]
    hands.resume(answer)
    run.refresh_from_db()
    assert run.state == Run.State.DONE
    assert len(desk.journal()) == 1


@pytest.fixture
def stalled(asked):
    """A waiting run whose thread has its tool's results last, asks nothing and has nothing to do next."""
    hands, run = asked
    Proposal.objects.all().delete()
    forget_checkpoints_after(run, step=1)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "test:1")
    state = thread.graph.get_state(thread.config)
    assert (state.values["messages"][-1].type, state.interrupts, state.next) == ("tool", (), ())
    return hands, run


def test_a_stalled_thread_goes_on_by_the_sweep(stalled):
    hands, run = stalled

    hands.project(run)

    assert (run.state, Proposal.objects.get().state) == ("waiting", "pending")


def test_an_operator_repairs_a_stalled_thread_from_the_list_and_it_asks_again(client, stalled, ben, cora, desk, broker):
    hands, run = stalled
    Run.objects.filter(pk=run.pk).update(last_error="It stalled.")

    page = ask_repair(client, run, cora).content.decode()
    threads.repair_asked(run.pk, **hands.doors)

    run.refresh_from_db()
    assert "A worker is asked to repair it" in page
    assert (run.state, run.repair_asked_at, Proposal.objects.get().state) == ("waiting", None, "pending")
    hands.resume(decided(run, ben))
    run.refresh_from_db()
    assert (run.state, len(desk.journal())) == (Run.State.DONE, 1)


def test_a_thread_whose_checkpoints_were_lost_after_the_write_asks_again_and_writes_nothing_twice(asked, ben, desk):
    hands, run = asked
    answer = outbox.mark_handed(decided(run, ben).pk)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke(threads.Command(resume={answer.interrupt_id: answer.answer}))
    checkpoints.saver().delete_thread(run.thread_id)

    for _ in range(2):
        # It asks again under a new id first; then the same answer follows.
        hands.resume(answer)

    run.refresh_from_db()
    ledger = ActionExecution.objects.get()
    assert (run.state, answer.state, Proposal.objects.get().state) == ("done", "delivered", "succeeded")
    assert (ledger.state, ledger.suppressed, len(desk.journal())) == ("done", 1, 1)


def test_a_repair_that_was_asked_for_twice_is_done_once(client, bricked, cora, broker):
    hands, run, _ = bricked

    ask_repair(client, run, cora)
    ask_repair(client, run, cora)
    threads.repair_asked(run.pk, **hands.doors)
    threads.repair_asked(run.pk, **hands.doors)

    assert [action for action, _ in told_of(run)].count("thread.repaired") == 1


def test_a_repair_that_the_broker_lost_is_sent_again(client, bricked, cora, broker):
    _, run, _ = bricked
    ask_repair(client, run, cora)

    assert repairs.send_due() == []
    assert repairs.send_due(at=clock() + timedelta(seconds=31)) == [run.pk]


def test_a_repair_that_fails_says_so_on_the_list(client, bricked, cora, broker):
    hands, run, _ = bricked
    ask_repair(client, run, cora)
    break_graph(hands)

    threads.repair_asked(run.pk, **hands.doors)

    run.refresh_from_db()
    assert run.last_error == "The repair failed. ProviderMissing: no such provider"
    assert run.repair_asked_at is None
    assert ("thread.not_repaired", cora.actor) in told_of(run)


def test_a_thread_that_is_worked_on_is_repaired_later(client, bricked, cora, broker):
    hands, run, _ = bricked
    ask_repair(client, run, cora)

    with checkpoints.thread_lock(run.thread_id):
        threads.repair_asked(run.pk, **hands.doors)

    run.refresh_from_db()
    assert run.repair_asked_at is not None


def test_only_who_may_repair_sees_the_button_and_may_press_it(client, bricked, cora, dev, eve):
    _, run, _ = bricked
    client.force_login(cora)
    assert b"Repair" in client.get(reverse("runs:threads")).content
    client.force_login(dev)
    assert reverse("runs:repair", args=[run.pk]) not in client.get(reverse("runs:threads")).content.decode()

    assert ask_repair(client, run, dev).status_code == 403
    assert ask_repair(client, run, eve).status_code == 404
    run.refresh_from_db()
    assert run.repair_asked_at is None


def test_a_run_that_does_not_wait_is_not_repaired(client, bricked, cora):
    _, run, _ = bricked
    Run.objects.filter(pk=run.pk).update(state=Run.State.DONE)

    answer = ask_repair(client, run, cora)

    assert answer.status_code == 409
    assert b"only a waiting one can be repaired" in answer.content
