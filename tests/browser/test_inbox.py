"""The inbox in real Chromium: the next card at once, refusals that bring a card back, typed verdicts, groups, and a phone."""

import re
from functools import partial

import pytest
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import expect

from apps.accounts.models import Role
from apps.approvals.models import Decision, Proposal, State
from apps.approvals.views.targets import REPROPOSED
from apps.audit.clock import clock
from tests.factories.accounts import PASSWORD, make_member
from tests.factories.approvals import decide, make_agent, make_proposal
from tests.plugins_browser import PATIENCE, faults_of

expect.set_options(timeout=PATIENCE)

pytestmark = pytest.mark.browser


@pytest.fixture
def cards(transactional_db, team, ada):
    agent = make_agent(team, ada)
    return [
        make_proposal(team, ada, agent=agent, at=clock(), title=f"Route T-{number}", target=f"desk:tickets/T-{number}")
        for number in range(1, 7)
    ]


@pytest.fixture
def dear(transactional_db, team, ada):
    return make_proposal(
        team, ada, at=clock(), kind={"risk_class": "high"}, title="Route T-9", target="desk:tickets/T-9"
    )


@pytest.fixture
def kim(transactional_db, team):
    return make_member(team, Role.REVIEWER, name="Kim")


@pytest.fixture
def open_page(browse, ben):
    return partial(browse, ben)


def title(page):
    return page.locator("#detail h2[data-focus]")


def wait_until_drawn_ahead(page):
    """Wait until the next card stands ready and the open one is ours."""
    page.locator("#ahead template").wait_for(state="attached")


def test_a_short_title_stands_below_what_the_card_is(open_page, dear):
    page = open_page()

    above = page.locator("#detail header .cluster").bounding_box()

    assert title(page).bounding_box()["y"] >= above["y"] + above["height"]


def test_five_cards_by_five_keys(open_page, cards):
    page = open_page()

    for number in range(1, 6):
        expect(title(page)).to_have_text(f"Route T-{number}")
        wait_until_drawn_ahead(page)
        page.keyboard.press("a")
    expect(title(page)).to_have_text("Route T-6")
    expect(page.locator("#last-verdict")).to_contain_text("Approved: Route T-5")
    expect(page.locator("#count-inbox")).to_have_text("1")
    expect(page.locator("#queue [data-item]:visible")).to_have_count(1)

    assert Decision.objects.filter(verdict="approve").count() == 5
    assert page.url.endswith(f"/inbox/{cards[5].pk}/")
    assert page.reports == []


def test_the_next_card_stands_there_before_the_server_answers(open_page, cards):
    page = open_page()
    wait_until_drawn_ahead(page)
    held = []
    page.route("**/decide/", lambda route: held.append(route))  # noqa: PLW0108  # Playwright keeps a note on it

    page.keyboard.press("a")
    expect(title(page)).to_have_text("Route T-2")
    page.wait_for_timeout(50)

    assert not Decision.objects.exists()
    held[0].continue_()
    expect(page.locator("#last-verdict")).to_contain_text("Approved: Route T-1")
    assert Decision.objects.count() == 1


def test_a_verdict_while_the_last_one_is_under_way_waits_for_the_version_of_its_card(open_page, cards):
    page = open_page()
    wait_until_drawn_ahead(page)
    held = []
    page.route(f"**/{cards[0].pk}/decide/", lambda route: held.append(route))  # noqa: PLW0108

    page.keyboard.press("a")
    expect(title(page)).to_have_text("Route T-2")
    page.keyboard.press("a")
    page.keyboard.press("a")
    held[0].continue_()

    expect(title(page)).to_have_text("Route T-3")
    expect(page.locator("#last-verdict")).to_contain_text("Approved: Route T-2")
    assert sorted(Decision.objects.values_list("proposal", flat=True)) == [cards[0].pk, cards[1].pk]
    assert page.reports == []


def test_a_refused_verdict_brings_its_card_back_with_the_reason(open_page, cards, kim):
    page = open_page()
    wait_until_drawn_ahead(page)
    cards[0].refresh_from_db()
    decide(cards[0], kim, "reject", at=clock())

    page.keyboard.press("a")

    expect(page.locator("#detail [role=alert]")).to_contain_text("Already rejected by Kim")
    expect(title(page)).to_have_text("Route T-1")
    assert page.url.endswith("/inbox/")
    assert page.reports == []


