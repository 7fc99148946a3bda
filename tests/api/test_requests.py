"""§5.3: agents in other processes ask here, wait, consume once and say how it ended; nothing else opens to them."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse

from apps.accounts.actions import revoke_token
from apps.accounts.models import ApiToken
from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.api.models import IdempotencyRecord, Wait
from apps.api.waiting import LONGEST_WAIT_S, place, wait_until
from apps.approvals.actions import closing, execution
from apps.approvals.actions.policies import publish_policy
from apps.approvals.actions.undoing import undo
from apps.approvals.domain.outside import OUTCOME_WITHIN
from apps.approvals.errors import TooMany
from apps.approvals.models import OutsideRequest, Proposal
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.connectors.models import ActionExecution
from tests.factories.approvals import decide, make_agent
from tests.factories.outside import REFUND_ARGS, make_outside_agent, make_refund_type, make_token

ASKED = {
    "action_type": "refund",
    "args": REFUND_ARGS,
    "target": "shop:orders/A1",
    "subject": "customer/C-77",
    "title": "Refund A1",
    "evidence": [{"label": "Invoice", "text": "Paid twice", "source": "I-9"}],
    "agent_text": "The customer paid twice.",
    "confidence": 0.9,
}


@pytest.fixture
def agent(team, ada):
    return make_outside_agent(team, ada)


@pytest.fixture
def token(agent, ivo):
    return make_token(agent, actor=ivo)


class Door:
    """The door as the agent's own program uses it."""

    def __init__(self, client, text):
        self.client, self.text, self.keys = client, text, iter(range(1000))

    def _headers(self, key=None):
        return {"Authorization": f"Bearer {self.text}"} | ({} if key is None else {"Idempotency-Key": key})

    def ask(self, body=None, *, key=None, **extra):
        key = f"key-{next(self.keys)}" if key is None else key
        text = json.dumps({**ASKED, **extra} if body is None else body)
        return self.client.post("/api/v1/requests", text, content_type="application/json", headers=self._headers(key))

    def read(self, pk, **query):
        return self.client.get(f"/api/v1/requests/{pk}", query, headers=self._headers())

    def withdraw(self, pk):
        return self.client.delete(f"/api/v1/requests/{pk}", headers=self._headers())

    def consume(self, pk, digest, *, key=None, **extra):
        return self._post(f"/api/v1/requests/{pk}/consume", {"digest": digest, **extra}, key)

    def outcome(self, pk, status="succeeded", **extra):
        return self._post(f"/api/v1/requests/{pk}/outcome", {"status": status, **extra}, None)

    def _post(self, path, body, key):
        return self.client.post(path, json.dumps(body), content_type="application/json", headers=self._headers(key))


@pytest.fixture
def door(client, token):
    return Door(client, token[1])


def the_card(request_id, position=0):
    row = OutsideRequest.objects.get(pk=request_id)
    return Proposal.objects.get(source=row.source, external_id=row.external_id, position=position)


def approved(door, ben, **extra):
    """Ask, and let Ben approve it; return the request as its agent reads it now."""
    pk = door.ask(**extra).json()["id"]
    decide(the_card(pk), ben, at=None)
    return door.read(pk).json()


