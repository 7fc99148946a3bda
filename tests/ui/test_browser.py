"""What only a real browser can show: keys, focus, preferences without a reload, charts under the strict policy, axe."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# maplibre inside plotly.js tries to add its own style; the policy stops it, and no chart of ours needs it.
KNOWN_REPORT = "Applying inline style violates the following Content Security Policy directive 'style-src 'self''"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def session_cookie(client, settings, transactional_db, django_user_model):
    """Sign in somebody without a role, before the browser's event loop runs."""
    settings.DEMO = True
    person = django_user_model.objects.create_user("kim@example.com", name="Kim Lee")
    client.force_login(person)
    return {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies[settings.SESSION_COOKIE_NAME].value}


@pytest.fixture
def browser(session_cookie, live_server):
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@pytest.fixture
def open_gallery(browser, session_cookie, live_server):
    """Open the gallery in a theme and a width; what the console says is kept in `page.reports`."""

    def open_it(theme="light", width=1280):
        context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 800})
        context.add_cookies([{**session_cookie, "url": live_server.url}])
        page = context.new_page()
        page.reports = []
        page.on("console", lambda said: page.reports.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: page.reports.append(str(error)))
        page.goto(f"{live_server.url}/ui/")
        return page

    return open_it


def test_text_and_controls_have_the_sizes_of_the_design(open_gallery):
    page = open_gallery()

    def size(selector, what):
        return page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{what}")

    assert (size("body", "fontSize"), size("main .meta", "fontSize"), size("h1", "fontSize")) == (
        "14px",
        "12px",
        "20px",
    )
    assert size("main button:not(.small)", "minHeight") == "32px"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_charts_are_drawn_under_the_policy(open_gallery, theme):
    page = open_gallery(theme)

    page.locator("#charts").scroll_into_view_if_needed()
    page.locator("#charts .main-svg .scatterlayer path.js-line").first.wait_for(state="attached", timeout=30_000)

    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []
    assert [said for said in page.reports if not said.startswith(KNOWN_REPORT)] == []


@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_scrolls_sideways(open_gallery, width):
    page = open_gallery(width=width)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_keys_walk_the_list_and_press_real_buttons(open_gallery):
    page = open_gallery()

    page.keyboard.press("j")
    walked_to = page.evaluate("document.activeElement.textContent.includes('Add 6 machines')")
    page.keyboard.press("k")
    page.keyboard.press("d")

    assert walked_to
    assert page.locator("#sample-dialog").evaluate("dialog => dialog.open")


def test_keys_rest_in_inputs_with_modifiers_and_on_other_controls(open_gallery):
    page = open_gallery()

    page.locator("#why").press("d")
    page.locator("#why").blur()
    page.keyboard.press("Alt+d")
    page.locator(".tabs a").first.focus()
    page.keyboard.press("d")

    assert page.locator("#why").input_value() == "d"
    assert not page.locator("#sample-dialog").evaluate("dialog => dialog.open")


def test_a_question_mark_lists_the_keys_of_this_page(open_gallery):
    page = open_gallery()

    page.keyboard.press("?")

    listed = page.locator("#keys [data-keys-here]").inner_text()
    assert "Approve" in listed
    assert "Next in the list" in listed


def test_a_slash_goes_to_the_search(open_gallery):
    page = open_gallery()

    page.keyboard.press("/")

    assert page.evaluate("document.activeElement.type") == "search"


def test_keys_can_be_switched_off_and_stay_off(open_gallery):
    page = open_gallery()

    page.locator(".me summary").click()
    page.locator("button[name=keys][value=off]").click()
    page.wait_for_selector("html[data-keys=off]")
    page.reload()
    page.keyboard.press("d")

    assert not page.locator("#sample-dialog").evaluate("dialog => dialog.open")


def test_the_theme_changes_without_a_reload(open_gallery):
    page = open_gallery("light")
    page.evaluate("window.sameDocument = true")

    page.locator(".me summary").click()
    page.locator("button[name=theme][value=dark]").click()
    page.wait_for_selector("html[data-theme=dark]")

    assert page.evaluate("window.sameDocument")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(15, 18, 23)"


def test_a_poll_runs_while_the_page_is_seen(open_gallery):
    page = open_gallery()

    page.evaluate(
        """() => {
          const element = Object.assign(document.createElement('i'), {id: 'poll'});
          element.dataset.poll = '1';
          element.addEventListener('poll', () => { element.dataset.polled = 'yes'; });
          document.body.append(element);
        }"""
    )

    page.wait_for_selector("#poll[data-polled]", state="attached", timeout=5_000)


def test_a_hint_lets_a_poll_run_early(open_gallery):
    page = open_gallery()
    hint = {"content_type": "text/event-stream", "body": "event: changed\ndata: changed\n\n"}
    page.route("**/hints/", lambda route: route.fulfill(**hint))

    page.evaluate(
        """() => {
          const element = Object.assign(document.createElement('i'), {id: 'hinted'});
          Object.assign(element.dataset, {poll: '600', hints: '/hints/'});
          element.addEventListener('poll', () => { element.dataset.polled = 'yes'; });
          document.body.append(element);
        }"""
    )

    page.wait_for_selector("#hinted[data-polled]", state="attached", timeout=10_000)


def test_a_toast_leaves_when_its_countdown_ends(open_gallery):
    page = open_gallery()

    page.evaluate(
        """() => {
          const toast = document.createElement('li');
          toast.className = 'toast';
          const time = document.createElement('time');
          time.dataset.countdownUntil = new Date(Date.now() + 1500).toISOString();
          toast.append(time);
          document.querySelector('#messages').append(toast);
        }"""
    )

    page.wait_for_selector("#messages .toast", state="attached")
    page.wait_for_selector("#messages .toast", state="detached", timeout=6_000)


def test_a_refused_request_says_so_in_words(open_gallery):
    page = open_gallery()

    page.evaluate("htmx.ajax('GET', '/there/is/nothing/', {target: '#so-what'})")
    toast = page.wait_for_selector("#messages .toast[data-status=bad]")

    assert "Nothing was changed" in toast.inner_text()


def test_focus_goes_to_the_new_heading_after_a_swap(open_gallery):
    page = open_gallery()

    page.evaluate(
        """() => {
          const card = document.querySelector('.detail');
          card.id = 'card';
          card.querySelector('[data-key=a]').focus();
          htmx.ajax('GET', '/ui/', {target: '#card', swap: 'innerHTML', select: '#page-title'});
        }"""
    )

    page.wait_for_selector("#card #page-title:focus")
