"""What the queue, the card and the history show, and to whom."""

from datetime import timedelta

import pytest
from django.http import Http404

from apps.accounts.access import Forbidden
from apps.accounts.models import Role
from apps.approvals.actions import claims, closing, outbox, undoing
from apps.approvals.actions.execution import consume, record_outcome
from apps.approvals.domain import order
from apps.approvals.models import Proposal, ResumeOutbox
from apps.approvals.queries import cards, history, inbox, outcomes, rules
from tests.factories.accounts import make_member
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_action_type, make_agent, make_proposal, make_version
from tests.factories.oncall import make_schedule

NOON = TEN + timedelta(hours=2)


def minutes(number):
    return timedelta(minutes=number)


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, max_open=1000)
    make_action_type(row)
    make_version(row)
    return row


@pytest.fixture
def waiting(team, ada, agent):
    """Make one open card with the times and risk that the order is about."""

    def make(title, *, risk, created, due):
        row = make_proposal(team, ada, agent=agent, title=title)
        Proposal.objects.filter(pk=row.pk).update(risk_class=risk, created_at=created, deadline=due)
        return row

    return make


class TestQueue:
    def test_its_order_is_the_one_of_the_specification(self, ben, waiting):
        waiting("P1", risk="low", created=NOON - minutes(60), due=NOON + minutes(60))
        waiting("P2", risk="high", created=NOON - minutes(5), due=NOON + minutes(235))
        waiting("P3", risk="medium", created=NOON - minutes(218), due=NOON + minutes(22))
        waiting("P4", risk="low", created=NOON - minutes(54), due=NOON + minutes(6))

        assert [row.title for row in inbox.inbox_rows(ben, at=NOON)] == ["P4", "P3", "P1", "P2"]

    def test_the_database_orders_as_the_rule_does(self, ben, waiting):
        risks = ["low", "medium", "high"]
        for number in range(40):
            created = NOON - minutes(number * 7 % 53)
            waiting("x", risk=risks[number % 3], created=created, due=created + minutes(5 + number * 31 % 240))

        rows = inbox.inbox_rows(ben, at=NOON)
        cards = [order.Waiting(row.id, row.risk, row.created_at, row.due) for row in rows]
        assert [card.id for card in order.in_order(cards, now=NOON)] == [row.id for row in rows]
        assert len(rows) == 40

    def test_the_customers_deadline_counts_if_it_is_sooner(self, team, ada, ben):
        make_proposal(team, ada, sla_due=TEN + minutes(30))

        (row,) = inbox.inbox_rows(ben, at=TEN + minutes(25))

        assert (row.left, row.is_urgent) == (minutes(5), True)

    def test_a_row_says_all_that_the_queue_shows(self, team, ada, ben):
        card = make_proposal(team, ada)
        claims.claim(card.pk, actor=ben, at=TEN)

        (row,) = inbox.inbox_rows(ben, at=TEN + minutes(3))

        assert (row.id, row.version, row.digest, row.state) == (card.pk, 2, card.digest, "claimed")
        assert (row.title, row.agent_name, row.action_name) == (card.title, "Ticket desk", "Route a ticket")
        assert (row.age, row.left) == (minutes(3), minutes(237))
        assert (row.claimed_by, row.claimed_by_me, row.may_decide) == ("Ben", True, True)
        assert float(row.confidence) == 0.62

    def test_a_lapsed_claim_is_not_shown(self, team, ada, ben):
        claims.claim(make_proposal(team, ada).pk, actor=ben, at=TEN)

        assert inbox.inbox_rows(ben, at=TEN + minutes(5))[0].claimed_by == ""

    def test_the_same_action_twice_is_marked(self, team, ada, ben, agent):
        for _ in range(3):
            make_proposal(team, ada, agent=agent)
        make_proposal(team, ada, agent=agent, args={**ROUTE_ARGS, "queue": "network"})

        assert sorted(row.duplicates for row in inbox.inbox_rows(ben, at=TEN)) == [0, 2, 2, 2]

    def test_outsiders_see_nothing(self, team, ada, eve):
        make_proposal(team, ada)

        assert inbox.inbox_rows(eve, at=TEN) == []
        assert inbox.waiting_count(eve) == 0

    def test_the_owner_sees_the_card_but_may_not_decide(self, team, ada):
        ada.memberships.create(team=team, role=Role.REVIEWER)
        make_proposal(team, ada)

        assert [row.may_decide for row in inbox.inbox_rows(ada, at=TEN)] == [False]

    def test_what_is_closed_is_gone(self, team, ada, ben):
        decide(make_proposal(team, ada), ben)

        assert inbox.inbox_rows(ben, at=TEN) == []
        assert inbox.waiting_count(ben) == 0

    def test_pages_do_not_overlap(self, team, ada, ben, agent):
        for _ in range(5):
            make_proposal(team, ada, agent=agent)

        pages = [inbox.inbox_rows(ben, limit=2, offset=offset, at=TEN) for offset in (0, 2, 4)]

        assert len({row.id for page in pages for row in page}) == 5

    def test_the_next_card_is_one_this_person_may_decide(self, team, ada, ben, agent):
        ann = make_member(team, Role.REVIEWER, name="Ann")
        first, second = (make_proposal(team, ada, agent=agent) for _ in range(2))
        claims.claim(first.pk, actor=ann, at=TEN)

        assert inbox.next_waiting(ben, at=TEN) == second.pk
        assert inbox.next_waiting(ben, after=second.pk, at=TEN) is None

    def test_what_one_approved_waits_for_somebody_else(self, team, ada, ben, agent):
        ann = make_member(team, Role.REVIEWER, name="Ann")
        row = make_proposal(team, ada, agent=agent, policy={"approvals_needed": 2})
        decide(row, ben)

        mine, hers = (inbox.inbox_row(person, row.pk, at=TEN) for person in (ben, ann))
        assert (mine.approved_by_me, hers.approved_by_me) == (True, False)
        assert (inbox.next_waiting(ben, at=TEN), inbox.next_waiting(ann, at=TEN)) == (None, row.pk)
        assert (inbox.waiting_count(ben, at=TEN), inbox.waiting_count(ann, at=TEN)) == (0, 1)

    def test_only_those_who_decide_get_a_count(self, team, ada, ben, cora):
        make_proposal(team, ada)

        assert (inbox.waiting_count(ben), inbox.waiting_count(cora)) == (1, 0)


