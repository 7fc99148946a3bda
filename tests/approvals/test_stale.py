"""R9 and R5: a target that moved is never decided on unseen, and the agent that is asked proposes anew."""

from datetime import timedelta

import pytest

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims
from apps.approvals.actions.reproposing import repropose
from apps.approvals.checking import mismatches
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.approvals.queries import cards
from apps.approvals.queries.targets import Found, NothingWatched, Unreadable, comparison, target_now
from apps.audit.clock import clock
from apps.connectors import client as connectors
from tests.factories.accounts import make_member
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_proposal

HTMX = {"HX-Request": "true"}
TARGET = "desk:tickets/T-1001"
TOLD = "The target changed after it was proposed: status was open and is now closed. Nothing was executed."
EDITED = {**ROUTE_ARGS, "queue": "network"}


@pytest.fixture
def ann(team):
    return make_member(team, Role.REVIEWER, name="Ann")


@pytest.fixture
def card(team, ada):
    return make_proposal(team, ada)


@pytest.fixture
def open_card(team, ada):
    return make_proposal(team, ada, at=clock())


def fresh(row):
    return Proposal.objects.select_related("action_type", "agent_version", "policy", "body").get(pk=row.pk)


def ask_anew(row, person, *, at=TEN, **shown):
    return repropose(row.pk, **{"version": row.version, "digest": row.digest, **shown}, actor=person, at=at)


class TestTargetNow:
    def test_it_reads_the_watched_fields_where_they_live(self, card, board):
        board.change(TARGET, status="closed", queue="network")

        seen = target_now(card)

        assert isinstance(seen, Found)
        assert (seen.watched_fields, [each.field for each in seen.moved]) == ({"status": "closed"}, ["status"])
        assert board.asked == ["/tickets/T-1001"]

    def test_nobody_is_asked_where_nothing_is_watched(self, team, ada, board):
        card = make_proposal(team, ada, kind={"watch_fields": []})

        assert isinstance(target_now(card), NothingWatched)
        assert board.asked == []

    def test_a_record_that_is_gone_has_moved(self, card, board):
        board.remove(TARGET)

        assert [(each.proposed, each.now) for each in target_now(card).moved] == [("open", None)]

    def test_a_broken_system_is_unreadable(self, card, board):
        board.is_broken = True

        assert isinstance(target_now(card), Unreadable)

    def test_a_system_that_hangs_is_given_up_after_two_seconds(self, card, board):
        connectors.read(TARGET)
        board.may_answer.clear()

        assert "within 2 s" in target_now(card).problem

    def test_a_system_that_did_not_answer_is_not_waited_for_again_in_the_same_request(self, team, ada, board):
        board.is_broken, down = True, set()
        target_now(make_proposal(team, ada), down=down)
        asked = len(board.asked)

        assert isinstance(target_now(make_proposal(team, ada), down=down), Unreadable)

        assert (down, len(board.asked)) == ({"desk"}, asked)

    def test_a_value_that_cannot_be_compared_is_unreadable(self, card, board):
        board.change(TARGET, status=2**60)

        assert isinstance(target_now(card), Unreadable)


