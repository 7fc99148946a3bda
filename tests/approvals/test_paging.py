"""R19: what is shown stays in the order in which it was drawn, however far down somebody reads."""

from datetime import timedelta

import pytest

from apps.accounts.models import Role
from apps.approvals.domain.search import parse
from apps.approvals.models import Proposal
from apps.approvals.queries import inbox
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_action_type, make_agent, make_proposal, make_version

HTMX = {"HX-Request": "true"}
RISKS = ["low", "medium", "high"]


def minutes(number):
    return timedelta(minutes=number)


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, max_open=1000, max_new_per_minute=1000)
    make_action_type(row)
    make_version(row)
    return row


@pytest.fixture
def waiting(team, ada, agent):
    """Make so many cards of mixed risk and time."""

    def make(count, *, at=TEN):
        rows = [make_proposal(team, ada, agent=agent, at=at) for _ in range(count)]
        for number, row in enumerate(rows):
            due = at + minutes(5 + number * 31 % 240)
            Proposal.objects.filter(pk=row.pk).update(risk_class=RISKS[number % 3], deadline=due)
        return rows

    return make


def ids(rows):
    return [row.id for row in rows]


class TestMore:
    def test_parts_follow_each_other_in_one_order(self, ben, waiting):
        waiting(17)
        whole = ids(inbox.inbox_rows(ben, limit=100, at=TEN + minutes(2)))

        first = inbox.queue(ben, limit=5, at=TEN + minutes(2))
        seen, part = ids(first.rows), first
        while part.has_more:
            part = inbox.more(ben, after=part.last, as_of=first.as_of, limit=5, at=TEN + minutes(4))
            seen += ids(part.rows)

        assert seen == whole
        assert len(whole) == 17

    def test_cards_decided_meanwhile_leave_no_gap_and_no_repetition(self, ben, waiting):
        waiting(12)
        whole = ids(inbox.inbox_rows(ben, limit=100, at=TEN))
        first = inbox.queue(ben, limit=4, at=TEN)
        # Two of the first four, the last of them among them, and one further down.
        for pk in (whole[1], whole[3], whole[6]):
            row = Proposal.objects.get(pk=pk)
            decide(row, ben, "reject")

        part = inbox.more(ben, after=first.last, as_of=TEN, limit=100, at=TEN)

        assert ids(part.rows) == [pk for pk in whole[4:] if pk != whole[6]]

    def test_what_came_since_is_not_among_it(self, ben, waiting):
        waiting(6)
        first = inbox.queue(ben, limit=3, at=TEN)
        waiting(3, at=TEN + minutes(1))

        part = inbox.more(ben, after=first.last, as_of=TEN, at=TEN + minutes(1))

        assert len(part.rows) == 3
        assert not part.has_more

    def test_urgency_of_a_later_minute_changes_no_place(self, ben, waiting):
        waiting(20)
        whole = ids(inbox.inbox_rows(ben, limit=100, at=TEN))
        later = ids(inbox.inbox_rows(ben, limit=100, at=TEN + minutes(60)))
        assert whole != later

        part = inbox.more(ben, after=whole[4], as_of=TEN, limit=100, at=TEN + minutes(60))

        assert ids(part.rows) == whole[5:]

    def test_a_search_goes_along(self, ben, waiting):
        waiting(12)
        search = parse("risk:high")
        first = inbox.queue(ben, search=search, limit=2, at=TEN)

        part = inbox.more(ben, after=first.last, as_of=TEN, search=search, at=TEN)

        assert {row.risk for row in (*first.rows, *part.rows)} == {"high"}
        assert len(first.rows) + len(part.rows) == 4

    def test_after_somebody_elses_card_comes_nothing(self, team, ada, ben, eve, other_team, waiting):
        waiting(3)
        theirs = make_proposal(other_team, make_member(other_team, Role.AGENT_OWNER))

        assert inbox.more(ben, after=theirs.pk, as_of=TEN, at=TEN).rows == ()
        assert inbox.more(eve, after=Proposal.objects.filter(team=team).first().pk, as_of=TEN, at=TEN).rows == ()


class TestSentence:
    def test_it_counts_all_that_waits_also_beyond_the_page(self, ben, waiting):
        waiting(7)

        queue = inbox.queue(ben, limit=3, at=TEN + minutes(31))

        assert queue.sentence == "7 actions wait for a human, oldest 31 m"
        assert (len(queue.rows), queue.has_more, queue.waiting) == (3, True, 7)

    def test_a_search_changes_what_is_found_and_not_what_waits(self, ben, waiting):
        waiting(6)

        queue = inbox.queue(ben, search=parse("risk:high"), at=TEN)

        assert (queue.found, queue.waiting, len(queue.rows)) == (2, 6, 2)
        assert queue.sentence.startswith("6 actions wait")

    def test_one_is_one(self, ben, waiting):
        waiting(1)

        assert inbox.queue(ben, at=TEN + timedelta(days=3)).sentence == "1 action waits for a human, oldest 3 d"


class TestChanges:
    def test_new_is_only_what_the_search_finds(self, team, ada, ben, agent, waiting):
        make_proposal(team, ada, agent=agent, title="Refund", at=TEN + minutes(1))

        def new(text):
            return inbox.changed_since(ben, {}, as_of=TEN, search=parse(text), at=TEN + minutes(2)).new

        assert (new(""), new("refund"), new("risk:high"), new("state:rejected")) == (1, 1, 0, 0)


