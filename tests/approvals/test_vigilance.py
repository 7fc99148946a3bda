"""R18: second looks, what is measured of each reviewer, and what follows from it at once and overnight."""

import json
from datetime import timedelta

import pytest

from apps.accounts.models import Role
from apps.approvals import errors, tasks
from apps.approvals.actions import closing, escalating, second_looks, vigilance
from apps.approvals.actions.drills import plant_drill
from apps.approvals.actions.vigilance import CoolDown, TooFast
from apps.approvals.domain import pace
from apps.approvals.domain import vigilance as rules
from apps.approvals.models import CardView, Decision, Notice, SecondLook, Vigilance
from apps.approvals.queries import cards, inbox
from apps.approvals.queries import vigilance as queries
from apps.approvals.queries.history import decided_counts
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.slo.actions import _decisions
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_proposal
from tests.factories.attention import REFUND, make_case, make_refund_agent, make_vigilance
from tests.factories.notices import make_channel

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
LATER = TEN + timedelta(hours=1)


@pytest.fixture
def agent(team, ada):
    return make_refund_agent(team, ada)


@pytest.fixture
def bo(team):
    return make_member(team, Role.REVIEWER, name="Bo")


@pytest.fixture
def card(agent):
    return make_proposal(agent.team, agent.owner, agent=agent, at=TEN, **REFUND)


def opened(row, user, at):
    return CardView.objects.create(proposal=row, user=user, version=row.version, opened_at=at)