class TestAsking:
    def test_a_request_waits_for_people_as_a_card(self, door, agent):
        answer = door.ask()

        told = answer.json()
        row = the_card(told["id"])
        assert (answer.status_code, told["status"], told["answer"]) == (201, "pending", None)
        assert told["choices"] == ["approve", "edit", "reject", "respond", "ask"]
        assert (row.state, row.args, row.target, row.subject) == (
            "pending",
            REFUND_ARGS,
            "shop:orders/A1",
            "customer/C-77",
        )
        assert (row.thread_id, row.tool_call_id) == (f"ext:{row.source}", str(told["id"]))
        assert row.body.agent_text == "The customer paid twice."
        assert row.body.consequence == "Approving sends 40.0 for A1."
        assert told["digest"] == row.digest

    def test_asking_is_an_event_of_the_agent(self, door, agent, token):
        pk = door.ask().json()["id"]

        event = AuditEvent.objects.get(action="request.asked")
        assert (event.actor, event.object) == (f"agent:{agent.pk}", f"request:{pk}")
        assert token[0].key_id in event.payload

    def test_without_a_target_it_is_the_agents_system(self, door):
        pk = door.ask({"action_type": "refund", "args": REFUND_ARGS}).json()["id"]

        assert the_card(pk).target == "shop:refund"

    @pytest.mark.parametrize(
        ("extra", "code", "pointer"),
        [
            ({"action_type": "wipe"}, "bad_action", "/action_type"),
            ({"target": "bank:accounts/1"}, "bad_target", "/target"),
            ({"format": "morse"}, "bad_format", "/format"),
            ({"format": "langchain.call", "payload": {"id": "x"}}, "bad_format", "/payload/value"),
            ({"args": None}, "bad_format", "/args"),
            ({"confidence": 2}, "bad_request", "/confidence"),
            ({"surprise": 1}, "bad_request", "/surprise"),
            ({"actions": [{}, {}]}, "bad_format", "/actions"),
        ],
    )
    def test_what_cannot_be_taken_in_says_what_and_where(self, door, extra, code, pointer):
        answer = door.ask(**extra)

        told = answer.json()
        assert (answer.status_code, told["code"], told.get("pointer")) == (422, code, pointer)
        assert not Proposal.objects.exists()
        assert not OutsideRequest.objects.exists()

    def test_arguments_off_the_schema_are_refused_without_waking_anybody(self, door):
        told = door.ask(args={"order_id": "A1", "amount": "25"}).json()

        assert (told["status"], told["answer"]["type"]) == ("denied", "reject")
        assert "Nothing was executed." in told["answer"]["message"]

    def test_an_agent_without_a_version_may_not_ask(self, client, team, ada):
        agent = agents.register_agent(
            slug="new",
            name="New",
            purpose="",
            team=team,
            owner=ada,
            workflow="outside",
            connector_key="shop",
            actor=ada,
        )
        make_refund_type(agent)

        answer = Door(client, make_token(agent)[1]).ask()

        assert (answer.status_code, answer.json()["code"]) == (409, "no_version")

    def test_a_token_of_an_agent_that_runs_here_asks_for_nothing(self, client, team, ada):
        answer = Door(client, make_token(make_agent(team, ada))[1]).ask()

        assert (answer.status_code, answer.json()["code"]) == (409, "not_outside")

    def test_what_an_agent_may_only_advise_is_told_so(self, client, team, ada):
        agent = make_outside_agent(team, ada, stage="demo")

        told = Door(client, make_token(agent)[1]).ask().json()

        assert (told["status"], told["decision"]["type"]) == ("cancelled", "recorded")
        assert told["reason"].startswith("Recorded, not executed")

    def test_its_own_id_asked_twice_is_one_request(self, door):
        first, again = door.ask(external_id="r-1"), door.ask(external_id="r-1")
        other = door.ask(external_id="r-1", args={"order_id": "A2", "amount": 1})

        assert first.json()["id"] == again.json()["id"]
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        assert Proposal.objects.count() == 1

    def test_two_agents_with_the_same_ids_do_not_meet(self, client, door, team, ada):
        other = Door(client, make_token(make_outside_agent(team, ada))[1])

        ids = {each.ask(external_id="r-1", thread="t").json()["id"] for each in (door, other)}

        assert len(ids) == 2

    def test_a_flood_is_told_when_to_come_back(self, client, team, ada):
        agent = make_outside_agent(team, ada, max_new_per_minute=1)
        door = Door(client, make_token(agent)[1])
        door.ask()

        answer = door.ask()

        assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
        assert answer.headers["Retry-After"] == "60"
        assert answer.json()["retry_after"] == 60


