"""Agents that run elsewhere: registered, described and connected on pages, by their owners."""

import json
import re

import pytest
from django.urls import reverse

from apps.accounts.models import Role
from apps.agents.examples import examples, some_args
from apps.agents.models import Agent, AutonomyLevel, KillSwitch
from apps.approvals.domain.wire import formats
from tests.factories.accounts import make_member
from tests.factories.approvals import make_action_type, make_agent, make_connector
from tests.factories.outside import REFUND_SCHEMA, make_outside_agent, make_token

KIND = {
    "key": "orders.refund",
    "name": "Refund an order",
    "args_schema": json.dumps(REFUND_SCHEMA),
    "consequence": "Approving sends {amount} for {order_id}.",
    "editable_fields": "amount",
    "materiality": "amount=1, order_id=0.5",
    "watch_fields": "status, total",
    "risk_class": "medium",
    "reversibility": "compensable",
    "allow_respond": "on",
}


@pytest.fixture
def agent(team, ada):
    return make_outside_agent(team, ada)


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


def facts(team, ada, **extra):
    return {
        "name": "Refunds",
        "slug": "refunds",
        "purpose": "Refunds orders.",
        "team": team.pk,
        "owner": ada.pk,
        "connector_key": "shop",
        "stage": "pilot",
        "release": "git:4f2a",
        **extra,
    }


class TestRegistering:
    URL = "/agents/outside/"

    def test_an_owner_registers_it_with_its_release_and_its_switch(self, as_ada, team, ada):
        answer = as_ada.post(self.URL, facts(team, ada))

        row = Agent.objects.get()
        version = row.versions.get()
        assert (answer.status_code, answer.headers["Location"]) == (302, "/agents/refunds/actions/")
        assert (row.workflow, row.is_outside, row.connector_key, row.owner) == ("outside", True, "shop", ada)
        assert (version.settings, version.author, version.is_current) == ({"release": "git:4f2a"}, ada, True)
        assert KillSwitch.objects.filter(scope="agent", scope_id=row.pk).exists()

    def test_a_connected_system_of_its_own_team_may_be_its_system(self, as_ada, team, ada):
        make_connector(team)

        assert as_ada.post(self.URL, facts(team, ada, connector_key="desk")).status_code == 302

    def test_it_cannot_borrow_the_system_of_another_team(self, as_ada, team, ada, other_team):
        make_connector(other_team)

        answer = as_ada.post(self.URL, facts(team, ada, connector_key="desk"))

        assert answer.status_code == 422
        assert b"another team&#x27;s system" in answer.content
        assert not Agent.objects.exists()

    @pytest.mark.parametrize("slip", [{"release": ""}, {"slug": "outside"}, {"connector_key": "a b"}, {"name": ""}])
    def test_a_slip_registers_nothing(self, as_ada, team, ada, slip):
        assert as_ada.post(self.URL, facts(team, ada, **slip)).status_code == 422
        assert not Agent.objects.exists()

    @pytest.mark.parametrize("who", ["ben", "cora", "dev", "olga"])
    def test_others_register_nothing(self, request, client, team, ada, who):
        client.force_login(request.getfixturevalue(who))

        assert client.post(self.URL, facts(team, ada)).status_code == 403

    def test_an_outsider_cannot_register_into_the_team(self, client, team, ada, eve):
        client.force_login(eve)

        assert client.post(self.URL, facts(team, ada)).status_code == 422


class TestActionTypes:
    def url(self, agent):
        return reverse("agents:action_types", args=[agent.slug])

    def test_its_owner_says_what_it_may_propose(self, as_ada, agent):
        answer = as_ada.post(self.url(agent), KIND, follow=True)

        kind = agent.action_types.get(key="orders.refund")
        assert kind.args_schema["additionalProperties"] is False
        assert (kind.editable_fields, kind.watch_fields) == (["amount"], ["status", "total"])
        assert (kind.materiality, kind.allow_respond) == ({"amount": 1.0, "order_id": 0.5}, True)
        assert AutonomyLevel.objects.get(action_type=kind).level == "approve"
        assert KillSwitch.objects.filter(scope="action_type", scope_id=kind.pk).exists()
        assert b"may propose orders.refund from now on" in answer.content

    @pytest.mark.parametrize(
        ("slip", "words"),
        [
            ({"args_schema": "{"}, "This is not JSON"),
            ({"args_schema": "[]"}, "A schema is an object."),
            ({"args_schema": '{"type": "string"}'}, "arguments are an object"),
            ({"args_schema": '{"type": "object", "properties": {"a": {}}}'}, "say what it is"),
            ({"consequence": "Sends {total}."}, "{total} is neither an argument nor the target"),
            ({"editable_fields": "total"}, "an editable field must be an argument"),
            ({"materiality": "amount"}, "does not read as argument=number"),
            ({"materiality": "amount=2"}, "materiality lies in 0 to 1"),
            ({"key": "refund"}, "already has an action type refund"),
            ({"key": "a b"}, "Letters, digits"),
            ({"risk_class": "none"}, "Select a valid choice"),
        ],
    )
    def test_what_does_not_fit_together_is_explained(self, as_ada, agent, slip, words):
        answer = as_ada.post(self.url(agent), {**KIND, **slip})

        assert answer.status_code == 422
        assert words in answer.content.decode()
        assert agent.action_types.count() == 1

    def test_its_owner_says_what_undoes_it_and_reads_it_there(self, as_ada, agent):
        sources = "order_id=args.order_id, amount=before.total"

        answer = as_ada.post(
            self.url(agent), {**KIND, "compensated_by": "refund", "compensation_args": sources}, follow=True
        )

        kind = agent.action_types.get(key="orders.refund")
        assert kind.compensated_by == "refund"
        assert kind.compensation_args == {"order_id": "args.order_id", "amount": "before.total"}
        assert b"amount from before.total, order_id from args.order_id" in answer.content

    @pytest.mark.parametrize(
        ("by", "sources", "words"),
        [
            ("elsewhere", "", "Select a valid choice"),
            ("", "order_id=args.order_id", "no action type that takes them"),
            ("refund", "order_id", "does not read as argument=args.field"),
            ("refund", "amount=args.amount, amount=args.amount", "amount is given twice"),
            ("refund", "order_id=args.order_id", "/amount: say where the undoing action takes it from"),
            ("refund", "order_id=args.order_id, amount=args.tip", "/amount: tip is no argument of the action"),
            ("refund", "order_id=args.order_id, amount=before.paid", "before.paid is not read before"),
        ],
    )
    def test_what_could_not_undo_it_is_explained(self, as_ada, agent, by, sources, words):
        answer = as_ada.post(self.url(agent), {**KIND, "compensated_by": by, "compensation_args": sources})

        assert answer.status_code == 422
        assert words in answer.content.decode()
        assert agent.action_types.count() == 1

    def test_what_another_agent_may_do_undoes_nothing_here(self, as_ada, agent, team, ada):
        make_action_type(make_agent(team, ada))

        answer = as_ada.post(self.url(agent), {**KIND, "compensated_by": "tickets.route"})

        assert answer.status_code == 422
        assert b"Select a valid choice" in answer.content

    def test_another_owner_of_the_team_is_told_whose_it_is(self, client, agent, team):
        client.force_login(make_member(team, Role.AGENT_OWNER, name="Otto"))

        assert client.get(self.url(agent)).status_code == 200
        assert client.post(self.url(agent), KIND).status_code == 403
        assert agent.action_types.count() == 1

    def test_those_who_may_not_change_it_read_it(self, client, agent, ben):
        client.force_login(ben)

        page = client.get(self.url(agent)).content.decode()

        assert "Refund an order" in page
        assert "Add an action type" not in page

    def test_an_agent_that_runs_here_has_no_such_page(self, as_ada, team, ada):
        inside = make_agent(team, ada)

        for name in ("action_types", "releases", "connect"):
            assert as_ada.get(reverse(f"agents:{name}", args=[inside.slug])).status_code == 404