class TestDeciding:
    @pytest.mark.parametrize(("verdict", "given"), [("approve", {}), ("edit", {"args": EDITED})])
    def test_a_moved_target_closes_the_card_instead(self, card, ben, board, audit_events, verdict, given):
        board.change(TARGET, status="closed")

        with pytest.raises(errors.Stale) as refused:
            decide(card, ben, verdict, **given)

        row, decision = fresh(card), Decision.objects.get()
        assert (refused.value.status, refused.value.code, refused.value.message) == (409, "stale", TOLD)
        assert (row.state, row.version, row.closed_at, row.args) == ("stale", 2, TEN, ROUTE_ARGS)
        assert (decision.verdict, decision.by_kind, decision.actor, decision.reason) == ("stale", "system", None, TOLD)
        assert row.body.state_found == {"status": "closed"}
        event = audit_events(card)[-1]
        moved = [{"field": "status", "proposed": "open", "now": "closed"}]
        assert (event["action"], event["actor"], event["payload"]["moves"]) == ("proposal.stale", "system", ["T12"])
        assert event["payload"]["moved"] == moved
        assert not list(mismatches())

    def test_the_thread_hears_old_and_new_values_and_that_it_is_no_refusal(self, card, ben, board):
        board.change(TARGET, status="closed")
        with pytest.raises(errors.Stale):
            decide(card, ben)

        answer = ResumeOutbox.objects.get().answer
        assert answer["type"] == "reject"
        assert "status was open and is now closed" in answer["message"]
        assert "This is not a refusal" in answer["message"]

    def test_whoever_comes_later_hears_the_same(self, card, ben, ann, board):
        board.change(TARGET, status="closed")
        with pytest.raises(errors.Stale):
            decide(card, ben)

        with pytest.raises(errors.Stale, match="status was open and is now closed"):
            decide(fresh(card), ann, "reject")

    @pytest.mark.parametrize("verdict", ["reject", "ask"])
    def test_a_no_and_a_question_do_not_ask_the_system(self, card, ben, board, verdict):
        board.change(TARGET, status="closed")

        assert decide(card, ben, verdict).decision.verdict == verdict
        assert board.asked == []

    def test_a_field_that_nobody_watches_may_move(self, card, ben, board):
        board.change(TARGET, queue="network")

        assert decide(card, ben).proposal.state == "queued"

    @pytest.mark.parametrize(("risk", "passes"), [("low", True), ("medium", False), ("high", False)])
    def test_only_low_risk_passes_unread(self, team, ada, ben, board, risk, passes):
        card = make_proposal(team, ada, kind={"risk_class": risk})
        board.is_broken = True
        if passes:
            assert decide(card, ben).proposal.state == "queued"
        else:
            with pytest.raises(errors.Unreadable) as refused:
                decide(card, ben)
            assert (refused.value.status, refused.value.code) == (409, "unreadable")
            assert (fresh(card).state, Decision.objects.count()) == ("pending", 0)

    def test_it_can_be_approved_once_it_can_be_read_again(self, card, ben, board):
        board.is_broken = True
        with pytest.raises(errors.Unreadable):
            decide(card, ben)
        board.is_broken = False

        assert decide(card, ben).proposal.state == "queued"

    def test_a_card_that_may_not_be_decided_is_not_closed_by_trying(self, card, ben, ann, eve, board):
        board.change(TARGET, status="closed")
        claimed = claims.claim(card.pk, actor=ann, at=TEN)

        for person, shown, refusal in (
            (ben, {}, errors.Claimed),
            (ann, {"version": 7}, errors.Changed),
            (ann, {"args": EDITED}, errors.BadVerdict),
            (eve, {}, errors.NotFound),
        ):
            with pytest.raises(refusal):
                decide(claimed, person, **shown)
        assert fresh(card).state == "claimed"

    def test_the_second_of_two_approvals_looks_again(self, team, ada, ann, ben, board):
        high = make_proposal(team, ada, kind={"risk_class": "high"})
        decide(high, ann)
        board.change(TARGET, status="closed")

        with pytest.raises(errors.Stale):
            decide(fresh(high), ben)

        assert fresh(high).state == "stale"
        assert not list(mismatches())


class TestReproposing:
    def test_it_closes_a_card_whose_target_moved_in_the_persons_name(self, card, ben, board, audit_events):
        board.change(TARGET, status="closed")

        row = ask_anew(card, ben)

        decision = Decision.objects.get()
        assert (row.state, decision.verdict, decision.actor) == ("stale", "stale", ben)
        assert audit_events(card)[-1]["actor"] == ben.actor
        assert "is now closed" in ResumeOutbox.objects.get().answer["message"]
        assert not list(mismatches())

    def test_twice_is_the_same_as_once(self, card, ben, board):
        board.change(TARGET, status="closed")
        ask_anew(card, ben)

        assert ask_anew(card, ben).version == 2
        assert Decision.objects.count() == 1

    def test_what_did_not_move_is_decided_or_asked_about(self, card, ben):
        with pytest.raises(errors.NotMoved) as refused:
            ask_anew(card, ben)

        assert (refused.value.status, refused.value.message) == (409, "Nothing moved: decide it, or ask.")
        assert fresh(card).state == "pending"

    def test_what_cannot_be_read_stays(self, card, ben, board):
        board.is_broken = True

        with pytest.raises(errors.Unreadable):
            ask_anew(card, ben)

    def test_it_obeys_the_order_of_a_verdict(self, card, ben, ann, cora, eve, team, ada, board):
        ada.memberships.create(team=team, role=Role.REVIEWER)
        board.change(TARGET, status="closed")
        claimed = claims.claim(card.pk, actor=ann, at=TEN)

        for person, shown, refusal in (
            (eve, {}, errors.NotFound),
            (cora, {}, Forbidden),
            (ben, {}, errors.Claimed),
            (ann, {"version": 9}, errors.Changed),
            (ada, {"at": TEN + timedelta(minutes=6)}, errors.SelfApproval),
            (ann, {"at": card.deadline}, errors.Expired),
        ):
            with pytest.raises(refusal):
                ask_anew(claimed, person, **shown)
        assert fresh(card).state == "expired"

    def test_after_a_verdict_it_hears_who_was_first(self, card, ben, ann):
        decide(card, ben)

        with pytest.raises(errors.AlreadyDecided, match=r"Already approved by Ben at 10:00\."):
            ask_anew(card, ann)