class TestSecondLooks:
    @pytest.fixture
    def every(self, monkeypatch):
        monkeypatch.setattr(pace, "SECOND_LOOK_SHARE", 1.0)

    @pytest.fixture
    def look(self, agent, card, ben, bo, every):
        decide(card, ben, at=TEN)
        second_looks.plant_due(at=LATER)
        return SecondLook.objects.select_related("proposal").get()

    def test_it_is_the_same_card_and_never_runs(self, look, card):
        row = look.proposal

        assert (row.kind, row.executable, row.interrupt_id, row.state) == ("second_look", False, "", "pending")
        assert (row.args, row.title, row.digest) == (card.args, card.title, card.digest)

    def test_of_an_edited_card_the_second_person_sees_what_the_first_one_saw(self, agent, card, ben, bo, every):
        decide(card, ben, "edit", args={**card.args, "amount": 30.0}, at=TEN)

        second_looks.plant_due(at=LATER)

        assert SecondLook.objects.get().proposal.args == card.args_original

    def test_a_share_of_one_in_twenty_is_drawn_by_a_key_and_stays_drawn(self):
        drawn = [number for number in range(4000) if second_looks.is_drawn(number)]

        assert 120 <= len(drawn) <= 280
        assert drawn == [number for number in range(4000) if second_looks.is_drawn(number)]

    def test_it_is_asked_for_once(self, look):
        assert second_looks.plant_due(at=LATER) == 0

    def test_a_verdict_that_can_still_be_taken_back_is_not_looked_at(self, card, ben, bo, every):
        decide(card, ben, at=TEN)

        assert second_looks.plant_due(at=TEN + timedelta(minutes=14)) == 0

    def test_without_another_reviewer_there_is_none(self, card, ben, every):
        decide(card, ben, at=TEN)

        assert second_looks.plant_due(at=LATER) == 0
        assert not SecondLook.objects.exists()

    def test_the_first_person_never_meets_it(self, client, look, ben):
        client.force_login(ben)
        given = {"verdict": "approve", "version": 1, "digest": look.proposal.digest}

        assert look.proposal_id not in {row.id for row in inbox.inbox_rows(ben, at=LATER)}
        assert inbox.waiting_count(ben, at=LATER) == 0
        with pytest.raises(errors.NotFound):
            decide(look.proposal, ben, at=LATER)
        assert client.get(f"/inbox/{look.proposal_id}/").status_code == 404
        assert client.get(f"/api/v1/proposals/{look.proposal_id}").status_code == 404
        assert client.post(f"/inbox/{look.proposal_id}/decide/", given, headers=HTMX).status_code == 404
        assert client.post(f"/inbox/{look.proposal_id}/evidence/").status_code == 404

    def test_the_second_person_sees_a_card_like_any_other(self, client, look, card, bo):
        shown = cards.card(bo, look.proposal_id, at=LATER)

        assert shown.may_decide
        assert shown.past.total == 0
        assert inbox.waiting_count(bo, at=LATER) == 1
        assert "second" not in str(shown).lower().replace("second_look", "")

    @pytest.mark.parametrize("by_hand", [False, True])
    def test_escalating_it_looks_the_same_and_no_channel_hears_of_it(self, look, bo, cora, by_hand, audit_events):
        team = look.proposal.team
        make_channel(team, cora, events=["escalated"])
        team.lead = cora
        team.save()

        if by_hand:
            assert escalating.escalate(look.proposal_id, actor=bo, at=LATER)[1] == [cora]
        else:
            assert escalating.escalate_due(LATER + timedelta(hours=2)) == 1

        told = audit_events(look.proposal)[-1]
        assert (told["action"], told["payload"]["people"]) == ("proposal.escalated", [cora.actor])
        assert cards.card(bo, look.proposal_id, at=LATER).is_escalated
        assert not Notice.objects.exists()

    @pytest.mark.parametrize(("verdict", "agrees"), [("approve", True), ("reject", False), ("ask", False)])
    def test_agreement_is_told_to_both(self, client, look, ben, bo, verdict, agrees):
        decided = decide(look.proposal, bo, verdict, at=LATER)

        look.refresh_from_db()
        assert (look.agrees, look.revealed_at) == (agrees, LATER)
        assert "second look" in decided.revealed.title
        for person in (ben, bo):
            client.force_login(person)
            page = client.get("/inbox/vigilance/").content.decode()
            assert ("Agree" if agrees else "Differ") in page

    @pytest.mark.parametrize(("change", "agrees"), [({"note": "Other words."}, True), ({"amount": 30.0}, False)])
    def test_an_edit_agrees_if_it_only_polishes(self, look, bo, change, agrees):
        decide(look.proposal, bo, "edit", args={**look.proposal.args, **change}, at=LATER)

        look.refresh_from_db()
        assert look.agrees is agrees

    def test_one_that_nobody_gave_says_nothing(self, look):
        late = look.proposal.deadline
        closing.expire_overdue(at=late)

        second_looks.settle_undecided(at=late)

        look.refresh_from_db()
        assert (look.agrees, look.revealed_at) == (None, late)

    def test_the_log_tells_both_ends(self, look, bo):
        decide(look.proposal, bo, "reject", at=LATER)

        (settled,) = AuditEvent.objects.filter(action="second_look.settled")
        assert json.loads(settled.payload) == {"first": "approve", "second": "reject", "original": look.original_id}
        assert AuditEvent.objects.filter(action="second_look.planted").count() == 1