class TestIdempotency:
    def test_without_a_key_nothing_is_taken_in(self, client, token):
        answer = client.post(
            "/api/v1/requests",
            json.dumps(ASKED),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token[1]}"},
        )

        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
        assert not Proposal.objects.exists()

    @pytest.mark.parametrize("key", ["", " ", "k" * 121])
    def test_a_key_that_is_none_is_no_key(self, door, key):
        assert door.ask(key=key).status_code == 400

    def test_the_same_key_with_the_same_body_gets_the_same_answer(self, door, ben):
        first = door.ask(key="k")
        decide(the_card(first.json()["id"]), ben, at=None)

        again = door.ask(key="k")

        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert Proposal.objects.count() == 1

    def test_the_same_key_with_another_body_is_refused(self, door):
        door.ask(key="k")

        answer = door.ask(key="k", title="Another")

        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")

    def test_a_refusal_is_not_kept(self, door, agent):
        door.ask(key="k", action_type="later")
        make_refund_type(agent, key="later")

        assert door.ask(key="k", action_type="later").status_code == 201

    def test_two_tokens_do_not_share_their_keys(self, client, door, agent):
        other = Door(client, make_token(agent)[1])

        assert door.ask(key="k").json()["id"] != other.ask(key="k", title="Another").json()["id"]

    def test_a_day_later_the_key_is_free_again(self, door):
        first = door.ask(key="k").json()["id"]
        IdempotencyRecord.objects.update(expires_at=clock() - timedelta(seconds=1))

        assert door.ask(key="k", title="Another").json()["id"] != first
        assert IdempotencyRecord.objects.count() == 1


class TestReading:
    def test_an_approval_counts_once_it_cannot_be_undone(self, client, team, ada, ben):
        door = Door(client, make_token(make_outside_agent(team, ada, policy={"undo_s": 30}))[1])
        pk = door.ask().json()["id"]
        decide(the_card(pk), ben, at=None)

        told = door.read(pk).json()

        assert (told["status"], told["answer"], told["actions"][0]["state"]) == ("pending", None, "queued")

    def test_an_approval(self, door, ben):
        told = approved(door, ben)

        assert (told["status"], told["edited"], told["consumed"], told["outcome"]) == ("approved", False, False, None)
        assert told["answer"] == {"type": "approve", "args": REFUND_ARGS}
        assert told["choices"] == []

    def test_an_edit_carries_what_may_be_executed(self, door, ben):
        pk = door.ask().json()["id"]
        decide(the_card(pk), ben, "edit", args={"order_id": "A1", "amount": 25.0}, at=None)

        told = door.read(pk).json()

        assert (told["status"], told["edited"]) == ("approved", True)
        assert json.dumps(told["answer"]) == '{"type": "edit", "args": {"amount": 25.0, "order_id": "A1"}}'

    @pytest.mark.parametrize(
        ("verdict", "kind", "words"),
        [
            ("reject", "reject", "Rejected by a reviewer: It is the wrong order."),
            ("respond", "respond", "It is the wrong order."),
            ("ask", "ask", "A reviewer asks: It is the wrong order. This is not a refusal. Nothing was executed."),
        ],
    )
    def test_a_no_says_what_kind_of_no_it_is(self, door, ben, verdict, kind, words):
        pk = door.ask().json()["id"]
        decide(the_card(pk), ben, verdict, reason="It is the wrong order.", at=None)

        told = door.read(pk).json()

        assert (told["status"], told["decision"]["type"], told["decision"]["message"]) == ("denied", kind, words)
        assert told["answer"] == {"type": kind, "message": words}

    def test_silence_is_no_refusal(self, door):
        pk = door.ask().json()["id"]
        closing.expire_overdue(at=clock() + timedelta(days=1))

        told = door.read(pk).json()

        assert told["status"] == "expired"
        assert told["reason"].startswith("Nobody answered within 4 h. This is not a refusal. Nothing was executed.")

    def test_an_undone_approval_is_pending_again(self, door, ben):
        told = approved(door, ben)
        undo(the_card(told["id"]).pk, actor=ben)

        assert door.read(told["id"]).json()["status"] == "pending"

    @pytest.mark.parametrize("wait", ["21", "-1", "soon"])
    def test_nobody_waits_longer_than_a_proxy_does(self, door, wait):
        pk = door.ask().json()["id"]

        assert door.read(pk, wait=wait).status_code == 422

    def test_a_decided_request_does_not_wait(self, door, ben):
        told = approved(door, ben)

        assert door.read(told["id"], wait=20).json()["status"] == "approved"
        assert not Wait.objects.exists()

    def test_another_agents_request_is_one_that_never_was(self, client, door, other_team, eve):
        pk = door.ask().json()["id"]
        foreign = Door(client, make_token(make_outside_agent(other_team, eve))[1])

        answers = [foreign.read(pk), foreign.withdraw(pk), foreign.consume(pk, "x"), foreign.outcome(pk)]

        assert {each.status_code for each in answers} == {404}
        assert {each.content for each in answers} == {foreign.read(pk + 1000).content}


