"""Who had which card before them, and for how long: written by the server when it serves the card."""

from datetime import timedelta

import pytest
from django.db import connection

from apps.approvals import tasks
from apps.approvals.actions import viewing
from apps.approvals.models import CardView
from apps.approvals.queries.cards import card
from apps.approvals.queries.opened import opened_by
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.approvals import decide, make_agent, make_proposal
from tests.factories.attention import make_vigilance

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def proposals(team, ada):
    agent = make_agent(team, ada)
    return [
        make_proposal(team, ada, agent=agent, at=clock(), title=f"Route T-{number}", target=f"desk:tickets/T-{number}")
        for number in (1, 2)
    ]


@pytest.fixture
def as_ben(client, ben):
    client.force_login(ben)
    return client


def views(proposal, user):
    return list(CardView.objects.filter(proposal=proposal.pk, user=user).order_by("opened_at", "id"))


def test_opening_a_card_is_one_row_however_often_the_page_is_drawn(as_ben, ben, proposals):
    for _ in range(3):
        as_ben.get(f"/inbox/{proposals[0].pk}/")

    (view,) = views(proposals[0], ben)
    assert (view.version, view.evidence_opened_at, view.closed_at) == (1, None, None)


def test_the_interface_writes_it_as_well(as_ben, ben, proposals):
    as_ben.get(f"/api/v1/proposals/{proposals[0].pk}")

    assert len(views(proposals[0], ben)) == 1


def test_each_version_that_was_seen_has_its_row(as_ben, ben, proposals):
    as_ben.get(f"/inbox/{proposals[0].pk}/")
    as_ben.post(f"/inbox/{proposals[0].pk}/claim/", headers=HTMX)

    assert [view.version for view in views(proposals[0], ben)] == [1, 2]


def test_opening_another_card_closes_the_one_before(as_ben, ben, proposals):
    first, second = proposals
    as_ben.get(f"/inbox/{first.pk}/")
    as_ben.get(f"/inbox/{second.pk}/")

    assert views(first, ben)[0].closed_at is not None
    assert views(second, ben)[0].closed_at is None


def test_coming_back_is_a_look_of_its_own_but_told_only_once(as_ben, ben, proposals):
    first, second = proposals
    for row in (first, second, first):
        as_ben.get(f"/inbox/{row.pk}/")

    assert len(views(first, ben)) == 2
    assert AuditEvent.objects.filter(action="proposal.viewed", object=f"proposal:{first.pk}").count() == 1


def test_one_persons_look_closes_nobody_elses(client, ben, olga, proposals):
    for person, row in ((ben, proposals[0]), (olga, proposals[1])):
        client.force_login(person)
        client.get(f"/inbox/{row.pk}/")

    assert views(proposals[0], ben)[0].closed_at is None


def test_an_outsider_leaves_no_trace(client, eve, proposals):
    client.force_login(eve)
    client.get(f"/inbox/{proposals[0].pk}/")
    client.post(f"/inbox/{proposals[0].pk}/evidence/")

    assert not CardView.objects.exists()


def test_a_verdict_takes_its_opening_from_the_server_and_closes_the_look(as_ben, ben, proposals):
    row = proposals[0]
    as_ben.get(f"/inbox/{row.pk}/")

    decided = decide(row, ben, at=None).decision

    (view,) = views(row, ben)
    assert decided.opened_at == view.opened_at
    assert view.closed_at == decided.decided_at


def test_claiming_meanwhile_does_not_shorten_the_look(as_ben, ben, proposals):
    row = proposals[0]
    as_ben.get(f"/inbox/{row.pk}/")
    as_ben.post(f"/inbox/{row.pk}/claim/", headers=HTMX)
    row.refresh_from_db()

    decided = decide(row, ben, at=None).decision

    assert decided.opened_at == views(row, ben)[0].opened_at


def test_who_never_opened_it_has_no_opening(ben, proposals):
    assert decide(proposals[0], ben, at=None).decision.opened_at is None


def test_what_a_browser_claims_about_its_opening_is_not_asked(as_ben, ben, proposals):
    row = proposals[0]
    long_ago = (clock() - timedelta(hours=3)).isoformat()
    given = {"verdict": "approve", "version": row.version, "digest": row.digest, "opened_at": long_ago}

    as_ben.post(f"/inbox/{row.pk}/decide/", given, headers=HTMX)

    assert row.decisions.get().opened_at is None


