"""Searches under a name: who sees them, who changes them, and what they count."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals import errors
from apps.approvals.actions import claims, saved_views
from apps.approvals.domain.search import parse
from apps.approvals.models import Proposal, SavedView
from apps.approvals.queries import inbox, views
from apps.audit.models import AuditEvent
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, make_action_type, make_agent, make_proposal, make_version


@pytest.fixture
def ann(team):
    return make_member(team, Role.REVIEWER, name="Ann")


def names(person):
    return [each.name for each in views.views_of(person)]


BUILT_IN = ["All", "Mine", "High risk", "Due soon"]


class TestKeeping:
    def test_a_view_keeps_its_search_in_one_spelling_and_is_told_to_the_log(self, ben):
        row = saved_views.save_view(name="  Dear   ones ", query="risk:HIGH due:<120m", actor=ben)

        assert (row.name, row.query, row.team) == ("Dear ones", "risk:high due:<2h", None)
        assert names(ben) == [*BUILT_IN, "Dear ones"]
        assert AuditEvent.objects.get(object=f"view:{row.pk}").action == "view.saved"

    @pytest.mark.parametrize(
        ("name", "query", "pointer"),
        [
            ("", "risk:high", "/name"),
            ("x" * 61, "risk:high", "/name"),
            ("Dire", "risk:dire", "/query"),
            ("Nothing", "  ", "/query"),
        ],
    )
    def test_what_cannot_be_kept_is_refused_by_its_field(self, ben, name, query, pointer):
        with pytest.raises(errors.BadView) as refused:
            saved_views.save_view(name=name, query=query, actor=ben)
        assert refused.value.pointer == pointer

    def test_a_name_is_ones_own_only_once(self, ben, ann):
        saved_views.save_view(name="Dear", query="risk:high", actor=ben)
        saved_views.save_view(name="Dear", query="risk:high", actor=ann)

        with pytest.raises(errors.BadView, match='You have a view "Dear"'):
            saved_views.save_view(name="Dear", query="risk:low", actor=ben)

    def test_twenty_are_enough(self, ben):
        for number in range(saved_views.MOST):
            saved_views.save_view(name=f"View {number}", query="risk:high", actor=ben)

        with pytest.raises(errors.BadView, match="Remove one first"):
            saved_views.save_view(name="One more", query="risk:high", actor=ben)

    def test_it_is_renamed_moved_and_removed_by_its_owner(self, ben):
        first, second, third = (
            saved_views.save_view(name=name, query="risk:high", actor=ben) for name in ("One", "Two", "Three")
        )

        saved_views.move_view(third.pk, earlier=True, actor=ben)
        saved_views.move_view(first.pk, earlier=True, actor=ben)
        saved_views.move_view(second.pk, earlier=False, actor=ben)
        saved_views.rename_view(second.pk, name="Second", actor=ben)
        assert names(ben)[4:] == ["One", "Three", "Second"]

        saved_views.remove_view(third.pk, actor=ben)
        assert names(ben)[4:] == ["One", "Second"]


class TestSharing:
    @pytest.fixture
    def shared(self, team, ben):
        return saved_views.save_view(name="Dear", query="risk:high", team=team, actor=ben)

    def test_the_team_sees_it_after_its_own(self, team, ben, ann, shared):
        saved_views.save_view(name="My own", query="mine:yes", actor=ann)

        assert names(ann) == [*BUILT_IN, "My own", "Dear"]
        assert views.views_of(ann)[-1].shared_by == "Ben"

    def test_what_is_ones_own_nobody_else_sees(self, ben, ann):
        saved_views.save_view(name="My own", query="mine:yes", actor=ben)

        assert names(ann) == BUILT_IN

    def test_an_outsider_and_who_sees_no_inbox_do_not(self, dev, eve, shared):
        assert names(eve) == names(dev) == BUILT_IN
        for act in (
            lambda: saved_views.rename_view(shared.pk, name="Mine", actor=eve),
            lambda: saved_views.remove_view(shared.pk, actor=eve),
            lambda: saved_views.move_view(shared.pk, earlier=True, actor=eve),
        ):
            with pytest.raises(errors.NotFound):
                act()

    def test_a_colleague_sees_it_and_does_not_change_it(self, ann, shared):
        with pytest.raises(Forbidden):
            saved_views.rename_view(shared.pk, name="Mine", actor=ann)
        with pytest.raises(Forbidden):
            saved_views.remove_view(shared.pk, actor=ann)

    def test_an_administrator_removes_it(self, ivo, shared):
        saved_views.remove_view(shared.pk, actor=ivo)

        assert not SavedView.objects.exists()

    def test_nobody_shares_with_a_team_whose_inbox_they_do_not_see(self, team, eve):
        with pytest.raises(errors.NotFound):
            saved_views.save_view(name="Hello", query="risk:high", team=team, actor=eve)


class TestCounts:
    @pytest.fixture
    def cards(self, team, ada, ben):
        agent = make_agent(team, ada)
        make_action_type(agent)
        make_version(agent)
        rows = [make_proposal(team, ada, agent=agent, title=f"Card {number}") for number in range(4)]
        Proposal.objects.filter(pk=rows[0].pk).update(risk_class="high")
        claims.claim(rows[1].pk, actor=ben, at=TEN)
        return rows

    def test_each_view_counts_what_it_would_show(self, ben, cards):
        saved_views.save_view(name="Last", query='"card 3"', actor=ben)
        saved_views.save_view(name="Closed", query="state:rejected", actor=ben)

        tabs = inbox.queue(ben, search=parse("risk:high"), at=TEN).tabs

        assert [(tab.key, tab.name, tab.count, tab.is_current) for tab in tabs] == [
            ("1", "All", 4, False),
            ("2", "Mine", 1, False),
            ("3", "High risk", 1, True),
            ("4", "Due soon", 0, False),
            ("5", "Last", 1, False),
            ("6", "Closed", None, False),
        ]

    def test_more_views_ask_the_database_no_more_often(self, ben, cards):
        def spent():
            with CaptureQueriesContext(connection) as captured:
                inbox.queue(ben, at=TEN)
            return len(captured)

        inbox.queue(ben, at=TEN)
        before = spent()
        for number in range(8):
            saved_views.save_view(name=f"View {number}", query=f"risk:high card {number}", actor=ben)

        assert spent() == before

    def test_only_nine_have_a_key(self, ben, cards):
        for number in range(8):
            saved_views.save_view(name=f"View {number}", query="risk:high", actor=ben)

        assert [tab.key for tab in inbox.queue(ben, at=TEN).tabs] == list("123456789")
        assert len(names(ben)) == 12


class TestPage:
    def test_a_search_is_kept_from_the_page_and_has_its_key_in_the_inbox(self, client, team, ben):
        client.force_login(ben)
        assert b'value="risk:high"' in client.get("/inbox/views/?q=risk%3Ahigh").content

        page = client.post("/inbox/views/", {"name": "Dear", "query": "risk:high due:<2h"}, follow=True).content

        assert b"Dear" in page
        inbox_page = client.get("/inbox/").content.decode()
        assert 'data-key="5" data-key-label="View: Dear"' in inbox_page
        assert "?q=risk%3Ahigh%20due%3A%3C2h" in inbox_page

    def test_a_mistake_stands_beside_its_field(self, client, ben):
        client.force_login(ben)

        response = client.post("/inbox/views/", {"name": "Dire", "query": "risk:dire"})

        assert response.status_code == 422
        assert b"risk: takes low, medium or high." in response.content

    def test_it_is_renamed_moved_and_removed(self, client, ben):
        rows = [saved_views.save_view(name=name, query="risk:high", actor=ben) for name in ("One", "Two")]
        client.force_login(ben)

        client.post(f"/inbox/views/{rows[0].pk}/", {"do": "rename", "name": "First"})
        client.post(f"/inbox/views/{rows[0].pk}/", {"do": "later"})
        assert names(ben)[4:] == ["Two", "First"]

        client.post(f"/inbox/views/{rows[0].pk}/", {"do": "earlier"})
        client.post(f"/inbox/views/{rows[1].pk}/", {"do": "remove"})
        assert names(ben)[4:] == ["First"]

    def test_an_outsider_finds_no_view_and_no_team_to_share_with(self, client, team, ben, eve):
        row = saved_views.save_view(name="Dear", query="risk:high", team=team, actor=ben)
        client.force_login(eve)

        assert client.post(f"/inbox/views/{row.pk}/", {"do": "remove"}).status_code == 404
        assert client.post("/inbox/views/", {"name": "x", "query": "risk:high", "team": team.pk}).status_code == 422
        assert b"Dear" not in client.get("/inbox/views/").content

    def test_who_may_not_see_the_inbox_has_no_views(self, client, dev):
        client.force_login(dev)

        assert client.get("/inbox/views/").status_code == 403
