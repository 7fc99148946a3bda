"""The main journey in real Chromium: tickets arrive, a reviewer decides by keyboard, the desk changes, the budget and the portfolio move."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.xdist_group("house")]

# maplibre inside plotly.js tries to add its own style; the policy stops it, and no chart of ours needs it.
KNOWN_REPORT = "Applying inline style violates the following Content Security Policy directive"
DECISIONS = 10
PATIENCE = 60_000

REVIEWER_PAGES = [
    "/inbox/",
    "/inbox/history/",
    "/runs/",
    "/runs/handed-over/",
    "/agents/",
    "/slo/",
    "/me/",
]
PAGES = [
    *[("Rhea Moran", path) for path in REVIEWER_PAGES],
    *[("Tamsin Cole", path) for path in ("/programs/", "/programs/new/", "/oncall/")],
    ("Edith Vance", "/portfolio/"),
    *[
        ("Ilja Novak", path)
        for path in ("/people/", "/connectors/", "/connectors/connect/", "/agents/new/", "/agents/stop/")
    ],
    *[("Aurora Sato", path) for path in ("/audit/",)],
    *[("Oskar Lind", path) for path in ("/inbox/reconcile/", "/runs/import/", "/runs/threads/")],
]

# Pages of one thing: the list that leads there, and what its address looks like.
INNER_PAGES = [
    ("Rhea Moran", "/inbox/", r"^/inbox/\d+/$"),
    ("Rhea Moran", "/runs/", r"^/runs/\d+/$"),
    ("Rhea Moran", "/runs/handed-over/", r"^/runs/handed-over/\d+/$"),
    ("Rhea Moran", "/slo/", r"^/slo/[0-9a-f-]{36}/$"),
    ("Ansel Brandt", "/agents/", r"^/agents/(?!new|stop|start)[a-z-]+/$"),
    ("Tamsin Cole", "/programs/", r"^/programs/\d+/$"),
    ("Tamsin Cole", "/programs/1/", r"^/programs/gates/\d+/$"),
    ("Ilja Novak", "/connectors/", r"^/connectors/system/[a-z-]+/$"),
    ("Ilja Novak", "/people/", r"^/people/\d+/$"),
    ("Aurora Sato", "/audit/", r"^/audit/events/\d+/$"),
]
FIRST_LINK = """pattern => [...document.querySelectorAll("main a[href]")]
    .map(each => new URL(each.href).pathname).find(path => new RegExp(pattern).test(path))"""


def decided_in_portfolio(page, house):
    page.goto(f"{house.url}/portfolio/")
    row = page.get_by_role("row", name=re.compile("^Ticket desk"))
    return int(row.locator("[id^=decided-]").inner_text().replace(",", ""))


def counted(page, house):
    page.goto(f"{house.url}/slo/")
    row = page.get_by_role("row", name=re.compile("Ticket desk.*Agreement"))
    return int(row.locator("td.num").first.inner_text().split("/")[1].replace(",", ""))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_reviewer_decides_ten_by_keyboard_and_everything_above_moves(house, sign_in, theme):
    executive = sign_in("Edith Vance", theme=theme)
    decided_before = decided_in_portfolio(executive, house)
    reviewer = sign_in("Rhea Moran", theme=theme)
    counted_before = counted(reviewer, house)
    reviewer.goto(f"{house.url}/inbox/")
    reviewer.locator("#detail .verdict").wait_for(timeout=PATIENCE)

    titles = []
    for number in range(DECISIONS):
        title = reviewer.locator("#detail h2[data-focus]").inner_text()
        titles.append(title)
        if number == DECISIONS - 1:
            reviewer.keyboard.press("r")
            reviewer.locator("#reject-reason").fill("This belongs to another queue.")
            reviewer.locator("#reject button[value=reject]").click()
        else:
            reviewer.keyboard.press("a")
        reviewer.locator("#last-verdict", has_text=title).wait_for(timeout=PATIENCE)
        reviewer.locator("#detail .verdict").wait_for(timeout=PATIENCE)

    tickets = [re.search(r"T-\d+", title).group() for title in titles]
    assert len(set(tickets)) == DECISIONS
    written = _journal_of(house, set(tickets[:-1]))
    assert sorted(row["id"] for row in written) == sorted(tickets[:-1])
    assert tickets[-1] not in {row["id"] for row in _journal(house)}
    desk = reviewer.context.new_page()
    desk.goto(f"{house.desk}/t/{tickets[0]}")
    assert "routed" in desk.content().lower()
    _eventually(lambda: counted(reviewer, house) == counted_before + DECISIONS, reviewer)
    assert decided_in_portfolio(executive, house) == decided_before + DECISIONS
    assert [said for said in reviewer.reports + executive.reports if not said.startswith(KNOWN_REPORT)] == []


def test_an_undone_approval_waits_again_and_nothing_is_written(house, sign_in):
    reviewer = sign_in("Rhea Moran")
    reviewer.goto(f"{house.url}/inbox/")
    reviewer.locator("#detail .verdict").wait_for(timeout=PATIENCE)
    title = reviewer.locator("#detail h2[data-focus]").inner_text()

    reviewer.keyboard.press("a")
    reviewer.locator("#last-verdict", has_text=title).wait_for(timeout=PATIENCE)
    reviewer.keyboard.press("z")

    reviewer.get_by_text("Taken back. Nothing was executed; it waits again.").wait_for(timeout=PATIENCE)
    assert re.search(r"T-\d+", title).group() not in {row["id"] for row in _journal(house)}


def test_a_reviewer_closes_a_hand_over(house, sign_in):
    reviewer = sign_in("Rhea Moran")
    reviewer.goto(f"{house.url}/runs/handed-over/")
    _eventually(lambda: _reloaded(reviewer).locator("#cases li[id^=case-]").count() > 1, reviewer)
    reviewer.locator("#cases li[id^=case-] a").first.click()
    reviewer.locator("#close").wait_for(timeout=PATIENCE)
    ticket = reviewer.locator("h1").inner_text()

    reviewer.locator("#id_queue").select_option(index=1)
    queue = reviewer.locator("#id_queue").input_value()
    reviewer.locator("#id_priority").select_option(index=1)
    reviewer.locator("#id_reply").fill("Hello, a colleague calls you today.")
    reviewer.get_by_role("button", name="Write and close").click()

    reviewer.get_by_text(f"{ticket} is closed in your name.").wait_for(timeout=PATIENCE)
    [written] = _journal_of(house, {ticket})
    assert written["actor"].startswith("user:")
    assert reviewer.locator("h1").inner_text() != ticket
    desk = reviewer.context.new_page()
    desk.goto(f"{house.desk}/t/{ticket}")
    assert f"<ins>{queue}</ins>" in desk.content()
    assert [said for said in reviewer.reports if not said.startswith(KNOWN_REPORT)] == []


def test_a_reviewer_keeps_what_no_queue_is_right_for(house, sign_in):
    reviewer = sign_in("Rhea Moran")
    reviewer.goto(f"{house.url}/runs/handed-over/?reason=out_of_scope")
    _eventually(lambda: _reloaded(reviewer).locator("#cases li[id^=case-]").count() > 1, reviewer)
    reviewer.locator("#cases li[id^=case-] a").first.click()
    reviewer.locator("#keep").wait_for(timeout=PATIENCE)
    ticket = reviewer.locator("h1").inner_text()
    faults = Axe().run(reviewer).response["violations"]

    reviewer.locator("#id_reason").fill("This is for our press office.")
    reviewer.get_by_role("button", name="Keep and close").click()

    reviewer.get_by_text(f"{ticket} is closed in your name.").wait_for(timeout=PATIENCE)
    assert ticket not in {row["id"] for row in _journal(house)}
    assert faults == []
    assert [said for said in reviewer.reports if not said.startswith(KNOWN_REPORT)] == []


def test_without_javascript_a_reviewer_can_still_reject(house, sign_in, chromium):
    signed_in = sign_in("Rhea Moran").context.storage_state()
    context = chromium.new_context(storage_state=signed_in, java_script_enabled=False)
    reviewer = context.new_page()
    reviewer.goto(f"{house.url}/inbox/")
    title = reviewer.locator("#detail h2[data-focus]").inner_text()

    reviewer.get_by_role("link", name="Reject it").click()
    reviewer.locator("#reject-reason").fill("This is for another team.")
    reviewer.locator("#reject button[value=reject]").click()

    reviewer.goto(f"{house.url}/inbox/history/")
    row = reviewer.locator("tr, li").filter(has_text=title).first
    assert "This is for another team." in row.inner_text()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_scrolls_sideways_on_any_page(house, sign_in, theme):
    people = {}

    def at(person, path, width=1280):
        people[person] = people.get(person) or sign_in(person, theme=theme)
        people[person].set_viewport_size({"width": width, "height": 900})
        return people[person], people[person].goto(f"{house.url}{path}")

    inner_pages = []
    for person, path, pattern in INNER_PAGES:
        inner = at(person, path)[0].evaluate(FIRST_LINK, pattern)
        assert inner, f"no page like {pattern} below {path}"
        inner_pages.append((person, inner))
    faults = []
    for person, path in [*PAGES, *inner_pages]:
        page, answer = at(person, path)
        if answer.status != 200:
            faults.append((path, f"answered {answer.status}"))
            continue
        broken = Axe().run(page).response["violations"]
        faults += [(path, each["id"], [node["target"] for node in each["nodes"]][:3]) for each in broken]
        page.set_viewport_size({"width": 320, "height": 800})
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            faults.append((path, "scrolls sideways at 320 px"))

    assert faults == []


def _journal(house):
    import sqlite3

    store = house.log.parent / "var" / "desk" / "desk.sqlite3"
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT id, actor FROM journal").fetchall()
    return [{"id": row[0], "actor": row[1]} for row in rows]


def _journal_of(house, tickets):
    found = []

    def all_there():
        found[:] = [row for row in _journal(house) if row["id"] in tickets]
        return {row["id"] for row in found} == tickets

    _eventually(all_there)
    return found


def _reloaded(page):
    page.reload()
    return page


def _eventually(holds, page=None):
    """Ask again until it holds; the clock of the house moves on by itself."""
    import time

    deadline = time.monotonic() + 150
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail("It did not come true in 150 s.")
        if page is not None:
            page.wait_for_timeout(1_000)
        else:
            time.sleep(0.5)
