"""A card in a colleague's hands: only to who may decide it, and others still may."""

from datetime import timedelta

import pytest

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims, delegating
from apps.approvals.queries import cards, inbox, reviewers
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_proposal

HTMX = {"HX-Request": "true"}


@pytest.fixture
def ann(team):
    return make_member(team, Role.REVIEWER, name="Ann")


class TestHandingOver:
    def test_it_becomes_theirs_and_ones_own_claim_ends(self, team, ada, ben, ann, audit_events):
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=ben, at=TEN)

        moved = delegating.hand_over(row.pk, to=ann, reason="You know the customer", actor=ben, at=TEN)

        assert (moved.assigned_to, moved.state, moved.version) == (ann, "pending", 3)
        told = audit_events(row)[-1]
        assert (told["action"], told["payload"]["moves"]) == ("proposal.handed_over", ["T6"])
        assert (told["payload"]["to"], told["payload"]["reason"]) == (ann.actor, "You know the customer")

    def test_both_see_whose_it_is_and_either_may_decide(self, team, ada, ben, ann):
        row = make_proposal(team, ada)
        delegating.hand_over(row.pk, to=ann, actor=ben, at=TEN)

        (mine,), (theirs,) = (inbox.inbox_rows(each, at=TEN) for each in (ann, ben))

        assert (mine.assigned_to, mine.assigned_to_me) == ("Ann", True)
        assert (theirs.assigned_to, theirs.assigned_to_me) == ("Ann", False)
        assert cards.card(ben, row.pk, at=TEN).assigned_to == "Ann"
        row.refresh_from_db()
        assert decide(row, ben).decision.actor == ben

    def test_a_delegate_may_get_it(self, team, ada, ben, cora):
        row = make_proposal(team, ada)
        delegating.delegate(team, to=cora, starts=TEN, ends=TEN + timedelta(days=1), actor=ben, at=TEN)

        assert delegating.hand_over(row.pk, to=cora, actor=ben, at=TEN).assigned_to == cora

    @pytest.mark.parametrize("person", ["ben", "ada", "cora", "olga", "eve"])
    def test_it_cannot_go_to_who_may_not_decide_it(self, cast, team, person):
        row = make_proposal(team, cast["ada"])

        with pytest.raises(errors.BadColleague):
            delegating.hand_over(row.pk, to=cast[person], actor=cast["ben"], at=TEN)

    def test_it_cannot_go_to_who_left(self, team, ada, ben, ann):
        ann.is_active = False
        ann.save()

        with pytest.raises(errors.BadColleague):
            delegating.hand_over(make_proposal(team, ada).pk, to=ann, actor=ben, at=TEN)

    def test_only_who_decides_hands_over(self, team, ada, cora, eve, ann):
        row = make_proposal(team, ada)

        with pytest.raises(Forbidden):
            delegating.hand_over(row.pk, to=ann, actor=cora, at=TEN)
        with pytest.raises(errors.NotFound):
            delegating.hand_over(row.pk, to=ann, actor=eve, at=TEN)

    def test_not_what_is_closed_over_or_held_by_somebody_else(self, team, ada, ben, ann):
        closed, late, held = (make_proposal(team, ada) for _ in range(3))
        decide(closed, ben, "reject")
        claims.claim(held.pk, actor=make_member(team, Role.REVIEWER), at=TEN)

        with pytest.raises(errors.AlreadyDecided):
            delegating.hand_over(closed.pk, to=ann, actor=ben, at=TEN)
        with pytest.raises(errors.Expired):
            delegating.hand_over(late.pk, to=ann, actor=ben, at=late.deadline)
        with pytest.raises(errors.Claimed):
            delegating.hand_over(held.pk, to=ann, actor=ben, at=TEN)

    def test_colleagues_are_those_who_may_decide_by_name(self, team, ada, ben, ann, cora, olga):
        ada.memberships.create(team=team, role=Role.REVIEWER)
        row = make_proposal(team, ada)
        delegating.delegate(team, to=olga, starts=TEN, ends=TEN + timedelta(days=1), actor=ann, at=TEN)

        assert reviewers.colleagues(row, at=TEN, but=ben) == [ann, olga]


class TestPage:
    @pytest.fixture
    def row(self, team, ada):
        return make_proposal(team, ada, at=clock())

    def test_it_offers_those_who_may_decide_it(self, client, ben, ann, cora, row):
        client.force_login(ben)

        for headers in (HTMX, {}):
            page = client.get(f"/inbox/{row.pk}/hand-over/", headers=headers).content
            assert b">Ann</option>" in page
            assert b">Cora</option>" not in page

    def test_it_says_when_there_is_nobody(self, client, ben, row):
        client.force_login(ben)

        assert b"Nobody else may decide this card." in client.get(f"/inbox/{row.pk}/hand-over/").content

    def test_it_is_handed_over(self, client, ben, ann, row):
        client.force_login(ben)

        response = client.post(f"/inbox/{row.pk}/hand-over/", {"to": ann.pk, "reason": "Yours"}, headers=HTMX)

        assert b"Handed to Ann. Others of the team may still decide it." in response.content
        assert "· handed to Ann" in response.content.decode()

    def test_without_htmx_the_card_comes_back_with_the_message(self, client, ben, ann, row):
        client.force_login(ben)

        response = client.post(f"/inbox/{row.pk}/hand-over/", {"to": ann.pk}, follow=True)

        assert response.redirect_chain == [(f"/inbox/{row.pk}/", 302)]
        assert b"Handed to Ann." in response.content

    @pytest.mark.parametrize("person", ["cora", "eve", "ben"])
    def test_a_person_who_is_not_offered_is_refused(self, client, cast, ann, row, person):
        client.force_login(cast["ben"])

        response = client.post(f"/inbox/{row.pk}/hand-over/", {"to": cast[person].pk}, headers=HTMX)

        assert response.status_code == 422
        row.refresh_from_db()
        assert row.assigned_to is None

    @pytest.mark.parametrize("door", ["snooze", "unsnooze", "escalate", "hand-over"])
    def test_an_outsider_finds_no_card(self, client, eve, row, door):
        client.force_login(eve)

        assert client.post(f"/inbox/{row.pk}/{door}/", {"minutes": 15}).status_code == 404
        assert client.get(f"/inbox/{row.pk}/hand-over/").status_code == 404

    @pytest.mark.parametrize("door", ["escalate", "hand-over"])
    def test_who_may_only_read_is_refused(self, client, cora, ann, row, door):
        client.force_login(cora)

        assert client.post(f"/inbox/{row.pk}/{door}/", {"to": ann.pk}).status_code == 403
        row.refresh_from_db()
        assert (row.tier, row.assigned_to) == (0, None)