class TestThePage:
    def test_it_shows_when_proposed_now_and_if_approved(self, client, ben, open_card, board):
        board.change(TARGET, status="closed")
        client.force_login(ben)

        part = client.get(f"/inbox/{open_card.pk}/now/", headers=HTMX).content.decode()

        assert "The target changed after this was proposed." in part
        assert "status was open and is now closed" in part
        assert [part.count(f">{head}</th>") for head in ("When proposed", "Now", "If approved")] == [1, 1, 1]
        assert f'id="consent-{open_card.pk}" hx-swap-oob="true"' in part
        assert "Re-propose" in part
        assert fresh(open_card).state == "pending"

    def test_it_leaves_the_buttons_where_nothing_moved(self, client, ben, open_card):
        client.force_login(ben)

        part = client.get(f"/inbox/{open_card.pk}/now/", headers=HTMX).content.decode()

        assert "Now</th>" in part
        assert "hx-swap-oob" not in part

    def test_it_says_that_it_cannot_be_read(self, client, ben, open_card, board):
        board.is_broken = True
        client.force_login(ben)

        part = client.get(f"/inbox/{open_card.pk}/now/", headers=HTMX).content.decode()

        assert "The target cannot be read now" in part
        assert "Now</th>" not in part

    def test_without_javascript_it_is_a_page_with_the_same(self, client, ben, open_card, board):
        board.change(TARGET, status="closed")
        client.force_login(ben)

        page = client.get(f"/inbox/{open_card.pk}/now/").content.decode()

        assert "status was open and is now closed" in page
        assert "Re-propose" in page
        assert 'value="approve"' not in page

    def test_the_card_looks_when_somebody_looks_at_it(self, client, ben, open_card, board):
        client.force_login(ben)

        page = client.get(f"/inbox/{open_card.pk}/").content.decode()

        assert f'hx-get="/inbox/{open_card.pk}/now/" hx-trigger="intersect once"' in page
        assert board.asked == []

    def test_the_button_closes_the_card(self, client, ben, open_card, board):
        board.change(TARGET, status="closed")
        client.force_login(ben)
        stamp = {"version": open_card.version, "digest": open_card.digest}

        response = client.post(f"/inbox/{open_card.pk}/repropose/", stamp, headers=HTMX)

        assert response.status_code == 200
        assert b"proposes anew if it still holds" in response.content
        assert b"status was open and is now closed" in response.content
        assert fresh(open_card).state == "stale"

    def test_the_button_says_no(self, client, ben, open_card):
        client.force_login(ben)
        stamp = {"version": open_card.version, "digest": open_card.digest}

        assert client.post(f"/inbox/{open_card.pk}/repropose/", stamp).status_code == 409
        assert client.post(f"/inbox/{open_card.pk}/repropose/", {}).status_code == 409

    def test_an_approval_too_late_says_what_moved(self, client, ben, open_card, board):
        board.change(TARGET, status="closed")
        client.force_login(ben)
        verdict = {"verdict": "approve", "version": open_card.version, "digest": open_card.digest}

        response = client.post(f"/inbox/{open_card.pk}/decide/", verdict, headers=HTMX)

        assert response.status_code == 409
        assert TOLD.encode() in response.content

    @pytest.mark.parametrize("door", ["now", "repropose"])
    def test_an_outsider_finds_nothing(self, client, eve, open_card, door, board):
        client.force_login(eve)

        answer = client.get if door == "now" else client.post
        assert answer(f"/inbox/{open_card.pk}/{door}/").status_code == 404
        assert board.asked == []

    def test_the_row_order_puts_what_moved_first(self, team, ada, ben, board):
        seen = {"queue": "inbox", "status": "open"}
        row = make_proposal(team, ada, at=clock(), state_proposed=seen)
        board.change(TARGET, status="closed")

        found = comparison(ben, row.pk)

        assert [(each.field, each.has_moved) for each in found.rows] == [("status", True), ("queue", False)]