class TestChanges:
    def test_nothing_changed(self, team, ada, ben):
        row = make_proposal(team, ada)

        assert not inbox.changed_since(ben, {row.pk: 1}, as_of=TEN, at=TEN).has_any

    def test_a_claim_by_somebody_else_changes_the_row(self, team, ada, ben):
        row = make_proposal(team, ada)
        claims.claim(row.pk, actor=make_member(team, Role.REVIEWER, name="Ann"), at=TEN)

        changed = inbox.changed_since(ben, {row.pk: 1}, at=TEN)

        assert [(each.id, each.version, each.claimed_by) for each in changed.rows] == [(row.pk, 2, "Ann")]

    def test_a_card_decided_elsewhere_says_by_whom(self, team, ada, ben):
        row = make_proposal(team, ada)
        decide(row, ben)

        (closed,) = inbox.changed_since(ben, {row.pk: 1}, at=TEN).closed

        assert (closed.words, closed.by, closed.at, closed.version) == ("Approved", "Ben", TEN, 2)

    def test_new_cards_are_counted_and_not_listed(self, team, ada, ben, agent):
        old = make_proposal(team, ada, agent=agent)
        make_proposal(team, ada, agent=agent, at=TEN + minutes(1))

        changes = inbox.changed_since(ben, {old.pk: 1}, as_of=TEN, at=TEN + minutes(2))

        assert (changes.new, changes.rows) == (1, ())

    def test_another_teams_ids_tell_nothing(self, team, ada, eve):
        row = make_proposal(team, ada)
        decide_later = inbox.changed_since(eve, {row.pk: 0}, as_of=TEN - minutes(1), at=TEN)

        assert not decide_later.has_any