class TestWhatIsAskedOfAPerson:
    """Only consent is ever held up; saying no is not."""

    def test_nothing_of_whoever_looks(self, card, ben):
        assert decide(card, ben, at=TEN).decision.is_evidence

    def test_a_reason_where_one_is_required(self, card, ben):
        make_vigilance(ben, "reason")

        with pytest.raises(errors.BadVerdict) as refusal:
            decide(card, ben, at=TEN)
        assert (refusal.value.status, refusal.value.code, refusal.value.pointer) == (422, "bad_reason", "/reason")
        assert decide(card, ben, reason="Order A1 says 40.00.", at=TEN).proposal.state == "queued"

    def test_the_slow_lane_waits_until_the_card_can_have_been_read(self, card, ben):
        make_vigilance(ben, "slow")
        opened(card, ben, TEN)
        floor = rules.reading_floor(queries.words_on(card, card.body))

        with pytest.raises(TooFast, match="s to go") as refusal:
            decide(card, ben, reason="It is right.", at=TEN + floor - timedelta(milliseconds=1))
        assert (refusal.value.status, refusal.value.code) == (422, "too_fast")
        assert decide(card, ben, reason="It is right.", at=TEN + floor).proposal.state == "queued"

    def test_the_slow_lane_wants_the_card_opened(self, card, ben):
        make_vigilance(ben, "slow")

        with pytest.raises(TooFast, match="Open this card"):
            decide(card, ben, reason="It is right.", at=TEN)

    def test_a_cool_down_says_until_when(self, card, ben):
        make_vigilance(ben, "cool_down", cool_down_until=TEN + timedelta(minutes=4))

        with pytest.raises(CoolDown, match="Take ten minutes away from approving: until 10:04") as refusal:
            decide(card, ben, reason="It is right.", at=TEN)
        assert (refusal.value.status, refusal.value.code) == (409, "cool_down")

    def test_it_ends_by_itself(self, card, ben):
        make_vigilance(ben, "cool_down", cool_down_until=LATER)
        opened(card, ben, TEN)

        assert decide(card, ben, reason="It is right.", at=LATER).proposal.state == "queued"

    @pytest.mark.parametrize("verdict", ["reject", "ask"])
    @pytest.mark.parametrize("response", rules.RESPONSES)
    def test_saying_no_is_never_held_up(self, card, ben, verdict, response):
        make_vigilance(ben, response, cool_down_until=TEN + timedelta(minutes=10))

        assert decide(card, ben, verdict, at=TEN).decision.is_evidence

    def test_an_edit_takes_its_time_by_itself(self, card, ben):
        make_vigilance(ben, "slow")

        decided = decide(card, ben, "edit", args={**card.args, "amount": 30.0}, reason="The order says 30.", at=TEN)

        assert decided.proposal.state == "queued"

    def test_approvals_stop_counting_as_evidence(self, card, ben):
        make_vigilance(ben, "no_evidence")
        opened(card, ben, TEN)

        assert not decide(card, ben, reason="It is right.", at=LATER).decision.is_evidence

    def test_what_was_measured_over_a_month_ago_asks_for_nothing(self, card, ben):
        make_vigilance(ben, "no_evidence", day=(TEN - timedelta(days=31)).date())

        assert decide(card, ben, at=TEN).decision.is_evidence

    def test_a_colleagues_vigilance_is_not_mine(self, card, ben, bo):
        make_vigilance(bo, "cool_down", cool_down_until=LATER)

        assert decide(card, ben, at=TEN).proposal.state == "queued"

    def test_the_card_says_what_is_asked_and_offers_room_for_the_reason(self, client, ben, agent):
        now = clock()
        row = make_proposal(agent.team, agent.owner, agent=agent, at=now, **REFUND)
        make_vigilance(ben, "reason", at=now)
        client.force_login(ben)

        page = client.get(f"/inbox/{row.pk}/").content.decode()

        assert "Approving asks for your reason in a few words for now." in page
        assert 'id="approve-reason"' in page

    def test_the_page_takes_the_reason(self, client, ben, agent):
        now = clock()
        row = make_proposal(agent.team, agent.owner, agent=agent, at=now, **REFUND)
        make_vigilance(ben, "reason", at=now)
        client.force_login(ben)
        given = {"verdict": "approve", "version": row.version, "digest": row.digest}

        without = client.post(f"/inbox/{row.pk}/decide/", given, headers=HTMX)
        with_one = client.post(f"/inbox/{row.pk}/decide/", {**given, "reason": "Order A1."}, headers=HTMX)

        assert (without.status_code, with_one.status_code) == (422, 200)
        assert row.decisions.get().reason == "Order A1."

    def test_the_interface_answers_with_the_code(self, client, ben, agent):
        now = clock()
        row = make_proposal(agent.team, agent.owner, agent=agent, at=now, **REFUND)
        make_vigilance(ben, "cool_down", at=now, cool_down_until=now + timedelta(minutes=9))
        client.force_login(ben)

        answer = client.post(
            f"/api/v1/proposals/{row.pk}/decide",
            {"verdict": "approve", "version": row.version, "digest": row.digest, "reason": "Right."},
            content_type="application/json",
        )

        assert (answer.status_code, answer.json()["code"]) == (409, "cool_down")


