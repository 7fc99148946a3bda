"""A person ends a run: what it asked is withdrawn, its thread hears nothing more, and nothing that was sent is forgotten."""

from datetime import timedelta

import pytest
from django.urls import reverse

from apps.accounts.access import Forbidden
from apps.approvals.actions import closing, execution, outbox
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors import client
from apps.connectors.errors import ConnectorError
from apps.runs import checkpoints, threads
from apps.runs.actions import ends, writes
from apps.runs.errors import BadReason, NotEnded
from apps.runs.models import Run, Step
from tests.factories.runs import make_run
from tests.runs.conftest import READ, ROUTE, another_session, calls, decided, told_of

pytestmark = pytest.mark.django_db(transaction=True)

WHY = "The customer took it back."


@pytest.fixture
def hands(worker):
    return worker(READ, ROUTE)


@pytest.fixture
def asked(agent, hands):
    """A run whose question waits for people."""
    return hands.start(make_run(agent))


def states(run):
    run.refresh_from_db()
    run.work_item.refresh_from_db()
    return run.state, run.work_item.state, Proposal.objects.get(run_id_value=run.pk).state


def unclear(hands, run, ben, desk, connector):
    """Let a write get no answer from a system that honours no key, so that nobody knows what happened."""
    connector.is_idempotent = False
    connector.save(update_fields=["is_idempotent"])
    answer = decided(run, ben)
    desk.stop()
    desk.start(faults="drop_after_write:1")
    hands.resume(answer)
    return answer