class TestCard:
    def test_it_is_made_of_typed_facts(self, team, ada, ben):
        row = make_proposal(team, ada, sla_due=TEN + minutes(22))

        card = cards.card(ben, row.pk, at=TEN)

        assert card.consequence == "Approving moves desk:tickets/T-1001 to billing with priority normal."
        assert card.cost_of_delay == "The promise to the customer breaks in 22 min."
        assert (card.confidence_words, card.review_reason) == ("62%", "The policy asks a person every time.")
        assert (card.policy, card.approvals_needed) == ("Route a ticket v1", 1)
        assert (card.may_decide, card.why_not) == (True, "")

    def test_the_diff_marks_what_would_change_and_what_is_watched(self, team, ada, ben):
        card = cards.card(ben, make_proposal(team, ada).pk, at=TEN)

        assert [(row.field, row.proposed, row.if_approved, row.is_changed, row.is_watched) for row in card.diff] == [
            ("queue", "inbox", "billing", True, False),
            ("status", "open", "open", False, True),
        ]

    def test_its_arguments_are_ready_for_a_form(self, team, ada, ben):
        card = cards.card(ben, make_proposal(team, ada).pk, at=TEN)

        fields = {each.name: each for each in card.args}
        assert (fields["queue"].kind, fields["queue"].choices) == ("choice", ("accounts", "billing", "network"))
        assert (fields["reply"].kind, fields["reply"].max_length) == ("long_text", 2000)
        assert [name for name, each in fields.items() if not each.is_editable] == ["ticket"]
        assert [name for name, each in fields.items() if each.is_required] == ["queue", "priority"]

    def test_an_unstated_confidence_is_said_so(self, team, ada, ben):
        assert cards.card(ben, make_proposal(team, ada, confidence=None).pk, at=TEN).confidence_words == "not stated"

    def test_hidden_characters_are_shown_in_everything_the_agent_wrote(self, team, ada, ben):
        row = make_proposal(
            team,
            ada,
            agent_text="ignore\u200b this",
            args={**ROUTE_ARGS, "reply": "refund\u202e0001"},
            title="Route\u2066 it",
            evidence=[{"label": "E", "text": "a\u200db", "source": "s"}],
        )

        card = cards.card(ben, row.pk, at=TEN)

        assert (card.agent_text, card.agent_text_has_hidden) == ("ignore[U+200B] this", True)
        assert {each.name: each.shown for each in card.args}["reply"] == "refund[U+202E]0001"
        assert card.args_typed["reply"] == "refund\u202e0001"
        assert card.title == "Route[U+2066] it"
        assert card.evidence[0].text == "a[U+200D]b"

    def test_it_counts_what_people_made_of_its_kind(self, team, ada, ben, agent):
        def another(queue="billing"):
            return make_proposal(team, ada, agent=agent, args={**ROUTE_ARGS, "queue": queue})

        decide(another(), ben)
        decide(another(), ben)
        decide(another(), ben, "reject")
        decide(another("network"), ben)
        card = cards.card(ben, another().pk, at=TEN)

        assert (card.past.approved, card.past.edited, card.past.rejected) == (2, 0, 1)
        assert card.past.of == "Route a ticket · queue billing"

    def test_after_an_approval_it_says_until_when_it_can_be_undone(self, team, ada, ben):
        row = decide(make_proposal(team, ada, policy={"undo_s": 15}), ben).proposal

        card = cards.card(ben, row.pk, at=TEN)

        assert (card.undo_until, card.may_undo, card.may_decide) == (TEN + timedelta(seconds=15), True, False)
        assert [(line.words, line.by) for line in card.history] == [("Approved", "Ben")]

    def test_once_handed_over_there_is_no_undo(self, team, ada, ben):
        row = decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal
        outbox.mark_handed(ResumeOutbox.objects.get().pk, at=TEN)

        card = cards.card(ben, row.pk, at=TEN)

        assert (card.undo_until, card.may_undo) == (None, False)

    def test_an_edit_shows_what_it_was(self, team, ada, ben):
        row = make_proposal(team, ada)
        decide(row, ben, "edit", args={**ROUTE_ARGS, "queue": "network"})

        card = cards.card(ben, row.pk, at=TEN)

        assert {each.name: (each.shown, each.was) for each in card.args}["queue"] == ("network", "billing")
        assert card.consequence.endswith("to network with priority normal.")

    def test_the_owner_is_told_why_they_may_not_decide(self, team, ada):
        ada.memberships.create(team=team, role=Role.REVIEWER)

        assert "Someone else must decide" in cards.card(ada, make_proposal(team, ada).pk, at=TEN).why_not

    def test_an_outsider_learns_nothing(self, team, ada, eve):
        row = make_proposal(team, ada)

        with pytest.raises(Http404):
            cards.card(eve, row.pk, at=TEN)

    def test_a_member_without_the_inbox_is_told_so(self, team, ada, dev):
        row = make_proposal(team, ada)

        with pytest.raises(Forbidden):
            cards.card(dev, row.pk, at=TEN)


