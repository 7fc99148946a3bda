"""§5.4: a reviewer is offered only what the agent behind the card can be told; a refusal always is."""

import pytest

from apps.approvals.actions.outside import CardFacts, ask
from apps.approvals.domain.wire.asked import APPROVE, ASK, EDIT, REJECT, RESPOND
from apps.approvals.models import Proposal
from apps.approvals.queries.cards import card
from apps.approvals.queries.groups import group_of
from apps.audit.clock import clock
from tests.factories.approvals import make_proposal
from tests.factories.outside import REFUND_ARGS, make_outside_agent, make_token

pytestmark = pytest.mark.django_db

NO_APPROVAL = "It cannot be approved here: the request that its agent sent takes no approval."


@pytest.fixture
def agent(team, ada):
    return make_outside_agent(team, ada)


@pytest.fixture
def asking(agent):
    """Ask in one of the formats; return the card."""
    token, _ = make_token(agent)

    def asked(form, payload):
        request = ask(form=form, payload=payload, facts=CardFacts(target="shop:orders/A1"), token=token, at=clock())
        return Proposal.objects.get(source=request.source, external_id=request.external_id)

    return asked


@pytest.fixture
def page_of(client, ben):
    client.force_login(ben)
    return lambda address: client.get(address).content.decode()


def plain():
    return {"action_type": "refund", "args": REFUND_ARGS}


def batch(*allowed):
    return {
        "action_requests": [{"name": "refund", "args": REFUND_ARGS, "description": ""}],
        "review_configs": [{"action_name": "refund", "allowed_decisions": list(allowed)}],
    }


def human(*allowed):
    config = {f"allow_{name}": name in allowed for name in ("ignore", "respond", "edit", "accept")}
    return {"action_request": {"action": "refund", "args": REFUND_ARGS}, "config": config, "description": ""}


@pytest.mark.parametrize(
    ("form", "payload", "offered"),
    [
        ("plain", plain(), (APPROVE, EDIT, REJECT, RESPOND, ASK)),
        ("langchain.batch", batch("approve", "reject"), (APPROVE, REJECT, ASK)),
        ("langchain.batch", batch("reject", "respond"), (REJECT, RESPOND, ASK)),
        ("agent_inbox", human("ignore", "edit"), (EDIT, REJECT, ASK)),
    ],
)
def test_the_card_offers_what_its_agent_can_be_told(asking, ben, page_of, form, payload, offered):
    row = asking(form, payload)

    page = page_of(f"/inbox/{row.pk}/")

    assert card(ben, row.pk).offered == offered
    keys = {APPROVE: "a", EDIT: "e", REJECT: "r", RESPOND: "p", ASK: "q"}
    assert {verdict for verdict, key in keys.items() if f'data-key="{key}"' in page} == set(offered)
    assert {verdict for verdict in (EDIT, REJECT, RESPOND, ASK) if f'<dialog id="{verdict}"' in page} == set(
        offered
    ) - {APPROVE}
    assert (NO_APPROVAL in page) is (APPROVE not in offered)


def test_a_dialog_of_high_risk_is_not_there_either_without_an_approval(asking, agent, page_of):
    agent.action_types.update(risk_class="high")
    row = asking("agent_inbox", human("ignore"))

    page = page_of(f"/inbox/{row.pk}/")

    assert '<dialog id="approve"' not in page
    assert "#approve" not in page
    assert NO_APPROVAL in page


def test_a_proposal_of_our_own_runs_takes_every_verdict_that_its_kind_allows(team, ada, ben):
    row = make_proposal(team, ada, at=clock(), kind={"allow_respond": True})

    assert card(ben, row.pk).offered == (APPROVE, EDIT, REJECT, RESPOND, ASK)


def test_what_nobody_may_change_offers_no_change(team, ada, ben):
    row = make_proposal(team, ada, at=clock(), kind={"editable_fields": []})

    assert card(ben, row.pk).offered == (APPROVE, REJECT, ASK)


def test_a_group_says_which_of_its_cards_cannot_be_approved(asking, ben, page_of):
    asking("plain", plain())
    row = asking("agent_inbox", human("ignore"))

    page = page_of(f"/inbox/groups/?group={group_of(ben, row.pk)}")

    assert "1 of them cannot be approved" in page
    assert page.count("No approval") == 2
    assert 'value="approve" data-key="A"' in page


def test_a_group_of_which_nothing_can_be_approved_offers_only_a_refusal(asking, ben, page_of):
    row = asking("agent_inbox", human("ignore"))

    page = page_of(f"/inbox/groups/?group={group_of(ben, row.pk)}")

    assert "None of these can be approved" in page
    assert 'value="approve"' not in page
    assert 'data-key="R"' in page
