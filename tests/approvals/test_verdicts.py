"""One winner, on exactly the card that was read."""

from datetime import timedelta

import pytest

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims, closing, undoing
from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from tests.factories.accounts import make_member
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_agent, make_proposal

EDITED = {**ROUTE_ARGS, "queue": "network"}
HIGH = {"kind": {"risk_class": "high"}}


@pytest.fixture
def ann(team):
    """Ann reviews as Ben does."""
    return make_member(team, Role.REVIEWER, name="Ann")


@pytest.fixture
def card(team, ada):
    return make_proposal(team, ada, policy={"undo_s": 15})


def fresh(row):
    return Proposal.objects.select_related("action_type", "agent_version", "policy").get(pk=row.pk)


def test_an_approval_queues_the_action_with_its_undo_window(card, ben):
    decided = decide(card, ben)

    row = fresh(card)
    assert (row.state, row.version, row.approvals_given) == ("queued", 2, 1)
    assert row.execute_after == TEN + timedelta(seconds=15)
    assert row.valid_until == TEN + timedelta(minutes=15, seconds=15)
    assert (decided.replayed, decided.decision.final, decided.decision.digest) == (False, True, row.digest)


def test_an_approval_writes_the_threads_answer_in_the_same_transaction(card, ben):
    decide(card, ben)

    answer = ResumeOutbox.objects.get()
    assert (answer.state, answer.answer, answer.interrupt_id) == ("new", {"type": "approve"}, card.interrupt_id)
    assert answer.not_before == TEN + timedelta(seconds=15)


def test_a_rejection_needs_a_reason_and_tells_it_to_the_agent(card, ben):
    decide(card, ben, "reject", reason="Wrong queue")

    assert fresh(card).state == "rejected"
    assert ResumeOutbox.objects.get().answer == {"type": "reject", "message": "Rejected by a reviewer: Wrong queue"}


@pytest.mark.parametrize("reason", ["", "no", "x" * 2001])
def test_a_reason_has_3_to_2000_characters(card, ben, reason):
    with pytest.raises(errors.BadVerdict) as refused:
        decide(card, ben, "reject", reason=reason)

    assert (refused.value.code, refused.value.status) == ("bad_reason", 422)
    assert fresh(card).state == "pending"


def test_an_edit_is_a_new_digest_with_its_materiality(card, ben):
    decided = decide(card, ben, "edit", args={**ROUTE_ARGS, "priority": "high", "reply": "Soon."})

    row = fresh(card)
    assert (row.state, row.args["priority"], row.args_original["priority"]) == ("queued", "high", "normal")
    assert row.digest == row.action.digest != card.digest
    assert (decided.decision.verdict, float(decided.decision.materiality)) == ("edit", 0.5)
    answer = ResumeOutbox.objects.get().answer
    assert (answer["type"], answer["edited_action"]["name"]) == ("edit", "route_ticket")
    assert answer["edited_action"]["args"] == row.args


@pytest.mark.parametrize(
    ("args", "code", "pointer"),
    [
        ({"evil": 1}, "bad_args", "/evil"),
        ({**ROUTE_ARGS, "queue": "lots"}, "bad_args", "/queue"),
        ({**ROUTE_ARGS, "queue": 7}, "bad_args", "/queue"),
        (ROUTE_ARGS, "no_change", ""),
        ({**ROUTE_ARGS, "ticket": "T-2"}, "not_editable", "/ticket"),
        ({**ROUTE_ARGS, "reply": "\ud800"}, "bad_args", "/reply"),
    ],
)
def test_a_bad_edit_is_refused_and_a_right_answer_then_works(card, ben, args, code, pointer):
    with pytest.raises(errors.BadArgs) as refused:
        decide(card, ben, "edit", args=args)

    assert (refused.value.status, refused.value.code) == (422, code)
    assert any(problem.pointer == pointer for problem in refused.value.problems)
    assert decide(fresh(card), ben).proposal.state == "queued"


def test_the_policy_runs_again_over_an_edit(team, ada, ben):
    card = make_proposal(team, ada, policy={"conditions": {"deny": {"queue": ["network"]}}})

    with pytest.raises(errors.BadArgs) as refused:
        decide(card, ben, "edit", args=EDITED)

    assert (refused.value.code, refused.value.pointer) == ("policy_denies", "/queue")