class TestHistory:
    def test_pages_go_back_in_time_without_gaps(self, team, ada, ben, agent):
        rows = [make_proposal(team, ada, agent=agent) for _ in range(5)]
        for number, row in enumerate(rows):
            decide(row, ben, at=TEN + minutes(number // 2))

        seen, after = [], None
        for _ in range(3):
            page = history.history_rows(ben, after=after, limit=2)
            seen += [row.id for row in page.rows]
            after = page.after

        assert seen == [row.pk for row in reversed(rows)]
        assert after is None

    def test_it_tells_the_last_word(self, team, ada, ben):
        row = make_proposal(team, ada)
        decide(row, ben)
        undoing.undo(row.pk, actor=ben, at=TEN)
        assert history.history_rows(ben).rows == ()

        row.refresh_from_db()
        decide(row, ben, "reject", reason="Changed my mind")

        (line,) = history.history_rows(ben).rows
        assert (line.verdict, line.by, line.reason) == ("reject", "Ben", "Changed my mind")

    def test_what_nobody_answered_is_there_too(self, team, ada, ben):
        row = make_proposal(team, ada)
        closing.expire_overdue(at=row.deadline)

        assert [line.by for line in history.history_rows(ben).rows] == ["the clock"]

    def test_outsiders_see_nothing(self, team, ada, ben, eve):
        decide(make_proposal(team, ada), ben)

        assert history.history_rows(eve).rows == ()

    def test_my_last_decisions_with_their_undo(self, team, ada, ben, agent):
        first = make_proposal(team, ada, agent=agent, policy={"undo_s": 15})
        second = make_proposal(team, ada, agent=agent)
        decide(first, ben)
        decide(second, ben, "reject", at=TEN + minutes(1))

        rows = history.recent_decisions(ben, at=TEN + timedelta(seconds=10))

        assert [(row.proposal_id, row.words, row.undo_until) for row in rows] == [
            (second.pk, "Rejected", None),
            (first.pk, "Approved", TEN + timedelta(seconds=15)),
        ]

    def test_each_agent_has_its_counts(self, team, ada, ben, agent):
        verdicts = [("approve", {}), ("edit", {"args": {**ROUTE_ARGS, "queue": "network"}}), ("reject", {})]
        for verdict, extra in verdicts:
            decide(make_proposal(team, ada, agent=agent), ben, verdict, **extra)
        closing.expire_overdue(at=make_proposal(team, ada, agent=agent).deadline)

        counts = history.decided_counts([agent.pk])[agent.pk]

        assert (counts.approved, counts.edited, counts.rejected, counts.total) == (1, 1, 1, 3)
        assert history.decided_counts([agent.pk], since=TEN) == {}

    def test_an_unknown_outcome_waits_for_an_operator(self, team, ada, ben, cora):
        row = decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal
        facts = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": {"status": "open"}}
        record_outcome(row.pk, state="unknown", execution=consume(row.pk, worker="w", at=TEN, **facts), at=TEN)

        assert [(each.id, each.may_reconcile) for each in outcomes.unknown_outcomes(cora)] == [(row.pk, True)]
        assert outcomes.unknown_outcomes(ben) == []

    def test_who_may_read_no_arguments_sees_that_an_outcome_is_unknown_and_not_what_was_sent(
        self, team, ada, ben, dev, olga
    ):
        row = decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal
        facts = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": {"status": "open"}}
        record_outcome(row.pk, state="unknown", execution=consume(row.pk, worker="w", at=TEN, **facts), at=TEN)
        another_owner = make_member(team, Role.AGENT_OWNER)

        for reader, title, may_open in (
            (dev, "Route a ticket", False),
            (another_owner, "Route a ticket", True),
            (ada, "Route T-1001 to billing", True),
            (olga, "Route T-1001 to billing", True),
        ):
            (line,) = outcomes.unknown_outcomes(reader)
            assert (line.title, line.may_open, line.may_reconcile) == (title, may_open, False)
            assert bool(line.args) is (title == row.title)


class TestOnlyWhatIsLiveCounts:
    """Drills and second looks tell about the people, advice was decided by nobody."""

    @pytest.fixture
    def not_live(self, team, ada, ben, agent):
        """Make one approved card, and three like it of the other kinds."""
        rows = [decide(make_proposal(team, ada, agent=agent), ben, "reject").proposal for _ in range(4)]
        for row, kind in zip(rows[1:], ["drill", "second_look", "advice"], strict=True):
            Proposal.objects.filter(pk=row.pk).update(kind=kind, executable=False)
        return rows

    def test_in_the_counts_of_an_agent(self, agent, not_live):
        assert history.decided_counts([agent.pk])[agent.pk].total == 1

    def test_in_the_past_decisions_of_a_card(self, team, ada, ben, agent, not_live):
        assert cards.card(ben, make_proposal(team, ada, agent=agent).pk, at=TEN).past.total == 1

    def test_in_todays_work(self, ben, not_live):
        assert inbox.queue(ben, at=TEN).decided_today == 1

    def test_in_an_agents_quota_only_what_it_proposed_itself(self, team, ada, agent):
        rows = [make_proposal(team, ada, agent=agent) for _ in range(2)]
        Proposal.objects.filter(pk=rows[0].pk).update(kind="drill", executable=False)

        load = rules.load(agent, since=TEN - minutes(1))

        assert (load.open, load.last_minute) == (1, 1)

    def test_advice_is_in_no_history_of_decisions(self, ben, not_live):
        assert not_live[3].pk not in {row.id for row in history.history_rows(ben).rows}


class TestWhoAnswers:
    def test_whoever_is_on_call(self, team, ada, ben, cora):
        make_schedule(team, cora, at=TEN - timedelta(days=1), start_day=TEN.date())

        assert cards.card(ben, make_proposal(team, ada).pk, at=TEN).who_answers == "On duty now: Cora."

    def test_in_a_gap_the_teams_lead(self, team, ada, ben, cora, dev):
        team.lead = dev
        team.save()

        card = cards.card(ben, make_proposal(team, ada).pk, at=TEN)

        assert card.who_answers == "Nobody is on call: Dev leads the team and answers."

    def test_without_a_lead_who_can_add_a_rotation(self, team, ada, ben, cora):
        make_member(team, Role.OPERATOR, name="Olive")

        card = cards.card(ben, make_proposal(team, ada).pk, at=TEN)

        assert card.who_answers == "Nobody is on call: Cora or Olive answers, and can add a rotation."

    def test_a_lead_who_left_is_not_named(self, team, ada, ben, cora, dev):
        team.lead = dev
        team.save()
        dev.is_active = False
        dev.save()

        assert "Cora answers" in cards.card(ben, make_proposal(team, ada).pk, at=TEN).who_answers

    def test_with_nobody_at_all_an_administrator_is_needed(self, team, ada, ben):
        assert (
            "an administrator can name an operator" in cards.card(ben, make_proposal(team, ada).pk, at=TEN).who_answers
        )

    def test_a_closed_card_waits_for_nobody(self, team, ada, ben):
        assert cards.card(ben, decide(make_proposal(team, ada), ben).proposal.pk, at=TEN).who_answers == ""
