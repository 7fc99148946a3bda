"""A run from ticket to written change, with the worker's own code in this process and the real ticket desk."""

from datetime import timedelta

import pytest
from celery import current_app
from django.core.management import CommandError, call_command

from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.approvals.actions import claims, execution, outbox
from apps.approvals.models import Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from apps.runs import checkpoints, tasks, threads
from apps.runs.actions import runs
from apps.runs.domain.lease import LEASE, MAX_ATTEMPTS
from apps.runs.models import Precedent, Run, Step, WorkItem
from tests.factories.runs import make_desk_agent, make_run
from tests.runs.conftest import (
    HAND_OVER,
    LOOK_UP,
    READ,
    ROUTE,
    ROUTE_ARGS,
    calls,
    decided,
    forget_checkpoints_after,
)

pytestmark = pytest.mark.django_db(transaction=True)


def checkpoints_of(run):
    with checkpoints.saver()._cursor() as cursor:
        found = cursor.execute("SELECT count(*) AS n FROM checkpoints WHERE thread_id = %s", [run.thread_id])
        return found.fetchone()["n"]


def test_it_puts_the_route_before_people_with_its_evidence(agent, worker):
    run = worker(READ, LOOK_UP, ROUTE).start(make_run(agent))

    proposal = Proposal.objects.select_related("body").get(run_id_value=run.pk)
    assert run.state == Run.State.WAITING
    assert proposal.title == "Route T-1 to Printing, priority low"
    assert proposal.args == {"ticket": "T-1", "queue": "printing", "priority": "low", "reply": "We are on it."}
    assert (proposal.target, proposal.subject, str(proposal.confidence)) == (
        "desk:tickets/T-1",
        "customer/C-77",
        "0.800",
    )
    assert proposal.body.state_proposed["status"] == "new"
    assert proposal.body.state_if_approved["status"] == "routed"
    assert [each["label"] for each in proposal.body.evidence] == ["Ticket", "Customer"]
    assert "does not print" in proposal.body.evidence[0]["text"]


def test_it_does_not_touch_the_desk_before_somebody_decided(agent, worker, desk):
    worker(READ, ROUTE).start(make_run(agent))

    assert desk.journal() == []


def test_a_run_costs_one_checkpoint_for_each_turn_and_each_answer(agent, worker):
    run = worker(READ, ROUTE).start(make_run(agent))

    # The input, the start, two turns of the model and one answer of a tool; the second answer is still owed.
    assert checkpoints_of(run) == 5


def test_a_confidence_that_is_not_stated_stays_empty(agent, worker):
    args = {key: value for key, value in ROUTE_ARGS.items() if key != "confidence"}

    run = worker(READ, calls(("route_ticket", args))).start(make_run(agent))

    assert Proposal.objects.get(run_id_value=run.pk).confidence is None


def test_an_approved_route_is_written_once_and_learned(agent, worker, desk, ben):
    hands = worker(READ, LOOK_UP, ROUTE)
    run = hands.start(make_run(agent))

    answer = hands.resume(decided(run, ben))

    run.refresh_from_db()
    (written,) = desk.journal()
    assert written["after"]["queue"] == "printing"
    assert written["actor"] == f"agent:{agent.pk}"
    assert (run.state, run.work_item.state, answer.state) == ("done", "done", "delivered")
    learned = Precedent.objects.get(work_item=run.work_item)
    assert (learned.queue, learned.source) == ("printing", Precedent.Source.DECISION)
    assert [each.kind for each in run.steps.order_by("position")] == [
        Step.Kind.MODEL,
        Step.Kind.READ,
        Step.Kind.MODEL,
        Step.Kind.READ,
        Step.Kind.MODEL,
        Step.Kind.PROPOSE,
        Step.Kind.WRITE,
    ]


