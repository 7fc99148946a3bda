"""The whole house as `make run` starts it, with its demo company, in a folder of its own; and a real Chromium to walk it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.plugins_browser import keep_reports
from tests.plugins_desk import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
READY_WITHIN = 120
# Variables of the suite that would change how the house starts.
OF_THE_SUITE = (
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "STATICFILES_BACKEND",
    "LOG_LEVEL",
    "DJANGO_SETTINGS_MODULE",
    "DESK_STORE",
    "DESK_API_KEY",
    "SECRET_KEY",
    "CREDENTIAL_KEY",
)


@dataclass(frozen=True)
class House:
    url: str
    desk: str
    log: Path


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """Start everything on free ports, wait until it is ready, and stop it as Ctrl-C would."""
    folder = tmp_path_factory.mktemp("house")
    port, desk_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_SUITE}
    environment |= {"VAR_DIR": str(folder / "var"), "PORT": str(port), "DESK_PORT": str(desk_port), "DEMO": "1"}
    log = folder / "house.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "config.stack.supervise"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/readyz", log)
        yield House(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{desk_port}", log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _wait_until_ready(process, url, log):
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"The house did not start:\n{log.read_text()[-3000:]}")
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail(f"The house was not ready in {READY_WITHIN} s:\n{log.read_text()[-3000:]}")


@pytest.fixture
def sign_in(house, chromium):
    """Sign in as one of the cast by one click; what the console reports is kept in `page.reports`."""
    contexts = []

    def as_person(name, theme="light", width=1440):
        context = chromium.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
        contexts.append(context)
        page = keep_reports(context.new_page())
        page.goto(f"{house.url}/accounts/login/")
        page.get_by_role("button", name=name).click()
        page.wait_for_url(lambda url: "/accounts/login" not in url)
        return page

    yield as_person
    for context in contexts:
        context.close()
