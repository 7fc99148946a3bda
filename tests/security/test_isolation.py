"""S6; ASVS 8.2.1-8.2.3, 8.4.1: another team's id is answered as one that never was."""

import pytest
from django.urls import reverse

from apps.audit.models import AuditEvent
from tests.security.doors import OF_OBJECTS, each_door, each_door_of_an_object
from tests.security.objects import NOT_OF_A_TEAM, OBJECTS, OPEN_TO_ALL

pytestmark = pytest.mark.django_db


@each_door_of_an_object
def test_each_url_with_foreign_ids_is_404(client, world, eve, door):
    if door.name in NOT_OF_A_TEAM:
        pytest.skip(NOT_OF_A_TEAM[door.name])
    path = door.path(world)

    client.force_login(eve)
    answers = {method: client.generic(method, path).status_code for method in ("GET", "POST")}
    client.force_login(world.insider)
    inside = [client.generic(method, path).status_code for method, code in answers.items() if code != 405]

    assert set(answers.values()) <= {404, 405}, f"{door} tells an outsider about another team's object: {answers}"
    assert 404 in answers.values(), f"{door} answers neither GET nor POST: {answers}"
    # Without this the walk would pass on an object that does not exist at all.
    assert 404 not in inside[:1], f"{door} does not know the object that tests/security/objects.py made for it"


@each_door
def test_strangers_reach_nothing_but_the_door(client, world, door):
    answers = {method: client.generic(method, door.somewhere()) for method in ("GET", "POST")}

    for method, response in answers.items():
        if door.name in OPEN_TO_ALL:
            assert response.status_code < 500 or door.name == "readyz", (
                f"{method} {door} answered {response.status_code}"
            )
        else:
            to_login = response.headers.get("Location", "").startswith(reverse("account_login"))
            is_closed = to_login or response.status_code in {401, 403, 404, 405}
            assert is_closed, f"{method} {door} answered {response.status_code} to somebody not signed in"


def test_the_open_doors_are_real():
    names = {door.name for door in OF_OBJECTS}

    assert set(NOT_OF_A_TEAM) <= names


def test_no_object_is_made_for_a_parameter_that_is_gone():
    parameters = {name for door in OF_OBJECTS for name in door.parameters}
    keys = {f"{door.name} {name}" for door in OF_OBJECTS for name in door.parameters}
    of_apps = {f"{door.name.rpartition(':')[0]} {name}" for door in OF_OBJECTS for name in door.parameters}

    assert set(OBJECTS) <= parameters | keys | of_apps


def test_an_outsiders_reach_is_recorded_as_refused(client, world, eve):
    client.force_login(eve)
    client.post(reverse("accounts:revoke", args=[OBJECTS["membership_id"](world)]))

    assert AuditEvent.objects.filter(action="access.refused", actor=eve.actor).exists()