@pytest.mark.parametrize(
    ("verdict", "extra", "pointer"),
    [
        ("maybe", {}, "/verdict"),
        ("respond", {"reason": "Done by hand."}, "/verdict"),
        ("edit", {}, "/args"),
        ("approve", {"args": ROUTE_ARGS}, "/args"),
    ],
)
def test_a_verdict_that_is_not_on_offer_is_refused(card, ben, verdict, extra, pointer):
    with pytest.raises(errors.BadVerdict) as refused:
        decide_proposal(card.pk, verdict=verdict, version=1, digest=card.digest, actor=ben, at=TEN, **extra)

    assert (refused.value.status, refused.value.pointer) == (422, pointer)


def test_asking_back_is_neither_yes_nor_no(card, ben):
    decide(card, ben, "ask", reason="Which customer?")

    assert fresh(card).state == "answered"
    message = ResumeOutbox.objects.get().answer["message"]
    assert "Which customer?" in message
    assert "not a refusal" in message


def test_responding_stands_in_for_the_tool_where_that_is_allowed(team, ada, ben):
    card = make_proposal(team, ada, kind={"allow_respond": True})

    decide(card, ben, "respond", reason="I moved it by hand.")

    assert fresh(card).state == "answered"
    assert ResumeOutbox.objects.get().answer == {"type": "respond", "message": "I moved it by hand."}


class TestWhoMayDecide:
    def test_an_outsider_learns_nothing(self, card, eve):
        with pytest.raises(errors.NotFound):
            decide(card, eve)

    def test_a_member_without_the_right_is_told_which_one(self, card, cora, dev, olga, max_):
        for person in (cora, olga):
            with pytest.raises(Forbidden) as refused:
                decide(card, person)
            assert refused.value.right == "approvals.decide"
        for person in (dev, max_):
            with pytest.raises((Forbidden, errors.NotFound)):
                decide(card, person)

    def test_the_agents_owner_never_decides_on_it(self, team, ada):
        make_member_of_ada = ada.memberships.create(team=team, role=Role.REVIEWER)
        card = make_proposal(team, ada)
        assert make_member_of_ada.role == "reviewer"

        with pytest.raises(errors.SelfApproval) as refused:
            decide(card, ada)

        assert (refused.value.status, refused.value.message) == (403, "Someone else must decide this one.")

    def test_the_author_of_the_version_never_decides_on_it(self, team, ada, ben):
        card = make_proposal(team, ada, author=ben)

        with pytest.raises(errors.SelfApproval):
            decide(card, ben)

    def test_the_barred_cannot_block_it_with_a_claim_either(self, team, ada, ben):
        card = make_proposal(team, ada, author=ben)

        with pytest.raises(errors.SelfApproval):
            claims.claim(card.pk, actor=ben, at=TEN)

    def test_rights_come_before_everything_else(self, card, ben, cora):
        decide(card, ben)

        with pytest.raises(Forbidden):
            decide(card, cora)

    def test_a_lost_role_counts_at_once(self, card, ben):
        ben.memberships.all().delete()
        again = type(ben).objects.get(pk=ben.pk)

        with pytest.raises(errors.NotFound):
            decide(card, again)


