"""One click signs in as one of the cast: on this machine, while the demo runs, and not a moment longer."""

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import User
from tests.factories.accounts import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def rhea(settings):
    settings.DEMO = True
    return make_user(is_demo=True)


def sign_in(client, person, **caller):
    return client.post(f"/demo/sign-in/{person.pk}/", **caller)


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.3", "2001:db8::1", "not an address", ""])
def test_one_click_is_not_for_callers_from_elsewhere(client, rhea, address):
    elsewhere = {"REMOTE_ADDR": address, "HTTP_HOST": "localhost"}

    assert sign_in(client, rhea, **elsewhere).status_code == 404
    assert client.get("/demo/logins/", **elsewhere).status_code == 404


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_one_click_is_for_this_machine(client, rhea, address):
    assert sign_in(client, rhea, REMOTE_ADDR=address).status_code == 302


def test_a_session_of_the_cast_ends_with_the_demo(client, rhea, settings):
    sign_in(client, rhea)
    assert client.get("/me/").status_code == 200

    settings.DEMO = False

    assert client.get("/me/").status_code == 302


def test_the_end_of_a_demo_leaves_real_people_signed_in(client, settings):
    settings.DEMO = True
    client.force_login(make_user())

    settings.DEMO = False

    assert client.get("/me/").status_code == 200


def test_the_cast_does_not_move_in_with_real_people(settings):
    settings.DEMO = True
    make_user()

    with pytest.raises(CommandError, match="real people"):
        call_command("seed_demo")

    assert not User.objects.filter(is_demo=True).exists()