class TestPage:
    @pytest.fixture
    def as_ben(self, client, ben):
        client.force_login(ben)
        return client

    @pytest.fixture
    def many(self, waiting):
        return waiting(53, at=clock())

    def test_fifty_are_shown_and_the_rest_on_demand(self, as_ben, many):
        page = as_ben.get("/inbox/").content.decode()
        assert page.count('<li id="proposal-') == 50
        assert "53 actions wait for a human" in page
        assert "Show 50 more" in page

    def test_the_next_ones_come_alone_and_end_the_list(self, as_ben, ben, many):
        queue = inbox.queue(ben)

        response = as_ben.get(
            "/inbox/queue/more/",
            {"after": queue.last, "as_of": queue.as_of.isoformat(), "show": "100"},
            headers={**HTMX, "HX-Current-URL": "http://testserver/inbox/7/"},
        )

        page = response.content.decode()
        assert page.count('<li id="proposal-') == 3
        assert "Show 50 more" not in page
        assert "<h1" not in page
        assert response["HX-Replace-Url"] == "/inbox/7/?show=100"

    def test_without_htmx_the_longer_list_is_a_page(self, as_ben, many):
        assert as_ben.get("/inbox/?show=100").content.decode().count('<li id="proposal-') == 53

        response = as_ben.get("/inbox/queue/more/?show=100")
        assert (response.status_code, response.url) == (302, "/inbox/?show=100")

    @pytest.mark.parametrize("show", ["", "x", "-1", "0", "99999999999", "²"])
    def test_a_length_that_makes_no_sense_is_a_usual_one(self, as_ben, many, show):
        assert as_ben.get(f"/inbox/?show={show}").status_code == 200

    @pytest.mark.parametrize(
        "query",
        ["after=1", "after=x&as_of=2026-01-01T00:00:00Z", "after=99999999999999999999&as_of=2026-01-01T00:00:00Z"],
    )
    def test_an_address_that_makes_no_sense_breaks_nothing(self, as_ben, many, query):
        assert as_ben.get(f"/inbox/queue/more/?{query}", headers=HTMX).status_code in {200, 302}

    def test_a_search_draws_the_queue_and_becomes_the_address(self, as_ben, many):
        response = as_ben.get("/inbox/queue/", {"q": "risk:high"}, headers={**HTMX, "HX-Trigger": "q"})

        page = response.content.decode()
        assert "of 53 found" in page
        assert 'id="search"' not in page
        assert response["HX-Replace-Url"] == "/inbox/?q=risk%3Ahigh"

    def test_a_view_fills_in_the_search(self, as_ben, many):
        response = as_ben.get("/inbox/queue/", {"q": "mine:yes"}, headers=HTMX)

        assert 'id="search"' in response.content.decode()
        assert 'value="mine:yes"' in response.content.decode()
        assert response["HX-Push-Url"] == "/inbox/?q=mine%3Ayes"
        assert b"Nothing that waits matches this search." in response.content

    def test_it_works_without_javascript(self, as_ben, many):
        page = as_ben.get("/inbox/?q=risk%3Ahigh+due%3A%3C2w").content.decode()

        assert "due: takes &lt; or &gt; and a time" in page
        assert 'value="risk:high due:&lt;2w"' in page
        assert "Keep this view" in page
        assert page.count("?q=risk%3Ahigh+due%3A%3C2w") >= 17

    def test_a_card_opened_from_a_search_keeps_it_beside(self, as_ben, many):
        response = as_ben.post(
            f"/inbox/{many[2].pk}/snooze/",
            {"minutes": "15"},
            headers={**HTMX, "HX-Current-URL": f"http://testserver/inbox/{many[2].pk}/?q=risk%3Ahigh"},
        )

        page = response.content.decode()
        assert f'id="proposal-{many[5].pk}"' in page
        assert f'id="proposal-{many[3].pk}"' not in page

    def test_the_poll_of_a_search_tells_only_of_what_it_finds(self, as_ben, team, ada, agent, many):
        as_of = clock().isoformat()
        make_proposal(team, ada, agent=agent, at=clock(), title="Refund T-9")

        found = as_ben.post("/inbox/changes/", {"as_of": as_of, "q": "refund"}, headers=HTMX)
        other = as_ben.post("/inbox/changes/", {"as_of": as_of, "q": "risk:high"}, headers=HTMX)

        assert b"1 new" in found.content
        assert b'data-key="."' in found.content
        assert other.status_code == 204

    def test_what_was_typed_is_only_ever_text(self, as_ben, many):
        page = as_ben.get("/inbox/", {"q": '"><script>alert(1)</script> risk:<b>'}).content.decode()

        assert "<script>alert" not in page
        assert "<b>" not in page

    def test_a_closed_state_leads_to_the_history(self, as_ben, ben, many):
        row = Proposal.objects.get(pk=many[0].pk)
        decide(row, ben, "reject", at=clock())

        page = as_ben.get("/inbox/?q=state%3Arejected").content.decode()

        assert f'id="proposal-{row.pk}"' in page
        assert "/inbox/history/?q=state%3Arejected" in page

    def test_outsiders_see_no_rows_by_any_door(self, client, eve, ben, many):
        queue = inbox.queue(ben)
        client.force_login(eve)

        answers = [
            client.get("/inbox/?q=risk%3Ahigh"),
            client.get("/inbox/queue/", {"q": ""}, headers=HTMX),
            client.get(
                "/inbox/queue/more/", {"after": queue.rows[0].id, "as_of": queue.as_of.isoformat()}, headers=HTMX
            ),
            client.get("/inbox/history/?q=state%3Apending"),
        ]

        assert [each.status_code for each in answers] == [200] * 4
        assert not any(b"proposal-" in each.content for each in answers)