class TestOneWinner:
    def test_the_same_verdict_again_is_a_replay(self, card, ben, ann):
        first = decide(card, ben)

        for person in (ben, ann):
            again = decide(card, person)
            assert (again.replayed, again.decision) == (True, first.decision)
        assert Decision.objects.count() == 1
        assert ResumeOutbox.objects.count() == 1

    def test_the_opposite_verdict_is_told_who_was_first(self, card, ben, ann):
        decide(card, ben)

        with pytest.raises(errors.AlreadyDecided) as refused:
            decide(card, ann, "reject", at=TEN + timedelta(minutes=4))

        assert refused.value.message == "Already approved by Ben at 10:00."

    def test_the_time_is_told_in_the_readers_zone(self, card, ben, ann):
        decide(card, ben)
        ann.time_zone = "Asia/Kolkata"

        with pytest.raises(errors.AlreadyDecided, match=r"at 15:30\."):
            decide(card, ann, "reject")

    def test_the_same_edit_again_is_a_replay_and_another_one_is_not(self, card, ben, ann):
        decide(card, ben, "edit", args=EDITED)

        assert decide(card, ann, "edit", args=EDITED).replayed
        with pytest.raises(errors.AlreadyDecided):
            decide(card, ann, "edit", args={**ROUTE_ARGS, "queue": "accounts"})

    def test_an_approval_of_what_was_edited_away_is_no_replay(self, card, ben, ann):
        decide(card, ben, "edit", args=EDITED)

        with pytest.raises(errors.AlreadyDecided, match="approved with changes by Ben"):
            decide(card, ann)

    @pytest.mark.parametrize("shown", [{"version": 7}, {"digest": "sha256:" + "0" * 64}])
    def test_a_card_that_changed_while_it_was_read_is_refused(self, card, ben, shown):
        with pytest.raises(errors.Changed) as refused:
            decide(card, ben, **shown)

        assert refused.value.code == "changed"
        assert fresh(card).state == "pending"

    def test_a_card_that_somebody_else_claimed_is_refused_until_the_lease_ends(self, card, ben, ann):
        claimed = claims.claim(card.pk, actor=ann, at=TEN)

        with pytest.raises(errors.Claimed, match=r"Ann is deciding, until 10:05\."):
            decide(claimed, ben, at=TEN + timedelta(minutes=4))
        assert decide(claimed, ben, at=TEN + timedelta(minutes=5)).proposal.state == "queued"

    def test_the_claimant_decides_and_the_claim_is_gone(self, card, ben):
        claimed = claims.claim(card.pk, actor=ben, at=TEN)

        row = decide(claimed, ben).proposal

        assert (row.version, row.claimed_by, row.claim_until) == (3, None, None)

    def test_the_order_of_the_checks_is_decided_deadline_claimed_changed_barred(self, card, ben, ann, team, ada):
        ada.memberships.create(team=team, role=Role.REVIEWER)
        claims.claim(card.pk, actor=ann, at=TEN)
        stale = {"version": 99, "digest": card.digest}

        with pytest.raises(errors.Claimed):
            decide(card, ada, **stale)
        with pytest.raises(errors.Changed):
            decide(card, ada, at=TEN + timedelta(minutes=6), **stale)
        with pytest.raises(errors.Expired):
            decide(card, ada, at=TEN + timedelta(hours=4), **stale)


class TestDeadline:
    def test_one_millisecond_before_the_deadline_counts(self, card, ben):
        assert decide(card, ben, at=card.deadline - timedelta(milliseconds=1)).proposal.state == "queued"

    def test_at_the_deadline_it_is_expired_by_the_timer(self, card, ben):
        with pytest.raises(errors.Expired) as refused:
            decide(card, ben, "reject", at=card.deadline)

        assert refused.value.message == "Nobody answered in time; nothing was executed."
        row = fresh(card)
        decision = Decision.objects.get()
        assert (row.state, decision.by_kind, decision.verdict) == ("expired", "timer", "expire")
        assert not Decision.objects.filter(verdict="reject").exists()

    def test_the_agent_hears_that_nobody_answered(self, card):
        assert closing.expire_overdue(at=card.deadline) == 1

        message = ResumeOutbox.objects.get().answer["message"]
        assert message.startswith("Nobody answered within 4 h. This is not a refusal. Nothing was executed. Policy ")

    def test_the_sweep_leaves_what_still_has_time(self, card):
        assert closing.expire_overdue(at=card.deadline - timedelta(milliseconds=1)) == 0

    def test_a_window_is_extended_once_where_the_policy_says_so(self, team, ada):
        card = make_proposal(team, ada, policy={"on_expiry": "extend_once", "window_s": 3600})

        assert closing.expire_overdue(at=card.deadline) == 0
        assert fresh(card).deadline == card.deadline + timedelta(hours=1)
        assert closing.expire_overdue(at=card.deadline + timedelta(hours=1)) == 1
        assert "within 2 h" in ResumeOutbox.objects.get().answer["message"]

    def test_a_verdict_after_the_expiry_hears_the_same(self, card, ben):
        closing.expire_overdue(at=card.deadline)

        with pytest.raises(errors.Expired):
            decide(fresh(card), ben, at=card.deadline + timedelta(minutes=1))