def test_an_edited_route_is_written_as_edited_and_learned_as_edited(agent, worker, desk, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    args = {"ticket": "T-1", "queue": "login", "priority": "high", "reply": "We look."}

    hands.resume(decided(run, ben, "edit", args=args))

    assert desk.journal()[0]["after"]["queue"] == "login"
    assert Precedent.objects.get(work_item=run.work_item).queue == "login"


def test_a_rejected_route_goes_to_a_person_with_the_reviewers_words(agent, worker, desk, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))

    hands.resume(decided(run, ben, "reject", reason="Wrong customer."))

    run.refresh_from_db()
    assert (run.state, run.reason, run.work_item.state) == ("handed_over", "refused", "handed_over")
    assert "Wrong customer." in run.reason_text
    assert "User rejected" not in run.reason_text
    assert desk.journal() == []


def test_a_hand_over_ends_the_run_without_a_proposal(agent, worker):
    run = worker(READ, HAND_OVER).start(make_run(agent))

    assert (run.state, run.reason, run.reason_text) == ("handed_over", "out_of_scope", "This is about a refund.")
    assert not Proposal.objects.exists()


def test_a_ticket_that_is_not_there_goes_to_a_person(agent, worker):
    script = calls(("read_ticket", {"ticket": "T-404"}))

    run = worker(script).start(make_run(agent, "T-404"))

    assert (run.state, run.reason) == ("handed_over", "not_found")


def test_an_agent_may_only_read_and_route_its_own_case(agent, worker, desk):
    desk.load(tickets=[{"id": "T-2", "text": "somebody else's"}])
    other = calls(("route_ticket", {**ROUTE_ARGS, "ticket": "T-2"}))
    hands = worker(READ, other, other, other)

    run = hands.start(make_run(agent))

    assert (run.state, run.reason) == ("handed_over", "technical")
    assert "you work on T-1 only" in run.reason_text
    assert not Proposal.objects.exists()


@pytest.mark.parametrize(
    ("turn", "complaint"),
    [
        (calls(("route_ticket", {**ROUTE_ARGS, "queue": "nowhere"})), "is not one of"),
        (calls(("route_ticket", ROUTE_ARGS), ("hand_over", {"reason": "not_sure", "explanation": "x"})), "alone"),
    ],
)
def test_a_turn_nobody_could_run_is_given_back_to_the_model(agent, worker, turn, complaint):
    hands = worker(READ, turn, HAND_OVER)

    run = hands.start(make_run(agent))

    assert run.reason == "out_of_scope"
    assert complaint in hands.model.heard[-1].content


def test_a_model_that_fails_is_tried_again_and_then_a_person_takes_over(agent, worker):
    hands = worker(READ, ConnectionError("no answer"))
    run = hands.start(make_run(agent))
    assert (run.state, run.attempts) == ("queued", 1)

    for _ in range(MAX_ATTEMPTS - 1):
        Run.objects.filter(pk=run.pk).update(lease_until=clock())
        hands.start(run)

    assert (run.state, run.reason) == ("handed_over", "technical")
    assert "no answer" in run.reason_text


def test_a_desk_that_is_away_is_tried_again_later(agent, worker, desk):
    desk.kill()

    run = worker(READ, ROUTE).start(make_run(agent))

    assert run.state == Run.State.QUEUED
    assert run.lease_until > clock()
    assert "NotSent" in run.last_error


def test_a_run_that_failed_goes_on_where_it_stood(agent, worker, desk):
    desk.kill()
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    desk.start()

    Run.objects.filter(pk=run.pk).update(lease_until=clock())
    hands.start(run)

    assert run.state == Run.State.WAITING
    assert len(hands.model.heard) == 2


def test_a_ticket_that_changed_after_the_proposal_is_not_written(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, HAND_OVER)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    desk.edit("T-1", queue="login")

    hands.resume(answer)

    run.refresh_from_db()
    assert (run.state, run.reason, answer.state) == ("handed_over", "out_of_scope", "delivered")
    assert "queue was" in hands.model.heard[-1].text
    assert [row["actor"] for row in desk.journal()] == ["hand"]