def test_a_poll_from_before_the_verdict_does_not_bring_the_old_card_back(open_page, cards):
    page = open_page()
    wait_until_drawn_ahead(page)
    polls = []
    page.route("**/inbox/changes/", lambda route: polls.append(route))  # noqa: PLW0108  # Playwright keeps a note on it
    page.evaluate("htmx.trigger('#queue', 'poll')")
    page.wait_for_timeout(200)

    page.keyboard.press("a")
    expect(page.locator("#last-verdict")).to_contain_text("Approved: Route T-1")
    with page.expect_response("**/inbox/changes/") as answered:
        polls[0].continue_()
    answered.value.finished()
    page.wait_for_timeout(200)

    expect(title(page)).to_have_text("Route T-2")
    assert page.locator(f"#proposal-{cards[0].pk}").count() == 0
    assert page.reports == []


def test_a_poll_that_overtakes_a_verdict_leaves_its_card_alone(open_page, cards):
    page = open_page()
    wait_until_drawn_ahead(page)
    page.locator("#ahead template").evaluate("template => template.remove()")
    answers = []

    def answer_later(route):
        answers.append((route, route.fetch()))

    page.route("**/decide/", answer_later)
    page.keyboard.press("a")
    while not answers:
        page.wait_for_timeout(50)
    with page.expect_response("**/inbox/changes/") as polled:
        page.evaluate("htmx.trigger('#queue', 'poll')")
    polled.value.finished()
    page.wait_for_timeout(200)
    expect(title(page)).to_have_text("Route T-1")
    route, answer = answers[0]
    route.fulfill(response=answer)

    expect(title(page)).to_have_text("Route T-2")
    expect(page.locator("#last-verdict")).to_contain_text("Approved: Route T-1")
    assert page.reports == []


def test_without_a_server_the_card_comes_back_and_nothing_typed_is_lost(open_page, cards):
    page = open_page()
    wait_until_drawn_ahead(page)
    page.context.set_offline(True)

    page.keyboard.press("r")
    page.locator("#reject-reason").fill("This is for the night shift.")
    page.locator("#reject button[value=reject]").click()

    expect(page.locator("#offline")).to_contain_text("The server cannot be reached.")
    expect(title(page)).to_have_text("Route T-1")
    expect(page.locator("#reject-reason")).to_have_value("This is for the night shift.")
    expect(page.locator("#reject")).to_have_js_property("open", value=True)
    page.context.set_offline(False)
    page.locator("#reject button[value=reject]").click()
    expect(page.locator("#last-verdict")).to_contain_text("Rejected: Route T-1")
    assert Decision.objects.get().reason == "This is for the night shift."


def test_a_late_refusal_does_not_take_away_what_is_being_typed(open_page, cards, kim):
    page = open_page()
    wait_until_drawn_ahead(page)
    held = []
    page.route(f"**/{cards[0].pk}/decide/", lambda route: held.append(route))  # noqa: PLW0108
    page.keyboard.press("a")
    expect(title(page)).to_have_text("Route T-2")
    page.keyboard.press("q")
    page.locator("#ask-reason").fill("Which queue does it mean")
    decide(cards[0], kim, "reject", at=clock())

    held[0].continue_()

    back = page.locator("#messages .toast", has_text="Already rejected by Kim")
    back.wait_for()
    expect(page.locator("#ask-reason")).to_have_value("Which queue does it mean")
    page.keyboard.press("Escape")
    back.get_by_role("button", name="Back to it").click()
    expect(title(page)).to_have_text("Route T-1")
    assert page.reports == []


def test_j_and_k_open_the_cards_of_the_list(open_page, cards):
    page = open_page()

    page.keyboard.press("j")
    expect(title(page)).to_have_text("Route T-2")
    page.keyboard.press("j")
    expect(title(page)).to_have_text("Route T-3")
    expect(page.locator(f"#proposal-{cards[2].pk}")).to_have_attribute("aria-current", "true")
    page.keyboard.press("k")

    expect(title(page)).to_have_text("Route T-2")
    expect(page.locator("#queue li[aria-current]")).to_have_count(1)
    assert page.reports == []


def test_whoever_wants_to_stay_stays(open_page, cards):
    page = open_page()
    page.locator(".me summary").click()
    page.locator("button[name=advance][value=off]").click()
    page.wait_for_selector("html[data-advance=off]")
    page.locator("h1").click()

    page.keyboard.press("a")

    expect(page.locator("#detail")).to_contain_text("Approved, about to run")
    expect(title(page)).to_have_text("Route T-1")