class TestTwoApprovals:
    @pytest.fixture
    def high(self, team, ada):
        return make_proposal(team, ada, **HIGH)

    def test_one_of_two_keeps_the_card_open(self, high, ann):
        decided = decide(high, ann)

        row = fresh(high)
        assert (row.state, row.approvals_given, row.approvals_needed, row.version) == ("pending", 1, 2, 2)
        assert not decided.decision.final
        assert not ResumeOutbox.objects.exists()

    def test_the_same_person_again_is_a_replay(self, high, ann):
        decide(high, ann)

        assert decide(high, ann).replayed
        assert decide(fresh(high), ann).replayed
        assert fresh(high).approvals_given == 1

    def test_a_second_person_queues_it(self, high, ann, ben):
        decide(high, ann)

        assert decide(fresh(high), ben).decision.final
        assert fresh(high).state == "queued"

    def test_the_second_person_must_have_read_the_card_as_it_is_now(self, high, ann, ben):
        decide(high, ann)

        with pytest.raises(errors.Changed):
            decide(high, ben)

    def test_one_no_suffices(self, high, ann, ben):
        decide(high, ann)
        decide(fresh(high), ben, "reject")

        assert fresh(high).state == "rejected"

    def test_an_edit_voids_what_was_approved_before_and_is_the_editors_own(self, high, ann, ben):
        decide(high, ann)
        decide(fresh(high), ben, "edit", args=EDITED)

        row = fresh(high)
        assert (row.state, row.approvals_given) == ("pending", 1)
        assert Decision.objects.get(actor=ann).voided_at == TEN
        decide(row, ann)
        assert (fresh(high).state, fresh(high).args["queue"]) == ("queued", "network")
        assert ResumeOutbox.objects.get().answer["type"] == "edit"

    def test_the_editor_cannot_be_both(self, high, ben):
        decide(high, ben, "edit", args=EDITED)

        assert decide(fresh(high), ben).replayed
        assert fresh(high).approvals_given == 1

    def test_a_first_approval_gives_the_claim_back(self, high, ann):
        decide(claims.claim(high.pk, actor=ann, at=TEN), ann)

        assert (fresh(high).state, fresh(high).claimed_by) == ("pending", None)