def test_a_desk_that_is_away_at_execution_leaves_the_answer_due(agent, worker, desk, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    desk.kill()

    hands.resume(answer)
    assert answer.state == ResumeOutbox.State.NEW
    desk.start()
    hands.resume(answer)

    run.refresh_from_db()
    assert run.state == Run.State.DONE
    assert len(desk.journal()) == 1


def test_a_kill_switch_before_the_hand_over_holds_the_action_back(agent, worker, desk, ben, ivo):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    agents.engage_switch(KillSwitch.Scope.AGENT, agent.pk, actor=ivo, reason="Look into it")

    hands.resume(answer)

    proposal = Proposal.objects.get(run_id_value=run.pk)
    assert (answer.state, proposal.state) == ("new", "queued")
    assert "Look into it" in proposal.hold_reason
    assert desk.journal() == []


@pytest.mark.parametrize("fault", ["drop_after_write:1", "error_after_write:1"])
def test_an_unclear_answer_is_repeated_under_one_key_and_written_once(agent, worker, desk, ben, fault):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    desk.stop()
    desk.start(faults=fault)

    hands.resume(answer)

    run.refresh_from_db()
    assert run.state == Run.State.DONE
    assert len(desk.journal()) == 1


def test_an_outcome_nobody_knows_waits_for_an_operator_and_is_never_sent_again(
    agent, worker, desk, desk_connector, ben, cora
):
    desk_connector.is_idempotent = False
    desk_connector.save(update_fields=["is_idempotent"])
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    desk.stop()
    desk.start(faults="drop_after_write:1")

    hands.resume(answer)
    proposal = Proposal.objects.get(run_id_value=run.pk)
    assert (proposal.state, run.state, answer.state) == ("unknown", "waiting", "handed")
    hands.resume(answer)
    assert len(desk.journal()) == 1
    execution.reconcile(proposal.pk, happened=True, note="I saw it on the desk.", actor=cora)
    hands.resume(answer)

    run.refresh_from_db()
    ledger = ActionExecution.objects.get(proposal_id_value=proposal.pk)
    assert (run.state, answer.state) == ("done", "delivered")
    assert (ledger.state, ledger.suppressed) == ("done", 1)
    assert len(desk.journal()) == 1


def test_starting_a_run_twice_asks_once(agent, worker):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))

    hands.start(run)

    assert Proposal.objects.count() == 1
    assert len(hands.model.heard) == 2


def test_a_worker_that_died_before_the_question_was_asked_leaves_it_to_the_next(agent, worker):
    hands = worker(READ, ROUTE)
    run = make_run(agent)
    runs.claim(run.pk, worker="dead:1")
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke({"messages": [("user", "Route ticket T-1.")]})
    assert not Proposal.objects.exists()

    Run.objects.filter(pk=run.pk).update(lease_until=clock())
    hands.start(run)

    assert run.state == Run.State.WAITING
    assert Proposal.objects.count() == 1
    assert len(hands.model.heard) == 2


def test_a_worker_that_died_between_a_step_and_its_checkpoint_loses_nothing(agent, worker):
    hands = worker(READ, ROUTE)
    run = make_run(agent)
    runs.claim(run.pk, worker="dead:1")
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke({"messages": [("user", "Route ticket T-1.")]})
    forget_checkpoints_after(run, step=0)
    assert not thread.graph.get_state(thread.config).next

    Run.objects.filter(pk=run.pk).update(lease_until=clock())
    hands.start(run)

    assert run.state == Run.State.WAITING
    assert Proposal.objects.count() == 1


