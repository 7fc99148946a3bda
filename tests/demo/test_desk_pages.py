"""The ticket desk's own pages: readable without a key, safe with any text, and clearly a simulation."""

import re

import httpx
import pytest

pytestmark = pytest.mark.processes

EVIL = '<script>alert(1)</script>"&'


@pytest.fixture
def page(desk):
    with httpx.Client(base_url=desk.base_url) as opened:

        def get(path, **params):
            return opened.get(path, params=params)

        yield get


@pytest.fixture
def tickets(desk):
    desk.load(
        tickets=[
            {"id": f"T-{number}", "text": f"Ticket number {number}", "customer": "C-1"} for number in range(1, 121)
        ],
        customers=[{"id": "C-1", "name": "Adler Clinic", "devices": ["Laptop 7", "Printer 2"]}],
    )


@pytest.mark.parametrize("path", ["/", "/log", "/t/T-1", "/t/none"])
def test_every_page_says_that_it_is_simulated_and_forbids_scripts(desk, page, tickets, path):
    shown = page(path)

    assert "Simulated ticket desk" in shown.text
    assert shown.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    assert not re.search(r"<script|style=|javascript:", shown.text)


def test_the_newest_ticket_stands_first_and_older_ones_on_further_pages(page, tickets):
    first, third = page("/"), page("/", page="3")

    assert re.findall(r'href="/t/(T-\d+)"', first.text)[:2] == ["T-120", "T-119"]
    assert re.findall(r'href="/t/(T-\d+)"', third.text)[-1] == "T-1"
    assert "Page 3 of 3" in third.text
    assert "120 tickets" in first.text


def test_a_search_finds_tickets_and_keeps_its_words(page, tickets):
    found = page("/", q="number 77")

    assert re.findall(r'href="/t/(T-\d+)"', found.text) == ["T-77"]
    assert 'value="number 77"' in found.text


def test_a_search_without_result_says_so(page, tickets):
    assert "No ticket matches" in page("/", q="unicorn").text


def test_an_empty_desk_says_so(page):
    assert "No tickets yet" in page("/").text
    assert "Nothing was written yet" in page("/log").text


def test_a_ticket_shows_its_customer_and_every_change(desk, page, tickets):
    desk.edit("T-5", queue="display", reply="We restarted it.")

    shown = page("/t/T-5").text

    assert "Adler Clinic" in shown
    assert "We restarted it." in shown
    assert "<ins>display</ins>" in shown
    assert "T-5" in page("/log").text


def test_hostile_text_is_shown_as_text(desk, page):
    desk.load(tickets=[{"id": "T-1", "text": EVIL, "customer": EVIL}])
    desk.edit("T-1", queue=EVIL, reply=EVIL)

    for path in ("/", "/t/T-1", "/log"):
        shown = page(path, q="alert").text
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_a_missing_ticket_is_said_with_a_way_back(page):
    shown = page("/t/none")

    assert shown.status_code == 404
    assert 'href="/"' in shown.text


@pytest.mark.parametrize("number", ["0", "-1", "abc", "9" * 30, "7"])
def test_an_odd_page_number_is_no_failure(page, tickets, number):
    assert page("/", page=number).status_code == 200


def test_styles_are_served_and_health_needs_no_key(page):
    assert page("/desk.css").headers["content-type"].startswith("text/css")
    assert page("/healthz").json()["ok"] is True


def test_a_record_that_came_over_the_interface_is_told_apart_from_changes(desk, page):
    headers = {"if-none-match": "*", "idempotency-key": "open-1", "x-actor": "user:7"}
    desk._http.put("/tickets/T-9", json={"text": "Screen"}, headers=headers).raise_for_status()
    desk.edit("T-9", queue="display")

    log = page("/log").text

    assert "2 writes applied, 1 of them opened a record" in log
    assert log.count("New record") == 1