def test_undo_is_one_key_away(open_page, cards):
    page = open_page()
    wait_until_drawn_ahead(page)
    page.keyboard.press("a")
    expect(page.locator("#last-verdict")).to_contain_text("unless you undo it")

    page.keyboard.press("z")

    expect(page.locator("#detail")).to_contain_text("Taken back. Nothing was executed; it waits again.")
    cards[0].refresh_from_db()
    assert cards[0].is_open


def test_a_high_risk_card_opens_a_dialog_instead_of_being_approved(open_page, dear):
    page = open_page()

    page.keyboard.press("a")
    page.locator("#approve-confirm").press("a")
    page.keyboard.press("Escape")
    expect(page.locator("#approve")).not_to_be_visible()

    assert not Decision.objects.exists()


def test_capitals_ask_for_shift(open_page, cards):
    page = open_page(f"/inbox/groups/?card={cards[0].pk}&all")

    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'R', bubbles: true}))")
    assert not page.locator("#reject-all").is_visible()
    page.keyboard.press("Shift+R")

    expect(page.locator("#reject-all")).to_be_visible()


def test_the_keys_of_a_group_are_listed_before_anything_is_selected(open_page, cards):
    page = open_page(f"/inbox/groups/?card={cards[0].pk}")
    page.locator(".picks [type=checkbox]:checked").uncheck()

    page.keyboard.press("?")

    expect(page.locator("#keys [data-keys-here]")).to_contain_text("Approve selected")


def test_a_group_is_decided_by_keys_after_some_were_opened(open_page, cards):
    page = open_page()
    expect(title(page)).to_have_text("Route T-1")
    page.keyboard.press("Shift+X")
    page.wait_for_url("**/inbox/groups/**")
    expect(page.locator("[data-selected]")).to_have_text("6")

    page.keyboard.press("Shift+A")
    # The card that the inbox opened was looked at already; it may be among those that must be.
    told = re.compile(r"Open (1 card|2 cards) of these first\. Nothing was decided\.")
    expect(page.locator("#group [role=alert]")).to_contain_text(told)
    assert not Decision.objects.exists()
    for link in page.locator("#group [role=alert] a").all():
        link.click()
        expect(title(page)).to_have_text(link.inner_text())
    page.keyboard.press("Shift+A")

    expect(page.locator("#results-title")).to_have_text("What became of these 6")
    assert Decision.objects.filter(verdict="approve").count() == 6
    assert page.reports == []


def test_one_leaves_a_card_out_by_x(open_page, cards):
    page = open_page(f"/inbox/groups/?card={cards[0].pk}&all")

    page.keyboard.press("j")
    page.keyboard.press("x")

    expect(page.locator("[data-selected]")).to_have_text("5")


