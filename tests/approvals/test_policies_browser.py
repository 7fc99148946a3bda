"""The form of a policy in a real browser: rows that follow what is chosen, without and with JavaScript, in both themes."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from apps.approvals.actions.policies import publish_policy
from apps.audit.clock import clock
from tests.factories.approvals import decide, make_action_type, make_agent, make_proposal, make_version
from tests.factories.policies import rule

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number", "title": "Amount"},
        "currency": {"type": "string", "enum": ["EUR", "USD"], "title": "Currency"},
        "note": {"type": "string", "title": "Note to the customer"},
    },
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def address(client, settings, transactional_db, team, ada, ben):
    """Make a policy with a past and return its address; everything is stored before the browser's event loop runs."""
    agent = make_agent(team, ada)
    make_version(agent)
    kind = make_action_type(
        agent,
        key="payments.refund",
        name="Refund an order",
        args_schema=SCHEMA,
        editable_fields=["amount"],
        materiality={"amount": 1},
        watch_fields=[],
        consequence="Approving sends {amount}.",
    )
    rules = [
        rule("args.amount", ">=", 100, "two", "Refunds from 100 EUR need two people."),
        rule("args.currency", "in", ["USD"], "ask"),
    ]
    publish_policy(kind, conditions={"rules": rules[:1]}, note="The start", actor=ada.actor)
    row = publish_policy(
        kind, conditions={"rules": rules, "deny": {"amount": [0]}}, note="Dollars are new to us.", actor=ada.actor
    )
    for amount in (10, 60, 300):
        args = {"amount": amount, "currency": "EUR"}
        made = make_proposal(
            team, ada, agent=agent, at=clock(), args=args, title=f"Refund {amount} EUR to C-77", confidence=0.95
        )
        if amount < 100:
            made.refresh_from_db()
            decide(made, ben, "reject" if amount == 60 else "approve", at=None)
    client.force_login(ada)
    settings.DEMO = True
    return f"/inbox/policies/{row.key}/"


@pytest.fixture
def open_page(address, client, settings, live_server):
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": live_server.url,
    }
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)

        def open_it(path="", theme="light", width=1440, **options):
            context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900}, **options)
            context.add_cookies([cookie])
            page = context.new_page()
            page.reports = []
            page.on("console", lambda said: page.reports.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: page.reports.append(str(error)))
            page.goto(live_server.url + address + path)
            return page

        yield open_it
        browser.close()


def faults(page):
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    found = [
        (each["id"], [node["target"] for node in each["nodes"]]) for each in Axe().run(page).response["violations"]
    ]
    return found, wide, page.reports


def add_a_rule_about_the_currency(page):
    page.get_by_role("button", name="Add a rule").click()
    third = page.locator("#rule-row-2")
    third.get_by_label("Where").select_option("Currency")
    if page.evaluate("'htmx' in window"):
        # The row is drawn anew with the choices of its field.
        third.locator("select[name$=value]").wait_for()
    return third


@pytest.mark.parametrize("width", [1440, 375])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_have_no_fault_in_either_theme_and_width(open_page, theme, width):
    for path in ("", "?tried=1", "edit/", "../"):
        page = open_page(path, theme, width)

        assert faults(page) == ([], 0, []), path


def test_a_row_follows_what_is_chosen_and_a_draft_is_tried_reviewed_and_published(open_page):
    page = open_page("edit/")

    third = add_a_rule_about_the_currency(page)
    third.get_by_label("Comparison").select_option("is one of")
    third.get_by_label("EUR").check()
    third.get_by_label("Then").select_option("it may run alone")
    page.get_by_label("May run alone from a confidence of").fill("0.9")
    page.get_by_label("Why this change").fill("Euros are routine by now.")
    page.get_by_role("button", name="Try it on the last 30 days").click()
    page.get_by_text("1 would now run alone although a person rejected or changed it.").wait_for()
    page.get_by_role("button", name="Review the change").click()
    page.get_by_text("This lets something through that was asked before.").wait_for()

    assert faults(page) == ([], 0, [])
    page.get_by_role("button", name="Publish version 3").click()
    page.get_by_text("Version 3 is in force.").first.wait_for()
    assert page.get_by_text("Where currency is “EUR”: it may run alone.").first.is_visible()


def test_without_javascript_the_same_form_does_the_same(open_page):
    page = open_page("edit/", java_script_enabled=False)

    third = add_a_rule_about_the_currency(page)
    third.get_by_label("Comparison").select_option("is not")
    third.get_by_label("Value").fill("USD")
    page.get_by_label("Why this change").fill("Only euros go to two people.")
    page.get_by_role("button", name="Review the change").click()
    page.get_by_role("button", name="Publish version 3").click()

    assert page.get_by_text("Where currency is not “USD”: two people decide.").first.is_visible()
