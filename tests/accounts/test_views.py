import json
import re

import pytest
from django.core.cache import cache
from django.urls import reverse

from apps.accounts import actions, invitations
from apps.accounts.models import Membership, Role, Team, User
from apps.audit.models import AuditEvent
from tests.factories.accounts import PASSWORD, make_user

pytestmark = pytest.mark.django_db

PEOPLE = reverse("accounts:people")
START = reverse("accounts:start")
LOGIN = reverse("account_login")
NEW_PASSWORD = "a sentence that is long"


@pytest.fixture(autouse=True)
def _no_attempts_counted():
    cache.clear()


@pytest.fixture
def as_(client):
    def sign_in(person):
        client.force_login(person)
        return client

    return sign_in


def told(action):
    return list(AuditEvent.objects.filter(action=action).order_by("id"))


# First run


FIRST = {
    "name": "Ivo",
    "email": "ivo@example.com",
    "team_name": "Support",
    "password1": NEW_PASSWORD,
    "password2": NEW_PASSWORD,
}


def test_an_empty_house_asks_for_its_administrator(client):
    assert client.get(LOGIN).headers["Location"] == START
    assert "Create the administrator" in client.get(START).content.decode()


def test_the_first_administrator_is_signed_in(client):
    response = client.post(START, FIRST)

    assert response.headers["Location"] == reverse("ui:home")
    assert client.session["_auth_user_id"] == str(User.objects.get().pk)
    assert Team.objects.get().name == "Support"


def test_a_weak_first_password_is_refused(client):
    response = client.post(START, FIRST | {"password1": "password", "password2": "password"})

    assert response.status_code == 422
    assert not User.objects.exists()


def test_once_somebody_is_here_there_is_no_first_run(client, ivo):
    assert client.get(START).status_code == 404
    assert client.post(START, FIRST).status_code == 404
    assert User.objects.count() == 1


# Sign-in


def test_a_person_signs_in_by_address_and_password(client, ben):
    response = client.post(LOGIN, {"login": "Ben@Example.com", "password": PASSWORD})

    assert response.status_code == 302
    assert client.session["_auth_user_id"] == str(ben.pk)
    assert [event.actor for event in told("session.opened")] == [ben.actor]


def test_a_wrong_password_is_refused_and_recorded(client, ben):
    client.post(LOGIN, {"login": "ben@example.com", "password": "wrong"})

    assert "_auth_user_id" not in client.session
    (event,) = told("session.refused")
    assert event.object == ben.actor
    assert "wrong" not in event.payload
    assert "ben@" not in event.header


def test_an_unknown_address_is_recorded_as_nobody(client, ben):
    client.post(LOGIN, {"login": "mallory@example.com", "password": "wrong"})

    (event,) = told("session.refused")
    assert event.object == "user:unknown"
    assert json.loads(event.payload) == {"address": "mallory@example.com"}


def test_the_same_answer_for_a_wrong_password_and_an_unknown_address(client, ben):
    known = client.post(LOGIN, {"login": "ben@example.com", "password": "wrong"})
    unknown = client.post(LOGIN, {"login": "nobody@example.com", "password": "wrong"})

    assert known.context["form"].errors == unknown.context["form"].errors


def test_guessing_is_slowed_down(client, ben):
    for _ in range(6):
        client.post(LOGIN, {"login": "ben@example.com", "password": "wrong"})

    client.post(LOGIN, {"login": "ben@example.com", "password": PASSWORD})

    assert "_auth_user_id" not in client.session


def test_a_closed_account_cannot_sign_in(client, ivo, ben):
    actions.deactivate(ben, actor=ivo)

    client.post(LOGIN, {"login": "ben@example.com", "password": PASSWORD})

    assert "_auth_user_id" not in client.session


def test_signing_out_is_recorded(as_, ben):
    as_(ben).post(reverse("account_logout"))

    assert [event.actor for event in told("session.closed")] == [ben.actor]


def test_nobody_signs_up_by_themselves(client, ivo):
    assert client.get("/accounts/signup/").status_code == 404


# Invitations


def link_in(response):
    return re.search(r"http://testserver(/welcome/[^<\s]+)", response.content.decode()).group(1)