class TestPhone:
    """375 by 667: the smallest screen that a reviewer decides on."""

    SIZE = {"width": 375, "height": 667, "has_touch": True}

    def test_the_queue_comes_first_and_a_thumb_decides(self, open_page, cards):
        page = open_page(**self.SIZE)
        assert page.locator("#queue").bounding_box()["y"] < page.locator("#detail").bounding_box()["y"]
        page.locator("#queue [data-item]").nth(1).tap()
        expect(title(page)).to_have_text("Route T-2")
        wait_until_drawn_ahead(page)

        page.locator("#detail button[value=approve]").tap()

        expect(page.locator("#last-verdict")).to_contain_text("Approved: Route T-2")
        expect(title(page)).to_have_text("Route T-1")
        expect(title(page)).to_be_in_viewport()

    def test_a_link_to_one_card_shows_the_card_first(self, open_page, cards):
        page = open_page(f"/inbox/{cards[3].pk}/", **self.SIZE)

        expect(title(page)).to_be_in_viewport()

    def test_the_verdict_on_a_group_stays_above_the_navigation(self, open_page, cards):
        page = open_page(f"/inbox/groups/?card={cards[0].pk}&all", **self.SIZE)
        navigation = page.locator("nav.bar").bounding_box()

        boxes = [each.bounding_box() for each in page.locator("#group footer.verdict button:visible").all()]

        assert len(boxes) == 2
        assert all(each["y"] + each["height"] <= navigation["y"] for each in boxes)

    def test_a_typed_verdict_fits(self, open_page, dear):
        page = open_page(f"/inbox/{dear.pk}/", **self.SIZE)
        page.get_by_role("button", name="Approve…").tap()
        box = page.locator("#approve").bounding_box()
        page.locator("#approve-confirm").fill("T-9")

        page.locator("#approve button[value=approve]").tap()

        expect(page.locator("#detail")).to_contain_text("1 of 2 approvals given")
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 375
        dear.refresh_from_db()
        assert (dear.state, dear.approvals_given) == (State.PENDING, 1)

    def test_the_verdict_stays_at_the_thumb_and_its_targets_are_large(self, open_page, cards):
        page = open_page(f"/inbox/{cards[0].pk}/", **self.SIZE)
        page.locator("#detail").evaluate("detail => detail.scrollIntoView({block: 'start'})")
        bar, navigation = page.locator("#detail .verdict"), page.locator("nav.bar")

        boxes = [each.bounding_box() for each in bar.locator("button:visible").all()]

        assert len(boxes) >= 4
        assert all(each["height"] >= 40 and each["width"] >= 40 for each in boxes)
        assert all(each["y"] + each["height"] <= navigation.bounding_box()["y"] for each in boxes)
        assert bar.bounding_box()["height"] <= 72

    def test_nothing_that_has_the_focus_hides_behind_the_bars(self, open_page, cards):
        page = open_page(f"/inbox/{cards[0].pk}/", **self.SIZE)
        page.locator("#detail .back").focus()

        hidden = []
        for _ in range(25):
            page.keyboard.press("Tab")
            hidden += page.evaluate(
                """() => {
                  const here = document.activeElement, box = here.getBoundingClientRect();
                  if (here === document.body || here.closest(".verdict, .bar, .toasts, .skip, .side")) return [];
                  const at = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 12));
                  return at && (here.contains(at) || at.contains(here)) ? [] : [here.outerHTML.slice(0, 80)];
                }"""
            )

        assert hidden == []

    def test_the_way_back_to_the_queue_is_at_the_top_of_the_card(self, open_page, cards):
        page = open_page(f"/inbox/{cards[0].pk}/", **self.SIZE)

        page.locator("#detail .back").tap()

        expect(page.locator("#queue")).to_be_in_viewport()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 375])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(open_page, cards, dear, theme, width):
    faults = []
    page = open_page("/inbox/", theme=theme, width=width)
    for path in ("/inbox/", f"/inbox/{cards[0].pk}/", f"/inbox/{dear.pk}/", "/inbox/groups/"):
        page.goto(path)
        faults += [(path, *each) for each in faults_of(page)]

    assert faults == []
    assert Proposal.objects.filter(state=State.QUEUED).count() == 0


def test_a_target_that_moved_takes_the_approval_away_and_n_asks_anew(open_page, cards, board):
    board.change(cards[0].target, status="closed")
    page = open_page(f"/inbox/{cards[0].pk}/")
    expect(page.locator("#detail [data-key=n]")).to_be_visible()
    assert page.locator("#detail [data-key=a]").count() == 0

    page.keyboard.press("n")

    expect(page.locator("#detail [role=alert]")).to_contain_text(REPROPOSED)
    cards[0].refresh_from_db()
    assert cards[0].state == State.STALE
    assert page.reports == []


def test_an_old_sign_in_leads_to_the_door_and_back_to_the_card(open_page, dear, settings):
    page = open_page(f"/inbox/{dear.pk}/")
    [cookie] = [each for each in page.context.cookies() if each["name"] == settings.SESSION_COOKIE_NAME]
    session = SessionStore(session_key=cookie["value"])
    records = session["account_authentication_methods"]
    session["account_authentication_methods"] = [{**each, "at": each["at"] - 3600} for each in records]
    session.save()

    page.keyboard.press("a")
    page.locator("#approve-confirm").fill("T-9")
    page.keyboard.press("Enter")
    page.wait_for_url("**/reauthenticate/**")
    page.locator("#id_password").fill(PASSWORD)
    page.keyboard.press("Enter")

    page.wait_for_url(f"**/inbox/{dear.pk}/")
    expect(page.locator("#approve [role=alert]")).to_contain_text("You signed in again. Nothing was decided yet")
    assert not Decision.objects.exists()


def test_the_other_keys_of_a_card(browse, team, ada, ben, cora):
    card = make_proposal(team, ada, at=clock(), kind={"allow_respond": True}, run_id=41)
    page = browse(ben, f"/inbox/{card.pk}/")

    page.keyboard.press("v")
    expect(page.locator("#detail details[open]", has_text="Nearest precedent")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator("#respond-reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#respond")).not_to_be_visible()
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Give back")).to_be_visible()
    page.keyboard.press("c")
    expect(page.locator("#detail [role=alert]")).to_contain_text("Given back.")
    page.keyboard.press("t")
    page.wait_for_url("**/runs/41/**")
    operator = browse(cora)
    operator.keyboard.press("g")
    operator.keyboard.press("o")
    operator.wait_for_url("**/inbox/reconcile/")
