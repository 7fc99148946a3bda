import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.agents.models import KillSwitch
from apps.audit.models import AuditEvent
from apps.connectors.models import ActionExecution, Connector
from tests.factories.connectors import make_connector, make_execution

SECRET = "tk_live_4f9a-very-secret"
PUBLIC = "https://93.184.216.34"


@pytest.fixture
def form(team):
    return {
        "name": "Ticket desk",
        "key": "tickets",
        "team": team.pk,
        "base_url": f"{PUBLIC}/api",
        "probe_path": "/tickets?limit=1",
        "auth": "api_key",
        "secret": SECRET,
        "network": "",
    }


@pytest.fixture
def as_ivo(client, ivo):
    client.force_login(ivo)
    return client


def test_an_administrator_is_told_to_connect_the_first_system(as_ivo):
    page = as_ivo.get(reverse("connectors:systems"))

    assert b"No systems yet" in page.content
    assert reverse("connectors:connect").encode() in page.content


def test_an_administrator_connects_a_system_and_lands_on_its_page(as_ivo, form):
    page = as_ivo.post(reverse("connectors:connect"), form, follow=True)

    assert b"Ticket desk is connected. Test it" in page.content
    assert b"Nothing was written here yet." in page.content
    connector = Connector.objects.get(key="tickets")
    assert KillSwitch.objects.get(scope="connector", scope_id=connector.pk).engaged is False


def test_a_stored_key_is_never_shown_again(as_ivo, form):
    page = as_ivo.post(reverse("connectors:connect"), form, follow=True)
    again = as_ivo.get(reverse("connectors:system", args=["tickets"]))

    assert SECRET.encode() not in page.content + again.content
    assert b"Stored" in again.content
    assert SECRET.encode() not in bytes(Connector.objects.get(key="tickets").credential.sealed)
    assert not AuditEvent.objects.filter(payload__contains=SECRET).exists()


def test_a_refused_form_does_not_send_the_key_back(as_ivo, form):
    page = as_ivo.post(reverse("connectors:connect"), {**form, "name": ""})

    assert page.status_code == 422
    assert SECRET.encode() not in page.content


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://93.184.216.34:8010", "Plain http is not taken here"),
        ("https://127.0.0.1", "not a public address"),
        ("https://2130706433/", "an address in disguise"),
        ("https://ok.example@evil.example/", "user name or password"),
        ("https://localhost", "not a public address"),
        ("ftp://tickets.example.com", "must begin with https"),
    ],
)
def test_an_unsafe_address_is_refused_with_its_reason(as_ivo, form, url, why):
    page = as_ivo.post(reverse("connectors:connect"), {**form, "base_url": url})

    assert page.status_code == 422
    assert why in page.content.decode()
    assert not Connector.objects.exists()


def test_plain_http_is_refused_from_a_page_even_on_granted_loopback(as_ivo, form):
    given = {**form, "base_url": "http://127.0.0.1:8010", "network": "127.0.0.0/8"}

    page = as_ivo.post(reverse("connectors:connect"), given)

    assert page.status_code == 422
    assert b"Plain http is not taken here" in page.content


def test_a_taken_short_name_is_said_at_its_field(as_ivo, form, team):
    make_connector(team, key="tickets")

    page = as_ivo.post(reverse("connectors:connect"), form)

    assert page.status_code == 422
    assert b"Another system is already called tickets" in page.content


def test_without_a_sealing_key_neither_system_nor_credential_is_kept(as_ivo, form, settings):
    settings.CREDENTIAL_KEY = ""

    page = as_ivo.post(reverse("connectors:connect"), form)

    assert page.status_code == 422
    assert b"CREDENTIAL_KEY is not set" in page.content
    assert not Connector.objects.exists()


def test_the_list_shows_owner_credential_and_unknown_outcomes(as_ivo, team):
    connector = make_connector(team, name="Billing")
    make_execution(connector, state="unknown", started_at="2026-11-01T10:00Z")

    page = as_ivo.get(reverse("connectors:systems")).content.decode()

    assert "Billing" in page
    assert "Support" in page
    assert "Missing" in page
    assert "Not tested yet" in page


def test_the_page_of_a_system_shows_its_ledger_with_names(as_ivo, ben, team):
    connector = make_connector(team)
    make_execution(
        connector, state="unknown", actor=ben.actor, external_ref="tickets/T-9", started_at="2026-11-01T10:00Z"
    )

    page = as_ivo.get(reverse("connectors:system", args=[connector.key])).content.decode()

    assert "1 write may or may not have happened" in page
    assert "tickets/T-9" in page
    assert "Ben" in page


def test_a_test_of_the_connection_says_what_happened(as_ivo, desk_connector):
    page = as_ivo.post(reverse("connectors:test", args=["desk"]), headers={"HX-Request": "true"})

    assert re.search(rb"It answered 200 in \d+ ms", page.content)
    assert b"<html" not in page.content
    assert b"Answers" in as_ivo.get(reverse("connectors:systems")).content


def test_without_javascript_a_test_returns_to_the_page(as_ivo, desk, desk_connector):
    desk.kill()

    page = as_ivo.post(reverse("connectors:test", args=["desk"]), follow=True)

    assert b"could not be reached" in page.content
    assert b"Does not work" in page.content