class TestCancel:
    def test_it_withdraws_the_question_and_closes_the_case_unchanged(self, asked, cora, desk):
        ends.cancel(asked, reason=f" {WHY} ", actor=cora)

        assert states(asked) == ("cancelled", "cancelled", "withdrawn")
        assert (asked.reason_text, asked.work_item.closed_by) == (WHY, cora)
        assert asked.ended_at == asked.work_item.closed_at
        decision = Decision.objects.get(proposal__run_id_value=asked.pk)
        assert (decision.verdict, decision.actor, decision.reason) == ("withdraw", cora, WHY)
        assert desk.journal() == []

    def test_it_is_recorded_under_the_name_of_whoever_did_it(self, asked, cora):
        ends.cancel(asked, reason=WHY, actor=cora)

        assert told_of(asked) == [("run.cancelled", cora.actor)]

    def test_an_approved_action_that_was_not_handed_over_never_runs(self, asked, hands, ben, cora, desk):
        answer = decided(asked, ben)

        ends.cancel(asked, reason=WHY, actor=cora)
        hands.resume(answer)

        assert states(asked) == ("cancelled", "cancelled", "withdrawn")
        assert set(ResumeOutbox.objects.values_list("state", flat=True)) == {"cancelled"}
        assert desk.journal() == []

    def test_a_refusal_that_was_not_handed_over_is_not_told_any_more(self, asked, hands, ben, cora):
        answer = decided(asked, ben, "reject", reason="Wrong customer.")

        ends.cancel(asked, reason=WHY, actor=cora)
        hands.resume(answer)

        assert states(asked) == ("cancelled", "cancelled", "rejected")
        assert answer.state == "cancelled"

    def test_an_answer_that_was_handed_over_is_set_aside_and_its_action_never_runs(self, asked, hands, ben, cora, desk):
        answer = outbox.mark_handed(decided(asked, ben).pk)

        ends.cancel(asked, reason=WHY, actor=cora)
        hands.resume(answer)

        assert states(asked) == ("cancelled", "cancelled", "withdrawn")
        assert answer.state == "parked"
        assert desk.journal() == []

    def test_an_answer_that_still_reaches_a_cancelled_run_is_taken_back(self, asked, hands, ben, desk):
        answer = decided(asked, ben)
        Run.objects.filter(pk=asked.pk).update(state=Run.State.CANCELLED, reason_text=WHY)

        hands.resume(answer)

        assert answer.state == "cancelled"
        assert desk.journal() == []

    def test_a_run_that_was_not_started_is_cancelled_and_never_starts(self, agent, hands, cora):
        run = make_run(agent)

        ends.cancel(run, reason=WHY, actor=cora)
        hands.start(run)

        assert (run.state, run.attempts) == ("cancelled", 0)
        assert hands.model.heard == []

    def test_a_cancelled_run_asks_nothing_any_more(self, asked, hands, cora):
        ends.cancel(asked, reason=WHY, actor=cora)
        Proposal.objects.all().delete()
        Step.objects.all().delete()

        hands.project(asked)
        thread = threads._Thread(threads._run(pk=asked.pk), hands.doors["graph_for"], "test:1")
        thread.go_on()

        assert not Proposal.objects.exists()
        assert not Step.objects.exists()
        asked.refresh_from_db()
        assert asked.state == "cancelled"

    def test_a_run_is_cancelled_once(self, asked, cora):
        ends.cancel(asked, reason=WHY, actor=cora)

        with pytest.raises(NotEnded, match="is cancelled already"):
            ends.cancel(asked, reason="Again.", actor=cora)

        assert len(told_of(asked)) == 1

    def test_a_run_that_a_worker_has_in_hand_is_left_alone(self, asked, cora):
        with checkpoints.thread_lock(asked.thread_id), pytest.raises(NotEnded, match="has this run in hand"):
            ends.cancel(asked, reason=WHY, actor=cora)

        assert states(asked) == ("waiting", "in_work", "pending")

    def test_a_worker_finds_the_thread_busy_while_it_is_cancelled(self, asked, hands, ben):
        answer = decided(asked, ben)

        with another_session() as cancelling:
            cancelling.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [asked.thread_id])
            hands.resume(answer)

        assert answer.state == "new"

    def test_a_run_whose_write_is_under_way_is_left_alone(self, asked, ben, cora):
        answer = outbox.mark_handed(decided(asked, ben).pk)
        proposal = answer.proposal
        args, version = proposal.args, proposal.agent_version
        state = client.read(proposal.target).fields
        execution.consume(proposal.pk, args=args, fingerprint=version.fingerprint, worker="w", state_now=state)

        with pytest.raises(NotEnded, match="at this moment"):
            ends.cancel(asked, reason=WHY, actor=cora)

        assert states(asked) == ("waiting", "in_work", "executing")

    def test_a_run_whose_write_has_no_known_outcome_waits_for_that_first(
        self, asked, hands, ben, cora, desk, desk_connector
    ):
        unclear(hands, asked, ben, desk, desk_connector)

        with pytest.raises(NotEnded, match="close the unknown outcome first"):
            ends.cancel(asked, reason=WHY, actor=cora)

        assert states(asked) == ("waiting", "in_work", "unknown")

    def test_a_run_whose_write_has_happened_is_not_cancelled(self, asked, hands, ben, cora, desk, desk_connector):
        unclear(hands, asked, ben, desk, desk_connector)
        execution.reconcile(Proposal.objects.get().pk, happened=True, note="It is there.", actor=cora)

        with pytest.raises(NotEnded, match="Its change has been made"):
            ends.cancel(asked, reason=WHY, actor=cora)

        assert states(asked) == ("waiting", "in_work", "succeeded")

    @pytest.mark.parametrize("reason", ["", "  no  ", "x" * 2001])
    def test_it_wants_a_reason_that_says_something(self, asked, cora, reason):
        with pytest.raises(BadReason, match="3 to 2,000 characters"):
            ends.cancel(asked, reason=reason, actor=cora)

    @pytest.mark.parametrize("name", ["ben", "ada", "ivo", "eve"])
    def test_only_an_operator_of_the_team_may(self, asked, cast, name):
        with pytest.raises(Forbidden):
            ends.cancel(asked, reason=WHY, actor=cast[name])

        assert states(asked) == ("waiting", "in_work", "pending")