class TestUndo:
    @pytest.mark.parametrize("seconds", [14.9, 20])
    def test_an_answer_the_thread_has_not_heard_can_be_taken_back(self, card, ben, seconds):
        decide(card, ben)

        row = undoing.undo(card.pk, actor=ben, at=TEN + timedelta(seconds=seconds))

        assert (row.state, row.approvals_given, row.execute_after) == ("pending", 0, None)
        assert Decision.objects.get().voided_at is not None
        assert ResumeOutbox.objects.get().state == "cancelled"

    def test_once_it_is_handed_over_it_is_final(self, card, ben):
        decide(card, ben)
        ResumeOutbox.objects.update(state="handed", handed_at=TEN + timedelta(seconds=15.3))

        with pytest.raises(errors.AlreadyExecuting, match=r"Started at 10:00:15\."):
            undoing.undo(card.pk, actor=ben, at=TEN + timedelta(seconds=20))

    def test_it_leaves_five_minutes_to_decide_again(self, team, ada, ben):
        card = make_proposal(team, ada, policy={"window_s": 60})
        decide(card, ben, at=TEN + timedelta(seconds=55))

        row = undoing.undo(card.pk, actor=ben, at=TEN + timedelta(seconds=58))

        assert row.deadline == TEN + timedelta(seconds=58, minutes=5)

    def test_an_undone_card_can_be_decided_again(self, card, ben):
        decide(card, ben)
        undoing.undo(card.pk, actor=ben, at=TEN)

        decide(fresh(card), ben, "reject")

        assert fresh(card).state == "rejected"
        assert Decision.objects.filter(final=True, voided_at=None).count() == 1

    def test_an_undone_edit_gives_the_agents_arguments_back(self, card, ben):
        decide(card, ben, "edit", args=EDITED)

        row = undoing.undo(card.pk, actor=ben, at=TEN)

        assert (row.args, row.digest) == (ROUTE_ARGS, card.digest)

    def test_somebody_elses_approval_is_not_mine_to_undo(self, card, ben, ann):
        decide(card, ben)

        with pytest.raises(Forbidden):
            undoing.undo(card.pk, actor=ann, at=TEN)

    def test_an_operator_voids_every_approval(self, team, ada, ann, ben, cora):
        high = make_proposal(team, ada, **HIGH)
        decide(high, ann)
        decide(fresh(high), ben)

        row = undoing.undo(high.pk, actor=cora, at=TEN)

        assert row.approvals_given == 0
        assert not Decision.objects.filter(voided_at=None).exists()

    def test_the_last_of_two_leaves_the_first_standing(self, team, ada, ann, ben):
        high = make_proposal(team, ada, **HIGH)
        decide(high, ann)
        decide(fresh(high), ben)

        assert undoing.undo(high.pk, actor=ben, at=TEN).approvals_given == 1
        assert decide(fresh(high), ben).proposal.state == "queued"

    def test_the_first_of_two_takes_the_last_with_it(self, team, ada, ann, ben):
        high = make_proposal(team, ada, **HIGH)
        decide(high, ann)
        decide(fresh(high), ben)

        assert undoing.undo(high.pk, actor=ann, at=TEN).approvals_given == 0
        decide(fresh(high), ann)
        assert decide(fresh(high), ben).proposal.state == "queued"

    def test_an_undone_edit_of_two_voids_the_approval_of_the_edit(self, team, ada, ann, ben):
        high = make_proposal(team, ada, **HIGH)
        decide(high, ben, "edit", args=EDITED)
        decide(fresh(high), ann)

        row = undoing.undo(high.pk, actor=ben, at=TEN)

        assert (row.approvals_given, row.args) == (0, ROUTE_ARGS)

    def test_there_is_nothing_to_undo_on_an_open_card(self, card, ben):
        with pytest.raises(errors.NotQueued):
            undoing.undo(card.pk, actor=ben, at=TEN)

    def test_an_outsider_learns_nothing(self, card, ben, eve):
        decide(card, ben)

        with pytest.raises(errors.NotFound):
            undoing.undo(card.pk, actor=eve, at=TEN)


class TestClaims:
    def test_a_claim_lasts_five_minutes_and_is_a_move(self, card, ben):
        row = claims.claim(card.pk, actor=ben, at=TEN)

        assert (row.state, row.version, row.claimed_by, row.claim_until) == (
            "claimed",
            2,
            ben,
            TEN + timedelta(minutes=5),
        )

    def test_renewing_moves_the_lease_only(self, card, ben):
        claims.claim(card.pk, actor=ben, at=TEN)

        row = claims.claim(card.pk, actor=ben, at=TEN + timedelta(minutes=3))

        assert (row.version, row.claim_until) == (2, TEN + timedelta(minutes=8))

    def test_a_second_claimant_is_told_who_holds_it(self, card, ben, ann):
        claims.claim(card.pk, actor=ben, at=TEN)

        with pytest.raises(errors.Claimed, match=r"Ben is deciding, until 10:05\."):
            claims.claim(card.pk, actor=ann, at=TEN + timedelta(minutes=1))

    def test_a_lapsed_lease_may_be_taken_over(self, card, ben, ann):
        claims.claim(card.pk, actor=ben, at=TEN)

        assert claims.claim(card.pk, actor=ann, at=TEN + timedelta(minutes=5)).claimed_by == ann

    def test_the_holder_gives_it_back(self, card, ben, ann):
        claims.claim(card.pk, actor=ben, at=TEN)

        with pytest.raises(errors.Claimed):
            claims.release(card.pk, actor=ann, at=TEN)
        assert claims.release(card.pk, actor=ben, at=TEN).state == "pending"
        assert claims.release(card.pk, actor=ben, at=TEN).version == 3

    def test_an_administrator_may_release_it(self, card, ben, ivo):
        claims.claim(card.pk, actor=ben, at=TEN)

        assert claims.release(card.pk, actor=ivo, at=TEN).state == "pending"

    def test_the_sweep_gives_back_what_its_holder_forgot(self, card, ben, audit_events):
        claims.claim(card.pk, actor=ben, at=TEN)

        assert claims.release_stale_claims(at=TEN + timedelta(minutes=4, seconds=59)) == 0
        assert claims.release_stale_claims(at=TEN + timedelta(minutes=5)) == 1
        assert (fresh(card).state, fresh(card).version) == ("pending", 3)
        assert [event["action"] for event in audit_events(card)][-1] == "proposal.released"

    def test_the_sweep_tells_the_open_pages_of_each_team_once(
        self, team, other_team, ada, ben, django_capture_on_commit_callbacks
    ):
        agent = make_agent(team, ada)
        for number in range(2):
            row = make_proposal(team, ada, agent=agent, target=f"desk:tickets/T-{number}")
            claims.claim(row.pk, actor=ben, at=TEN)
        kim, olaf = make_member(other_team, "reviewer"), make_member(other_team, "agent_owner")
        claims.claim(make_proposal(other_team, olaf).pk, actor=kim, at=TEN)

        with django_capture_on_commit_callbacks() as hinted:
            claims.release_stale_claims(at=TEN + timedelta(minutes=5))

        assert sorted(each.args for each in hinted) == sorted([(team.pk,), (other_team.pk,)])

    def test_a_claim_at_the_deadline_finds_it_expired(self, card, ben):
        with pytest.raises(errors.Expired):
            claims.claim(card.pk, actor=ben, at=card.deadline)

        assert fresh(card).state == "expired"


