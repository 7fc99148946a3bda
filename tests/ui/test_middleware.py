import pytest
from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.test import Client, RequestFactory
from django_htmx.middleware import HtmxMiddleware

from apps.ui.middleware import HtmxAnswers

HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/inbox/?q=a"}
THEME = "/ui/theme/"


def answer_to_htmx(response, *told, headers=HTMX):
    """Pass one response through HtmxAnswers with messages waiting."""
    request = RequestFactory().get("/fragment/", headers=headers)
    request.session = {}
    request.user = None
    request._messages = messages.storage.cookie.CookieStorage(request)
    for text in told:
        messages.success(request, text)
    return HtmxMiddleware(HtmxAnswers(lambda _: response))(request)


def test_every_answer_carries_the_headers_of_rule_s1(client, db):
    response = client.get("/accounts/login/")

    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "geolocation=()" in response["Permissions-Policy"]
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "HX-Request" in response["Vary"]


def test_what_a_session_sees_is_not_stored(client, ben):
    client.force_login(ben)

    assert "no-store" in client.get("/ui/theme/")["Cache-Control"]


def test_what_anybody_sees_may_be_stored(client, db):
    assert "Cache-Control" not in client.get("/ui/theme/")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_it_refuses_a_change_that_another_site_started(client, db, headers):
    response = client.post(THEME, {"theme": "dark"}, headers=headers)

    assert response.status_code == 403
    assert b"nothing was changed" in response.content
    assert "theme" not in response.cookies


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://testserver"}, {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}]
)
def test_it_takes_a_change_from_its_own_pages(client, db, headers):
    response = client.post(THEME, {"theme": "dark"}, headers=headers)

    assert response.cookies["theme"].value == "dark"


def test_reading_is_open_to_links_from_elsewhere(client, db):
    response = client.get("/accounts/login/", headers={"Sec-Fetch-Site": "cross-site"})

    assert response.status_code != 403


def test_a_change_without_a_token_is_refused_in_plain_words(db):
    response = Client(enforce_csrf_checks=True).post(THEME, {"theme": "dark"})

    assert response.status_code == 403
    assert b"This form is too old" in response.content


@pytest.mark.parametrize("response", [HttpResponseRedirect("/accounts/login/?next=/x/"), HttpResponse(status=401)])
def test_htmx_is_sent_to_sign_in_with_the_way_back_to_the_page(response):
    answer = answer_to_htmx(response)

    assert answer["HX-Redirect"] == "/accounts/login/?next=/inbox/%3Fq%3Da"


def test_a_redirect_elsewhere_stays_a_redirect():
    assert answer_to_htmx(HttpResponseRedirect("/agents/")).status_code == 302


@pytest.mark.parametrize("status", [200, 409, 422])
def test_messages_ride_along_with_a_fragment(status):
    answer = answer_to_htmx(HttpResponse("<p>row</p>", status=status), "Saved <b>")

    assert answer.status_code == status
    assert answer.content.startswith(b"<p>row</p>")
    assert b'id="messages"' in answer.content
    assert b'hx-swap-oob="beforeend"' in answer.content
    assert b"Saved &lt;b&gt;" in answer.content


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(status=204),
        HttpResponse("{}", content_type="application/json"),
        HttpResponse("", headers={"HX-Redirect": "/inbox/"}),
        HttpResponse("", headers={"HX-Refresh": "true"}),
    ],
)
def test_messages_wait_where_nothing_is_drawn(response):
    before = response.content

    assert answer_to_htmx(response, "Saved").content == before


def test_an_answer_to_a_plain_request_is_left_alone():
    assert answer_to_htmx(HttpResponse("page"), "Saved", headers={}).content == b"page"