class TestGiveUp:
    def test_a_run_that_cannot_go_on_counts_as_failed_and_its_case_is_closed(self, asked, cora):
        Run.objects.filter(pk=asked.pk).update(last_error="UnknownWorkflow: gone")

        ends.give_up(asked, reason="The workflow is gone.", actor=cora)

        assert states(asked) == ("failed", "cancelled", "withdrawn")
        assert (asked.reason_text, asked.last_error) == ("The workflow is gone.", "UnknownWorkflow: gone")
        assert told_of(asked) == [("run.failed", cora.actor)]

    def test_a_run_whose_answer_was_set_aside_may_be_given_up(self, asked, hands, ben, cora, desk):
        answer = decided(asked, ben)
        outbox.park(answer.pk, error="It raised twice.")

        ends.give_up(asked, reason="The thread is broken.", actor=cora)
        hands.resume(answer)

        assert states(asked) == ("failed", "cancelled", "withdrawn")
        assert desk.journal() == []

    def test_a_change_that_was_made_before_stays_made(self, asked, hands, ben, cora, desk, desk_connector):
        unclear(hands, asked, ben, desk, desk_connector)
        execution.reconcile(Proposal.objects.get().pk, happened=True, note="It is there.", actor=cora)

        ends.give_up(asked, reason="The thread is broken.", actor=cora)

        assert states(asked) == ("failed", "done", "succeeded")

    def test_a_run_that_has_not_failed_at_anything_is_not_given_up(self, asked, cora):
        with pytest.raises(NotEnded, match="it can only be cancelled"):
            ends.give_up(asked, reason=WHY, actor=cora)

        assert states(asked) == ("waiting", "in_work", "pending")


class TestPages:
    def test_an_operator_cancels_a_run_with_a_reason(self, client, asked, cora):
        client.force_login(cora)

        answer = client.post(reverse("runs:cancel", args=[asked.pk]), {"reason": WHY}, follow=True)

        page = answer.content.decode()
        assert answer.redirect_chain == [(reverse("runs:run", args=[asked.pk]), 302)]
        assert WHY in page
        assert "Cancelled. What it asked is taken back" in page
        assert reverse("runs:cancel", args=[asked.pk]) not in page
        assert states(asked) == ("cancelled", "cancelled", "withdrawn")

    def test_the_card_of_a_cancelled_run_can_no_longer_be_decided(self, client, asked, ben, cora):
        ends.cancel(asked, reason=WHY, actor=cora)
        client.force_login(ben)

        page = client.get(reverse("approvals:card", args=[Proposal.objects.get().pk])).content.decode()

        assert "Withdrawn" in page
        assert 'value="approve"' not in page

    def test_the_run_offers_it_in_a_dialog_and_without_a_script_on_a_page_of_its_own(self, client, asked, cora):
        client.force_login(cora)

        run = client.get(reverse("runs:run", args=[asked.pk])).content.decode()
        alone = client.get(reverse("runs:cancel", args=[asked.pk])).content.decode()

        to = reverse("runs:cancel", args=[asked.pk])
        assert 'data-opens="cancel"' in run
        assert '<dialog id="cancel"' in run
        assert f'<noscript><a class="button danger" href="{to}">' in run
        assert all(f'<form class="form" method="post" action="{to}">' in page for page in (run, alone))

    def test_people_without_the_right_are_not_offered_it(self, client, asked, ben):
        client.force_login(ben)

        assert b'id="cancel"' not in client.get(reverse("runs:run", args=[asked.pk])).content
        assert client.post(reverse("runs:cancel", args=[asked.pk]), {"reason": WHY}).status_code == 403

    @pytest.mark.parametrize("name", ["runs:cancel", "runs:give_up"])
    def test_an_outsider_finds_nothing(self, client, asked, eve, name):
        client.force_login(eve)

        assert client.get(reverse(name, args=[asked.pk])).status_code == 404
        assert client.post(reverse(name, args=[asked.pk]), {"reason": WHY}).status_code == 404
        assert states(asked) == ("waiting", "in_work", "pending")

    def test_a_reason_that_says_nothing_is_asked_for_again(self, client, asked, cora):
        client.force_login(cora)

        answer = client.post(reverse("runs:cancel", args=[asked.pk]), {"reason": "no"})

        assert answer.status_code == 422
        assert b"at least 3 characters" in answer.content
        assert states(asked) == ("waiting", "in_work", "pending")

    def test_what_stands_against_it_is_told_and_the_reason_kept(self, client, asked, cora):
        client.force_login(cora)

        with checkpoints.thread_lock(asked.thread_id):
            answer = client.post(reverse("runs:cancel", args=[asked.pk]), {"reason": WHY})

        assert answer.status_code == 409
        assert "A worker has this run in hand" in answer.content.decode()
        assert WHY in answer.content.decode()

    def test_an_operator_gives_a_stuck_run_up_from_the_list(self, client, asked, cora):
        Run.objects.filter(pk=asked.pk).update(last_error="UnknownWorkflow: gone")
        client.force_login(cora)
        to = reverse("runs:give_up", args=[asked.pk])
        assert to in client.get(reverse("runs:threads")).content.decode()

        page = client.post(to, {"reason": "The workflow is gone."}, follow=True).content.decode()

        assert "Failed" in page
        assert "The workflow is gone." in page
        assert b"Nothing needs you here." in client.get(reverse("runs:threads")).content

    def test_ended_runs_are_found_by_their_state(self, client, asked, cora):
        ends.cancel(asked, reason=WHY, actor=cora)
        client.force_login(cora)

        assert b"T-1" in client.get(reverse("runs:runs"), {"state": "cancelled"}).content
        assert b"T-1" not in client.get(reverse("runs:runs"), {"state": "failed"}).content


