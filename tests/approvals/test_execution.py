"""An approved action runs once, exactly as it was approved, or provably not at all."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.agents import actions as agents
from apps.agents.models import ActionType, Agent, AutonomyLevel, KillSwitch
from apps.approvals import errors
from apps.approvals.actions import closing, execution, outbox, undoing
from apps.approvals.actions.execution import consume, record_outcome
from apps.approvals.errors import NotConsumable, NotReady
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.connectors.models import ActionExecution
from tests.factories.accounts import make_member
from tests.factories.approvals import (
    ROUTE_ARGS,
    TEN,
    decide,
    make_action_type,
    make_agent,
    make_policy,
    make_proposal,
)

LATER = TEN + timedelta(seconds=15)
SEEN = {"status": "open"}


@pytest.fixture
def queued(team, ada, ben):
    """An approved action, past its undo window of 15 s at LATER."""
    return decide(make_proposal(team, ada, policy={"undo_s": 15}), ben).proposal


def run(row, *, at=LATER, **given):
    facts = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "worker": "w1", "state_now": SEEN}
    return consume(row.pk, at=at, **{**facts, **given})


def state_of(row):
    return Proposal.objects.values_list("state", flat=True).get(pk=row.pk)


class TestConsume:
    def test_it_writes_the_ledger_row_with_the_move(self, queued):
        started = run(queued)

        row = Proposal.objects.get(pk=queued.pk)
        assert (row.state, row.consumed_at, row.version) == ("executing", LATER, 3)
        assert (started.state, started.digest, started.proposal_id_value) == ("started", row.digest, row.pk)

    def test_a_second_try_gets_the_first_execution_and_may_not_send(self, queued):
        first = run(queued)

        with pytest.raises(NotConsumable) as refused:
            run(queued)

        assert (refused.value.code, refused.value.execution) == ("already_executed", first)

    @pytest.mark.parametrize(
        ("seconds", "code", "state"),
        [(14.9, "too_early", "queued"), (15 + 15 * 60, "expired", "expired"), (15 * 60, None, "executing")],
    )
    def test_it_runs_from_the_end_of_the_undo_window_for_fifteen_minutes(self, queued, seconds, code, state):
        moment = TEN + timedelta(seconds=seconds)
        if code is None:
            run(queued, at=moment)
        else:
            with pytest.raises(NotConsumable) as refused:
                run(queued, at=moment)
            assert refused.value.code == code

        assert state_of(queued) == state
        assert ActionExecution.objects.exists() is (code is None)

    @pytest.mark.parametrize(
        "change",
        [
            {"args": {**ROUTE_ARGS, "queue": "network"}},
            {"args": {**ROUTE_ARGS, "evil": 1}},
            {"args": {}},
            {"fingerprint": "sha256:" + "00" * 32},
            {"args": {**ROUTE_ARGS, "reply": "\ud800"}},
        ],
    )
    def test_what_is_not_exactly_what_was_approved_is_stale(self, queued, change):
        with pytest.raises(NotConsumable) as refused:
            run(queued, **change)

        assert (refused.value.code, state_of(queued)) == ("stale", "stale")
        assert not ActionExecution.objects.exists()

    @pytest.mark.parametrize(
        ("column", "value"), [("target", "desk:tickets/T-2"), ("subject", "customer/C-1"), ("schema_version", 9)]
    )
    def test_an_altered_row_no_longer_fits_its_digest(self, queued, column, value):
        Proposal.objects.filter(pk=queued.pk).update(**{column: value})

        with pytest.raises(NotConsumable, match="not what was approved"):
            run(queued)

    def test_an_altered_action_type_no_longer_fits(self, queued):
        ActionType.objects.filter(pk=queued.action_type_id).update(key="tickets.delete")

        with pytest.raises(NotConsumable, match="not what was approved"):
            run(queued)

    def test_another_policy_version_no_longer_fits(self, queued):
        newer = make_policy(queued.action_type)
        Proposal.objects.filter(pk=queued.pk).update(policy=newer)

        with pytest.raises(NotConsumable, match="not what was approved"):
            run(queued)

    def test_a_watched_field_that_moved_is_told_with_both_values(self, queued):
        with pytest.raises(NotConsumable) as refused:
            run(queued, state_now={"status": "closed"})

        assert refused.value.code == "stale"
        assert "status was open and is now closed" in refused.value.message

    def test_a_field_nobody_watches_may_move(self, queued):
        assert run(queued, state_now={**SEEN, "updated": "10:05"}).state == "started"

    def test_an_unreadable_target_waits(self, queued):
        with pytest.raises(NotConsumable) as refused:
            run(queued, state_now=None)

        assert (refused.value.code, state_of(queued)) == ("unreadable", "queued")

    def test_only_low_risk_may_run_unread(self, team, ada, ben):
        low = decide(make_proposal(team, ada, kind={"risk_class": "low"}, policy={"undo_s": 0}), ben).proposal

        assert run(low, at=TEN, state_now=None).state == "started"

    @pytest.mark.parametrize("scope", list(KillSwitch.Scope))
    def test_every_kill_switch_stops_it(self, queued, ada, scope):
        switch = KillSwitch.objects.get(scope=scope)
        agents.engage_switch(scope, switch.scope_id, actor=ada, reason="Something is odd")

        with pytest.raises(NotConsumable) as refused:
            run(queued)

        assert (refused.value.code, state_of(queued)) == ("withdrawn", "withdrawn")
        assert "Something is odd" in refused.value.message

    def test_a_missing_switch_counts_as_engaged(self, queued):
        KillSwitch.objects.filter(scope="agent").delete()

        with pytest.raises(NotConsumable):
            run(queued)

    @pytest.mark.parametrize(
        ("newer", "says"),
        [
            (
                {"conditions": {"deny": {"queue": ["billing"]}}},
                "now refuses this. The policy refuses this value of queue",
            ),
            ({"approvals_needed": 2}, "now wants more approvals"),
        ],
    )
    def test_a_newer_policy_may_stop_what_an_older_one_allowed(self, queued, newer, says):
        make_policy(queued.action_type, **newer)

        with pytest.raises(NotConsumable, match=says):
            run(queued)
        assert state_of(queued) == "withdrawn"

    def test_a_newer_policy_that_still_allows_it_does_not(self, queued):
        make_policy(queued.action_type, window_s=60)

        assert run(queued).state == "started"

    def test_what_was_withdrawn_is_told_as_that(self, queued):
        closing.withdraw(queued.pk, reason="Not needed", actor="system", at=TEN)

        with pytest.raises(NotConsumable) as refused:
            run(queued)
        assert refused.value.code == "withdrawn"

    def test_what_was_undone_does_not_run(self, queued, ben):
        undoing.undo(queued.pk, actor=ben, at=TEN)

        with pytest.raises(NotConsumable) as refused:
            run(queued)
        assert (refused.value.code, state_of(queued)) == ("not_queued", "pending")

    def test_a_system_that_is_not_connected_waits(self, team, ada, ben):
        low = {"risk_class": "low"}
        row = decide(make_proposal(team, ada, kind=low, target="nowhere:x/1", policy={"undo_s": 0}), ben).proposal

        with pytest.raises(NotConsumable) as refused:
            run(row, at=TEN)
        assert (refused.value.code, state_of(row)) == ("not_connected", "queued")


class TestRights:
    """The executor acts with the narrower of the agent's and the approvers' rights, as they stand at that moment."""

    def refused(self, row, **given):
        with pytest.raises(NotConsumable) as refused:
            run(row, **given)
        assert not ActionExecution.objects.exists()
        return refused.value

    def test_an_approval_ends_with_the_role_it_came_from(self, queued, ben, team):
        ben.memberships.get(team=team).delete()

        refusal = self.refused(queued)

        assert (refusal.code, state_of(queued)) == ("withdrawn", "withdrawn")
        assert refusal.message == "Its approver may not decide here any more. Nothing was executed."

    def test_an_approval_ends_with_the_account_that_gave_it(self, queued, ben):
        ben.is_active = False
        ben.save()

        assert self.refused(queued).code == "withdrawn"

    def test_a_reviewer_elsewhere_is_no_reviewer_here(self, queued, ben, team, other_team):
        ben.memberships.update(team=other_team)

        assert self.refused(queued).code == "withdrawn"

    def test_who_owns_the_agent_by_now_has_approved_nothing(self, queued, ben):
        Agent.objects.update(owner=ben)

        assert "may not decide here any more" in self.refused(queued).message

    def test_both_of_two_approvers_must_still_hold_the_right(self, team, ada, ben):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        row = make_proposal(team, ada, kind={"risk_class": "high"}, policy={"undo_s": 0})
        row = decide(decide(row, ben).proposal, kim).proposal
        ben.memberships.all().delete()

        assert self.refused(row, at=TEN).code == "withdrawn"

    def test_an_approval_that_was_taken_back_needs_no_right(self, team, ada, ben):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        row = decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal
        row = decide(undoing.undo(row.pk, actor=ben, at=TEN), kim).proposal
        ben.memberships.all().delete()

        assert run(row, at=TEN).state == "started"

    @pytest.mark.parametrize(
        ("stage", "why"),
        [
            ("demo", "Recorded, not executed: At stage demo the ceiling is “recommend”."),
            ("retired", "Recorded, not executed: At stage retired the ceiling is “shadow”."),
        ],
    )
    def test_an_agent_that_only_advises_by_now_writes_nothing(self, queued, ada, stage, why):
        agents.record_stage(queued.agent_version.agent, stage=stage, reason="Too early", actor=ada)

        refusal = self.refused(queued)

        assert (refusal.code, refusal.message, state_of(queued)) == ("withdrawn", why, "withdrawn")

    @pytest.mark.parametrize("level", ["shadow", "recommend"])
    def test_a_level_below_approve_writes_nothing(self, queued, cora, level):
        agents.lower_level(AutonomyLevel.objects.get(), level=level, actor=cora, reason="It was wrong")

        assert self.refused(queued).message == f"Recorded, not executed: Its level is “{level}”."

    def test_the_thread_hears_that_it_was_recorded(self, queued, ada):
        agents.record_stage(queued.agent_version.agent, stage="demo", reason="Too early", actor=ada)

        self.refused(queued)

        told = ResumeOutbox.objects.get(state="new").answer
        assert told["message"].startswith("Recorded, not executed:")

    def test_an_agent_that_lost_the_right_to_act_alone_does_not(self, team, ada, cora):
        row = self.on_its_own(team, ada)
        agents.lower_level(AutonomyLevel.objects.get(), level="approve", actor=cora, reason="It was wrong")

        refusal = self.refused(row, at=TEN)

        assert (refusal.code, state_of(row)) == ("stale", "stale")
        assert "It may not act alone any more: It has not yet earned" in refusal.message

    def test_an_agent_that_kept_the_right_to_act_alone_does(self, team, ada):
        assert run(self.on_its_own(team, ada), at=TEN).state == "started"

    def on_its_own(self, team, ada):
        agent = make_agent(team, ada)
        kind = make_action_type(agent, risk_class="low", level="auto")
        for report, value in (("budget", "ok"), ("gates", "satisfied")):
            agents.report_standing(agent, kind=report, value=value, as_of=TEN)
        sure = {"conditions": {"auto_from_confidence": 0.9}, "undo_s": 0}
        row = make_proposal(team, ada, agent=agent, policy=sure, confidence=0.95)
        assert (kind.pk, row.state) == (row.action_type_id, "queued")
        return row


class TestOutcome:
    @pytest.mark.parametrize(("state", "ledger"), [("succeeded", "done"), ("failed", "failed"), ("unknown", "unknown")])
    def test_proposal_and_ledger_say_the_same(self, queued, state, ledger):
        started = run(queued)

        record_outcome(queued.pk, state=state, note="", execution=started, result={"text": "ok"}, at=LATER)

        started.refresh_from_db()
        assert (state_of(queued), started.state) == (state, ledger)

    def test_the_same_outcome_twice_is_once(self, queued):
        started = run(queued)
        for _ in range(2):
            record_outcome(queued.pk, state="succeeded", execution=started, at=LATER)

        assert Proposal.objects.get(pk=queued.pk).version == 4

    def test_another_outcome_is_refused(self, queued):
        record_outcome(queued.pk, state="succeeded", execution=run(queued), at=LATER)

        with pytest.raises(errors.Conflict):
            record_outcome(queued.pk, state="failed", at=LATER)

    def test_once_it_runs_it_cannot_be_undone_or_withdrawn(self, queued, ben):
        run(queued)

        with pytest.raises(errors.AlreadyExecuting):
            undoing.undo(queued.pk, actor=ben, at=LATER)
        with pytest.raises(errors.AlreadyExecuting):
            closing.withdraw(queued.pk, reason="Too late", actor="system", at=LATER)


class TestStuck:
    def test_a_started_execution_whose_thread_is_free_lost_its_worker(self, queued, audit_events):
        run(queued)

        assert execution.mark_stuck_executions(at=LATER + timedelta(seconds=59)) == 0
        assert execution.mark_stuck_executions(at=LATER + timedelta(seconds=60)) == 1

        assert state_of(queued) == "unknown"
        assert ActionExecution.objects.get().state == "unknown"
        assert audit_events(queued)[-1]["action"] == "proposal.unknown"

    @pytest.mark.django_db(transaction=True)
    def test_a_thread_that_is_worked_on_is_left_alone(self, queued):
        run(queued)
        with _another_session() as session:
            session.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [queued.thread_id])

            assert execution.mark_stuck_executions(at=LATER + timedelta(minutes=5)) == 0
            session.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [queued.thread_id])

        assert execution.mark_stuck_executions(at=LATER + timedelta(minutes=5)) == 1


class TestReconcile:
    @pytest.fixture
    def unknown(self, queued):
        record_outcome(queued.pk, state="unknown", execution=run(queued), at=LATER)
        return queued

    @pytest.mark.parametrize(
        ("happened", "state", "ledger"), [(True, "succeeded", "done"), (False, "failed", "failed")]
    )
    def test_an_operator_says_what_happened(self, unknown, cora, happened, state, ledger):
        execution.reconcile(unknown.pk, happened=happened, note="Looked it up.", actor=cora, at=LATER)

        assert (state_of(unknown), ActionExecution.objects.get().state) == (state, ledger)

    def test_it_needs_the_evidence(self, unknown, cora):
        with pytest.raises(errors.BadVerdict):
            execution.reconcile(unknown.pk, happened=True, note=" ", actor=cora, at=LATER)

    def test_a_reviewer_may_not(self, unknown, ben):
        with pytest.raises(Forbidden):
            execution.reconcile(unknown.pk, happened=True, note="I think so", actor=ben, at=LATER)

    def test_an_outsider_learns_nothing(self, unknown, eve):
        with pytest.raises(errors.NotFound):
            execution.reconcile(unknown.pk, happened=True, note="I think so", actor=eve, at=LATER)

    def test_what_is_known_stays(self, queued, cora):
        with pytest.raises(errors.Conflict):
            execution.reconcile(queued.pk, happened=True, note="Looked it up.", actor=cora, at=LATER)

    def test_an_approver_of_a_high_risk_action_does_not_reconcile_it(self, team, ada, ben, cora):
        cora.memberships.create(team=team, role=Role.REVIEWER)
        row = make_proposal(team, ada, kind={"risk_class": "high"}, policy={"undo_s": 0})
        row = decide(decide(row, ben).proposal, cora).proposal
        record_outcome(row.pk, state="unknown", execution=run(row, at=TEN), at=TEN)

        with pytest.raises(Forbidden):
            execution.reconcile(row.pk, happened=True, note="Looked it up.", actor=cora, at=TEN)

    def test_the_waiting_thread_hears_the_same_answer_again(self, team, ada, ben, cora):
        row = decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal
        answer = outbox.mark_handed(ResumeOutbox.objects.get().pk, at=TEN)
        record_outcome(row.pk, state="unknown", execution=run(row, at=TEN), at=TEN)
        with pytest.raises(NotReady) as not_yet:
            outbox.ready_answer(answer.pk, at=LATER)

        execution.reconcile(row.pk, happened=True, note="Looked it up.", actor=cora, at=LATER)

        assert not_yet.value.code == "unknown"
        assert outbox.mark_handed(answer.pk, at=LATER).answer == {"type": "approve"}


class TestLapse:
    def test_what_could_not_run_in_time_expires_and_its_thread_is_told(self, queued):
        assert closing.expire_unexecuted(at=queued.valid_until - timedelta(milliseconds=1)) == 0
        assert closing.expire_unexecuted(at=queued.valid_until) == 1

        new = ResumeOutbox.objects.get(state="new")
        assert state_of(queued) == "expired"
        assert (new.answer["type"], "Nothing was executed" in new.answer["message"]) == ("reject", True)

    def test_a_handed_answer_stays_the_answer(self, queued):
        outbox.mark_handed(ResumeOutbox.objects.get().pk, at=LATER)

        closing.expire_unexecuted(at=queued.valid_until)

        assert ResumeOutbox.objects.get().answer == {"type": "approve"}


class TestTheDatabaseItselfRefuses:
    @pytest.mark.parametrize("kind", ["drill", "second_look", "advice"])
    def test_only_what_is_live_is_executable(self, team, ada, kind):
        row = make_proposal(team, ada)

        with pytest.raises(IntegrityError, match="only_what_is_live_is_executable"), transaction.atomic():
            Proposal.objects.filter(pk=row.pk).update(kind=kind)

    def test_what_is_not_executable_never_runs(self, queued):
        with pytest.raises(IntegrityError, match="what_is_not_executable_never_runs"), transaction.atomic():
            Proposal.objects.filter(pk=queued.pk).update(executable=False)

    def test_a_second_live_final_decision(self, queued, ada):
        with pytest.raises(IntegrityError, match="one_live_final_decision"), transaction.atomic():
            Decision.objects.create(
                proposal=queued, verdict="reject", by_kind="person", actor=ada, digest="x", decided_at=TEN
            )

    def test_a_persons_second_live_approval(self, queued, ben):
        with pytest.raises(IntegrityError, match="one_live_approval_per_person"), transaction.atomic():
            Decision.objects.create(
                proposal=queued,
                verdict="approve",
                by_kind="person",
                actor=ben,
                digest="x",
                decided_at=TEN,
                final=False,
            )

    def test_a_second_undelivered_answer(self, queued):
        with pytest.raises(IntegrityError, match="one_undelivered_answer"), transaction.atomic():
            ResumeOutbox.objects.create(proposal=queued, thread_id="t", interrupt_id="i", answer={}, not_before=TEN)

    def test_a_second_proposal_for_one_tool_call(self, queued):
        queued.pk = None
        queued.external_id = "another"

        with pytest.raises(IntegrityError, match="one_proposal_per_tool_call"), transaction.atomic():
            queued.save(force_insert=True)

    def test_a_claim_without_a_holder(self, team, ada):
        row = make_proposal(team, ada)

        with pytest.raises(IntegrityError, match="a_claim_names_its_holder"), transaction.atomic():
            Proposal.objects.filter(pk=row.pk).update(state="claimed")

    def test_a_state_that_nobody_knows(self, team, ada):
        row = make_proposal(team, ada)

        with pytest.raises(DatabaseError, match="Invalid transition"), transaction.atomic():
            Proposal.objects.filter(pk=row.pk).update(state="lost")

    @pytest.mark.parametrize("state", ["approved", "executing", "succeeded", "rejected", "pending"])
    def test_a_move_that_is_not_in_the_table(self, team, ada, ben, state):
        row = decide(make_proposal(team, ada), ben, "ask").proposal

        with pytest.raises(DatabaseError, match="Invalid transition"), transaction.atomic():
            Proposal.objects.filter(pk=row.pk).update(state=state)

    def test_an_open_card_without_a_deadline(self, queued):
        with pytest.raises(IntegrityError, match="what_waits_has_a_deadline"), transaction.atomic():
            Proposal.objects.filter(pk=queued.pk).update(state="pending", deadline=None)

    def test_a_persons_decision_without_a_name(self, team, ada):
        row = make_proposal(team, ada)

        with pytest.raises(IntegrityError, match="a_person_decides_by_name"), transaction.atomic():
            Decision.objects.create(proposal=row, verdict="approve", by_kind="person", digest="x", decided_at=TEN)


class TestOutbox:
    def test_an_answer_is_not_ready_inside_the_undo_window(self, queued):
        with pytest.raises(NotReady) as refused:
            outbox.mark_handed(ResumeOutbox.objects.get().pk, at=TEN + timedelta(seconds=14))

        assert refused.value.code == "too_early"

    def test_handing_over_twice_gives_the_same_answer_and_counts_the_tries(self, queued):
        pk = ResumeOutbox.objects.get().pk
        first, second = (outbox.mark_handed(pk, at=LATER) for _ in range(2))

        assert (first.answer, first.attempts, second.attempts) == (second.answer, 1, 2)
        assert outbox.mark_delivered(pk).state == "delivered"
        with pytest.raises(NotReady):
            outbox.mark_handed(pk, at=LATER)

    def test_a_kill_switch_before_the_hand_over_holds_it_back(self, queued, ada):
        agents.engage_switch("all", 0, actor=ada, reason="Drill")
        pk = ResumeOutbox.objects.get().pk

        with pytest.raises(NotReady) as refused:
            outbox.mark_handed(pk, at=LATER)

        row = Proposal.objects.get(pk=queued.pk)
        assert (refused.value.code, row.state) == ("held", "queued")
        assert "Drill" in row.hold_reason
        assert ResumeOutbox.objects.get().state == "new"

    def test_a_released_switch_lets_it_go_on(self, queued, ada, cora):
        agents.engage_switch("all", 0, actor=ada, reason="Drill")
        pk = ResumeOutbox.objects.get().pk
        with pytest.raises(NotReady):
            outbox.mark_handed(pk, at=LATER)
        agents.release_switch("all", 0, actor=cora, reason="Drill over")

        assert outbox.mark_handed(pk, at=LATER).state == "handed"
        assert Proposal.objects.get(pk=queued.pk).hold_reason == ""

    def test_a_rejection_is_told_even_while_a_switch_is_on(self, team, ada, ben):
        decide(make_proposal(team, ada), ben, "reject")
        agents.engage_switch("all", 0, actor=ada, reason="Drill")

        assert outbox.mark_handed(ResumeOutbox.objects.get().pk, at=TEN).state == "handed"

    def test_what_was_not_delivered_for_30_s_is_sent_again(self, queued):
        pk = ResumeOutbox.objects.get().pk

        assert outbox.resend_due(at=LATER + timedelta(seconds=29)) == []
        assert outbox.resend_due(at=LATER + timedelta(seconds=30)) == [pk]
        assert outbox.resend_due(at=LATER + timedelta(seconds=31)) == []
        assert outbox.resend_due(at=LATER + timedelta(seconds=60)) == [pk]

    def test_a_handed_answer_is_sent_again_too(self, queued):
        pk = ResumeOutbox.objects.get().pk
        outbox.mark_handed(pk, at=LATER)

        assert outbox.resend_due(at=LATER + timedelta(seconds=30)) == [pk]

    def test_while_it_runs_nothing_is_sent_again(self, queued):
        outbox.mark_handed(ResumeOutbox.objects.get().pk, at=LATER)
        run(queued)

        assert outbox.resend_due(at=LATER + timedelta(minutes=5)) == []

    def test_a_long_undo_window_is_left_to_the_sweep(self, team, ada, ben):
        decide(make_proposal(team, ada, policy={"undo_s": 300}), ben)
        pk = ResumeOutbox.objects.get(sent_at=None).pk

        assert outbox.resend_due(at=TEN + timedelta(seconds=299)) == []
        assert outbox.resend_due(at=TEN + timedelta(seconds=300)) == [pk]

    def test_a_parked_answer_goes_on_when_its_question_returns(self, queued):
        pk = ResumeOutbox.objects.get().pk
        outbox.park(pk, error="The id is dead")
        assert outbox.resend_due(at=LATER + timedelta(minutes=5)) == []
        with pytest.raises(NotReady):
            outbox.mark_handed(pk, at=LATER)

        _ask_again(queued, "e" * 32)

        answer = ResumeOutbox.objects.get()
        assert (answer.state, answer.interrupt_id, answer.last_error) == ("new", "e" * 32, "")

    def test_what_was_handed_once_stays_final_under_a_new_id(self, queued, ben):
        pk = ResumeOutbox.objects.get().pk
        outbox.mark_handed(pk, at=LATER)
        outbox.park(pk, error="The id is dead")
        _ask_again(queued, "e" * 32)

        with pytest.raises(errors.AlreadyExecuting):
            undoing.undo(queued.pk, actor=ben, at=LATER)

    def test_a_delivered_answer_is_given_again_to_a_question_that_returns(self, queued):
        pk = ResumeOutbox.objects.get().pk
        outbox.mark_handed(pk, at=LATER)
        outbox.mark_delivered(pk)

        _ask_again(queued, "e" * 32)

        again = ResumeOutbox.objects.get(state="new")
        assert (again.answer, again.interrupt_id) == ({"type": "approve"}, "e" * 32)

    def test_an_unknown_id_is_no_answer(self, db):
        with pytest.raises(NotReady) as refused:
            outbox.mark_handed(4711, at=LATER)

        assert refused.value.code == "gone"


def _ask_again(row, interrupt_id):
    from apps.approvals.actions.intake import propose
    from tests.factories.approvals import make_request

    request = make_request(
        row.agent_version,
        row.action_type,
        thread_id=row.thread_id,
        tool_call_id=row.tool_call_id,
        interrupt_id=interrupt_id,
    )
    return propose(request, at=LATER)


def _another_session():
    import psycopg

    return psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": None}, autocommit=True)
