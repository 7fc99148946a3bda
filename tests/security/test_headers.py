"""S1, S4; ASVS 3.2.1, 3.3.1-3.3.3, 3.4.1, 3.4.3-3.4.6, 3.4.8."""

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from tests.security.doors import each_door

pytestmark = pytest.mark.django_db

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def policy_of(response):
    directives = (each.strip().partition(" ") for each in response.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in directives if name}


def check(response, door):
    # Not ready is an answer: no beat and no broker need run here.
    assert response.status_code < 500 or str(door).startswith("readyz"), f"{door} answered {response.status_code}"
    assert policy_of(response) == POLICY, f"{door} has another content security policy"
    for name, value in HEADERS.items():
        assert response.headers.get(name) == value, f"{door} has no {name}: {value}"
    assert "HX-Request" in response.headers.get("Vary", ""), f"{door} may serve a fragment as a page: no Vary"


@each_door
def test_csp_on_every_url(client, world, door):
    client.force_login(world.insider)

    response = client.get(door.somewhere())

    check(response, door)
    assert "no-store" in response.headers.get("Cache-Control", ""), f"{door} may stay in a cache of somebody signed in"


@each_door
def test_csp_on_every_url_for_strangers(client, world, door):
    check(client.get(door.somewhere()), door)


@each_door
def test_csp_on_every_refused_change(client, world, door):
    client.force_login(world.insider)

    check(client.post(door.somewhere()), door)


def test_a_page_that_is_none_has_the_headers_too(client, world):
    client.force_login(world.insider)

    check(client.get("/no/such/page/"), "a missing page")


def test_pages_hold_no_inline_script_or_style(client, world):
    client.force_login(world.insider)

    page = client.get(reverse("accounts:me")).content.decode()

    assert "<style" not in page
    assert " style=" not in page
    assert "hx-on" not in page
    assert all(" src=" in tag for tag in page.split("<script")[1:])


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(client, ben):
    client.post(reverse("account_login"), {"login": "ben@example.com", "password": "correct horse battery"})

    for cookie in ("sessionid", "csrftoken"):
        flags = client.cookies[cookie]
        assert (flags["httponly"], flags["samesite"], flags["path"]) == (True, "Lax", "/")


@override_settings(
    SECURE_HSTS_SECONDS=31_536_000,
    SECURE_HSTS_INCLUDE_SUBDOMAINS=True,
    SECURE_HSTS_PRELOAD=True,
    SECURE_SSL_REDIRECT=True,
)
def test_with_tls_plain_http_is_sent_away_and_strict_transport_promised(world):
    client = Client()

    assert client.get(reverse("account_login")).headers["Location"].startswith("https://")
    secure = client.get(reverse("account_login"), secure=True)
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
