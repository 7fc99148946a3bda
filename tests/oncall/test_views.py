from datetime import UTC, datetime, timedelta

import pytest

from apps.oncall import queries
from apps.oncall.models import Layer
from tests.factories.agents import make_agent
from tests.factories.oncall import make_schedule

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def enter(client):
    def enter_as(person):
        client.force_login(person)
        return client

    return enter_as


def form(*people, **fields):
    turns = {f"person_{place}": person.pk for place, person in enumerate(people, start=1)}
    start = {"start_day": "2026-01-05", "start_time": "09:00", "zone": "Europe/Berlin"}
    return {"unit": "weekly", "length": 1, **start, **turns, **fields}


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_the_page_says_who_answers_now_and_next(enter, team, ben, cora, headers):
    make_schedule(team, ben, cora, at=datetime(2026, 1, 1, tzinfo=UTC), start_day=datetime(2026, 1, 5).date())  # noqa: DTZ001  # a day has no zone

    page = enter(cora).get("/oncall/", headers=headers).content.decode()

    assert "answers now" in page
    assert "Next shifts" in page
    assert "Every team has somebody who answers." in page


def test_the_page_says_that_nobody_answers_and_offers_a_rotation(enter, team, cora):
    page = enter(cora).get("/oncall/").content.decode()

    assert "Nobody answers for Support." in page
    assert "Add a rotation" in page


def test_a_team_without_a_rota_offers_one_button(enter, team, cora):
    page = enter(cora).get("/oncall/").content.decode()

    assert "Nobody is on call yet" in page
    assert page.count(f'href="/oncall/teams/{team.pk}/"') == 1


def test_those_who_may_only_look_learn_who_can_add_a_rotation(enter, team, dev):
    page = enter(dev).get("/oncall/").content.decode()

    assert "An operator of the team can add a rotation." in page


def test_those_who_may_only_look_are_offered_no_change(enter, dev):
    page = enter(dev).get("/oncall/").content.decode()

    assert "/oncall/teams/" not in page


def test_eve_sees_nothing_of_our_team(enter, team, ben, eve):
    make_schedule(team, ben)

    page = enter(eve).get("/oncall/").content.decode()

    assert "Support" not in page
    assert enter(eve).get(f"/oncall/teams/{team.pk}/").status_code == 404
    assert enter(eve).post(f"/oncall/teams/{team.pk}/", form(eve)).status_code == 404
    assert enter(eve).get(f"/oncall/teams/{team.pk}/answers/").status_code == 404
    assert enter(eve).get(f"/oncall/agents/{make_agent(team=team).pk}/answers/").status_code == 404


def test_a_member_without_the_right_may_not_change_a_rotation(enter, team, ben, dev):
    assert enter(ben).get("/oncall/").status_code == 403
    assert enter(dev).post(f"/oncall/teams/{team.pk}/", form(dev)).status_code == 403
    assert not Layer.objects.exists()


@pytest.mark.parametrize(
    "path", ["/oncall/", "/oncall/teams/1/", "/oncall/teams/1/answers/", "/oncall/agents/1/answers/"]
)
def test_strangers_sign_in_first(client, db, path):
    assert client.get(path).status_code == 302


def test_an_operator_sets_the_first_rotation(enter, team, ben, cora):
    answer = enter(cora).post(f"/oncall/teams/{team.pk}/", form(ben, cora), follow=True)

    assert answer.redirect_chain == [("/oncall/", 302)]
    schedule = Layer.objects.get().schedule
    assert schedule.zone == "Europe/Berlin"
    assert queries.people_in_order(schedule) == [[ben], [cora]]


def test_htmx_moves_on_to_the_list(enter, team, ben, cora):
    answer = enter(cora).post(f"/oncall/teams/{team.pk}/", form(ben), headers=HTMX)

    assert answer.headers["HX-Redirect"] == "/oncall/"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"person_1": ""}, "This field is required"),
        ({"zone": "Middle/Earth"}, "not one of the available choices"),
        ({"length": 0}, "greater than or equal to 1"),
        ({"unit": "yearly"}, "not one of the available choices"),
        ({"start_day": "soon"}, "valid date"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_saved(enter, team, cora, fields, words):
    answer = enter(cora).post(f"/oncall/teams/{team.pk}/", form(cora, **fields), headers=HTMX)

    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert "<html" not in answer.content.decode()
    assert not Layer.objects.exists()


def test_somebody_of_another_team_cannot_be_put_on_call(enter, team, cora, eve):
    answer = enter(cora).post(f"/oncall/teams/{team.pk}/", form(eve))

    assert answer.status_code == 422
    assert not Layer.objects.exists()


def test_the_form_starts_from_the_rotation_that_is_there(enter, team, ben, cora):
    make_schedule(team, cora, ben)

    page = enter(cora).get(f"/oncall/teams/{team.pk}/").content.decode()

    assert page.index(f'<option value="{cora.pk}" selected') < page.index(f'<option value="{ben.pk}" selected')
    assert "Turn 4" in page


def test_the_agents_page_says_who_answers(enter, team, ben, cora):
    now = datetime.now(UTC)
    make_schedule(team, cora, at=now - timedelta(days=1), start_day=(now - timedelta(days=1)).date())
    agent = make_agent(team=team)

    panel = enter(ben).get(f"/oncall/agents/{agent.pk}/answers/", headers=HTMX).content.decode()

    assert "If nobody decides, <b>Cora</b> answers" in panel
    assert "<html" not in panel


@pytest.mark.parametrize(("person", "words"), [("cora", "Add a rotation"), ("ben", "An operator of Support can add")])
def test_an_empty_panel_says_so_and_who_can_help(enter, cast, team, person, words):
    panel = enter(cast[person]).get(f"/oncall/teams/{team.pk}/answers/").content.decode()

    assert "Nobody is on call" in panel
    assert words in panel