@pytest.fixture
def invited(as_, ivo, team):
    given = {"name": "Nora", "email": "nora@example.com", "team": team.pk, "role": Role.REVIEWER}
    response = as_(ivo).post(reverse("accounts:invite"), given)
    as_(ivo).logout()
    return link_in(response)


def test_an_invited_person_chooses_a_password_and_is_in(client, invited, team):
    assert "Welcome, Nora" in client.get(invited).content.decode()

    response = client.post(invited, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})

    nora = User.objects.get(email="nora@example.com")
    assert response.status_code == 302
    assert client.session["_auth_user_id"] == str(nora.pk)
    assert nora.check_password(NEW_PASSWORD)
    assert nora.has_perm("approvals.decide", team.pk)


def test_a_link_works_once(client, invited):
    client.post(invited, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})
    client.logout()

    response = client.get(invited)

    assert response.status_code == 404
    assert "no longer valid" in response.content.decode()


def test_a_weak_password_is_refused(client, invited):
    response = client.post(invited, {"new_password1": "nora", "new_password2": "nora"})

    assert response.status_code == 422
    assert not User.objects.get(email="nora@example.com").has_usable_password()


@pytest.mark.parametrize("number", ["MQ", "x", "----", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
def test_a_forged_link_is_no_link(client, ivo, number):
    assert client.get(reverse("accounts:welcome", args=[number, "abc-def"])).status_code == 404


def test_a_link_of_one_person_does_not_fit_another(client, ivo, ben):
    token = invitations.link_for(ben).strip("/").split("/")[-1]
    number = invitations.link_for(ivo).strip("/").split("/")[-2]

    assert client.get(reverse("accounts:welcome", args=[number, token])).status_code == 404


def test_a_link_to_a_closed_account_is_over(client, invited, ivo):
    User.objects.filter(email="nora@example.com").update(is_active=False)

    assert client.get(invited).status_code == 404


def test_a_new_link_is_recorded_but_not_the_link_itself(as_, ivo, ben):
    response = as_(ivo).post(reverse("accounts:make_link", args=[ben.pk]))

    (event,) = told("person.link_made")
    assert (event.object, event.actor) == (ben.actor, ivo.actor)
    assert link_in(response) not in event.payload + event.header


# People


def test_an_administrator_sees_their_teams_and_members(as_, ivo, ben, eve):
    page = as_(ivo).get(PEOPLE).content.decode()

    assert "ben@example.com" in page
    assert "Add a person" in page
    assert "eve@example.com" not in page
    assert "Elsewhere" not in page


def test_an_auditor_reads_and_changes_nothing(as_, olga, ben):
    client = as_(olga)

    assert "Add a person" not in client.get(PEOPLE).content.decode()
    assert "Give a role" not in client.get(reverse("accounts:person", args=[ben.pk])).content.decode()
    assert client.post(reverse("accounts:deactivate", args=[ben.pk])).status_code == 403
    assert User.objects.get(pk=ben.pk).is_active


def test_a_refusal_says_who_can_grant_the_right_and_is_recorded(as_, ivo, ben, team):
    response = as_(ben).post(reverse("accounts:revoke", args=[ben.memberships.get().pk]))

    page = response.content.decode()
    assert response.status_code == 403
    assert "Ivo can grant it" in page
    (event,) = told("access.refused")
    assert (event.actor, event.object, event.team) == (ben.actor, "right:people.change", f"team:{team.pk}")


def test_an_outsiders_reach_is_answered_as_nothing_and_recorded(as_, eve, ben):
    membership = ben.memberships.get()

    response = as_(eve).post(reverse("accounts:revoke", args=[membership.pk]))

    assert response.status_code == 404
    assert Membership.objects.filter(pk=membership.pk).exists()
    (event,) = told("access.refused")
    assert (event.actor, event.object) == (eve.actor, f"membership:{membership.pk}")


def test_a_role_is_given_on_the_persons_page(as_, ivo, ben, team):
    as_(ivo).post(reverse("accounts:grant", args=[ben.pk]), {"team": team.pk, "role": "operator"})

    assert User.objects.get(pk=ben.pk).has_perm("kill.release", team.pk)


def test_a_role_in_a_foreign_team_cannot_be_given(as_, ivo, ben, other_team):
    response = as_(ivo).post(reverse("accounts:grant", args=[ben.pk]), {"team": other_team.pk, "role": "operator"})

    assert response.status_code == 422
    assert not User.objects.get(pk=ben.pk).has_perm("kill.release", other_team.pk)


def test_a_role_change_is_immediate(client, ivo, ben):
    client.force_login(ivo)
    assert client.get(PEOPLE).status_code == 200
    Membership.objects.filter(user=ivo).update(role=Role.REVIEWER)

    assert client.get(PEOPLE).status_code == 403


def test_a_closed_account_is_out_with_the_next_request(as_, ivo, ben):
    client = as_(ben)
    assert client.get(reverse("accounts:me")).status_code == 200
    actions.deactivate(ben, actor=ivo)

    assert client.get(reverse("accounts:me")).status_code == 302


def test_the_last_administrator_stays_and_the_page_says_why(as_, ivo):
    response = as_(ivo).post(reverse("accounts:revoke", args=[ivo.memberships.get().pk]))

    assert response.status_code == 409
    assert "last administrator" in response.content.decode()


def test_an_address_taken_is_told_at_its_field(as_, ivo, ben, team):
    given = {"name": "Ben", "email": "ben@example.com", "team": team.pk, "role": "reviewer"}

    response = as_(ivo).post(reverse("accounts:invite"), given)

    assert response.status_code == 422
    assert "has an account already" in response.content.decode()


def test_a_team_is_created(as_, ivo):
    as_(ivo).post(reverse("accounts:create_team"), {"name": "Legal", "purpose": "Reads contracts"})

    assert Team.objects.filter(name="Legal", memberships__user=ivo).exists()


def test_somebody_in_no_team_can_be_found_and_placed(as_, ivo, team):
    nora = make_user("Nora")

    assert "Nora" in as_(ivo).get(PEOPLE).content.decode()
    as_(ivo).post(reverse("accounts:grant", args=[nora.pk]), {"team": team.pk, "role": "reviewer"})
    assert User.objects.get(pk=nora.pk).has_perm("approvals.decide", team.pk)


def test_the_people_page_costs_the_same_for_any_length(as_, ivo, team, django_assert_max_num_queries):
    for _ in range(20):
        actions.grant_role(make_user(), team=team, role=Role.REVIEWER, actor=ivo)

    client = as_(ivo)

    with django_assert_max_num_queries(10):
        client.get(PEOPLE)


# One's own page


@pytest.mark.parametrize(("posted", "wants"), [({}, False), ({"wants_mail": "on"}, True)])
def test_a_person_chooses_whether_messages_about_cards_come_by_mail(client, ben, posted, wants):
    client.force_login(ben)
    assert 'name="wants_mail"' in client.get(reverse("accounts:me")).content.decode()

    client.post(reverse("accounts:me"), {"name": "Ben", "time_zone": "UTC", **posted})

    ben.refresh_from_db()
    assert ben.wants_mail is wants


def test_my_page_shows_my_roles_and_changes_my_time_zone(as_, ben):
    client = as_(ben)
    assert "decides what agents propose" in client.get(reverse("accounts:me")).content.decode()

    client.post(reverse("accounts:me"), {"name": "Ben", "time_zone": "Europe/Berlin"})

    assert User.objects.get(pk=ben.pk).time_zone == "Europe/Berlin"


def test_pages_show_times_in_the_persons_zone(as_, olga, team):
    actions.change_profile(olga, name="Olga", time_zone="Pacific/Auckland")

    page = as_(olga).get(reverse("audit:search")).content.decode()

    assert re.search(r"\d\d:\d\d NZ[DS]T", page)


def test_a_time_zone_that_is_none_is_refused(as_, ben):
    response = as_(ben).post(reverse("accounts:me"), {"name": "Ben", "time_zone": "Mars/Olympus"})

    assert response.status_code == 422
    assert User.objects.get(pk=ben.pk).time_zone == "UTC"


def test_an_account_without_a_password_is_told_how_to_get_one(as_):
    nora = make_user("Nora")

    assert as_(nora).get(reverse("account_change_password")).headers["Location"] == reverse("accounts:me")