def test_a_worker_that_died_after_the_write_leaves_the_end_to_the_next(agent, worker, desk, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = outbox.mark_handed(decided(run, ben).pk)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke(threads.Command(resume={answer.interrupt_id: answer.answer}))
    assert len(desk.journal()) == 1

    hands.resume(answer)

    run.refresh_from_db()
    assert (run.state, answer.state) == ("done", "delivered")
    assert len(desk.journal()) == 1


def test_a_worker_that_died_between_the_write_and_its_checkpoint_writes_once(agent, worker, desk, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = outbox.mark_handed(decided(run, ben).pk)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke(threads.Command(resume={answer.interrupt_id: answer.answer}))
    forget_checkpoints_after(run, step=3)

    hands.resume(answer)

    run.refresh_from_db()
    assert (run.state, answer.state) == ("done", "delivered")
    assert len(desk.journal()) == 1


def test_an_answer_to_a_question_that_is_gone_is_parked(agent, worker, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    ResumeOutbox.objects.filter(pk=answer.pk).update(interrupt_id="0" * 32)

    hands.resume(answer)

    assert answer.state == ResumeOutbox.State.PARKED


def test_an_answer_that_names_another_tool_is_parked_and_reaches_no_thread(agent, worker, ben, desk):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    wrong = {"type": "edit", "edited_action": {"name": "hand_over", "args": {}}}
    ResumeOutbox.objects.filter(pk=answer.pk).update(answer=wrong)

    hands.resume(answer)

    assert answer.state == ResumeOutbox.State.PARKED
    assert desk.journal() == []


def test_a_repaired_thread_asks_again_under_a_new_id_and_its_answer_follows(agent, worker, ben, desk):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    outbox.park(answer.pk, error="It raised twice.")
    before = answer.interrupt_id

    (now,) = threads.repair(run.thread_id, actor="system", **hands.doors)
    answer.refresh_from_db()
    assert (answer.state, answer.interrupt_id) == ("new", now)
    assert now != before
    hands.resume(answer)

    run.refresh_from_db()
    assert run.state == Run.State.DONE
    assert len(desk.journal()) == 1


def test_the_repair_command_says_what_it_would_do_and_does_it_when_told(agent, desk, capsys):
    run = make_run(agent)
    tasks.start(run.pk)
    before = Proposal.objects.get().interrupt_id

    call_command("repair_thread", run.thread_id)
    assert "Add --apply" in capsys.readouterr().out
    assert Proposal.objects.get().interrupt_id == before
    call_command("repair_thread", run.thread_id, apply=True)

    assert Proposal.objects.get().interrupt_id != before


def test_the_repair_command_refuses_what_does_not_wait(agent):
    with pytest.raises(CommandError, match="There is no such thread"):
        call_command("repair_thread", "nowhere")
    with pytest.raises(CommandError, match="only a waiting one"):
        call_command("repair_thread", make_run(agent).thread_id)


def test_a_waiting_run_whose_proposal_was_never_written_is_projected(agent, worker):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    Proposal.objects.all().delete()

    hands.project(run)

    assert Proposal.objects.get().run_id_value == run.pk


def test_an_expired_proposal_is_no_refusal(agent, worker, desk):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    proposal = Proposal.objects.get()
    from apps.approvals.actions.closing import expire_overdue

    expire_overdue(at=proposal.deadline + timedelta(seconds=1))
    ResumeOutbox.objects.update(not_before=clock())

    hands.resume(ResumeOutbox.objects.get())

    run.refresh_from_db()
    assert (run.state, run.reason) == ("handed_over", "expired")
    assert run.reason_text.startswith("Nobody answered within 4 h. This is not a refusal.")


def test_a_claimed_card_can_still_be_decided_and_resumed(agent, worker, desk, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    claims.claim(Proposal.objects.get().pk, actor=ben)

    hands.resume(decided(run, ben))

    run.refresh_from_db()
    assert run.state == Run.State.DONE


def test_the_precedent_model_routes_what_it_knows(agent, desk):
    run = make_run(agent)

    tasks.start(run.pk)

    run.refresh_from_db()
    proposal = Proposal.objects.select_related("body").get(run_id_value=run.pk)
    assert (run.state, run.model) == ("waiting", "precedent")
    assert proposal.args["queue"] == "printing"
    assert [each["label"] for each in proposal.body.evidence][1].startswith("Precedent: Printing")


def test_the_precedent_model_hands_over_what_it_does_not_know(agent, desk):
    desk.load(tickets=[{"id": "T-9", "text": "Quarterly dividends of zebras"}])
    run = make_run(agent, "T-9")

    tasks.start(run.pk)

    run.refresh_from_db()
    assert (run.state, run.reason) == ("handed_over", "not_sure")


def test_the_sweep_opens_new_work_and_sends_what_nobody_took(agent, broker):
    run = make_run(agent)
    current_app.control.purge()

    assert runs.resend_due(at=clock() + timedelta(seconds=31)) == [run.pk]
    assert runs.resend_due(at=clock()) == []


def test_a_run_whose_worker_died_is_taken_over(agent):
    run = make_run(agent)
    runs.claim(run.pk, worker="dead:1")

    assert runs.claim(run.pk, worker="test:2") is None
    assert runs.claim(run.pk, worker="test:2", at=clock() + LEASE + timedelta(seconds=1)) == 1


def test_finished_threads_keep_their_last_checkpoint_only(agent, worker):
    run = worker(READ, HAND_OVER).start(make_run(agent))
    before = checkpoints_of(run)

    assert threads.prune([run.thread_id]) == 1

    run.refresh_from_db()
    assert before > checkpoints_of(run) == 1
    assert run.pruned_at is not None


def test_a_run_that_kills_every_worker_goes_to_a_person(agent, worker):
    run = make_run(agent)
    Run.objects.filter(pk=run.pk).update(state=Run.State.RUNNING, attempts=MAX_ATTEMPTS, lease_until=clock())

    worker(READ).start(run)

    assert (run.state, run.reason) == ("handed_over", "technical")
    assert "its worker was gone" in run.reason_text


def test_a_workflow_that_is_not_installed_is_a_technical_failure(agent, worker):
    run = make_run(agent)
    type(agent).objects.filter(pk=agent.pk).update(workflow="gone")

    worker(READ).start(run)

    assert run.state == Run.State.QUEUED
    assert "There is no workflow 'gone'" in run.last_error


def test_an_agent_that_goes_in_circles_is_stopped(agent, worker):
    run = worker(*[READ] * 40).start(make_run(agent))

    assert (run.state, run.reason, run.last_error) == ("handed_over", "technical", "")
    assert "in circles" in run.reason_text


def test_a_thread_that_is_worked_on_is_left_alone(agent, worker):
    hands = worker(READ, ROUTE)
    run = make_run(agent)

    with checkpoints.thread_lock(run.thread_id):
        threads.start(run.pk, **hands.doors)

    run.refresh_from_db()
    assert run.state == Run.State.QUEUED


def test_a_stopped_agent_opens_nothing(agent, ivo):
    agents.engage_switch(KillSwitch.Scope.AGENT, agent.pk, actor=ivo, reason="Look into it")
    WorkItem.objects.create(agent=agent, external_id="T-1")

    assert runs.open_runs() == 0


def test_our_own_runs_wait_before_they_start_when_enough_are_open(agent, team, ada):
    narrow = make_desk_agent(team, ada, max_open=3, max_new_per_minute=60)
    WorkItem.objects.bulk_create(WorkItem(agent=narrow, external_id=f"T-{n}") for n in range(10))

    assert runs.open_runs() == 3
    assert runs.open_runs() == 0


def test_a_flood_is_let_in_minute_by_minute(agent, team, ada):
    narrow = make_desk_agent(team, ada, max_open=100, max_new_per_minute=4)
    WorkItem.objects.bulk_create(WorkItem(agent=narrow, external_id=f"T-{n}") for n in range(10))
    now = clock()

    assert runs.open_runs_of(narrow, at=now) == 4
    assert runs.open_runs_of(narrow, at=now + timedelta(seconds=59)) == 0
    assert runs.open_runs_of(narrow, at=now + timedelta(seconds=61)) == 4
