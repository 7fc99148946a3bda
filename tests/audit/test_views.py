import datetime as dt

import pytest
from django.db import connection
from django.urls import reverse

from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.audit.queries import Place

SEARCH = reverse("audit:search")
HTMX = {"HX-Request": "true"}


@pytest.fixture
def olga_reads(client, olga):
    client.force_login(olga)
    return client


def tell(action, subject="thing:1", **fields):
    audit.record(action, **{"subject": subject, "actor": "timer", **fields})
    return AuditEvent.objects.newest_first().first()


def shown(response):
    return [row.action for row in response.context["found"].rows if not row.action.startswith("session.")]


def test_an_auditor_sees_the_events_of_their_team_newest_first(olga_reads, team, other_team):
    tell("x.first", team_id=team.pk)
    tell("x.elsewhere", team_id=other_team.pk)
    tell("x.second", team_id=team.pk)
    tell("x.of_no_team")

    response = olga_reads.get(SEARCH)

    assert shown(response) == ["x.of_no_team", "x.second", "x.first"]
    assert "x.elsewhere" not in response.content.decode()


def test_people_and_teams_are_named_beside_their_ids(olga_reads, team, ben):
    tell("x.told", subject=ben.actor, actor=ben.actor, team_id=team.pk)

    page = olga_reads.get(SEARCH).content.decode()

    assert f'Ben <span class="meta">user:{ben.pk}</span>' in page
    assert "<td>Support</td>" in page


def test_it_finds_by_object_actor_action_and_team(olga_reads, team):
    tell("proposal.decided", "proposal:4711", actor="user:81", team_id=team.pk)
    tell("proposal.expired", "proposal:4712", actor="timer", team_id=team.pk)
    tell("run.started", "run:1", actor="user:81")

    def found(**query):
        return shown(olga_reads.get(SEARCH, query))

    assert found(object="proposal:4711") == ["proposal.decided"]
    assert found(object="proposal:47") == []
    assert found(actor="user:81") == ["run.started", "proposal.decided"]
    assert found(action="proposal.") == ["proposal.expired", "proposal.decided"]
    assert found(action="proposal.expired") == ["proposal.expired"]
    assert found(team=f"team:{team.pk}") == ["proposal.expired", "proposal.decided"]


def test_another_team_cannot_be_asked_for(olga_reads, other_team):
    tell("x.elsewhere", team_id=other_team.pk)

    response = olga_reads.get(SEARCH, {"team": f"team:{other_team.pk}"})

    assert "x.elsewhere" not in shown(response)


def test_it_finds_by_time(olga_reads):
    tell("x.told")
    later = (clock() + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")

    assert shown(olga_reads.get(SEARCH, {"until": later})) == ["x.told"]
    assert shown(olga_reads.get(SEARCH, {"since": later})) == []


def test_older_events_are_a_page_away_and_new_ones_do_not_shift_it(olga_reads):
    audit.record_many(audit.Event(action=f"x.n{n}", subject="thing:1", actor="timer") for n in range(60))
    first = olga_reads.get(SEARCH, {"action": "x."})
    tell("x.meanwhile")

    second = olga_reads.get(SEARCH, {"action": "x.", "before": str(first.context["found"].older)})

    assert shown(first) == [f"x.n{n}" for n in range(59, 9, -1)]
    assert shown(second) == [f"x.n{n}" for n in range(9, -1, -1)]
    assert second.context["found"].older is None


@pytest.mark.parametrize(
    "place", ["", "x", "2026-01-01~1", "2026-01-01T00:00:00+00:00~-1", "2026-01-01T00:00:00+00:00~9" + "9" * 30]
)
def test_a_place_that_is_none_starts_at_the_newest(olga_reads, place):
    tell("x.told")

    assert shown(olga_reads.get(SEARCH, {"before": place})) == ["x.told"]


def test_a_place_reads_back_as_itself():
    place = Place(dt.datetime(2026, 3, 1, 10, 15, 30, 123456, tzinfo=dt.UTC), 7)

    assert Place.parse(str(place)) == place


def test_htmx_gets_the_events_alone(olga_reads):
    tell("x.told")

    page = olga_reads.get(SEARCH, headers=HTMX).content.decode()

    assert page.lstrip().startswith('<div id="events"')
    assert "x.told" in page


def test_a_search_without_a_match_says_how_to_search(olga_reads):
    assert "No event matches" in olga_reads.get(SEARCH, {"object": "proposal:9"}).content.decode()


@pytest.mark.parametrize("name", ["ada", "ben", "cora", "dev", "max_", "ivo"])
def test_only_auditors_search(client, request, name):
    client.force_login(request.getfixturevalue(name))

    assert client.get(SEARCH).status_code == 403


def test_the_search_costs_the_same_for_any_length(olga_reads, team, django_assert_num_queries):
    tell("x.told", subject=f"user:{1}", team_id=team.pk)
    with django_assert_num_queries(9):
        olga_reads.get(SEARCH)

    for _ in range(30):
        tell("x.told", subject=f"user:{1}", team_id=team.pk)
    with django_assert_num_queries(9):
        olga_reads.get(SEARCH)


def test_an_event_shows_its_bytes_and_that_they_match(olga_reads, team, ben):
    event = tell("x.told", team_id=team.pk, actor=ben.actor, payload={"note": "<b>café</b>"})

    page = olga_reads.get(reverse("audit:event", args=[event.id])).content.decode()

    assert "The bytes match" in page
    assert event.leaf.hex() in page
    assert event.salt.hex() in page
    assert "&lt;b&gt;café&lt;/b&gt;" in page
    assert "Ben" in page


@pytest.mark.parametrize(
    "change",
    [
        "payload = '{}'",
        "salt = decode(repeat('00', 16), 'hex')",
        "header = replace(header, 'timer', 'other')",
        "pc = leaf",
    ],
)
def test_an_event_edited_behind_the_guard_does_not_match(olga_reads, change):
    event = tell("x.told", payload={"amount": "42.50"})
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(f"UPDATE audit_auditevent SET {change} WHERE id = %s", [event.id])  # noqa: S608  # words of this file
        cursor.execute("SET session_replication_role = origin")

    page = olga_reads.get(reverse("audit:event", args=[event.id])).content.decode()

    assert "The bytes do not match" in page
    assert "The bytes match" not in page


def test_an_erased_event_is_still_proven(olga_reads):
    event = tell("x.told", payload={"amount": "42.50"})
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE audit_auditevent SET payload = NULL, salt = NULL WHERE id = %s", [event.id])
        cursor.execute("SET session_replication_role = origin")

    page = olga_reads.get(reverse("audit:event", args=[event.id])).content.decode()

    assert "The bytes match" in page
    assert "The payload was erased" in page
    assert "42.50" not in page


def test_an_event_of_another_team_is_not_found(olga_reads, other_team):
    event = tell("x.elsewhere", team_id=other_team.pk)

    assert olga_reads.get(reverse("audit:event", args=[event.id])).status_code == 404


@pytest.mark.parametrize("number", [0, 10**30])
def test_an_event_that_never_was_is_not_found(olga_reads, number):
    assert olga_reads.get(reverse("audit:event", args=[number])).status_code == 404