class TestRuns:
    """A run of approvals that the team's own rate makes unlikely acts once it is that long."""

    def decided(self, agent, person, verdicts, *, at=TEN):
        """Write verdicts as they stand in the table, one a second."""
        rows = [
            make_proposal(agent.team, agent.owner, agent=agent, at=at, **{**REFUND, "target": f"desk:tickets/T-{n}"})
            for n in range(len(verdicts))
        ]
        Decision.objects.bulk_create(
            Decision(
                proposal=row,
                verdict=verdict,
                by_kind="person",
                actor=person,
                digest=row.digest,
                decided_at=at + timedelta(seconds=n),
            )
            for n, (row, verdict) in enumerate(zip(rows, verdicts, strict=True))
        )

    def approve(self, agent, person, *, at, **fields):
        row = make_proposal(agent.team, agent.owner, agent=agent, at=at - timedelta(minutes=5), **REFUND)
        opened(row, person, at - timedelta(minutes=4))
        decided = decide(row, person, at=at, **fields)
        # A worker does this once the verdict is committed.
        vigilance.watch_run(decided.decision.pk, at=at)
        return decided

    @pytest.fixture
    def team_rejects_one_in_five(self, agent, bo):
        self.decided(agent, bo, ["approve"] * 40 + ["reject"] * 10)

    def test_one_before_the_alarm_nothing_happens(self, agent, ben, team_rejects_one_in_five):
        self.decided(agent, ben, ["approve"] * 19)

        self.approve(agent, ben, at=LATER)

        assert not Vigilance.objects.filter(user=ben).exists()

    def test_at_the_alarm_the_evidence_opens_at_once_and_nothing_else(self, agent, ben, team_rejects_one_in_five):
        self.decided(agent, ben, ["approve"] * 20)

        self.approve(agent, ben, at=LATER)

        row = Vigilance.objects.get(user=ben)
        assert (row.response, row.approve_run, row.run_alarm_at, row.cool_down_until) == ("expanded", 21, 21, None)
        assert self.approve(agent, ben, at=LATER + timedelta(seconds=3)).proposal.state == "queued"

    def test_whoever_is_in_doubt_already_takes_ten_minutes_off(self, agent, ben, team_rejects_one_in_five):
        self.decided(agent, ben, ["approve"] * 20)
        make_vigilance(ben, "slow", at=LATER)

        self.approve(agent, ben, at=LATER, reason="It is right.")

        assert Vigilance.objects.get(user=ben).cool_down_until == LATER + timedelta(minutes=10)
        with pytest.raises(CoolDown):
            self.approve(agent, ben, at=LATER + timedelta(minutes=9), reason="It is right.")

    def test_after_the_ten_minutes_the_run_starts_anew(self, agent, ben, team_rejects_one_in_five):
        self.decided(agent, ben, ["approve"] * 20)
        make_vigilance(ben, "slow", at=LATER, cool_down_until=LATER)

        self.approve(agent, ben, at=LATER + timedelta(seconds=1), reason="It is right.")

        assert Vigilance.objects.get(user=ben).cool_down_until == LATER

    def test_a_rejection_ends_the_run(self, agent, ben, team_rejects_one_in_five):
        self.decided(agent, ben, ["approve"] * 10 + ["reject"] + ["approve"] * 15)

        self.approve(agent, ben, at=LATER)

        assert not Vigilance.objects.filter(user=ben).exists()

    def test_where_the_team_is_not_known_yet_there_is_no_alarm(self, agent, ben):
        self.decided(agent, ben, ["approve"] * 40)

        self.approve(agent, ben, at=LATER)

        assert not Vigilance.objects.filter(user=ben).exists()

    def test_a_hundred_quick_low_risk_approvals_are_never_refused(self, team, ada, ben, bo):
        agent = make_refund_agent(team, ada, risk_class="low")
        self.decided(agent, bo, ["approve"] * 45 + ["reject"] * 5)
        self.decided(agent, ben, ["approve"] * 60)

        for n in range(40):
            at = LATER + timedelta(seconds=3 * n)
            row = make_proposal(team, ada, agent=agent, at=at - timedelta(minutes=1), **REFUND)
            opened(row, ben, at - timedelta(seconds=3))
            assert decide(row, ben, at=at).proposal.state == "queued"

        vigilance.roll(ben, at=LATER + timedelta(minutes=5))
        assert Vigilance.objects.get(user=ben).response == "expanded"

    def test_a_worker_hears_of_a_run_and_of_nothing_shorter(
        self, agent, ben, monkeypatch, django_capture_on_commit_callbacks
    ):
        sent = []
        monkeypatch.setattr("celery.current_app.send_task", lambda name, args, **_: sent.append((name, args)))
        self.decided(agent, ben, ["approve"] * 19)

        with django_capture_on_commit_callbacks(execute=True):
            self.approve(agent, ben, at=LATER)
            last = self.approve(agent, ben, at=LATER + timedelta(seconds=3))

        assert [args for name, args in sent if name == vigilance.WATCH_TASK] == [[last.decision.pk]]

    def test_the_alarm_is_in_the_log(self, agent, ben, team_rejects_one_in_five):
        self.decided(agent, ben, ["approve"] * 20)

        self.approve(agent, ben, at=LATER)

        event = AuditEvent.objects.get(action="vigilance.changed")
        assert (event.object, json.loads(event.payload)["because"]) == (f"user:{ben.pk}", "run")