class TestEvidence:
    def test_opening_it_is_noted_once(self, as_ben, ben, proposals):
        as_ben.get(f"/inbox/{proposals[0].pk}/")
        answers = [as_ben.post(f"/inbox/{proposals[0].pk}/evidence/", headers=HTMX) for _ in range(2)]
        at = views(proposals[0], ben)[0].evidence_opened_at

        as_ben.post(f"/inbox/{proposals[0].pk}/evidence/", headers=HTMX)

        assert [answer.status_code for answer in answers] == [204, 204]
        assert at is not None
        assert views(proposals[0], ben)[0].evidence_opened_at == at

    def test_it_is_closed_at_first_and_tells_the_server_when_it_is_opened(self, as_ben, proposals):
        page = as_ben.get(f"/inbox/{proposals[0].pk}/").content.decode()

        pk = proposals[0].pk
        assert (
            f'<details class="noted" id="evidence-{pk}"  hx-post="/inbox/{pk}/evidence/" hx-trigger="toggle once"'
            in page
        )

    def test_without_scripts_a_button_notes_it_and_shows_it(self, as_ben, ben, proposals):
        pk = proposals[0].pk
        door = f'<noscript><form method="post" action="/inbox/{pk}/evidence/">'
        closed = as_ben.get(f"/inbox/{pk}/").content.decode()

        answer = as_ben.post(f"/inbox/{pk}/evidence/")
        shown = as_ben.get(f"/inbox/{pk}/", {"evidence": "open"}).content.decode()

        assert (answer.status_code, answer.headers["Location"]) == (302, f"/inbox/{pk}/?evidence=open#evidence-{pk}")
        assert (door in closed, door in shown) == (True, False)
        assert f'<details class="noted" id="evidence-{pk}" open' in shown
        (view,) = views(proposals[0], ben)
        assert view.evidence_opened_at is not None

    def test_where_vigilance_opens_it_it_counts_as_opened(self, as_ben, ben, proposals):
        make_vigilance(ben, "expanded", at=clock())

        page = as_ben.get(f"/inbox/{proposals[0].pk}/").content.decode()

        pk = proposals[0].pk
        assert f'<details class="noted" id="evidence-{pk}" open hx-post="/inbox/{pk}/evidence/"' in page
        (view,) = views(proposals[0], ben)
        assert view.evidence_opened_at == view.opened_at

    def test_without_an_open_look_nothing_is_noted(self, ben, proposals):
        assert viewing.open_evidence(proposals[0].pk, actor=ben) is False


def test_bulk_can_ask_which_of_its_sample_were_opened(ben, olga, proposals):
    first, second = proposals
    viewing.record_view(card(ben, first.pk), reader=ben)
    viewing.record_view(card(olga, second.pk), reader=olga)

    assert opened_by(ben, [first.pk, second.pk]) == {first.pk}


class TestPartitions:
    def names(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
                " WHERE inhparent = 'approvals_cardview'::regclass ORDER BY relname"
            )
            return [name for (name,) in cursor.fetchall()]

    def test_this_month_and_the_next_three_are_made_once(self):
        tasks.partitions()
        made = self.names()

        assert len(made) == 5
        assert f"approvals_cardview_{clock():%Y_%m}" in made
        assert viewing.make_partitions() == []

    def test_looks_of_before_move_into_their_month(self, ben, proposals):
        viewing.record_view(card(ben, proposals[0].pk), reader=ben)

        tasks.partitions()

        assert viewing.stray_views() == 0
        assert len(views(proposals[0], ben)) == 1

    def test_a_look_of_now_finds_its_month(self, ben, proposals):
        tasks.partitions()

        viewing.record_view(card(ben, proposals[0].pk), reader=ben)

        assert viewing.stray_views() == 0

    def test_what_is_older_than_thirteen_months_goes_and_what_is_newer_stays(self, ben, proposals):
        for months, name in ((14, "old"), (13, "kept")):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT to_char(month, 'YYYY_MM'), to_char(month, 'YYYY-MM-DD'),"
                    " to_char(month + interval '1 month', 'YYYY-MM-DD')"
                    " FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => %s) AS month) AS m",
                    [months],
                )
                label, starts, ends = cursor.fetchone()
                cursor.execute(
                    f"CREATE TABLE approvals_cardview_{label} PARTITION OF approvals_cardview"
                    f" FOR VALUES FROM ('{starts} 00:00+00') TO ('{ends} 00:00+00')"
                )
            if name == "old":
                old = f"approvals_cardview_{label}"
        kept = f"approvals_cardview_{label}"

        dropped = viewing.drop_old_partitions()

        assert dropped == [old]
        assert kept in self.names()

    def test_a_second_beat_changes_nothing(self):
        tasks.partitions()
        before = self.names()

        tasks.partitions()

        assert self.names() == before
