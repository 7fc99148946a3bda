"""The queue under the fingers: search, views, putting aside and handing over by keys, and on a small screen."""

import shutil
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from apps.accounts.models import Role
from apps.approvals.actions import delegating, escalating, saved_views
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_agent, make_proposal

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
# A busy machine draws a page in seconds.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)
LONG = "Refund 1,240.00 EUR to customer C-{} for an order whose name goes on until no line can hold it any more"


@pytest.fixture(autouse=True)
def _rows_beside_the_browser(monkeypatch):
    """Playwright runs a loop in this thread; Django would not let a test look at its rows meanwhile."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.fixture
def ann(transactional_db, team):
    return make_member(team, Role.REVIEWER, name="Ann")


@pytest.fixture
def cards(transactional_db, team, ada, ben, ann):
    """Four long cards: one escalated, one handed over; a view and a delegation of Ben's."""
    agent = make_agent(team, ada)
    rows = [
        make_proposal(team, ada, agent=agent, at=clock(), title=LONG.format(number), target=f"desk:tickets/T-{number}")
        for number in range(1, 5)
    ]
    escalating.escalate(rows[2].pk, actor=ben)
    delegating.hand_over(rows[3].pk, to=ann, actor=ben)
    saved_views.save_view(name="Third", query="T-3", actor=ben)
    delegating.delegate(team, to=ann, starts=clock(), ends=clock() + timedelta(days=2), reason="Leave", actor=ben)
    return rows


@pytest.fixture
def open_page(transactional_db, client, ben, settings, live_server):
    """Open a page as Ben; what the console reports is kept in `page.reports`."""
    client.force_login(ben)
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies[settings.SESSION_COOKIE_NAME].value}
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)

        def open_it(path="/inbox/", theme="light", width=1280, **options):
            context = browser.new_context(
                color_scheme=theme, viewport={"width": width, "height": 800}, base_url=live_server.url, **options
            )
            context.set_default_timeout(PATIENCE)
            # A stream of hints would keep its thread, and that one a connection, beyond the end of the test.
            context.route("**/inbox/events/", lambda route: route.abort())
            context.add_cookies([{**cookie, "url": live_server.url}])
            page = context.new_page()
            page.reports = []
            page.on("pageerror", lambda error: page.reports.append(str(error)))
            page.goto(path)
            return page

        yield open_it
        browser.close()


def rows(page):
    return page.locator("#queue li[id^=proposal-]")


def test_a_search_is_typed_without_losing_the_place(cards, open_page):
    page = open_page()
    expect(rows(page)).to_have_count(4)

    page.keyboard.press("/")
    page.keyboard.type("T-2 risk:dire")

    expect(rows(page)).to_have_count(1)
    expect(page.locator("#queue .errors")).to_contain_text("risk: takes low, medium or high.")
    expect(page.locator("#q")).to_be_focused()
    expect(page.locator("#q")).to_have_value("T-2 risk:dire")
    assert page.url.endswith("/inbox/?q=T-2+risk%3Adire")
    assert page.reports == []


def test_a_view_opens_by_its_key_and_a_card_is_put_aside_and_brought_back(cards, open_page):
    page = open_page()
    expect(rows(page)).to_have_count(4)

    page.keyboard.press("5")
    expect(rows(page)).to_have_count(1)
    expect(page.locator("#q")).to_have_value("t-3")

    page.keyboard.press("1")
    expect(rows(page)).to_have_count(4)
    page.keyboard.press("s")
    page.keyboard.press("2")
    expect(page.locator("#detail [role=alert]")).to_contain_text("Put aside.")
    expect(rows(page)).to_have_count(3)

    page.keyboard.press("s")
    expect(page.locator("#detail [role=alert]")).to_contain_text("It is back in your queue.")
    expect(rows(page)).to_have_count(4)
    assert page.reports == []


def test_a_card_is_handed_over_and_escalated_by_keys(cards, open_page):
    page = open_page()

    page.keyboard.press("d")
    page.locator("#hand-over select").select_option(label="Ann")
    page.locator("#hand-over button.primary").click()
    expect(page.locator("#detail [role=alert]")).to_contain_text("Handed to Ann.")

    page.keyboard.press("u")
    page.keyboard.type("Too large")
    page.keyboard.press("Enter")
    expect(page.locator("#detail [role=alert]")).to_contain_text("It waits on.")
    assert page.reports == []


PAGES = [
    "/inbox/",
    "/inbox/?q=risk:dire",
    "/inbox/delegations/",
    "/inbox/views/?q=risk:high",
    "/inbox/history/?q=refund",
]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_of_the_desk_is_accessible_and_scrolls_only_down(team, ada, ben, cards, open_page, path, theme):
    decide(make_proposal(team, ada, at=clock()), ben, "reject", at=None)

    page = open_page(path, theme, width=320)

    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    broken = Axe().run(page).response["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in broken] == []


def test_on_a_small_screen_the_queue_comes_first(cards, open_page):
    page = open_page(width=320)

    queue, detail = page.locator("#queue").bounding_box(), page.locator("#detail").bounding_box()

    assert queue["y"] < detail["y"]
    assert queue["y"] < 400
