import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from apps.agents import actions as switches
from apps.connectors.models import Connector
from apps.runs import queries
from apps.runs.models import Run, Step, WorkItem
from tests.factories.connectors import make_connector, make_execution
from tests.factories.runs import CUSTOMER, TICKET, make_desk_agent, make_handed_over, make_run

CHOICE = {"queue": "login", "priority": "high", "reply": "We call you.", "etag": ""}
HTMX = {"HTTP_HX_REQUEST": "true"}
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def quiet_agent(db, team, ada):
    """An agent whose system nobody can reach."""
    make_connector(team, key="desk")
    return make_desk_agent(team, ada, taught=False)


@pytest.fixture
def agent(db, desk, desk_connector, team, ada):
    desk.load(tickets=[TICKET], customers=[CUSTOMER])
    return make_desk_agent(team, ada)


def test_the_list_says_how_many_wait_and_why(client, ben, quiet_agent):
    make_handed_over(quiet_agent, "T-1", reason="out_of_scope", text="This is about a refund.")
    make_handed_over(quiet_agent, "T-2")
    client.force_login(ben)

    page = client.get(reverse("runs:handed_over")).content.decode()

    assert "2 cases wait for a person" in page
    assert "Outside its scope" in page
    assert "This is about a refund." in page
    assert "Not sure (1)" in page


def test_the_list_can_be_narrowed_to_one_reason(client, ben, quiet_agent):
    make_handed_over(quiet_agent, "T-1", reason="out_of_scope")
    make_handed_over(quiet_agent, "T-2")
    client.force_login(ben)

    part = client.get(reverse("runs:handed_over"), {"reason": "out_of_scope"}, **HTMX).content.decode()

    assert "T-1" in part
    assert "T-2" not in part
    assert "<html" not in part


def test_an_empty_list_is_good_news(client, ben, quiet_agent):
    client.force_login(ben)

    assert b"All clear" in client.get(reverse("runs:handed_over")).content


def test_closing_a_case_opens_the_next_one(client, ben, agent, desk):
    item, _ = make_handed_over(agent, "T-1")
    other, _ = make_handed_over(agent, "T-2")
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), CHOICE)

    item.refresh_from_db()
    assert answer.url == reverse("runs:hand_over", args=[other.pk])
    assert item.state == WorkItem.State.DONE
    assert desk.ticket("T-1")["queue"] == "login"


def test_a_closed_case_is_left_for_a_whole_page_so_that_no_old_heading_stands_above_the_next_one(client, ben, agent):
    item, _ = make_handed_over(agent, "T-1")
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), CHOICE, **HTMX)

    assert answer["HX-Redirect"] == reverse("runs:handed_over")


def test_the_case_shows_the_customers_words_and_the_agents_reason(client, ben, agent):
    item, _ = make_handed_over(agent, text="No decided case is near this one.")
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()

    assert TICKET["text"] in page
    assert "No decided case is near this one." in page
    assert "What you choose is written in your name" in page


def test_a_conflict_is_told_with_the_case_as_it_stands_now_and_the_choice_kept(client, ben, agent, desk):
    item, _ = make_handed_over(agent)
    client.force_login(ben)
    desk.edit("T-1", queue="printing")

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), CHOICE | {"etag": '"1"'}, **HTMX)

    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Somebody changed this case" in page
    assert "<dd>printing</dd>" in page
    assert "We call you." in page
    assert 'value="&quot;2&quot;"' in page


def test_a_missing_choice_is_asked_for(client, ben, agent, desk):
    item, _ = make_handed_over(agent)
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), CHOICE | {"queue": ""}, **HTMX)

    assert answer.status_code == 422
    assert desk.journal() == []


def test_a_desk_that_cannot_be_read_is_told(client, ben, quiet_agent):
    item, _ = make_handed_over(quiet_agent)
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()

    assert "The ticket system cannot be read now." in page
    assert "Nothing is lost" in page


def test_a_closed_case_has_no_form(client, ben, quiet_agent):
    item, _ = make_handed_over(quiet_agent)
    WorkItem.objects.filter(pk=item.pk).update(state=WorkItem.State.DONE, closed_by=ben)
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()

    assert "This case is closed by Ben." in page
    assert "Write and close" not in page


def test_a_run_shows_its_steps(client, ben, quiet_agent):
    _, run = make_handed_over(quiet_agent)
    Step.objects.create(
        run=run,
        position=2,
        kind=Step.Kind.MODEL,
        name="precedent",
        detail={"calls": [{"name": "read_ticket", "args": {"ticket": "T-1"}}], "text": "<b>hm</b>"},
    )
    client.force_login(ben)

    page = client.get(reverse("runs:run", args=[run.pk])).content.decode()

    assert "calls read_ticket: ticket T-1" in page
    assert "&lt;b&gt;hm&lt;/b&gt;" in page
    assert "Close it yourself" in page


