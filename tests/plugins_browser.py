"""A real Chromium for tests that need one; they skip where there is none."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# A busy machine draws a page in seconds.
PATIENCE = 30_000


@pytest.fixture
def chromium():
    """A browser for one test: its event loop must be gone before the next test asks the database."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def browse(transactional_db, settings, live_server, monkeypatch, request):
    """Open pages of the live server as a person; what the console reports is kept in `page.reports`."""
    # Playwright runs a loop in this thread; Django would not let a test look at its rows meanwhile.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

    def browse_as(person, path="/inbox/", *, theme="light", width=1440, height=900, **options):
        client = Client()
        client.force_login(person)
        context = request.getfixturevalue("chromium").new_context(
            color_scheme=theme, viewport={"width": width, "height": height}, base_url=live_server.url, **options
        )
        context.set_default_timeout(PATIENCE)
        # A stream of hints would keep its thread, and that one a connection, beyond the end of the test.
        context.route("**/inbox/events/", lambda route: route.abort())
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page = keep_reports(context.new_page())
        page.goto(path)
        return page

    return browse_as


def keep_reports(page):
    """Keep what the console reports in `page.reports`, without the browser's own lines about requests that failed."""
    page.reports = []

    def keep(said):
        if said.type == "error" and not said.text.startswith("Failed to load resource"):
            page.reports.append(said.text)

    page.on("console", keep)
    page.on("pageerror", lambda error: page.reports.append(str(error)))
    return page


def faults_of(page):
    """Return what axe finds on a page, and whether it scrolls sideways."""
    found = Axe().run(page).response["violations"]
    faults = [
        (each["id"], [(node["target"], node["any"][0]["data"] if node["any"] else "") for node in each["nodes"]][:3])
        for each in found
    ]
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return faults + ([("scrolls sideways", too_wide)] if too_wide > 0 else [])
