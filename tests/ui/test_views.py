import json

import pytest
from django.views.defaults import server_error

from apps.ui import navigation
from apps.ui.navigation import Item


@pytest.fixture
def nouns(monkeypatch):
    """Two nouns: one that reviewers may see, one for administrators."""
    items = [
        Item("Inbox", "ui:gallery", "inbox", "approvals.view", 1, "i", lambda user: 6),
        Item("Secrets", "ui:theme", "lock", "people.change", 2),
    ]
    monkeypatch.setattr(navigation, "_items", items)
    return items


@pytest.fixture
def open_gallery(settings):
    settings.DEMO = True


def test_home_opens_the_first_noun_a_person_may_see(client, ben, nouns):
    client.force_login(ben)

    assert client.get("/").url == "/ui/"


def test_home_tells_a_person_without_a_role_who_can_help(client, ben, monkeypatch):
    monkeypatch.setattr(navigation, "_items", [])
    client.force_login(ben)

    response = client.get("/")

    assert b"An administrator of the team can grant it" in response.content


def test_home_asks_a_stranger_to_sign_in(client, db):
    assert client.get("/").url.startswith("/accounts/login/")


def test_the_side_bar_shows_only_what_a_person_may_see(client, ben, nouns, open_gallery):
    client.force_login(ben)

    html = client.get("/ui/").content.decode()

    assert 'data-key="g i"' in html
    assert 'id="count-inbox"' in html
    assert "Secrets" not in html
    assert 'aria-current="page"' in html


def test_the_gallery_is_for_the_demo_and_for_administrators(client, settings, ben, ivo):
    settings.DEMO = settings.DEBUG = False

    seen = {}
    for person in (ben, ivo):
        client.force_login(person)
        seen[person.name] = client.get("/ui/").status_code

    assert seen == {"Ben": 404, "Ivo": 200}


def test_the_gallery_draws_with_what_it_needs(client, db, open_gallery):
    response = client.get("/ui/")

    assert response.status_code == 200
    assert b"All clear" in response.content
    assert b"You may not see this" in response.content


@pytest.mark.parametrize(
    ("name", "value"), [("theme", "dark"), ("density", "compact"), ("keys", "off"), ("advance", "off")]
)
def test_a_preference_is_kept_and_written_into_the_page(client, db, open_gallery, name, value):
    response = client.post(f"/ui/{name}/", {name: value, "next": "/ui/"})

    assert response.url == "/ui/"
    assert response.cookies[name]["httponly"]
    assert f'data-{name}="{value}"' in client.get("/ui/").content.decode()


def test_a_preference_by_htmx_changes_the_open_page(client, db):
    response = client.post("/ui/theme/", {"theme": "light"}, headers={"HX-Request": "true"})

    assert response.status_code == 204
    assert json.loads(response["HX-Trigger"]) == {"preference": {"name": "theme", "choice": "light"}}


def test_an_unknown_preference_is_refused(client, db):
    response = client.post("/ui/theme/", {"theme": '"><script>'})

    assert response.status_code == 422
    assert b"<script>" not in response.content
    assert "theme" not in response.cookies


def test_a_forged_cookie_falls_back_to_the_default(client, db, open_gallery):
    client.cookies["theme"] = '"><script>'

    assert 'data-theme="auto"' in client.get("/ui/").content.decode()


@pytest.mark.parametrize("way_back", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_the_way_back_never_leaves_the_house(client, db, way_back):
    response = client.post("/ui/theme/", {"theme": "dark", "next": way_back})

    assert response.url == "/"


def test_a_missing_page_says_what_to_do(client, db):
    response = client.get("/there/is/nothing/")

    assert response.status_code == 404
    assert b"Nothing was changed" in response.content


def test_the_page_of_a_broken_request_needs_nothing_from_it(rf):
    response = server_error(rf.get("/"))

    assert b"Something broke on our side" in response.content


def test_htmx_is_configured_by_rule_s2(client, db, open_gallery):
    html = client.get("/ui/").content.decode()

    config = json.loads(html.split('name="htmx-config"')[1].split("content='")[1].split("'")[0])
    assert config == {
        "selfRequestsOnly": True,
        "allowEval": False,
        "allowScriptTags": False,
        "includeIndicatorStyles": False,
        "defaultSettleDelay": 0,
        "historyCacheSize": 0,
        "responseHandling": [
            {"code": "204", "swap": False},
            {"code": "[23]..", "swap": True},
            {"code": "409|422", "swap": True},
            {"code": "[45]..", "swap": False, "error": True},
        ],
    }


@pytest.mark.parametrize("path", ["/accounts/password/change/", "/accounts/logout/"])
def test_account_pages_wear_our_design(client, ben, path):
    client.force_login(ben)

    html = client.get(path).content.decode()

    assert "ui/app.css" in html
    assert html.count("<h1") == 1
    assert 'class="primary"' in html