def test_the_list_of_runs_can_be_narrowed_to_a_state(client, ben, quiet_agent):
    make_run(quiet_agent, "T-1")
    make_handed_over(quiet_agent, "T-2")
    client.force_login(ben)

    page = client.get(reverse("runs:runs"), {"state": "queued"}).content.decode()

    assert "T-1" in page
    assert "T-2" not in page


def test_operators_see_what_fails_again_and_again(client, cora, quiet_agent):
    run = make_run(quiet_agent, "T-1")
    Run.objects.filter(pk=run.pk).update(last_error="NotSent: nobody there")
    client.force_login(cora)

    page = client.get(reverse("runs:threads")).content.decode()

    assert "1 thread may need you" in page
    assert "NotSent: nobody there" in page


def test_the_agents_panel_counts_its_work(client, ben, quiet_agent):
    make_handed_over(quiet_agent, "T-1")
    make_run(quiet_agent, "T-2")
    client.force_login(ben)

    panel = client.get(reverse("runs:agent-panel", args=[quiet_agent.pk]), **HTMX).content.decode()

    assert "100%" in panel
    assert "Queued" in panel


@pytest.mark.parametrize("name", ["runs:run", "runs:hand_over", "runs:agent-panel"])
def test_an_outsider_finds_nothing(client, eve, quiet_agent, name):
    item, run = make_handed_over(quiet_agent)
    pk = {"runs:run": run.pk, "runs:hand_over": item.pk, "runs:agent-panel": quiet_agent.pk}[name]
    client.force_login(eve)

    assert client.get(reverse(name, args=[pk])).status_code == 404


def test_an_outsider_sees_no_case_in_a_list(client, eve, quiet_agent):
    make_handed_over(quiet_agent, "T-4711")
    client.force_login(eve)

    for name in ("runs:runs", "runs:handed_over", "runs:threads"):
        assert b"T-4711" not in client.get(reverse(name)).content


@pytest.mark.parametrize(
    ("person", "name"), [("max_", "runs:runs"), ("ada", "runs:handed_over"), ("ben", "runs:threads")]
)
def test_a_member_without_the_right_learns_whom_to_ask(client, cast, quiet_agent, person, name):
    client.force_login(cast[person])

    assert client.get(reverse(name)).status_code == 403


def test_the_lists_cost_the_same_however_long_they_are(client, ben, quiet_agent, django_assert_max_num_queries):
    for number in range(12):
        make_handed_over(quiet_agent, f"T-{number}")
    client.force_login(ben)

    with django_assert_max_num_queries(10):
        client.get(reverse("runs:handed_over"))
    with django_assert_max_num_queries(9):
        client.get(reverse("runs:runs"))


def hand_over_many(agent, count):
    """Write so many cases, one a second, the first the oldest."""
    for number in range(count):
        _, run = make_handed_over(agent, f"T-{number:03}", reason="not_sure" if number % 2 else "out_of_scope")
        Run.objects.filter(pk=run.pk).update(ended_at=NOON + timedelta(seconds=number))


def cases_in(response):
    return re.findall(r"T-\d{3}", response.content.decode())


def test_a_long_list_of_cases_is_read_page_by_page_without_a_gap(client, ben, quiet_agent):
    hand_over_many(quiet_agent, 103)
    client.force_login(ben)
    here, found = reverse("runs:handed_over"), []
    url = here
    while url:
        page = client.get(url)
        found.append(cases_in(page))
        later = re.search(r'rel="next" href="(\?[^"]+)"', page.content.decode())
        url = here + html.unescape(later[1]) if later else None

    assert [len(each) for each in found] == [50, 50, 3]
    assert [case for each in found for case in each] == [f"T-{number:03}" for number in range(103)]


def test_every_page_tells_of_all_cases_and_of_the_oldest(client, ben, quiet_agent):
    hand_over_many(quiet_agent, 51)
    client.force_login(ben)
    last = Run.objects.order_by("ended_at")[49].pk

    page = client.get(reverse("runs:handed_over"), {"after": last}).content.decode()

    assert "51 cases wait for a person, the oldest since" in page
    assert NOON.strftime("%-d %b %Y") in page
    assert "From the oldest" in page
    assert "Later" not in page


def test_pages_of_one_reason_stay_with_it(client, ben, quiet_agent):
    hand_over_many(quiet_agent, 104)
    client.force_login(ben)

    first = client.get(reverse("runs:handed_over"), {"reason": "out_of_scope"}, **HTMX)
    later = html.unescape(re.search(r'rel="next" href="(\?[^"]+)"', first.content.decode())[1])
    second = client.get(reverse("runs:handed_over") + later, **HTMX)

    assert "reason=out_of_scope" in later
    assert (len(cases_in(first)), cases_in(second)) == (50, ["T-100", "T-102"])


def test_a_page_after_the_last_case_leads_back(client, ben, quiet_agent):
    hand_over_many(quiet_agent, 2)
    client.force_login(ben)
    last = Run.objects.order_by("ended_at").last().pk

    for after in (last, 10**17):
        page = client.get(reverse("runs:handed_over"), {"after": after}).content.decode()
        assert "Nothing later waits" in page
    assert cases_in(client.get(reverse("runs:handed_over"), {"after": "nonsense"})) == ["T-000", "T-001"]