class TestHonestReasons:
    def test_what_was_approved_but_could_not_run_in_time_is_not_told_as_silence(self, asked, hands, ben, desk):
        answer = outbox.mark_handed(decided(asked, ben).pk)
        valid_until = Proposal.objects.get().valid_until
        desk.kill()

        assert closing.expire_unexecuted(at=valid_until + timedelta(seconds=1)) == 1
        hands.resume(answer)

        asked.refresh_from_db()
        assert (asked.state, asked.reason) == ("handed_over", "too_late")
        assert asked.reason_text.startswith("It was approved, but could not run in time.")

    def test_an_approval_that_was_never_handed_over_in_time_is_told_the_same_way(self, asked, hands, ben):
        decided(asked, ben)

        closing.expire_unexecuted(at=Proposal.objects.get().valid_until + timedelta(seconds=1))
        ResumeOutbox.objects.filter(state="new").update(not_before=clock())
        hands.resume(ResumeOutbox.objects.get(state="new"))

        asked.refresh_from_db()
        assert (asked.state, asked.reason) == ("handed_over", "too_late")

    def test_an_answer_instead_of_a_decision_is_no_refusal(self, asked, hands, ben):
        unsure = calls(("hand_over", {"reason": "not_sure", "explanation": "The ticket does not say."}))
        hands.model.script = (READ, ROUTE, unsure)

        hands.resume(decided(asked, ben, "ask", reason="Which printer is it?"))

        asked.refresh_from_db()
        assert (asked.state, asked.reason) == ("handed_over", "answered")
        assert asked.reason_text == "The ticket does not say."


class TestTargets:
    def test_a_reconciled_answer_needs_no_target_that_answers(self, asked, hands, ben, cora, desk, desk_connector):
        answer = unclear(hands, asked, ben, desk, desk_connector)
        execution.reconcile(Proposal.objects.get().pk, happened=True, note="I saw it.", actor=cora)
        desk.kill()

        hands.resume(answer)

        asked.refresh_from_db()
        assert (asked.state, answer.state) == ("done", "delivered")

    def test_what_may_still_be_written_waits_for_its_target(self, asked, ben, desk):
        decided(asked, ben)
        desk.kill()

        with pytest.raises(ConnectorError):
            writes.target_now(Proposal.objects.get())

    def test_a_target_that_is_gone_is_a_record_without_fields(self, asked, ben):
        proposal = decided(asked, ben).proposal
        proposal.target = "desk:tickets/T-404"

        assert writes.target_now(proposal).fields == {}
