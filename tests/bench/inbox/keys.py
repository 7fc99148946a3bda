"""From the key to the next card, in a real Chromium: how long until the next card is painted, and what each request took."""

import os
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management import call_command
from django.test import Client
from playwright.sync_api import Page, sync_playwright

from apps.accounts.models import Role, User
from apps.approvals.models import Decision
from apps.audit.clock import clock
from config.stack.terminal import say, step
from tests.bench.figures import Spread, spread
from tests.factories.accounts import make_member, make_team
from tests.factories.approvals import make_action_type, make_agent, make_policy, make_proposal, make_version
from tests.flows.processes import Processes

CHROMIUM: Final = shutil.which("chromium") or shutil.which("google-chrome")
CARDS: Final = 120
PRESSES: Final = 60
PAUSE: Final = 600
"""Milliseconds between two presses: a practised person on easy cards."""
PATIENCE: Final = 20.0
GOAL: Final = 100
"""Milliseconds at p95 (§7)."""

# The clock starts with the key and stops when the frame that shows another title has been painted.
_WATCH: Final = """() => {
  performance.setResourceTimingBufferSize(5000);
  window.took = [];
  const heading = () => document.querySelector("#detail h2[data-focus]")?.textContent;
  let began = 0, before = "";
  document.addEventListener("keydown", () => { began = performance.now(); before = heading(); }, true);
  new MutationObserver(() => {
    if (!began || heading() === before) return;
    const from = began;
    began = 0;
    requestAnimationFrame(() => {
      const painted = new MessageChannel();
      painted.port1.onmessage = () => window.took.push(performance.now() - from);
      painted.port2.postMessage(0);
    });
  }).observe(document.body, { subtree: true, childList: true });
}"""
_REQUESTS: Final = """() => performance.getEntriesByType("resource").filter(each => each.name.includes("/inbox/"))
  .map(each => [new URL(each.name).pathname.replace(/[0-9]+/, "…"), each.responseStart - each.requestStart])"""


def measure(folder: Path) -> int:
    """Press `a` on sixty cards, print how long each next card took, and return the exit code."""
    if CHROMIUM is None:
        say("No Chromium on this machine: from key to next card was not measured.")
        return 0
    # Playwright runs a loop in this thread, and Django would refuse to look at rows beside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with step("Make a queue of 120 cards"):
        call_command("migrate", verbosity=0)
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        call_command("collectstatic", interactive=False, verbosity=0)
        reviewer = _house()
    folder.mkdir(parents=True, exist_ok=True)
    processes = Processes({"DATABASE_URL": os.environ["DATABASE_URL"]}, folder)
    processes.start_web()
    try:
        processes.wait_for_web()
        with step(f"Press a key on {PRESSES} cards"):
            took, requests = _press(processes.url, _cookie(reviewer))
    finally:
        processes.kill("web")
    decided = Decision.objects.filter(actor=reviewer).count()
    say(f"Key to next card{'':<36}{spread(took)!s:>18}   {GOAL} ms at p95")
    for path, each in sorted(requests.items()):
        say(f"  {path:<50}{each!s:>18}")
    if decided != PRESSES:
        say(f"{PRESSES} keys were pressed and {decided} verdicts are there.")
    return int(decided != PRESSES)


def _house() -> User:
    team = make_team("Bench", slug="bench")
    owner = make_member(team, Role.AGENT_OWNER, name="Owner")
    agent = make_agent(team, owner, max_open=CARDS * 2, max_new_per_minute=CARDS * 2)
    make_version(agent)
    # Nothing is watched: the system of record is not part of this figure.
    make_policy(make_action_type(agent, watch_fields=[]), undo_s=15)
    now = clock()
    for number in range(CARDS):
        make_proposal(team, owner, agent=agent, at=now, title=f"Route T-{number}", target=f"desk:tickets/T-{number}")
    return make_member(team, Role.REVIEWER, name="Reviewer")


def _cookie(reviewer: User) -> dict[str, str]:
    client = Client()
    client.force_login(reviewer)
    return {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies[settings.SESSION_COOKIE_NAME].value}


def _press(url: str, cookie: dict[str, str]) -> tuple[list[float], dict[str, Spread]]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_cookies([{**cookie, "url": url}])  # type: ignore[list-item]
        page = context.new_page()
        page.on("pageerror", lambda error: say(f"  The page reports: {error}"))
        page.on("console", lambda said: say(f"  The console: {said.text}") if said.type == "error" else None)
        page.goto(f"{url}/inbox/")
        page.locator("#detail .verdict").wait_for()
        page.evaluate(_WATCH)
        for number in range(PRESSES):
            page.wait_for_timeout(PAUSE)
            page.keyboard.press("a")
            _wait(page, number + 1)
        page.wait_for_timeout(PAUSE)
        took, requests = page.evaluate("window.took"), page.evaluate(_REQUESTS)
        browser.close()
    return [each / 1000 for each in took], _by_path(requests)


def _wait(page: Page, count: int) -> None:
    """The page's policy forbids eval, so nothing can wait inside it."""
    end = time.monotonic() + PATIENCE
    while page.evaluate("window.took.length") < count:
        if time.monotonic() > end:
            raise TimeoutError(f"The next card did not come after key {count}.")
        page.wait_for_timeout(10)


def _by_path(requests: list[list[Any]]) -> dict[str, Spread]:
    found: dict[str, list[float]] = defaultdict(list)
    for path, took in requests:
        found[path].append(took / 1000)
    return {path: spread(each) for path, each in found.items()}
