"""T11 by hand: whoever may stop things takes a card back, its thread hears why, and no reviewer is counted for it."""

import pytest

from apps.accounts.access import Forbidden
from apps.approvals import errors
from apps.approvals.actions.withdrawing import withdraw_by_hand
from apps.approvals.models import ResumeOutbox, State
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.approvals import TEN, decide, make_proposal

WHY = "The ticket was closed by phone."
HTMX = {"HX-Request": "true"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def card(team, ada):
    return make_proposal(team, ada, at=clock(), policy={"undo_s": 15})


def test_an_open_card_is_gone_and_its_agent_hears_why(card, cora):
    row = withdraw_by_hand(card.pk, reason=f"  {WHY} ", actor=cora)

    given = row.decisions.get()
    assert (row.state, row.closed_at is not None) == (State.WITHDRAWN, True)
    assert (given.verdict, given.actor, given.reason) == ("withdraw", cora, WHY)
    assert WHY in str(ResumeOutbox.objects.get(proposal=row).answer)
    event = AuditEvent.objects.get(action="proposal.withdrawn")
    assert event.actor == cora.actor


def test_what_was_approved_and_has_not_begun_is_taken_back_too(team, ada, ben, cora):
    card = make_proposal(team, ada, policy={"undo_s": 15})
    decide(card, ben, at=TEN)

    row = withdraw_by_hand(card.pk, reason=WHY, actor=cora, at=TEN)

    assert row.state == State.WITHDRAWN
    assert row.decisions.get(verdict="approve").voided_at is None


@pytest.mark.parametrize("reason", ["", "  no ", "x" * 2001])
def test_without_a_reason_it_stays(card, cora, reason):
    with pytest.raises(errors.BadVerdict) as refused:
        withdraw_by_hand(card.pk, reason=reason, actor=cora)

    card.refresh_from_db()
    assert (refused.value.code, card.state) == ("bad_reason", State.PENDING)


def test_a_reviewer_says_no_instead(card, ben):
    with pytest.raises(Forbidden):
        withdraw_by_hand(card.pk, reason=WHY, actor=ben)


def test_an_outsider_learns_nothing(card, eve):
    with pytest.raises(errors.NotFound):
        withdraw_by_hand(card.pk, reason=WHY, actor=eve)


def test_what_was_rejected_stays_rejected(card, ben, cora):
    decide(card, ben, "reject", at=None)

    with pytest.raises(errors.AlreadyDecided):
        withdraw_by_hand(card.pk, reason=WHY, actor=cora)


def test_the_card_offers_it_to_whom_it_is_given(client, card, ben, cora):
    pages = []
    for person in (ben, cora):
        client.force_login(person)
        pages.append(client.get(f"/inbox/{card.pk}/").content)

    assert [b'id="withdraw"' in page for page in pages] == [False, True]


def test_the_page_takes_it_back_and_keeps_what_was_typed_too_short(client, card, cora):
    client.force_login(cora)

    short = client.post(f"/inbox/{card.pk}/withdraw/", {"reason": "no"}, headers=HTMX)
    done = client.post(f"/inbox/{card.pk}/withdraw/", {"reason": WHY}, headers=HTMX)

    assert (short.status_code, b"Nothing was withdrawn." in short.content, b">no</textarea>" in short.content) == (
        422,
        True,
        True,
    )
    assert (done.status_code, b"Withdrawn. Nothing was executed." in done.content) == (200, True)