def test_a_corrected_address_counts_and_another_host_drops_the_key(as_ivo, form):
    as_ivo.post(reverse("connectors:connect"), form)
    to = reverse("connectors:move", args=["tickets"])

    same_host = as_ivo.post(to, {"base_url": f"{PUBLIC}/api/v2"}, follow=True)
    assert b"/api/v2 from now on" in same_host.content
    assert Connector.objects.get(key="tickets").has_credential

    as_ivo.post(to, {"base_url": "https://93.184.216.35/api"})
    assert not Connector.objects.get(key="tickets").has_credential


def test_an_unsafe_new_address_is_refused_and_the_old_one_stays(as_ivo, form):
    as_ivo.post(reverse("connectors:connect"), form)

    page = as_ivo.post(reverse("connectors:move", args=["tickets"]), {"base_url": "https://10.0.0.1"})

    assert page.status_code == 422
    assert b"not a public address" in page.content
    assert Connector.objects.get(key="tickets").base_url == f"{PUBLIC}/api"


def test_a_credential_is_replaced(as_ivo, team):
    connector = make_connector(team)

    page = as_ivo.post(reverse("connectors:credential", args=[connector.key]), {"secret": SECRET}, follow=True)

    assert b"The key is stored" in page.content


def test_a_key_that_no_header_can_carry_is_refused(as_ivo, team):
    connector = make_connector(team)

    page = as_ivo.post(reverse("connectors:credential", args=[connector.key]), {"secret": "schlüssel"})

    assert page.status_code == 422
    assert b"one line of plain characters" in page.content


def test_a_network_is_granted_with_a_reason_and_taken_back(as_ivo, team):
    connector = make_connector(team)

    as_ivo.post(reverse("connectors:grant", args=[connector.key]), {"network": "10.20.0.0/16", "reason": "Data centre"})
    page = as_ivo.get(reverse("connectors:system", args=[connector.key]))
    assert b"10.20.0.0/16" in page.content

    as_ivo.post(reverse("connectors:withdraw", args=[connector.key]), {"network": "10.20.0.0/16"})
    connector.refresh_from_db()
    assert connector.allowed_cidrs == []


def test_a_network_that_nobody_may_grant_is_refused(as_ivo, team):
    connector = make_connector(team)

    page = as_ivo.post(
        reverse("connectors:grant", args=[connector.key]), {"network": "169.254.0.0/16", "reason": "Metadata"}
    )

    assert page.status_code == 422
    assert b"cannot be granted" in page.content


POSTS = ["test", "move", "credential", "grant", "withdraw"]


def test_an_auditor_reads_but_changes_nothing(client, olga, team):
    connector = make_connector(team)
    client.force_login(olga)

    page = client.get(reverse("connectors:system", args=[connector.key]))

    assert page.status_code == 200
    assert b"Test the connection" not in page.content
    assert [client.post(reverse(f"connectors:{name}", args=[connector.key])).status_code for name in POSTS] == [403] * 5
    assert client.get(reverse("connectors:connect")).status_code == 403


def test_an_outsider_cannot_tell_that_a_system_exists(client, eve, team):
    connector = make_connector(team, name="Billing")
    client.force_login(eve)

    assert b"Billing" not in client.get(reverse("connectors:systems")).content
    assert client.get(reverse("connectors:system", args=[connector.key])).status_code == 404
    assert client.get(reverse("connectors:system", args=["no-such"])).status_code == 404
    assert [client.post(reverse(f"connectors:{name}", args=[connector.key])).status_code for name in POSTS] == [404] * 5


def test_an_outsider_cannot_give_a_system_to_a_team_of_others(client, eve, form):
    client.force_login(eve)

    page = client.post(reverse("connectors:connect"), form)

    assert page.status_code == 422
    assert not Connector.objects.exists()


@pytest.mark.parametrize("person", ["ada", "ben", "cora", "dev", "max_"])
def test_people_without_the_right_are_told_who_can_grant_it(client, request, person):
    client.force_login(request.getfixturevalue(person))

    assert client.get(reverse("connectors:systems")).status_code == 403


def test_strangers_are_asked_to_sign_in(client, db):
    page = client.get(reverse("connectors:systems"))

    assert page.status_code == 302
    assert "login" in page.url


def test_the_list_needs_the_same_queries_at_any_length(as_ivo, team):
    make_connector(team)
    with CaptureQueriesContext(connection) as short:
        as_ivo.get(reverse("connectors:systems"))
    for _ in range(5):
        make_execution(make_connector(team), state="unknown", started_at="2026-11-01T10:00Z")

    with CaptureQueriesContext(connection) as long:
        as_ivo.get(reverse("connectors:systems"))

    assert len(long) == len(short)


def test_the_ledger_is_untouched_by_every_page(as_ivo, team):
    connector = make_connector(team)
    make_execution(connector, state="unknown", started_at="2026-11-01T10:00Z")

    as_ivo.get(reverse("connectors:system", args=[connector.key]))

    assert ActionExecution.objects.get().state == "unknown"
