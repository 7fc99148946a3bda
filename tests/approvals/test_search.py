"""The language of the inbox's search: what it understands, what it says of the rest, and what it finds."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.accounts.models import Role
from apps.approvals.actions import claims, snoozing
from apps.approvals.domain.search import LONGEST, Term, parse
from apps.approvals.models import Proposal
from apps.approvals.queries import history, inbox
from tests.factories.accounts import make_member, make_team
from tests.factories.approvals import (
    ROUTE_ARGS,
    TEN,
    decide,
    make_action_type,
    make_agent,
    make_proposal,
    make_version,
)

PIECES = [
    *'-": <>',
    "risk:",
    "high",
    "agent:",
    "a:",
    "due:<",
    "7",
    "m",
    "h",
    "İ",
    "ß",
    "é",
    "mine:yes",
    "confidence:<0.",
]
texts = st.one_of(st.text(max_size=400), st.lists(st.sampled_from(PIECES), max_size=200).map("".join))


class TestLanguage:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("risk:HIGH agent:refunds", "risk:high agent:refunds"),
            ("state:pending due:<2h mine:yes text", "state:pending due:<2h mine:yes text"),
            ("due:<120m age:>1440m", "due:<2h age:>1d"),
            ("due:>90m", "due:>90m"),
            ('agent:"Ticket  Desk" "to billing"', 'agent:"ticket desk" "to billing"'),
            ('agent:"Ticket', "agent:ticket"),
            ("-risk:low -T-1001", "-risk:low -t-1001"),
            ("-mine:yes -snoozed:no", "mine:no snoozed:yes"),
            ("confidence:<0.80 confidence:>.5", "confidence:<0.8 confidence:>0.5"),
            ("approvals:1 duplicate:yes", "approvals:1 duplicate:yes"),
            ("risk:low risk:low", "risk:low"),
            ('"risk:high"', '"risk:high"'),
            ("10:30", "10:30"),
            ("  ", ""),
            ("-- :: !!", ""),
        ],
    )
    def test_it_has_one_spelling(self, text, canonical):
        search = parse(text)

        assert (str(search), search.problems) == (canonical, ())

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("risk:dire", "risk: takes low, medium or high."),
            ("risk:", "risk: takes low, medium or high."),
            ("due:2h", "due: takes < or > and a time, as <2h, >1d or <30m."),
            ("due:<2w", "due: takes < or > and a time, as <2h, >1d or <30m."),
            ("age:>9999999d", "age: takes < or > and a time, as >2h, <1d or >30m."),
            ("mine:maybe", "mine: takes yes or no."),
            ("approvals:many", "approvals: takes a number, as 1."),
            ("confidence:0.8", "confidence: takes < or > and a number from 0 to 1, as <0.8."),
            ("confidence:<nan", "confidence: takes < or > and a number from 0 to 1, as <0.8."),
            ("confidence:>1.5", "confidence: takes < or > and a number from 0 to 1, as <0.8."),
        ],
    )
    def test_a_wrong_value_is_named_with_what_is_allowed_and_the_rest_still_counts(self, text, problem):
        search = parse(f"{text} mine:yes refund")

        assert search.problems == (problem,)
        assert str(search) == "mine:yes refund"

    def test_an_unknown_term_is_named_with_the_known_ones(self):
        (problem,) = parse("rsik:high").problems

        assert problem.startswith('There is no term "rsik:". Known are risk, agent, action, team, state, due,')

    def test_a_state_names_all_it_may_be(self):
        (problem,) = parse("state:approved").problems

        for state in ("open", "pending", "claimed", "queued", "unknown", "rejected", "rolled_back"):
            assert state in problem

    def test_a_search_says_whether_it_is_about_what_waits(self):
        assert parse("refund").is_about_open
        assert parse("state:open state:claimed").is_about_open
        assert not parse("state:open state:rejected").is_about_open
        assert not parse("-state:pending").is_about_open

    def test_what_is_longer_than_a_view_may_be_is_cut(self):
        assert len(str(parse("x" * 1000))) == LONGEST

    @given(texts)
    @example('agent:a"b c"d -"-x" --x "a:b"')
    @example("İ" * 299 + ' "x')
    def test_it_never_fails_and_its_spelling_reads_as_itself(self, text):
        search = parse(text)
        again = parse(str(search))

        assert again.terms == search.terms
        assert str(again) == str(search)
        assert again.problems == ()

    @given(texts)
    def test_no_value_can_leave_its_quotes(self, text):
        assert not any('"' in each.value or "\x00" in each.value for each in parse(text).terms)

    def test_a_word_has_no_name(self):
        assert parse("-refund").terms == (Term("", "refund", is_not=True),)


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, max_open=1000, slug="refunds", name="Refund clerk")
    make_action_type(row)
    make_version(row)
    return row


@pytest.fixture
def find(ben):
    """Search as Ben does in the inbox, and return the titles."""

    def search(text, *, reader=ben, at=TEN):
        return sorted(row.title for row in inbox.queue(reader, search=parse(text), at=at).rows)

    return search


class TestFinding:
    @pytest.fixture
    def cards(self, team, ada, agent):
        """Three cards of two agents: A is high and unsure, B states nothing, C is of the other agent."""
        other = make_agent(team, ada, slug="triage", name="Triage")
        make_action_type(other, key="tickets.close", name="Close a ticket", risk_class="low")
        facts = [
            ("A", agent, {"confidence": 0.31}),
            ("B", agent, {"confidence": None, "args": {**ROUTE_ARGS, "queue": "network"}}),
            ("C", other, {"confidence": 0.9, "target": "desk:tickets/T-2002", "subject": "customer/O'Neill"}),
        ]
        rows = {title: make_proposal(team, ada, agent=who, title=title, **more) for title, who, more in facts}
        Proposal.objects.filter(pk=rows["A"].pk).update(risk_class="high", deadline=TEN + timedelta(minutes=30))
        return rows

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", "ABC"),
            ("risk:high", "A"),
            ("risk:high risk:low", "AC"),
            ("-risk:low", "AB"),
            ("agent:refunds", "AB"),
            ("agent:refund", "AB"),
            ('agent:"refund clerk"', "AB"),
            ("agent:fund", ""),
            ("action:tickets.close", "C"),
            ('action:"close a"', "C"),
            ("team:support", "ABC"),
            ("team:elsewhere", ""),
            ("due:<1h", "A"),
            ("due:>1h", "BC"),
            ("due:>1h due:<5h", "BC"),
            ("age:<1h", "ABC"),
            ("age:>1m", ""),
            ("confidence:<0.8", "A"),
            ("-confidence:<0.8", "C"),
            ("confidence:>0.3", "AC"),
            ("approvals:0", "ABC"),
            ("approvals:1", ""),
            ("duplicate:yes", ""),
            ("T-20", "C"),
            ("t-2002 risk:low", "C"),
            ("desk", "ABC"),
            ("-t-2002", "AB"),
            ("o'neill", "C"),
            ("cust", "ABC"),
            ("2002", "C"),
            ("C-77", "AB"),
            ('"desk:tickets/T-2002"', "C"),
            ('"t-1001"', "AB"),
            (r"a\' & b | !c:*", ""),
            ("risk:dire risk:low", "C"),
            ("state:pending", "ABC"),
            ("state:claimed", ""),
            ("state:rejected", ""),
        ],
    )
    def test_each_term_finds_what_it_says(self, cards, find, text, found):
        assert find(text) == list(found)

    def test_the_customers_deadline_counts_where_it_is_sooner(self, team, ada, agent, find):
        make_proposal(team, ada, agent=agent, title="Promised", sla_due=TEN + timedelta(minutes=20))
        make_proposal(team, ada, agent=agent, title="Later", sla_due=TEN + timedelta(hours=20))

        assert (find("due:<1h"), find("due:>1h")) == (["Promised"], ["Later"])

    def test_mine_is_what_was_handed_to_me_what_i_hold_and_what_i_approved_first(self, team, ada, ben, cards, find):
        ann = make_member(team, Role.REVIEWER, name="Ann")
        Proposal.objects.filter(pk=cards["C"].pk).update(assigned_to=ben)
        claims.claim(cards["B"].pk, actor=ben, at=TEN)
        Proposal.objects.filter(pk=cards["A"].pk).update(approvals_needed=2)
        cards["A"].refresh_from_db()
        decide(cards["A"], ben, confirm="T-1001")

        assert (find("mine:yes"), find("mine:no")) == (["A", "B", "C"], [])
        assert (find("mine:yes", reader=ann), find("mine:no", reader=ann)) == ([], ["A", "B", "C"])
        assert find("mine:yes", at=TEN + timedelta(minutes=6)) == ["A", "C"]

    def test_what_i_put_aside_is_found_only_when_asked_for(self, team, ben, cards, find):
        ann = make_member(team, Role.REVIEWER, name="Ann")
        snoozing.snooze(cards["B"].pk, length=timedelta(hours=1), actor=ben, at=TEN)

        assert (find(""), find("snoozed:yes"), find("-snoozed:yes")) == (["A", "C"], ["B"], ["A", "C"])
        assert find("", reader=ann) == ["A", "B", "C"]
        assert find("", at=TEN + timedelta(hours=1)) == ["A", "B", "C"]

    def test_duplicates_are_the_same_digest_twice_open(self, team, ada, ben, agent, cards, find):
        twin = make_proposal(team, ada, agent=agent, title="A again")

        assert find("duplicate:yes") == ["A", "A again"]
        assert find("duplicate:no") == ["B", "C"]

        decide(twin, ben, "reject")
        assert find("duplicate:yes") == []

    def test_closed_states_are_found_too_and_never_advice(self, ben, cards, find):
        decide(cards["B"], ben, "reject")
        decide(cards["C"], ben, "reject")
        Proposal.objects.filter(pk=cards["C"].pk).update(kind="advice", executable=False)

        assert find("state:rejected") == ["B"]
        assert find("state:open") == ["A"]
        assert inbox.queue(ben, search=parse("state:rejected"), at=TEN).found is None

    def test_an_outsider_finds_nothing_by_any_word(self, eve, cards, find):
        for text in ("", "risk:high", "state:rejected", "desk", "team:support", "snoozed:no"):
            assert find(text, reader=eve) == []

    def test_a_team_is_found_by_its_name_among_ones_own(self, team, ada, ben, agent, find):
        second = make_team("Billing", slug="billing-team")
        ben.memberships.create(team=second, role=Role.REVIEWER)
        make_proposal(team, ada, agent=agent, title="Ours")
        make_proposal(second, make_member(second, Role.AGENT_OWNER), title="Theirs")

        assert (find("team:bill"), find("team:supp")) == (["Theirs"], ["Ours"])


class TestHistory:
    def test_it_is_searched_like_the_inbox(self, team, ada, ben, agent):
        for title, verdict in (("Keep", "approve"), ("Drop", "reject")):
            decide(make_proposal(team, ada, agent=agent, title=title), ben, verdict)

        titles = {
            text: [row.title for row in history.history_rows(ben, search=parse(text), at=TEN).rows]
            for text in ("state:rejected", "keep", "state:open", "-keep")
        }

        assert titles == {"state:rejected": ["Drop"], "keep": ["Keep"], "state:open": [], "-keep": ["Drop"]}

    def test_what_was_put_aside_before_it_was_decided_is_there(self, team, ada, ben, agent):
        row = make_proposal(team, ada, agent=agent)
        snoozing.snooze(row.pk, length=timedelta(hours=1), actor=ben, at=TEN)
        decide(row, make_member(team, Role.REVIEWER), "reject")

        assert len(history.history_rows(ben, search=parse("state:rejected"), at=TEN).rows) == 1

    def test_pages_of_a_search_go_back_without_gaps(self, team, ada, ben, agent):
        for number in range(6):
            row = make_proposal(team, ada, agent=agent, title="Odd" if number % 2 else "Even")
            decide(row, ben, "reject", at=TEN + timedelta(minutes=number))

        first = history.history_rows(ben, search=parse("odd"), limit=2, at=TEN)
        rest = history.history_rows(ben, search=parse("odd"), limit=2, after=first.after, at=TEN)

        assert [len(first.rows), len(rest.rows), rest.after] == [2, 1, None]
        assert not {row.id for row in first.rows} & {row.id for row in rest.rows}
