"""R7: the inbox's own indicator. A person's answer counts, the clock's is a miss, and what asked nobody is neither."""

from datetime import timedelta

import pytest

from apps.accounts.models import Role
from apps.approvals.actions import closing, undoing
from apps.approvals.models import Proposal
from apps.approvals.queries.answered import AnsweredInTime, answered_in_time
from apps.audit.clock import clock
from tests.factories.accounts import make_member
from tests.factories.approvals import TEN, decide, make_action_type, make_agent, make_proposal, make_version

LATER = TEN + timedelta(days=1)


@pytest.fixture
def agent(team, ada):
    row = make_agent(team, ada, max_open=1000)
    make_action_type(row)
    make_version(row)
    return row


def test_answers_and_misses_are_counted_for_each_team(team, ada, ben, agent, other_team, eve):
    for verdict in ("approve", "reject", "ask"):
        decide(make_proposal(team, ada, agent=agent), ben, verdict)
    make_proposal(team, ada, agent=agent)
    make_proposal(other_team, make_member(other_team, Role.AGENT_OWNER))
    closing.expire_overdue(at=TEN + timedelta(hours=5))

    (line,) = answered_in_time(ben, at=LATER)
    assert (line, line.share) == (AnsweredInTime("Support", answered=3, missed=1), 0.75)
    (line,) = answered_in_time(eve, at=LATER)
    assert (line, line.share) == (AnsweredInTime("Elsewhere", answered=0, missed=1), 0.0)


def test_a_card_that_went_through_after_a_yes_was_answered_though_it_ran_too_late(team, ada, ben, agent):
    decide(make_proposal(team, ada, agent=agent), ben)
    closing.expire_unexecuted(at=LATER)

    assert Proposal.objects.get().state == "expired"
    assert [(each.answered, each.missed) for each in answered_in_time(ben, at=LATER)] == [(1, 0)]


def test_the_last_word_counts(team, ada, ben, agent):
    row = decide(make_proposal(team, ada, agent=agent), ben).proposal
    undoing.undo(row.pk, actor=ben, at=TEN)
    closing.expire_overdue(at=TEN + timedelta(hours=5))

    assert [(each.answered, each.missed) for each in answered_in_time(ben, at=LATER)] == [(0, 1)]


def test_what_asked_nobody_in_vain_is_in_neither_number(team, ada, ben, agent):
    withdrawn = make_proposal(team, ada, agent=agent)
    closing.withdraw(withdrawn.pk, reason="Not needed.", actor=f"agent:{agent.pk}", at=TEN)
    by_hand = make_proposal(team, ada, agent=agent)
    closing.withdraw(by_hand.pk, reason="Not needed.", actor=ben.actor, at=TEN)

    assert answered_in_time(ben, at=LATER) == []


@pytest.mark.parametrize("kind", ["drill", "second_look", "advice"])
def test_only_what_is_live_counts(team, ada, ben, agent, kind):
    row = decide(make_proposal(team, ada, agent=agent), ben, "reject").proposal
    Proposal.objects.filter(pk=row.pk).update(kind=kind, executable=False)

    assert answered_in_time(ben, at=LATER) == []


def test_it_looks_back_thirty_days(team, ada, ben, agent):
    decide(make_proposal(team, ada, agent=agent), ben, "reject")

    assert len(answered_in_time(ben, at=TEN + timedelta(days=30) - timedelta(seconds=1))) == 1
    assert answered_in_time(ben, at=TEN + timedelta(days=30)) == []


def test_the_history_says_it_when_asked(client, team, ada, ben, agent):
    decide(make_proposal(team, ada, agent=agent, at=clock()), ben, "reject", at=clock())
    client.force_login(ben)

    assert b"Answered in time, last 30 days: Support 100.0% (0 of 1 missed)." in (
        client.get("/inbox/history/?answered=1").content
    )
    assert b"?answered=1" in client.get("/inbox/history/").content