class TestWaiting:
    def test_it_looks_until_it_is_done(self):
        looks, slept = iter([1, 2, 3]), []

        found = wait_until(lambda: next(looks), lambda seen: seen == 3, seconds=20, sleep=slept.append, now=lambda: 0.0)

        assert (found, len(slept)) == (3, 2)

    def test_when_the_time_is_up_the_last_look_counts(self):
        times = iter([0.0, 0.0, 0.0, 30.0])

        assert (
            wait_until(lambda: "open", lambda _: False, seconds=20, sleep=lambda _: None, now=lambda: next(times))
            == "open"
        )

    def test_a_token_waits_four_times_at_most(self, token, door):
        row, _ = token
        pk = door.ask().json()["id"]

        with place(row, seconds=20), place(row, seconds=20), place(row, seconds=20), place(row, seconds=20):
            answer = door.read(pk, wait=1)
            at_once = door.read(pk)

        assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(LONGEST_WAIT_S))
        assert at_once.status_code == 200

    def test_a_place_is_given_back(self, token):
        for _ in range(6):
            with place(token[0], seconds=20):
                pass

        assert Wait.objects.count() == 1

    def test_a_place_whose_request_died_is_free_in_time(self, token):
        for number in range(4):
            Wait.objects.create(token=token[0], place=number, until=clock() + timedelta(seconds=60))
        with pytest.raises(TooMany), place(token[0], seconds=20):
            pass
        Wait.objects.filter(place=2).update(until=clock() - timedelta(seconds=1))

        with place(token[0], seconds=20):
            assert Wait.objects.filter(until__gt=clock()).count() == 4