class TestMeasuring:
    def miss(self, agent, person, n, *, at=LATER):
        for number in range(n):
            moment = at + timedelta(minutes=number)
            planted_at = moment - timedelta(minutes=5)
            drill = plant_drill(agent, mutation="amount", seed=number, actor="timer", at=planted_at)
            opened(drill.proposal, person, planted_at)
            decide(drill.proposal, person, reason="It is right.", at=moment)

    def test_a_missed_drill_counts_at_once(self, agent, ben):
        make_case(agent, ben)

        self.miss(agent, ben, 1)

        row = Vigilance.objects.get(user=ben, day=LATER.date())
        assert (row.drills, row.caught, row.response) == (1, 0, "none")

    def test_three_missed_drills_ask_for_reasons_from_the_next_card_on(self, agent, ben, card):
        for n in range(3):
            make_case(agent, ben, at=TEN + timedelta(minutes=n))

        self.miss(agent, ben, 3)

        with pytest.raises(errors.BadVerdict):
            decide(card, ben, at=LATER + timedelta(minutes=10))

    def test_the_fifth_missed_drill_is_followed_by_ten_minutes_off(self, agent, ben):
        for n in range(5):
            make_case(agent, ben, at=TEN + timedelta(minutes=n))

        self.miss(agent, ben, 5)

        row = Vigilance.objects.get(user=ben)
        assert (row.response, row.cool_down_until) == ("cool_down", LATER + timedelta(minutes=14))

    def test_the_figures_of_a_day(self, agent, ben, card):
        opened(card, ben, TEN)
        decide(card, ben, at=TEN + timedelta(seconds=8))

        row = vigilance.roll(ben, at=LATER)

        assert (row.decided, row.drills, row.median_s, row.below_floor, row.approve_run) == (1, 0, 8.0, 1.0, 1)

    def test_low_risk_cards_are_in_no_share_of_haste(self, team, ada, ben):
        agent = make_refund_agent(team, ada, risk_class="low")
        row = make_proposal(team, ada, agent=agent, at=TEN, **REFUND)
        opened(row, ben, TEN)
        decide(row, ben, at=TEN + timedelta(seconds=1))

        assert queries.measured(ben, at=LATER).below_floor is None

    def test_everybody_who_decided_is_measured_once_a_day(self, card, ben, bo):
        decide(card, ben, at=TEN)

        assert vigilance.roll_due(at=LATER) == 1
        assert vigilance.roll_due(at=LATER) == 0
        assert vigilance.roll_due(at=LATER + timedelta(days=1)) == 1
        assert Vigilance.objects.filter(user=ben).count() == 2

    def test_measuring_lets_go_what_no_longer_holds(self, card, ben):
        make_vigilance(ben, "slow", at=TEN - timedelta(days=1))
        decide(card, ben, "reject", at=TEN)

        assert vigilance.roll(ben, at=LATER).response == "none"

    def test_the_tasks_are_in_the_periodic_table_and_do_nothing_on_an_empty_house(self):
        for job in (tasks.plant_drills, tasks.roll_vigilance):
            job()

        assert not Vigilance.objects.exists()


