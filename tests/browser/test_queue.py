"""The queue under the fingers: search, views, putting aside and handing over by keys, and on a small screen."""

from datetime import timedelta
from functools import partial

import pytest
from playwright.sync_api import expect

from apps.accounts.models import Role
from apps.approvals.actions import delegating, escalating, saved_views
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_agent, make_proposal
from tests.plugins_browser import PATIENCE, faults_of

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)
LONG = "Refund 1,240.00 EUR to customer C-{} for an order whose name goes on until no line can hold it any more"


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
def open_page(browse, ben):
    return partial(browse, ben)


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


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_of_the_desk_is_accessible_and_scrolls_only_down(team, ada, ben, cards, open_page, theme):
    decide(make_proposal(team, ada, at=clock()), ben, "reject", at=None)
    page = open_page(theme=theme, width=320)

    faults = []
    for path in PAGES:
        page.goto(path)
        faults += [(path, *each) for each in faults_of(page)]

    assert faults == []


def test_on_a_small_screen_the_queue_comes_first(cards, open_page):
    page = open_page(width=320)

    queue, detail = page.locator("#queue").bounding_box(), page.locator("#detail").bounding_box()

    assert queue["y"] < detail["y"]
    assert queue["y"] < 400
