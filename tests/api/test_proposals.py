"""The JSON door to the inbox: the same verdicts, the same refusals, with a person's session."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Role
from apps.approvals.actions import execution
from apps.approvals.actions.drills import plant_drill
from apps.approvals.actions.outside import CardFacts, ask
from apps.approvals.models import Decision, Proposal
from apps.approvals.queries.outside import request_state
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from tests.factories.approvals import ROUTE_ARGS, decide, make_proposal
from tests.factories.attention import make_case, make_refund_agent
from tests.factories.outside import REFUND_ARGS, make_outside_agent, make_token

DECIDE_KEYS = {"id", "state", "version", "digest", "execute_after", "replayed", "reveal"}


@pytest.fixture
def card(team, ada):
    return make_proposal(team, ada, at=clock(), policy={"undo_s": 15})


@pytest.fixture
def as_ben(client, ben):
    client.force_login(ben)
    return client


def post(client, row, body, **extra):
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(reverse("api:decide", args=[row.pk]), text, content_type="application/json", **extra)


def verdict_on(row, verdict="approve", **extra):
    return {"verdict": verdict, "version": row.version, "digest": row.digest, **extra}


def test_an_approval_answers_as_documented(as_ben, card):
    response = post(as_ben, card, verdict_on(card))

    told = response.json()
    row = Proposal.objects.get(pk=card.pk)
    assert (response.status_code, set(told)) == (200, DECIDE_KEYS)
    assert (told["id"], told["state"], told["version"], told["replayed"]) == (card.pk, "queued", 2, False)
    assert told["digest"] == row.digest
    assert told["execute_after"].startswith(f"{row.execute_after:%Y-%m-%dT%H:%M:%S}")


def test_a_drill_is_revealed_with_the_answer_and_again_to_whoever_lost_it(as_ben, team, ada, ben):
    agent = make_refund_agent(team, ada)
    make_case(agent, ben, at=clock() - timedelta(hours=1))
    drill = plant_drill(agent, mutation="amount", seed=1, actor="timer").proposal

    first, again = (post(as_ben, drill, verdict_on(drill, "reject", reason="Ten times too much")) for _ in range(2))

    assert first.json()["reveal"]["title"] == "This was a drill, and you caught it."
    assert first.json()["reveal"]["status"] == "ok"
    assert (again.json()["replayed"], again.json()["reveal"]) == (True, first.json()["reveal"])


def test_what_was_no_drill_reveals_nothing(as_ben, card):
    assert post(as_ben, card, verdict_on(card)).json()["reveal"] is None


def test_the_channel_is_kept(as_ben, card):
    post(as_ben, card, verdict_on(card))

    assert Decision.objects.get().channel == "api"


def test_the_same_verdict_twice_is_a_replay_and_the_opposite_is_refused(as_ben, card):
    post(as_ben, card, verdict_on(card))

    again = post(as_ben, card, verdict_on(card))
    opposite = post(as_ben, card, verdict_on(card, "reject", reason="Changed my mind"))

    assert (again.status_code, again.json()["replayed"]) == (200, True)
    assert (opposite.status_code, opposite.json()["code"]) == (409, "already_decided")
    assert opposite.json()["current"] == {
        "id": card.pk,
        "state": "queued",
        "version": 2,
        "digest": card.digest,
    }


def test_a_card_that_changed_is_refused_with_where_it_stands(as_ben, card):
    response = post(as_ben, card, {**verdict_on(card), "version": 9})

    assert (response.status_code, response.json()["code"]) == (409, "changed")
    assert response.json()["message"].startswith("This card changed while you read it.")
    assert response.json()["current"]["version"] == 1


def test_a_typed_target_confirms_it(as_ben, card):
    assert post(as_ben, card, verdict_on(card, confirm="T-1001")).status_code == 200


def test_an_edit_changes_the_arguments(as_ben, card):
    response = post(as_ben, card, verdict_on(card, "edit", args={**ROUTE_ARGS, "queue": "network"}))

    assert response.status_code == 200
    assert Proposal.objects.get(pk=card.pk).args["queue"] == "network"
    assert response.json()["digest"] != card.digest


@pytest.mark.parametrize(
    ("extra", "code", "pointer"),
    [
        ({"verdict": "edit", "args": {**ROUTE_ARGS, "evil": 1}}, "bad_args", "/evil"),
        ({"verdict": "edit", "args": {**ROUTE_ARGS, "queue": 25}}, "bad_args", "/queue"),
        ({"verdict": "edit", "args": {**ROUTE_ARGS, "ticket": "T-9"}}, "not_editable", "/ticket"),
        ({"verdict": "edit", "args": ROUTE_ARGS}, "no_change", None),
        ({"verdict": "edit"}, "bad_verdict", "/args"),
        ({"verdict": "maybe"}, "bad_verdict", "/verdict"),
        ({"verdict": "reject", "reason": "no"}, "bad_reason", "/reason"),
        ({"confirm": "T-9"}, "bad_confirm", "/confirm"),
        ({"version": "1"}, "bad_request", "/version"),
        ({"surprise": True}, "bad_request", "/surprise"),
    ],
)
def test_a_bad_request_says_what_and_where(as_ben, card, extra, code, pointer):
    response = post(as_ben, card, {**verdict_on(card), **extra})

    told = response.json()
    assert (response.status_code, told["code"], told.get("pointer")) == (422, code, pointer)
    assert Proposal.objects.get(pk=card.pk).state == "pending"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 422, "bad_request"),
        ("{", 400, "bad_json"),
        ('{"verdict":"edit","version":1,"digest":"x","args":{"amount":NaN}}', 422, "bad_args"),
        ('{"verdict":"approve","verdict":"reject","version":1,"digest":"x"}', 422, "bad_args"),
        ('{"verdict":"edit","version":1,"digest":"x","args":{"amount":9007199254740992}}', 422, "bad_args"),
    ],
)
def test_only_exact_json_is_read(as_ben, card, body, status, code):
    response = post(as_ben, card, body)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"verdict": "respond", "reason": "Done by hand."}, "/verdict"),
        ([{"type": "accept", "args": None}], ""),
        ({"verdict": "edit", "args": {"order_id": "A1", "amount": "lots"}}, "/amount"),
        ({"verdict": "edit", "args": {**REFUND_ARGS, "amount": 25.0}, "name": "delete_order"}, "/name"),
        ({"verdict": "edit", "args": {"evil": 1}}, "/evil"),
    ],
    ids=["disallowed type", "legacy list", "lots as amount", "another tool's name", "undeclared argument"],
)
@pytest.mark.parametrize("form", ["langchain.call", "langchain.batch"])
def test_a_wrong_answer_bricks_no_thread_and_a_right_one_then_works(as_ben, team, ada, form, wrong, pointer):
    call = {"name": "refund", "args": REFUND_ARGS, "description": "Refund"}
    allowed = {"action_name": "refund", "allowed_decisions": ["approve", "edit", "reject"]}
    payload = {
        "langchain.call": {"id": "0" * 32, "value": {"type": "tool_approval", "tool_call_id": "c1", **call}},
        "langchain.batch": {"action_requests": [call], "review_configs": [allowed]},
    }[form]
    token, _ = make_token(make_outside_agent(team, ada, kind={"allow_respond": False}))
    request = ask(form=form, payload=payload, facts=CardFacts(), token=token)
    row = Proposal.objects.get()

    refused = post(as_ben, row, json.dumps(wrong) if isinstance(wrong, list) else {**verdict_on(row), **wrong})

    assert (refused.status_code, refused.json().get("pointer")) == (422, pointer)
    assert Proposal.objects.get().state == "pending"
    assert request_state(request, at=clock()).answer is None
    assert post(as_ben, row, verdict_on(row)).json()["state"] == "queued"
    answer = {
        "langchain.call": {"0" * 32: {"type": "approve"}},
        "langchain.batch": {"decisions": [{"type": "approve"}]},
    }
    assert request_state(request, at=clock()).answer == answer[form]


def test_what_has_run_is_not_rejected_any_more_and_an_unknown_id_is_unknown(as_ben, team, ada, ben):
    row = decide(make_proposal(team, ada, at=clock(), policy={"undo_s": 0}), ben, at=None).proposal
    facts = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": {"status": "open"}}
    started = execution.consume(row.pk, worker="w", **facts)
    execution.record_outcome(row.pk, state="succeeded", execution=started)
    row.refresh_from_db()

    refused = post(as_ben, row, verdict_on(row, "reject", reason="Too late."))
    row.pk += 1000
    unknown = post(as_ben, row, verdict_on(row))

    assert (refused.status_code, refused.json()["code"]) == (409, "already_decided")
    assert unknown.status_code == 404
    assert Proposal.objects.get().state == "succeeded"


class TestWhoGetsIn:
    def test_a_stranger_is_asked_to_sign_in(self, client, card):
        response = post(client, card, verdict_on(card))

        assert (response.status_code, response.json()["code"]) == (401, "signed_out")

    def test_an_outsider_learns_nothing_whatever_they_send(self, client, eve, card):
        client.force_login(eve)

        answers = [
            post(client, card, verdict_on(card)),
            post(client, card, "{"),
            client.get(reverse("api:proposal", args=[card.pk])),
        ]
        unknown = client.get(reverse("api:proposal", args=[card.pk + 1]))

        assert {(each.status_code, each.json()["code"]) for each in answers} == {(404, "not_found")}
        assert unknown.json() == answers[0].json()
        assert AuditEvent.objects.filter(action="access.refused", actor=eve.actor).exists()

    def test_a_member_without_the_right_is_told_who_has_it(self, client, olga, card):
        client.force_login(olga)

        response = post(client, card, verdict_on(card))

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert "reviewer" in response.json()["message"]

    def test_the_agents_owner_never_decides(self, client, ada, team, card):
        ada.memberships.create(team=team, role=Role.REVIEWER)
        client.force_login(ada)

        response = post(client, card, verdict_on(card))

        assert response.status_code == 403
        assert response.json() == {"code": "self_approval", "message": "Someone else must decide this one."}
        event = AuditEvent.objects.get(action="access.refused")
        assert (event.actor, event.object) == (ada.actor, f"proposal:{card.pk}")

    def test_a_page_of_another_site_cannot_decide(self, ben, card):
        forger = Client(enforce_csrf_checks=True)
        forger.force_login(ben)

        response = post(forger, card, verdict_on(card))

        assert (response.status_code, response.json()["code"]) == (403, "csrf")
        assert Proposal.objects.get(pk=card.pk).state == "pending"

    def test_with_the_pages_token_it_works(self, ben, card):
        honest = Client(enforce_csrf_checks=True)
        honest.force_login(ben)
        honest.get("/me/")

        response = post(honest, card, verdict_on(card), headers={"X-CSRFToken": honest.cookies["csrftoken"].value})

        assert response.status_code == 200

    @pytest.mark.parametrize("who", ["dev", "max_"])
    def test_those_without_the_inbox_see_no_list(self, request, client, card, who):
        client.force_login(request.getfixturevalue(who))

        assert client.get(reverse("api:proposals")).status_code == 403


class TestReading:
    def test_the_list_is_what_waits_in_the_persons_teams(self, as_ben, card):
        told = as_ben.get(reverse("api:proposals")).json()

        assert [(row["id"], row["version"], row["digest"]) for row in told["items"]] == [(card.pk, 1, card.digest)]
        assert (told["waiting"], told["items"][0]["may_decide"]) == (1, True)

    def test_an_outsiders_list_is_empty(self, client, eve, card):
        client.force_login(eve)

        assert client.get(reverse("api:proposals")).json()["items"] == []

    def test_a_card_carries_what_a_verdict_needs(self, as_ben, card):
        told = as_ben.get(reverse("api:proposal", args=[card.pk])).json()

        assert (
            post(as_ben, card, {"verdict": "approve", **{k: told[k] for k in ("version", "digest")}}).status_code == 200
        )
        assert told["args"] == ROUTE_ARGS
        assert told["consequence"] == "Approving moves desk:tickets/T-1001 to billing with priority normal."

    def test_reading_a_card_is_an_event_once_for_each_version(self, as_ben, ben, card):
        for _ in range(2):
            as_ben.get(reverse("api:proposal", args=[card.pk]))
        as_ben.get(reverse("api:proposals"))

        event = AuditEvent.objects.get(action="proposal.viewed")
        assert (event.actor, event.object) == (ben.actor, f"proposal:{card.pk}")

    def test_a_card_says_who_answers_if_nobody_decides(self, as_ben, cora, card):
        told = as_ben.get(reverse("api:proposal", args=[card.pk])).json()

        assert told["who_answers"] == "Nobody is on call: Cora answers, and can add a rotation."

    def test_a_decided_card_tells_its_history(self, as_ben, ben, card):
        decide(card, ben, at=None)

        told = as_ben.get(reverse("api:proposal", args=[card.pk])).json()

        assert [(line["verdict"], line["by"]) for line in told["history"]] == [("approve", "Ben")]
        assert told["may_undo"]


class TestDescription:
    def test_strangers_are_led_to_the_door(self, client):
        assert client.get("/api/v1/openapi.json").status_code == 302

    def test_there_is_no_page_with_foreign_scripts(self, as_ben):
        assert as_ben.get("/api/v1/docs").status_code == 404
