"""R6: put aside is neither yes nor no, and nobody else notices."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims, snoozing
from apps.approvals.domain import snooze
from apps.approvals.models import Snooze
from apps.approvals.queries import cards, inbox
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_proposal

HOUR = timedelta(hours=1)
HTMX = {"HX-Request": "true"}
moments = st.timedeltas(timedelta(0), timedelta(days=365)).map(lambda passed: TEN + passed)
spans = st.timedeltas(timedelta(0), timedelta(days=60))


class TestRule:
    @pytest.mark.parametrize(
        ("now", "length", "until"),
        [
            (TEN, HOUR, TEN + HOUR),
            (TEN, 9 * HOUR, TEN + 9 * HOUR),
            (TEN, 10 * HOUR, TEN + 9 * HOUR),
            (TEN + 8 * HOUR, 4 * HOUR, TEN + 9 * HOUR),
            (TEN + 9 * HOUR, HOUR, None),
            (TEN + 11 * HOUR, HOUR, None),
            (TEN, timedelta(0), None),
            (TEN, timedelta.max, TEN + 9 * HOUR),
        ],
    )
    def test_of_ten_hours_the_last_one_is_left(self, now, length, until):
        assert snooze.until(now, length, created_at=TEN, due=TEN + 10 * HOUR) == until

    @given(moments, moments, spans, spans)
    def test_it_ends_after_now_and_with_a_tenth_of_the_window_left(self, now, created, window, length):
        due = created + window
        until = snooze.until(now, length, created_at=created, due=due)

        if until is not None:
            assert now < until <= now + length
            assert due - until >= 0.1 * window - timedelta(microseconds=1)


class TestSnoozing:
    def test_only_the_person_does_not_see_it_until_it_is_over(self, team, ada, ben):
        ann = make_member(team, Role.REVIEWER, name="Ann")
        row = make_proposal(team, ada)

        snoozing.snooze(row.pk, length=HOUR, actor=ben, at=TEN)

        assert inbox.inbox_rows(ben, at=TEN) == []
        assert (inbox.waiting_count(ben, at=TEN), inbox.next_waiting(ben, at=TEN)) == (0, None)
        assert inbox.queue(ben, at=TEN).sentence == "Nothing waits for a human."
        assert [each.id for each in inbox.inbox_rows(ann, at=TEN)] == [row.pk]
        assert [each.id for each in inbox.inbox_rows(ben, at=TEN + HOUR)] == [row.pk]
        assert cards.card(ben, row.pk, at=TEN).snoozed_until == TEN + HOUR
        assert cards.card(ann, row.pk, at=TEN).snoozed_until is None
        assert cards.card(ben, row.pk, at=TEN + HOUR).snoozed_until is None

    def test_it_is_told_to_the_log_and_ends_ones_own_claim(self, team, ada, ben, audit_events):
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=ben, at=TEN)

        snoozing.snooze(row.pk, length=HOUR, actor=ben, at=TEN)

        row.refresh_from_db()
        assert (row.state, row.claimed_by) == ("pending", None)
        told = audit_events(row)[-1]
        assert (told["action"], told["payload"]["moves"]) == ("proposal.snoozed", ["T6"])
        assert told["payload"]["until"].startswith("2026-03-02T11:00:00")

    def test_somebody_elses_claim_stays(self, team, ada, ben):
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=make_member(team, Role.REVIEWER), at=TEN)

        snoozing.snooze(row.pk, length=HOUR, actor=ben, at=TEN)

        row.refresh_from_db()
        assert (row.state, row.version) == ("claimed", 2)

    def test_again_means_from_now(self, team, ada, ben):
        row = make_proposal(team, ada)
        for minutes in (0, 30):
            snoozing.snooze(row.pk, length=HOUR, actor=ben, at=TEN + timedelta(minutes=minutes))

        assert Snooze.objects.get().until == TEN + timedelta(minutes=90)

    def test_the_customers_deadline_limits_it_too(self, team, ada, ben):
        row = make_proposal(team, ada, sla_due=TEN + HOUR)

        assert snoozing.snooze(row.pk, length=4 * HOUR, actor=ben, at=TEN).until == TEN + timedelta(minutes=54)

    def test_with_little_time_left_it_cannot_be_put_aside(self, team, ada, ben):
        row = make_proposal(team, ada)

        with pytest.raises(errors.TooLate):
            snoozing.snooze(row.pk, length=HOUR, actor=ben, at=row.deadline - timedelta(minutes=24))

    def test_it_comes_back_when_asked_for(self, team, ada, ben, audit_events):
        row = make_proposal(team, ada)
        snoozing.snooze(row.pk, length=HOUR, actor=ben, at=TEN)

        assert [snoozing.unsnooze(row.pk, actor=ben) for _ in range(2)] == [True, False]

        assert [each.id for each in inbox.inbox_rows(ben, at=TEN)] == [row.pk]
        assert [each["action"] for each in audit_events(row)].count("proposal.unsnoozed") == 1

    def test_what_is_closed_needs_no_hiding(self, team, ada, ben):
        with pytest.raises(errors.AlreadyDecided):
            snoozing.snooze(decide(make_proposal(team, ada), ben).proposal.pk, length=HOUR, actor=ben, at=TEN)

    def test_an_outsider_and_who_may_not_see_hide_nothing(self, team, ada, dev, eve):
        row = make_proposal(team, ada)

        with pytest.raises(errors.NotFound):
            snoozing.snooze(row.pk, length=HOUR, actor=eve, at=TEN)
        with pytest.raises((errors.NotFound, Forbidden)):
            snoozing.snooze(row.pk, length=HOUR, actor=dev, at=TEN)
        with pytest.raises(errors.NotFound):
            snoozing.unsnooze(row.pk, actor=eve)


class TestPage:
    @pytest.fixture
    def row(self, team, ada):
        return make_proposal(team, ada, at=clock())

    def test_it_is_put_aside_and_brought_back(self, client, ben, row):
        client.force_login(ben)

        aside = client.post(f"/inbox/{row.pk}/snooze/", {"minutes": "60"}, headers=HTMX).content.decode()
        assert "Put aside. Only you do not see it" in aside
        assert "Bring it back" in aside
        assert f'id="proposal-{row.pk}"' not in aside

        back = client.post(f"/inbox/{row.pk}/unsnooze/", headers=HTMX).content.decode()
        assert "It is back in your queue." in back
        assert f'id="proposal-{row.pk}"' in back

    def test_without_htmx_the_whole_page_answers(self, client, ben, row):
        client.force_login(ben)

        assert b"<h1>" in client.post(f"/inbox/{row.pk}/snooze/", {"minutes": "15"}).content

    @pytest.mark.parametrize("minutes", ["", "soon", "0", "-5"])
    def test_a_length_that_is_none_is_refused(self, client, ben, row, minutes):
        client.force_login(ben)

        response = client.post(f"/inbox/{row.pk}/snooze/", {"minutes": minutes}, headers=HTMX)

        assert response.status_code == 422
        assert b"Choose for how long." in response.content
        assert not Snooze.objects.exists()

    def test_too_late_is_said(self, client, ben, team, ada):
        row = make_proposal(team, ada, at=clock() - timedelta(hours=3, minutes=50))
        client.force_login(ben)

        response = client.post(f"/inbox/{row.pk}/snooze/", {"minutes": "15"}, headers=HTMX)

        assert response.status_code == 409
        assert b"Too little of its time is left" in response.content
