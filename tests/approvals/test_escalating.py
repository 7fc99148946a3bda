"""R6 and R7: a card that waits too long calls people, and no call is a decision."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors, tasks
from apps.approvals.actions import claims, closing, escalating, undoing
from apps.approvals.domain import escalation
from apps.approvals.domain.policy import Tier
from apps.approvals.models import Proposal
from apps.approvals.queries import cards, inbox
from apps.audit.clock import clock
from tests.factories.accounts import make_member, make_team
from tests.factories.approvals import TEN, decide, make_proposal
from tests.factories.oncall import make_schedule

# A window of 4 hours: half of it is over at noon, four fifths at 13:12.
NOON, TWELVE_PAST_ONE = TEN + timedelta(hours=2), TEN + timedelta(hours=3, minutes=12)
HTMX = {"HX-Request": "true"}
moments = st.timedeltas(timedelta(0), timedelta(days=365)).map(lambda passed: TEN + passed)


class TestRule:
    def test_without_a_policy_of_its_own_half_and_four_fifths(self):
        at = [
            escalation.next_at(escalation.DEFAULT, reached, created_at=TEN, deadline=TEN + timedelta(hours=4))
            for reached in (0, 1, 2)
        ]

        assert at == [NOON, TWELVE_PAST_ONE, None]

    @pytest.mark.parametrize("stored", [[], None, {}, [{"at": 2, "to": "lead"}], [{"at": 0.5, "to": "boss"}], "x"])
    def test_what_cannot_be_read_calls_the_usual_people(self, stored):
        assert escalation.tiers_of(stored) == escalation.DEFAULT

    def test_beyond_the_last_tier_the_last_is_called_again(self):
        tiers = (Tier(Decimal("0.5"), "on_duty"), Tier(Decimal("0.9"), "deputy"))

        assert [escalation.called_by(tiers, step) for step in (1, 2, 3, 9)] == ["on_duty", "deputy", "deputy", "deputy"]

    def test_without_a_window_nobody_is_called(self):
        assert escalation.next_at(escalation.DEFAULT, 0, created_at=TEN, deadline=None) is None
        assert escalation.next_at(escalation.DEFAULT, 0, created_at=TEN, deadline=TEN) is None

    @given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=30)))
    def test_every_call_lies_inside_the_window_and_later_than_the_one_before(self, created, window):
        first, second = (
            escalation.next_at(escalation.DEFAULT, reached, created_at=created, deadline=created + window)
            for reached in (0, 1)
        )

        assert created < first < second < created + window


class TestSweep:
    def test_it_calls_who_is_on_duty_and_then_the_lead(self, team, ada, ben, cora, dev, audit_events):
        make_schedule(team, cora, at=TEN - timedelta(days=1), start_day=TEN.date())
        team.lead = dev
        team.save()
        row = make_proposal(team, ada)
        assert row.next_escalation_at == NOON

        done = [escalating.escalate_due(at) for at in (NOON - timedelta(seconds=1), NOON, NOON, TWELVE_PAST_ONE)]

        assert done == [0, 1, 0, 1]
        told = [each for each in audit_events(row) if each["action"] == "proposal.escalated"]
        assert [(each["actor"], each["payload"]["to"], each["payload"]["people"]) for each in told] == [
            ("timer", "on_duty", [cora.actor]),
            ("timer", "lead", [dev.actor]),
        ]
        row.refresh_from_db()
        assert (row.tier, row.next_escalation_at, row.state) == (2, None, "pending")

    def test_in_a_gap_the_lead_is_called_at_once(self, team, ada, dev, audit_events):
        team.lead = dev
        team.save()
        row = make_proposal(team, ada)

        escalating.escalate_due(NOON)

        assert audit_events(row)[-1]["payload"]["people"] == [dev.actor]

    def test_a_policy_may_call_the_deputy_team(self, team, ada, audit_events):
        other = make_team("Deputies")
        other.lead = make_member(other, Role.REVIEWER)
        other.save()
        team.deputy_team = other
        team.save()
        row = make_proposal(team, ada, policy={"escalation": [{"at": 0.25, "to": "deputy"}]})

        assert escalating.escalate_due(TEN + timedelta(hours=1)) == 1

        assert audit_events(row)[-1]["payload"]["people"] == [other.lead.actor]

    def test_a_claim_pauses_it(self, team, ada, ben):
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=ben, at=NOON - timedelta(minutes=1))

        assert escalating.escalate_due(NOON) == 0

        claims.release(row.pk, actor=ben, at=NOON)
        assert escalating.escalate_due(NOON) == 1

    def test_what_is_decided_calls_nobody(self, team, ada, ben):
        row = decide(make_proposal(team, ada), ben).proposal

        assert (row.next_escalation_at, escalating.escalate_due(NOON)) == (None, 0)

    def test_what_is_over_expires_instead(self, team, ada):
        row = make_proposal(team, ada)

        assert escalating.escalate_due(row.deadline) == 0

        row.refresh_from_db()
        assert (row.state, row.tier) == ("expired", 0)

    def test_a_card_that_comes_back_by_an_undo_is_escalated_again(self, team, ada, ben):
        row = decide(make_proposal(team, ada, policy={"undo_s": 15}), ben).proposal

        assert undoing.undo(row.pk, actor=ben, at=TEN).next_escalation_at == NOON

    def test_an_extended_window_belongs_to_the_next_tier(self, team, ada, audit_events):
        row = make_proposal(team, ada, policy={"on_expiry": "extend_once"})

        closing.expire_overdue(at=row.deadline)

        row.refresh_from_db()
        assert (row.state, row.tier, row.deadline) == ("pending", 1, TEN + timedelta(hours=8))
        assert [each["action"] for each in audit_events(row)][-2:] == ["proposal.extended", "proposal.escalated"]
        assert row.next_escalation_at == TEN + 0.8 * timedelta(hours=8)

    def test_advice_calls_nobody(self, team, ada):
        row = make_proposal(team, ada)
        assert Proposal.objects.filter(pk=row.pk, next_escalation_at__isnull=False).exists()

        closing.withdraw(row.pk, reason="Not needed.", actor=f"agent:{row.agent_version.agent_id}", at=TEN)

        assert not Proposal.objects.filter(next_escalation_at__isnull=False).exists()

    def test_the_task_escalates_what_is_due(self, team, ada):
        row = make_proposal(team, ada, at=clock() - timedelta(hours=3))

        tasks.sweep_escalations()

        row.refresh_from_db()
        assert row.tier == 1


class TestByHand:
    def test_a_reviewer_calls_the_next_person_and_their_claim_ends(self, team, ada, ben, dev, audit_events):
        team.lead = dev
        team.save()
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=ben, at=TEN)

        moved, people = escalating.escalate(row.pk, reason="Too large for me", actor=ben, at=TEN)

        assert (moved.state, moved.tier, moved.claimed_by, people) == ("pending", 1, None, [dev])
        told = audit_events(row)[-1]
        assert (told["actor"], told["payload"]["moves"], told["payload"]["reason"]) == (
            ben.actor,
            ["T6"],
            "Too large for me",
        )
        assert cards.card(ben, row.pk, at=TEN).is_escalated
        assert inbox.inbox_rows(ben, at=TEN)[0].is_escalated

    def test_it_comes_instead_of_the_next_turn_of_the_clock(self, team, ada, ben):
        row = make_proposal(team, ada)

        escalating.escalate(row.pk, actor=ben, at=TEN)

        assert escalating.escalate_due(NOON) == 0
        assert escalating.escalate_due(TWELVE_PAST_ONE) == 1

    def test_not_while_somebody_else_decides(self, team, ada, ben):
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=make_member(team, Role.REVIEWER), at=TEN)

        with pytest.raises(errors.Claimed):
            escalating.escalate(row.pk, actor=ben, at=TEN)

    def test_not_what_is_closed_or_over(self, team, ada, ben):
        closed, late = decide(make_proposal(team, ada), ben).proposal, make_proposal(team, ada)

        with pytest.raises(errors.AlreadyDecided):
            escalating.escalate(closed.pk, actor=ben, at=TEN)
        with pytest.raises(errors.Expired):
            escalating.escalate(late.pk, actor=ben, at=late.deadline)
        late.refresh_from_db()
        assert late.state == "expired"

    def test_only_who_decides_may(self, team, ada, cora, eve):
        row = make_proposal(team, ada)

        with pytest.raises(Forbidden):
            escalating.escalate(row.pk, actor=cora, at=TEN)
        with pytest.raises(errors.NotFound):
            escalating.escalate(row.pk, actor=eve, at=TEN)

    def test_the_page_says_who_was_called(self, client, team, ada, ben, dev):
        team.lead = dev
        team.save()
        row = make_proposal(team, ada, at=clock())
        client.force_login(ben)

        response = client.post(f"/inbox/{row.pk}/escalate/", headers=HTMX)

        assert b"Escalated to Dev. It waits on." in response.content
        assert "· escalated" in response.content.decode()

    def test_the_page_says_that_there_is_nobody(self, client, team, ada, ben):
        row = make_proposal(team, ada, at=clock())
        client.force_login(ben)

        assert b"nobody on call and no lead" in client.post(f"/inbox/{row.pk}/escalate/", headers=HTMX).content