class TestEvidence:
    """Approvals of somebody who does not look happened, and are no ground for more autonomy."""

    @pytest.fixture
    def unlooked(self, agent, card, ben):
        make_vigilance(ben, "no_evidence")
        opened(card, ben, TEN)
        return decide(card, ben, reason="It is right.", at=LATER).decision

    def test_in_the_counts_only_where_they_are_asked_for_as_evidence(self, agent, unlooked):
        assert decided_counts([agent.pk])[agent.pk].approved == 1
        assert decided_counts([agent.pk], as_evidence=True) == {}

    def test_not_in_the_agreement_of_its_reliability(self, unlooked):
        (told,) = _decisions(0, 2**62)

        assert (told.good, told.total) == (0, 0)


class TestPage:
    def test_a_reviewer_reads_their_own_figures_and_what_follows(self, client, ben, card):
        now = clock()
        make_vigilance(ben, "reason", at=now, drills=4, caught=1, catch_lower=0.013, median_s=4.5)
        client.force_login(ben)

        page = client.get("/inbox/vigilance/").content.decode()

        assert "Approving asks for a reason" in page
        assert "For now: Evidence opens by itself; Approving asks for a reason." in page
        assert "1 of 4 drills were caught." in page
        assert "fewer than 80% are caught" in page
        assert "Saying no is never slowed down." in page

    def test_a_colleague_does_not_read_them(self, client, ben, bo):
        make_vigilance(ben, "reason", at=clock())
        client.force_login(bo)

        page = client.get("/inbox/vigilance/").content.decode()

        assert "Nothing measured yet" in page
        assert f"reviewer-{ben.pk}" not in page

    @pytest.mark.parametrize("person", ["ivo", "olga"])
    def test_whoever_looks_after_the_team_reads_all_of_it(self, client, cast, ben, person):
        make_vigilance(ben, "expanded", at=clock(), decided=7)
        client.force_login(cast[person])

        assert f'id="reviewer-{ben.pk}"' in client.get("/inbox/vigilance/").content.decode()

    def test_an_outsider_with_every_role_reads_nothing_of_it(self, client, eve, ben):
        make_vigilance(ben, "expanded", at=clock())
        client.force_login(eve)

        assert f"reviewer-{ben.pk}" not in client.get("/inbox/vigilance/").content.decode()

    @pytest.mark.parametrize("person", ["dev", "max_"])
    def test_who_has_nothing_to_do_with_cards_is_told_whom_to_ask(self, client, cast, person):
        client.force_login(cast[person])

        assert client.get("/inbox/vigilance/").status_code == 403

    def test_days_before_draw_a_line(self, client, ben):
        now = clock()
        for days, seconds in ((2, 9.0), (1, 7.0), (0, 5.0)):
            make_vigilance(ben, "none", at=now - timedelta(days=days), median_s=seconds)
        client.force_login(ben)

        page = client.get("/inbox/vigilance/").content.decode()

        assert "Median seconds to decide over the last 3 days measured" in page