def test_cases_that_were_handed_over_in_the_same_moment_are_all_shown(client, ben, quiet_agent):
    hand_over_many(quiet_agent, 60)
    Run.objects.update(ended_at=NOON)
    client.force_login(ben)

    first = client.get(reverse("runs:handed_over"))
    last = Run.objects.order_by("pk")[49].pk
    second = client.get(reverse("runs:handed_over"), {"after": last})

    assert sorted(cases_in(first) + cases_in(second)) == [f"T-{number:03}" for number in range(60)]


def test_a_person_keeps_a_case_on_its_page_and_the_next_one_opens(client, ben, agent, desk):
    item, _ = make_handed_over(agent, "T-1")
    other, _ = make_handed_over(agent, "T-2")
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), {"keep": "1", "reason": "About a contract."})

    item.refresh_from_db()
    assert answer.url == reverse("runs:hand_over", args=[other.pk])
    assert item.state == WorkItem.State.DONE
    assert desk.journal() == []


def test_both_ways_to_end_a_case_are_on_its_page(client, ben, agent):
    item, _ = make_handed_over(agent)
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()

    assert "Write and close" in page
    assert "None of these: a person keeps it" in page


def test_keeping_without_a_reason_is_asked_for_one(client, ben, agent):
    item, _ = make_handed_over(agent)
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), {"keep": "1", "reason": " "}, **HTMX)

    item.refresh_from_db()
    assert answer.status_code == 422
    assert "id_reason_error" in answer.content.decode()
    assert item.state == WorkItem.State.HANDED_OVER


def test_a_case_that_its_system_does_not_know_offers_only_to_keep_it(client, ben, agent):
    item, _ = make_handed_over(agent, "T-404", reason="not_found", payload={"text": "My screen is black"})
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()

    assert "The ticket system has no T-404." in page
    assert "There is nothing to route, so a person keeps this case." in page
    assert "My screen is black" in page
    assert "Keep and close" in page
    assert "Write and close" not in page


def test_a_case_that_vanished_while_it_was_read_is_told_and_can_be_kept(client, ben, agent):
    item, _ = make_handed_over(agent, "T-404")
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), CHOICE, **HTMX)

    page = answer.content.decode()
    assert answer.status_code == 409
    assert "so there is nothing to route" in page
    assert "Keep and close" in page


def test_a_stop_is_told_and_keeps_what_was_typed(client, ben, ivo, agent, desk):
    item, _ = make_handed_over(agent)
    switches.engage_switch("all", 0, actor=ivo, reason="Look into it")
    client.force_login(ben)

    answer = client.post(reverse("runs:hand_over", args=[item.pk]), CHOICE, **HTMX)

    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Everything is stopped: Look into it. Nothing was written." in page
    assert "We call you." in page
    assert desk.journal() == []


@pytest.mark.parametrize("state", ["started", "unknown"])
def test_a_write_without_a_known_outcome_is_told_on_the_page_and_in_the_list(client, ben, agent, state):
    item, _ = make_handed_over(agent, "T-1")
    make_handed_over(agent, "T-2")
    make_execution(Connector.objects.get(key="desk"), thread_id=f"hand-over:{item.pk}", state=state, started_at=NOON)
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()
    rows = client.get(reverse("runs:handed_over")).content.decode()

    assert "An earlier write of this case has no known outcome." in page
    assert "Submitting looks first, and writes nothing twice." in page
    assert rows.count("an earlier write has no known outcome") == 1


def test_a_write_whose_outcome_is_known_is_no_news(client, ben, agent):
    item, _ = make_handed_over(agent, "T-1")
    make_execution(Connector.objects.get(key="desk"), thread_id=f"hand-over:{item.pk}", state="failed", started_at=NOON)
    client.force_login(ben)

    assert b"no known outcome" not in client.get(reverse("runs:hand_over", args=[item.pk])).content
    assert b"no known outcome" not in client.get(reverse("runs:handed_over")).content


def test_a_promise_to_the_customer_stands_on_the_case(client, ben, quiet_agent):
    item, _ = make_handed_over(quiet_agent, sla_due=NOON)
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[item.pk])).content.decode()

    assert "The customer was promised an answer until" in page


def test_the_reads_of_hand_overs_cost_what_they_say(ben, quiet_agent, django_assert_num_queries):
    hand_over_many(quiet_agent, 55)
    item = WorkItem.objects.get(external_id="T-000")
    last = Run.objects.order_by("ended_at")[49].pk
    ben.has_perm("runs.view", quiet_agent.team_id)

    for after in (None, last):
        with django_assert_num_queries(3):
            queries.hand_overs(ben, after=after)
    with django_assert_num_queries(4):
        queries.hand_over_page(ben, item.pk)
