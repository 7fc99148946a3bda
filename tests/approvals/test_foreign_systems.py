"""An agent that runs elsewhere names its system itself. What another team connects under that name is not read for it."""

import pytest

from apps.approvals.actions.outside import CardFacts, ask, consume
from apps.approvals.models import Proposal
from apps.approvals.queries.targets import Found, NothingWatched, target_now
from apps.audit.clock import clock
from tests.board import board
from tests.factories.approvals import decide, make_connector
from tests.factories.outside import REFUND_ARGS, make_outside_agent, make_token

pytestmark = pytest.mark.django_db

TARGET = "shop:tickets/T-1001"


@pytest.fixture
def token(team, ada):
    return make_token(make_outside_agent(team, ada, kind={"watch_fields": ["status"]}))[0]


@pytest.fixture
def request_(token):
    facts = CardFacts(target=TARGET, state={"status": "open"})
    payload = {"action_type": "refund", "args": REFUND_ARGS}
    return ask(form="plain", payload=payload, facts=facts, token=token, at=clock())


@pytest.fixture
def card(request_):
    return Proposal.objects.get(source=request_.source)


def test_another_teams_system_is_not_read_for_a_card(card, other_team):
    make_connector(other_team, key="shop")

    assert isinstance(target_now(card), NothingWatched)
    assert board().asked == []


def test_the_teams_own_system_is(card, team):
    make_connector(team, key="shop")

    assert isinstance(target_now(card), Found)


def test_before_it_acts_its_agent_is_believed_and_nothing_stands_in_the_other_teams_ledger(
    card, request_, token, ben, other_team
):
    connector = make_connector(other_team, key="shop")
    decide(card, ben, at=None)

    consumed = consume(request_.pk, digest=card.digest, state={"status": "open"}, token=token)

    assert board().asked == []
    assert consumed.proposal.state == "executing"
    assert consumed.execution.connector_id != connector.pk
