"""R5: a question, a case that moved or a person's own result is no end: the agent has the next word, and nothing is lost on the way."""

import pytest

from apps.approvals.actions import outbox
from apps.approvals.errors import Stale
from apps.approvals.models import Proposal, ResumeOutbox
from apps.runs import tasks, threads
from apps.runs.models import Run, Step
from tests.factories.runs import make_run
from tests.runs.conftest import READ, READ_AGAIN, ROUTE, ROUTE_AGAIN, calls, decided, forget_checkpoints_after

pytestmark = pytest.mark.django_db(transaction=True)

NOT_SURE = calls(("hand_over", {"reason": "not_sure", "explanation": "I cannot say."}))


def ask(run, ben, question="Why printing?"):
    return decided(run, ben, "ask", reason=question)


def proposals_of(run):
    return list(Proposal.objects.select_related("body").filter(run_id_value=run.pk).order_by("pk"))


def test_a_question_reaches_the_agent_which_proposes_again(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    run = hands.start(make_run(agent))

    answer = hands.resume(ask(run, ben))

    run.refresh_from_db()
    first, second = proposals_of(run)
    assert hands.model.heard[2].text == ("A reviewer asks: Why printing? This is not a refusal. Nothing was executed.")
    assert (run.state, first.state, second.state, answer.state) == ("waiting", "answered", "pending", "delivered")
    assert (second.args["queue"], second.body.agent_text) == ("login", "It speaks of a password, so it is for Login.")
    assert desk.journal() == []


def test_what_it_proposes_then_is_decided_and_written_as_any_other(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    run = hands.start(make_run(agent))
    hands.resume(ask(run, ben))

    hands.resume(decided(run, ben))

    run.refresh_from_db()
    assert (run.state, run.work_item.state) == ("done", "done")
    assert [row["after"]["queue"] for row in desk.journal()] == ["login"]
    kinds = list(run.steps.order_by("position").values_list("kind", flat=True))
    assert kinds == ["model", "read", "model", "propose", "answer", "model", "read", "model", "propose", "write"]
    asked = run.steps.filter(kind=Step.Kind.PROPOSE).order_by("position").values_list("detail__proposal", flat=True)
    assert list(asked) == [each.pk for each in proposals_of(run)]


def test_an_agent_that_was_asked_may_hand_the_case_over(agent, worker, ben):
    hands = worker(READ, ROUTE, NOT_SURE)
    run = hands.start(make_run(agent))

    answer = hands.resume(ask(run, ben))

    run.refresh_from_db()
    assert (run.state, run.reason, run.reason_text) == ("handed_over", "answered", "I cannot say.")
    assert answer.state == "delivered"


def test_a_case_that_moved_before_the_decision_goes_back_to_the_agent(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    run = hands.start(make_run(agent))
    desk.edit("T-1", queue="login")
    with pytest.raises(Stale):
        decided(run, ben)

    hands.resume(ResumeOutbox.objects.get())

    first, second = proposals_of(run)
    assert (first.state, second.state, second.body.state_proposed["queue"]) == ("stale", "pending", "login")
    assert "queue" in hands.model.heard[2].text


def test_a_case_that_moved_before_the_write_goes_back_to_the_agent(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    run = hands.start(make_run(agent))
    answer = decided(run, ben)
    desk.edit("T-1", queue="login")

    hands.resume(answer)

    run.refresh_from_db()
    first, second = proposals_of(run)
    assert "queue was empty and is now login" in hands.model.heard[2].text
    assert (run.state, first.state, second.state, answer.state) == ("waiting", "stale", "pending", "delivered")
    assert [row["actor"] for row in desk.journal()] == ["hand"]


def test_what_a_person_answers_in_the_tools_place_is_the_tools_result(agent, worker, desk, ben):
    agent.action_types.filter(key="tickets.route").update(allow_respond=True)
    hands = worker(READ, ROUTE, NOT_SURE)
    run = hands.start(make_run(agent))

    hands.resume(decided(run, ben, "respond", reason="I moved it by hand."))

    run.refresh_from_db()
    heard = hands.model.heard[2]
    assert (heard.text, heard.status) == ("I moved it by hand.", "success")
    assert (run.state, run.reason) == ("handed_over", "answered")
    assert desk.journal() == []


def test_a_refusal_is_the_end_and_the_agent_has_no_further_word(agent, worker, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))

    hands.resume(decided(run, ben, "reject", reason="Not ours."))

    run.refresh_from_db()
    assert (run.state, run.reason, len(hands.model.heard)) == ("handed_over", "refused", 2)


def test_a_worker_that_died_after_the_answer_and_before_the_next_turn_leaves_it_to_the_next(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    run = hands.start(make_run(agent))
    answer = outbox.mark_handed(ask(run, ben).pk)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke(threads.Command(resume={answer.interrupt_id: answer.answer}))
    forget_checkpoints_after(run, step=3)

    hands.resume(answer)

    run.refresh_from_db()
    assert (run.state, answer.state) == ("waiting", "delivered")
    assert [each.state for each in proposals_of(run)] == ["answered", "pending"]


def test_a_worker_that_died_before_the_new_question_was_asked_leaves_it_to_the_next(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    run = hands.start(make_run(agent))
    answer = outbox.mark_handed(ask(run, ben).pk)
    thread = threads._Thread(threads._run(pk=run.pk), hands.doors["graph_for"], "dead:1")
    thread.invoke(threads.Command(resume={answer.interrupt_id: answer.answer}))
    turns = len(hands.model.heard)

    hands.resume(answer)

    run.refresh_from_db()
    assert (run.state, answer.state, len(hands.model.heard)) == ("waiting", "delivered", turns)
    assert [each.state for each in proposals_of(run)] == ["answered", "pending"]


def test_a_provider_that_is_away_after_the_answer_is_asked_again_until_it_is_back(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, ConnectionError("no answer"))
    run = hands.start(make_run(agent))
    answer = ask(run, ben)
    for _ in range(3):
        hands.resume(answer)
    assert answer.state == "handed"

    hands.model.script = (READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)
    hands.resume(answer)

    run.refresh_from_db()
    assert (run.state, answer.state) == ("waiting", "delivered")
    assert [each.state for each in proposals_of(run)] == ["answered", "pending"]


def test_a_thread_that_bricked_after_the_answer_goes_on_once_it_is_repaired(agent, worker, desk, ben):
    hands = worker(READ, ROUTE, ValueError("cannot be read"))
    run = hands.start(make_run(agent))
    answer = ask(run, ben)
    hands.resume(answer)
    hands.resume(answer)
    assert answer.state == "parked"
    hands.model.script = (READ, ROUTE, READ_AGAIN, ROUTE_AGAIN)

    threads.repair(run.thread_id, actor="system", **hands.doors)

    answer.refresh_from_db()
    run.refresh_from_db()
    assert (run.state, answer.state) == ("waiting", "delivered")
    assert [each.state for each in proposals_of(run)] == ["answered", "pending"]


def taught(agent, run):
    """Let the model without a language model take the run as far as it goes."""
    tasks.start(run.pk)
    run.refresh_from_db()
    return run


def resume(answer):
    tasks.resume(answer.pk)
    answer.refresh_from_db()
    return answer


def test_without_a_language_model_a_question_is_answered_with_the_precedents(agent, desk, ben):
    run = taught(agent, make_run(agent))

    answer = resume(ask(run, ben, "Why not login?"))

    _, second = proposals_of(run)
    told = second.body.agent_text
    assert (answer.state, second.state) == ("delivered", "pending")
    assert "Why not login?" in told
    assert "alike, went to printing with priority low: “printer does not print in the virtual desktop”" in told


def test_without_a_language_model_a_second_question_brings_a_person(agent, desk, ben):
    run = taught(agent, make_run(agent))
    resume(ask(run, ben, "Why not login?"))

    resume(ask(run, ben, "But why?"))

    run.refresh_from_db()
    assert (run.state, run.reason) == ("handed_over", "answered")
    assert "But why?" in run.reason_text
    assert "Nearest (" in run.reason_text
    assert len(proposals_of(run)) == 2


def test_without_a_language_model_a_case_that_moved_is_read_and_proposed_anew(agent, desk, ben):
    run = taught(agent, make_run(agent))
    answer = decided(run, ben)
    desk.edit("T-1", text="I cannot log in, my password is refused")

    resume(answer)

    first, second = proposals_of(run)
    assert (first.state, second.state) == ("stale", "pending")
    assert (first.args["queue"], second.args["queue"]) == ("printing", "login")
    assert "changed" in second.body.agent_text


def test_without_a_language_model_a_case_that_never_stands_still_brings_a_person(agent, desk, ben):
    run = taught(agent, make_run(agent))
    for number in range(4):
        answer = decided(run, ben)
        desk.edit("T-1", text=f"My printer does not print in the virtual desktop, take {number}")
        resume(answer)

    run.refresh_from_db()
    assert (run.state, run.reason) == ("handed_over", "stale")
    assert not Run.objects.filter(state="waiting").exists()
