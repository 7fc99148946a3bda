"""S4; ASVS 3.5.1, 3.5.3."""

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.security.doors import DOORS, UNSAFE, each_door
from tests.security.objects import EXEMPT_FROM_CSRF_MIDDLEWARE

pytestmark = pytest.mark.django_db


def refused_for_csrf(request, reason=""):
    return HttpResponse(status=403, headers={"X-Refused-For": "csrf"})


@pytest.fixture
def forger(settings, world):
    """Make a browser with the insider's session, driven by a page that does not know the token."""
    settings.CSRF_FAILURE_VIEW = f"{__name__}.refused_for_csrf"
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.insider)
    return client


@each_door
@pytest.mark.parametrize("method", UNSAFE)
def test_every_unsafe_url(forger, door, method):
    response = forger.generic(method, door.somewhere())

    if door.name in EXEMPT_FROM_CSRF_MIDDLEWARE:
        assert response.status_code in {401, 403, 405}, (
            f"{method} {door} answered {response.status_code} to a forged request"
        )
    else:
        assert response.headers.get("X-Refused-For") == "csrf", f"{method} {door} took a request without a CSRF token"


def test_the_views_outside_the_middleware_are_the_listed_ones():
    exempt = {door.name for door in DOORS if getattr(door.view, "csrf_exempt", False)}

    assert exempt == set(EXEMPT_FROM_CSRF_MIDDLEWARE), (
        "A view is exempt from the CSRF middleware: say in EXEMPT_FROM_CSRF_MIDDLEWARE of tests/security/objects.py"
        f" why that is safe, or take the exemption away. Not listed: {exempt - set(EXEMPT_FROM_CSRF_MIDDLEWARE)};"
        f" listed but not exempt: {set(EXEMPT_FROM_CSRF_MIDDLEWARE) - exempt}"
    )


@each_door
@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_another_site_starts_no_change(client, world, door, headers):
    client.force_login(world.insider)

    response = client.post(door.somewhere(), headers=headers)

    assert response.status_code == 403, f"{door} took a change that another site started ({headers})"


def test_our_own_page_with_its_token_is_let_in(world):
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.insider)
    client.get("/me/")
    token = client.cookies["csrftoken"].value

    response = client.post(
        "/me/",
        {"name": "Insider", "time_zone": "UTC"},
        headers={"X-CSRFToken": token, "Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"},
    )

    assert response.status_code == 302
