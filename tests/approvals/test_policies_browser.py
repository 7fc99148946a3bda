"""The form of a policy in a real browser: rows that follow what is chosen, without and with JavaScript, in both themes."""

import pytest

from apps.approvals.actions.policies import publish_policy
from apps.audit.clock import clock
from tests.factories.approvals import decide, make_action_type, make_agent, make_proposal, make_version
from tests.factories.policies import rule
from tests.plugins_browser import faults_of

SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number", "title": "Amount"},
        "currency": {"type": "string", "enum": ["EUR", "USD"], "title": "Currency"},
        "note": {"type": "string", "title": "Note to the customer"},
    },
}

pytestmark = pytest.mark.browser


@pytest.fixture
def address(transactional_db, settings, team, ada, ben):
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
    settings.DEMO = True
    return f"/inbox/policies/{row.key}/"


@pytest.fixture
def open_page(address, browse, ada):
    def open_it(path="", **options):
        return browse(ada, address + path, **options)

    return open_it


def add_a_rule_about_the_currency(page):
    page.get_by_role("button", name="Add a rule").click()
    third = page.locator("#rule-row-2")
    third.wait_for()
    page.wait_for_load_state()
    third.get_by_label("Where").select_option("Currency")
    if page.evaluate("'htmx' in window"):
        # The row is drawn anew with the choices of its field.
        third.locator("select[name$=value]").wait_for()
    return third


@pytest.mark.parametrize("width", [1440, 375])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_have_no_fault_in_either_theme_and_width(open_page, address, theme, width):
    page = open_page(theme=theme, width=width)

    faults = []
    for path in ("", "?tried=1", "edit/", "../"):
        page.goto(address + path)
        faults += [(path, *each) for each in faults_of(page)]

    assert faults == []
    assert page.reports == []


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

    assert faults_of(page) == []
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