class TestReleases:
    def test_another_release_is_another_version_with_another_fingerprint(self, as_ada, agent, ada):
        url = reverse("agents:releases", args=[agent.slug])

        as_ada.post(url, {"release": "2026.4.0", "instructions": ""})

        new, old = agent.versions.order_by("-number")
        assert (new.settings["release"], new.author, new.is_current, old.is_current) == ("2026.4.0", ada, True, False)
        assert new.fingerprint != old.fingerprint

    def test_what_acted_alone_asks_people_again(self, as_ada, agent):
        AutonomyLevel.objects.update(level="auto")

        as_ada.post(reverse("agents:releases", args=[agent.slug]), {"release": "2026.4.0"})

        assert AutonomyLevel.objects.get().level == "approve"

    def test_only_its_owner_names_one(self, client, agent, team):
        client.force_login(make_member(team, Role.AGENT_OWNER))

        assert client.post(reverse("agents:releases", args=[agent.slug]), {"release": "x"}).status_code == 403

    def test_the_page_of_versions_leads_there(self, as_ada, agent):
        answer = as_ada.get(reverse("agents:versions", args=[agent.slug]))

        assert answer.headers["Location"] == f"/agents/{agent.slug}/releases/"


class TestConnecting:
    def test_the_page_shows_this_house_and_this_agents_actions(self, as_ada, agent):
        page = as_ada.get(reverse("agents:connect", args=[agent.slug])).content.decode()

        assert "http://testserver/api/v1/requests" in page
        assert "langchain.batch" in page
        assert "order_id" in page

    def test_without_an_action_type_it_says_what_to_do_first(self, as_ada, agent):
        agent.action_types.all().delete()

        assert b"It may propose nothing yet" in as_ada.get(reverse("agents:connect", args=[agent.slug])).content

    def test_each_example_is_one_that_would_be_taken_in(self):
        for each in examples("refund", REFUND_SCHEMA, "shop:orders/1"):
            body = json.loads(each.body)
            asked = formats.read(body.get("format", "plain"), body.get("payload", body))

            assert (asked.actions[0].name, set(asked.actions[0].args)) == ("refund", {"order_id", "amount"})

    def test_the_first_example_works_as_it_stands(self, client, agent):
        client.force_login(agent.owner)
        page = client.get(reverse("agents:connect", args=[agent.slug])).content.decode()
        body = re.search(r'request.json, Plain">(.*?)</pre>', page, re.DOTALL)[1].replace("&quot;", '"')
        client.logout()

        answer = client.post(
            "/api/v1/requests",
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {make_token(agent)[1]}", "Idempotency-Key": "k"},
        )

        assert (answer.status_code, answer.json()["status"]) == (201, "pending")

    @pytest.mark.parametrize(
        ("part", "value"),
        [
            ({"type": "integer"}, 1),
            ({"type": ["string", "null"]}, "text"),
            ({"enum": ["a", "b"]}, "a"),
            ({"const": 7}, 7),
            ({"$ref": "#/$defs/x"}, "…"),
        ],
    )
    def test_an_example_has_a_value_of_each_type(self, part, value):
        assert some_args({"properties": {"a": part}}) == {"a": value}


def test_an_agents_page_says_that_it_runs_elsewhere(as_ada, agent):
    page = as_ada.get(reverse("agents:agent", args=[agent.slug])).content.decode()

    assert "Elsewhere, and asks here" in page
    assert "2026.3.1" in page
    assert reverse("agents:connect", args=[agent.slug]) in page