class TestWithdrawal:
    def test_the_agent_takes_it_back_and_the_thread_is_told(self, card):
        row = closing.withdraw(card.pk, reason="The run was cancelled.", actor="agent:7", at=TEN)

        assert (row.state, Decision.objects.get().by_kind) == ("withdrawn", "agent")
        assert ResumeOutbox.objects.get().answer["message"].startswith("Withdrawn: The run was cancelled.")

    def test_a_queued_action_can_still_be_withdrawn(self, card, ben):
        decide(card, ben)

        row = closing.withdraw(card.pk, reason="Not needed", actor=ben.actor, at=TEN)

        assert row.state == "withdrawn"
        assert sorted(ResumeOutbox.objects.values_list("state", flat=True)) == ["cancelled", "new"]
        assert Decision.objects.filter(final=True, voided_at=None).get().verdict == "approve"

    def test_a_handed_answer_is_not_replaced(self, card, ben):
        decide(card, ben)
        ResumeOutbox.objects.update(state="handed")

        closing.withdraw(card.pk, reason="Not needed", actor="system", at=TEN)

        assert ResumeOutbox.objects.get().answer == {"type": "approve"}

    def test_twice_is_the_same_as_once(self, card):
        closing.withdraw(card.pk, reason="Gone", actor="system", at=TEN)

        assert closing.withdraw(card.pk, reason="Gone", actor="system", at=TEN).version == 2

    def test_what_is_decided_against_stays_so(self, card, ben):
        decide(card, ben, "reject")

        with pytest.raises(errors.AlreadyDecided):
            closing.withdraw(card.pk, reason="Gone", actor="system", at=TEN)


def test_each_move_is_one_version_and_one_audit_event(card, ben, audit_events):
    decide(claims.claim(card.pk, actor=ben, at=TEN), ben)
    undoing.undo(card.pk, actor=ben, at=TEN)

    events = audit_events(card)
    assert [(event["action"], event["payload"]["moves"]) for event in events] == [
        ("proposal.pending", ["T1", "T4"]),
        ("proposal.claimed", ["T5"]),
        ("proposal.decided", ["T7", "T13"]),
        ("proposal.undone", ["T14"]),
    ]
    assert [event["payload"]["version"] for event in events] == [1, 2, 3, 4]


def test_higher_floors_hear_of_it_after_commit(card, ben, django_capture_on_commit_callbacks):
    from apps.approvals.signals import decided

    heard = []

    def listen(**facts):
        heard.append(facts["proposal_id"])

    decided.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            decide(card, ben, "reject")
    finally:
        decided.disconnect(listen)

    assert heard == [card.pk]