class TestWithdrawing:
    def test_what_waits_is_taken_back_by_its_agent(self, door, agent):
        pk = door.ask().json()["id"]

        answer = door.withdraw(pk)

        told = answer.json()
        assert (answer.status_code, told["status"], told["decision"]["by_kind"]) == (200, "cancelled", "agent")
        assert told["reason"] == "Withdrawn: its agent took it back. Nothing was executed."
        assert AuditEvent.objects.get(action="proposal.withdrawn").actor == f"agent:{agent.pk}"

    def test_twice_is_the_same_as_once(self, door):
        pk = door.ask().json()["id"]
        door.withdraw(pk)

        assert door.withdraw(pk).status_code == 200

    def test_an_approval_that_has_not_started_is_taken_back(self, door, ben):
        told = approved(door, ben)

        assert door.withdraw(told["id"]).json()["reason"].startswith("Withdrawn: its agent took it back.")
        assert door.consume(told["id"], told["digest"]).status_code == 409

    def test_what_has_started_cannot_be_taken_back(self, door, ben):
        told = approved(door, ben)
        door.consume(told["id"], told["digest"])

        answer = door.withdraw(told["id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "already_executing")


class TestConsuming:
    def test_an_approval_is_consumed_once(self, door, ben):
        told = approved(door, ben)

        first, second = (door.consume(told["id"], told["digest"]) for _ in range(2))

        permission = first.json()
        row = the_card(told["id"])
        assert (first.status_code, permission["args"], permission["replay"]) == (200, REFUND_ARGS, False)
        assert permission["execution_key"] == f"{row.thread_id}:{row.tool_call_id}"
        assert (second.status_code, second.json()["code"]) == (409, "already_executed")
        assert second.json()["current"]["state"] == "executing"
        assert ActionExecution.objects.count() == 1

    def test_the_ledger_names_the_team_where_no_system_is_connected(self, door, ben, team, agent):
        told = approved(door, ben)
        door.consume(told["id"], told["digest"])

        row = ActionExecution.objects.get()
        assert (row.connector, row.team, row.agent_id_value, row.state) == (None, team, agent.pk, "started")
        assert AuditEvent.objects.get(action="execution.started").team == f"team:{team.pk}"

    def test_the_same_key_gets_the_same_permission_again(self, door, ben):
        told = approved(door, ben)

        first, again = (door.consume(told["id"], told["digest"], key="c").json() for _ in range(2))

        assert again == {**first, "replay": True}
        assert door.consume(told["id"], told["digest"], key="d").status_code == 409

    def test_a_key_of_another_request_is_refused(self, door, ben):
        told = approved(door, ben)
        door.ask(key="k")

        assert door.consume(told["id"], told["digest"], key="k").status_code == 422

    @pytest.mark.parametrize("state", ["pending", "rejected"])
    def test_nothing_is_consumed_without_consent(self, door, ben, state):
        told = door.ask().json()
        if state == "rejected":
            decide(the_card(told["id"]), ben, "reject", at=None)

        answer = door.consume(told["id"], told["digest"])

        assert answer.status_code == 409
        assert not ActionExecution.objects.exists()

    def test_another_action_than_the_approved_one_is_not_executed(self, door, ben):
        told = approved(door, ben)

        answer = door.consume(told["id"], "sha256:" + "0" * 64)

        assert (answer.status_code, answer.json()["code"]) == (409, "stale")
        assert door.read(told["id"]).json()["status"] == "cancelled"
        assert not ActionExecution.objects.exists()

    def test_the_digest_from_before_an_edit_is_not_enough(self, door, ben):
        asked = door.ask().json()
        decide(the_card(asked["id"]), ben, "edit", args={"order_id": "A1", "amount": 25.0}, at=None)

        assert door.consume(asked["id"], asked["digest"]).json()["code"] == "stale"

    def test_an_open_undo_window_holds_it(self, client, team, ada, ben):
        door = Door(client, make_token(make_outside_agent(team, ada, policy={"undo_s": 30}))[1])
        asked = door.ask().json()
        decide(the_card(asked["id"]), ben, at=None)

        assert door.consume(asked["id"], asked["digest"]).json()["code"] == "too_early"
        assert the_card(asked["id"]).state == "queued"

    def test_an_approval_that_is_too_old_is_not_executed(self, door, ben):
        asked = door.ask().json()
        decide(the_card(asked["id"]), ben, at=clock() - timedelta(minutes=16))

        answer = door.consume(asked["id"], asked["digest"])

        assert (answer.status_code, answer.json()["code"]) == (409, "expired")
        assert door.read(asked["id"]).json()["status"] == "expired"

    @pytest.mark.parametrize("scope", ["all", "team", "agent", "action_type"])
    def test_a_kill_switch_holds_it_until_it_is_released(self, door, ben, cora, team, agent, scope):
        ids = {"all": 0, "team": team.pk, "agent": agent.pk, "action_type": agent.action_types.get().pk}
        told = approved(door, ben)
        agents.engage_switch(scope, ids[scope], actor=cora, reason="A wrong price list.")

        held = door.consume(told["id"], told["digest"])
        agents.release_switch(scope, ids[scope], actor=cora, reason="It is right again.")
        free = door.consume(told["id"], told["digest"])

        assert (held.status_code, held.json()["code"]) == (409, "held")
        assert "A wrong price list." in held.json()["message"]
        assert free.status_code == 200

    def test_a_missing_switch_counts_as_engaged(self, door, ben, agent):
        told = approved(door, ben)
        KillSwitch.objects.filter(scope="agent", scope_id=agent.pk).delete()

        assert door.consume(told["id"], told["digest"]).json()["code"] == "held"

    def test_a_stricter_policy_of_now_is_heard(self, door, ben, agent):
        told = approved(door, ben)
        publish_policy(agent.action_types.get(), actor="user:0", approvals_needed=2)

        answer = door.consume(told["id"], told["digest"])

        assert (answer.status_code, answer.json()["code"]) == (409, "withdrawn")

    def test_a_role_taken_from_the_approver_acts_at_once(self, door, ben):
        told = approved(door, ben)
        ben.memberships.all().delete()

        assert door.consume(told["id"], told["digest"]).json()["code"] == "withdrawn"

    def test_watched_fields_that_moved_stop_it(self, client, team, ada, ben):
        door = Door(client, make_token(make_outside_agent(team, ada, kind={"watch_fields": ["status"]}))[1])
        told = approved(door, ben, state={"status": "open"})

        answer = door.consume(told["id"], told["digest"], state={"status": "closed"})

        assert (answer.status_code, answer.json()["code"]) == (409, "stale")
        assert "status was open and is now closed" in answer.json()["message"]

    def test_watched_fields_nobody_read_stop_all_but_low_risk(self, client, team, ada, ben):
        door = Door(client, make_token(make_outside_agent(team, ada, kind={"watch_fields": ["status"]}))[1])
        told = approved(door, ben, state={"status": "open"})

        assert door.consume(told["id"], told["digest"]).json()["code"] == "unreadable"
        assert door.consume(told["id"], told["digest"], state={"status": "open"}).status_code == 200


class TestOutcomes:
    @pytest.mark.parametrize(("status", "ledger"), [("succeeded", "done"), ("failed", "failed")])
    def test_an_agent_says_how_it_ended(self, door, ben, status, ledger):
        told = approved(door, ben)
        door.consume(told["id"], told["digest"])

        answer = door.outcome(told["id"], status, note="It is booked.", ref="B-1")

        read = door.read(told["id"]).json()
        row = ActionExecution.objects.get()
        assert (answer.status_code, answer.json()["outcome"], row.state, row.external_ref) == (
            200,
            status,
            ledger,
            "B-1",
        )
        assert (read["status"], read["consumed"], read["outcome"]) == ("approved", True, status)

    def test_the_same_again_changes_nothing_and_another_is_refused(self, door, ben):
        told = approved(door, ben)
        door.consume(told["id"], told["digest"])
        door.outcome(told["id"])

        assert door.outcome(told["id"]).status_code == 200
        assert door.outcome(told["id"], "failed").status_code == 409

    def test_what_was_not_consumed_has_no_outcome(self, door, ben):
        told = approved(door, ben)

        answer = door.outcome(told["id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")

    def test_nobody_reports_anything_else(self, door, ben):
        told = approved(door, ben)

        assert door.outcome(told["id"], "unknown").status_code == 422

    def test_without_a_word_for_fifteen_minutes_it_is_unknown(self, door, ben):
        told = approved(door, ben)
        door.consume(told["id"], told["digest"])
        started = ActionExecution.objects.get().started_at

        early = execution.mark_stuck_executions(at=started + OUTCOME_WITHIN - timedelta(seconds=1))
        late = execution.mark_stuck_executions(at=started + OUTCOME_WITHIN)

        assert (early, late) == (0, 1)
        assert door.read(told["id"]).json()["outcome"] == "unknown"
        assert door.outcome(told["id"]).status_code == 409

    def test_a_person_finds_out_what_became_of_it(self, door, ben, cora):
        told = approved(door, ben)
        door.consume(told["id"], told["digest"])
        execution.mark_stuck_executions(at=clock() + OUTCOME_WITHIN)

        execution.reconcile(the_card(told["id"]).pk, happened=True, note="The shop shows it.", actor=cora)

        assert door.read(told["id"]).json()["outcome"] == "succeeded"


BATCH = {
    "action_requests": [
        {"name": "refund", "args": {"order_id": "A1", "amount": 40.0}, "description": "First"},
        {"name": "refund", "args": {"order_id": "A2", "amount": 1}, "description": "Second"},
    ],
    "review_configs": [{"action_name": "refund", "allowed_decisions": ["approve", "reject"]}] * 2,
}


class TestMessagesOfSeveralActions:
    @pytest.fixture
    def asked(self, door):
        body = {
            "format": "langchain.batch",
            "payload": BATCH,
            "actions": [{"target": "shop:orders/A1"}, {"target": "shop:orders/A2"}],
        }
        return door.ask(body).json()

    def test_each_action_is_a_card_of_its_own(self, asked):
        rows = [the_card(asked["id"], position) for position in (0, 1)]

        assert [(row.target, row.args, row.tool_call_id) for row in rows] == [
            ("shop:orders/A1", {"order_id": "A1", "amount": 40.0}, f"{asked['id']}:0"),
            ("shop:orders/A2", {"order_id": "A2", "amount": 1}, f"{asked['id']}:1"),
        ]
        assert asked["digest"] is None

    def test_it_is_answered_once_all_are_decided(self, door, ben, asked):
        decide(the_card(asked["id"], 0), ben, at=None)
        half = door.read(asked["id"]).json()
        decide(the_card(asked["id"], 1), ben, "reject", reason="Already paid.", at=None)
        whole = door.read(asked["id"]).json()

        assert (half["status"], half["answer"], half["actions"][0]["status"]) == ("pending", None, "approved")
        assert whole["answer"] == {
            "decisions": [{"type": "approve"}, {"type": "reject", "message": "Rejected by a reviewer: Already paid."}]
        }
        assert whole["status"] == "denied"

    def test_what_its_agent_cannot_take_is_not_decided(self, door, ben, asked):
        from apps.approvals.errors import BadVerdict

        card = the_card(asked["id"], 0)
        with pytest.raises(BadVerdict, match="The agent takes no edit here") as refusal:
            decide(card, ben, "edit", args={"order_id": "A1", "amount": 25.0}, at=None)

        assert (refusal.value.code, refusal.value.status) == ("not_on_offer", 422)
        assert door.read(asked["id"]).json()["actions"][0]["choices"] == ["approve", "reject", "ask"]
        assert decide(card, ben, at=None).proposal.state == "queued"

    def test_each_is_consumed_and_reported_on_its_own(self, door, ben, asked):
        for position in (0, 1):
            decide(the_card(asked["id"], position), ben, at=None)
        digests = [each["digest"] for each in door.read(asked["id"]).json()["actions"]]

        permissions = [door.consume(asked["id"], digest) for digest in reversed(digests)]
        which_one = door.outcome(asked["id"])
        reports = [door.outcome(asked["id"], position=position) for position in (0, 1)]

        assert [each.json()["position"] for each in permissions] == [1, 0]
        assert (which_one.status_code, which_one.json()["code"]) == (422, "which_one")
        assert [each.json()["outcome"] for each in reports] == ["succeeded"] * 2

    def test_a_message_is_taken_in_whole_or_not_at_all(self, client, team, ada):
        agent = make_outside_agent(team, ada, max_new_per_minute=1)

        answer = Door(client, make_token(agent)[1]).ask({"format": "langchain.batch", "payload": BATCH})

        assert answer.status_code == 429
        assert not Proposal.objects.exists()

    def test_taking_it_back_takes_back_what_has_not_started(self, door, ben, asked):
        decide(the_card(asked["id"], 0), ben, at=None)
        door.consume(asked["id"], the_card(asked["id"], 0).digest)

        told = door.withdraw(asked["id"]).json()

        assert [each["status"] for each in told["actions"]] == ["approved", "cancelled"]


class TestWhoGetsIn:
    def test_a_token_is_needed(self, client, db):
        answer = client.post("/api/v1/requests", "{}", content_type="application/json")

        assert (answer.status_code, answer.json()["code"]) == (401, "no_token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("text", ["x", "pp_12345678_" + "a" * 43, "pp_12345678_short"])
    def test_an_unknown_token_is_refused_and_recorded(self, client, db, text):
        answer = Door(client, text).read(1)

        event = AuditEvent.objects.get(action="access.refused")
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
        assert (event.actor, event.object) == ("token:unknown", "token:unknown")

    def test_the_right_key_with_another_secret_is_an_unknown_token(self, client, token):
        _, text = token

        answer = Door(client, text[:-1] + ("A" if text[-1] != "A" else "B")).read(1)

        assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
        assert AuditEvent.objects.get(action="access.refused").object == "token:unknown"

    def test_revoked_stops_now(self, door, token, ivo):
        door.ask()
        revoke_token(token[0], actor=ivo)

        answer = door.ask()

        event = AuditEvent.objects.get(action="access.refused")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
        assert (event.actor, event.object) == (token[0].actor, f"token:{token[0].pk}")

    def test_an_expired_token_says_so(self, door, token):
        ApiToken.objects.update(expires_at=clock())

        assert (door.read(1).status_code, door.read(1).json()["code"]) == (401, "token_expired")

    @pytest.mark.parametrize(
        ("forwarded", "status"), [("203.0.113.9", 404), ("203.0.113.9, 198.51.100.1", 403), ("", 403)]
    )
    def test_behind_a_proxy_it_is_the_callers_network(self, client, agent, settings, forwarded, status):
        settings.TRUSTED_PROXIES = 1
        text = make_token(agent, cidr="203.0.113.0/24")[1]
        headers = {"Authorization": f"Bearer {text}", "X-Forwarded-For": forwarded}

        assert client.get("/api/v1/requests/1", headers=headers).status_code == status

    @pytest.mark.parametrize(
        ("cidr", "status"), [("127.0.0.0/8", 404), ("203.0.113.0/24", 403), ("2001:db8::/32", 403)]
    )
    def test_a_network_binds_it(self, client, agent, cidr, status):
        door = Door(client, make_token(agent, cidr=cidr)[1])

        assert door.read(1).status_code == status

    def test_a_token_without_the_scope_does_not_propose(self, client, agent):
        door = Door(client, make_token(agent, scopes=["events:write"])[1])

        answer = door.ask()

        assert (answer.status_code, answer.json()["code"]) == (403, "out_of_scope")
        assert AuditEvent.objects.get(action="access.refused").actor == f"agent:{agent.pk}"

    def test_agent_token_cannot_decide(self, client, door, token):
        """S7: whatever a token may do, deciding is not among it."""
        asked = door.ask().json()
        verdict = {"verdict": "approve", "version": 1, "digest": asked["digest"]}

        answer = client.post(
            reverse("api:decide", args=[asked["actions"][0]["proposal_id"]]),
            json.dumps(verdict),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token[1]}"},
        )

        assert answer.status_code == 401
        assert the_card(asked["id"]).state == "pending"

    def test_a_persons_session_opens_nothing_here(self, client, door, ben):
        pk = door.ask().json()["id"]
        client.force_login(ben)

        assert client.get(f"/api/v1/requests/{pk}").status_code == 401

    def test_its_last_use_is_noted_once_a_minute(self, door, token):
        door.read(1)
        first = ApiToken.objects.get().last_used_at
        door.read(1)

        assert first is not None
        assert ApiToken.objects.get().last_used_at == first