class TestAskedBack:
    """R5: the next proposal of its kind comes in place of the one that was asked about."""

    def again(self, team, ada, row, **fields):
        number = Proposal.objects.count()
        facts = {"thread_id": row.thread_id, "tool_call_id": f"again-{number}", "interrupt_id": f"{number:032x}"}
        return make_proposal(team, ada, agent=row.agent_version.agent, **{**facts, **fields})

    def rounds(self, team, ada, ben, n):
        """Ask back n times and return the card that came last."""
        row = make_proposal(team, ada)
        for _ in range(n):
            decide(row, ben, "ask", reason="Which customer?")
            row = self.again(team, ada, row)
        return row

    def test_it_links_to_the_question_and_shows_it(self, team, ada, ben, card):
        decide(card, ben, "ask", reason="Which customer?")

        row = self.again(team, ada, card)

        shown = cards.card(ben, row.pk, at=TEN).supersedes
        assert row.supersedes_id == card.pk
        assert (shown.id, shown.words, shown.question) == (card.pk, "Asked back by Ben", "Which customer?")

    def test_a_new_proposal_after_a_stale_one_links_too(self, team, ada, ben, card, board):
        board.change(TARGET, status="closed")
        ask_anew(card, ben)

        row = self.again(team, ada, card)

        assert row.supersedes_id == card.pk
        assert "is now closed" in cards.card(ben, row.pk, at=TEN).supersedes.question

    @pytest.mark.parametrize("end", ["reject", "approve", None])
    def test_any_other_end_is_no_question(self, team, ada, ben, card, end):
        if end:
            decide(card, ben, end)

        assert self.again(team, ada, card).supersedes_id is None

    def test_another_thread_is_another_case(self, team, ada, ben, card):
        decide(card, ben, "ask", reason="Which customer?")

        assert self.again(team, ada, card, thread_id="another").supersedes_id is None

    def test_in_a_thread_of_an_agent_elsewhere_only_the_same_target_counts(self, team, ada, ben):
        card = make_proposal(team, ada, thread_id="ext:helper")
        decide(card, ben, "ask", reason="Which customer?")

        other = self.again(team, ada, card, target="desk:tickets/T-2")
        same = self.again(team, ada, card)

        assert (other.supersedes_id, same.supersedes_id) == (None, card.pk)

    def test_the_third_may_still_be_asked_back(self, team, ada, ben):
        row = self.rounds(team, ada, ben, 3)

        assert (row.tier, decide(row, ben, "ask").proposal.state) == (0, "answered")

    def test_after_three_the_next_one_is_escalated_and_is_decided(self, team, ada, ben, board, audit_events):
        row = self.rounds(team, ada, ben, 4)
        board.change(TARGET, status="closed")

        # The first tier was called at once; the second comes when the policy says.
        window = row.deadline - row.created_at
        assert (row.state, row.tier, row.next_escalation_at) == ("pending", 1, row.created_at + 0.8 * window)
        assert [event["action"] for event in audit_events(row)] == ["proposal.pending", "proposal.escalated"]
        assert audit_events(row)[1]["payload"]["to"] == "on_duty"
        for refused in (lambda: decide(row, ben, "ask"), lambda: ask_anew(row, ben)):
            with pytest.raises(errors.AskedEnough) as told:
                refused()
            assert (told.value.status, told.value.code) == (422, "asked_enough")
        assert decide(row, ben, "reject").proposal.state == "rejected"

    def test_the_card_says_so(self, client, team, ada, ben):
        row = self.rounds(team, ada, ben, 4)
        client.force_login(ben)

        page = client.get(f"/inbox/{row.pk}/").content.decode()

        assert "It came back three times already. Decide it, or escalate it." in page
        assert "Which customer?" in page
