"""Agents of other frameworks in processes of their own: they ask over the wire, people decide, and what was decided runs once."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from apps.agents import actions as agents
from apps.api.models import Wait
from apps.api.waiting import PLACES
from apps.approvals.models import Proposal
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from config.stack.children import die_with_parent
from tests.factories.approvals import decide
from tests.factories.outside import make_outside_agent, make_token
from tests.flows.harness import database_url
from tests.flows.processes import Processes
from tests.house.stack import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

AGENT = Path(__file__).parent / "outside" / "agent.py"
CASES = [
    {"order_id": "A1", "amount": 40.0},
    {"order_id": "A2", "amount": 7.5},
    {"order_id": "A3", "amount": 9.0},
    {"order_id": "A4", "amount": 3.0},
]
EDITED = {"order_id": "A2", "amount": 5.0}
NO = "The invoice is right."
REFUSED = f"Rejected by a reviewer: {NO}"
ASKED = f"A reviewer asks: {NO} This is not a refusal. Nothing was executed."
PATIENCE = 90


@pytest.fixture
def house(tmp_path):
    """Start the web process of the house, alone: an outside agent needs no worker here."""
    processes = Processes(
        {
            "DATABASE_URL": database_url(),
            "CELERY_BROKER_URL": os.environ["CELERY_BROKER_URL"],
            "DJANGO_SETTINGS_MODULE": "config.settings",
        },
        tmp_path,
    )
    try:
        processes.start_web()
        processes.wait_for_web()
        yield processes
    finally:
        processes.kill_all()


@pytest.fixture
def agent(team, ada):
    return make_outside_agent(team, ada)


@pytest.fixture
def token(agent):
    return make_token(agent)[1]


def start(house, token, form, cases):
    return subprocess.Popen(
        [sys.executable, AGENT, form, json.dumps(cases)],
        env={**os.environ, "PASTPILOT_URL": house.url, "PASTPILOT_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # a killed test run must leave no agent behind
    )


def report_of(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return json.loads(out)


def card(order_id):
    wait_until(lambda: Proposal.objects.filter(args__order_id=order_id, state="pending").exists(), seconds=PATIENCE)
    return Proposal.objects.get(args__order_id=order_id)


def decide_all(ben):
    """Approve the first, edit the second, reject the third and ask back about the fourth."""
    decide(card("A1"), ben, at=None)
    decide(card("A2"), ben, "edit", args=EDITED, at=None)
    decide(card("A3"), ben, "reject", reason=NO, at=None)
    decide(card("A4"), ben, "ask", reason=NO, at=None)


@pytest.mark.parametrize("form", ["langchain.call", "langchain.batch", "agent_inbox", "ag_ui"])
def test_an_agent_of_each_format_does_exactly_what_was_decided(house, token, ben, form):
    process = start(house, token, form, CASES)

    decide_all(ben)

    told = report_of(process)
    states = dict(Proposal.objects.values_list("args__order_id", "state"))
    # Tools of one turn run side by side, so their order is not told.
    assert sorted(told["executed"], key=lambda args: args["order_id"]) == [CASES[0], EDITED]
    assert told["refused"] == []
    assert "refunded 40.0" in told["heard"][0]
    assert "refunded 5.0" in told["heard"][1]
    assert told["heard"][2].endswith(REFUSED)
    assert told["heard"][3].endswith(ASKED)
    assert states == {"A1": "succeeded", "A2": "succeeded", "A3": "rejected", "A4": "answered"}
    assert ActionExecution.objects.filter(state="done").count() == 2


@pytest.mark.parametrize("form", ["langchain.call", "langchain.batch", "agent_inbox"])
def test_a_person_may_answer_in_the_tools_place(house, token, ben, form):
    process = start(house, token, form, CASES[:1])

    decide(card("A1"), ben, "respond", reason="It was refunded yesterday.", at=None)

    told = report_of(process)
    assert (told["executed"], told["heard"]) == ([], ["It was refunded yesterday."])


def test_an_approval_that_a_kill_switch_holds_is_not_executed(house, token, ben, agent, cora):
    process = start(house, token, "langchain.batch", CASES[:1])
    row = card("A1")
    agents.engage_switch("agent", agent.pk, actor=cora, reason="A wrong price list.")

    decide(row, ben, at=None)

    told = report_of(process)
    assert (told["executed"], told["refused"]) == ([], ["held"])
    assert "A wrong price list." in told["heard"][0]
    assert Proposal.objects.get().state == "queued"


def test_waiting_holds_up_nobody_else(house, token, ben):
    asked = _post(house, token, "/api/v1/requests", {"action_type": "refund", "args": CASES[0]})
    with ThreadPoolExecutor(5) as pool:
        waits = [pool.submit(_read, house, token, asked["id"]) for _ in range(4)]
        wait_until(lambda: Wait.objects.filter(until__gt=clock()).count() == PLACES)

        fifth = _read(house, token, asked["id"])
        meanwhile = httpx.get(f"{house.url}/healthz", trust_env=False, timeout=5)
        decide(card("A1"), ben, at=None)
        answers = [each.result() for each in waits]

    assert (fifth.status_code, fifth.headers["Retry-After"]) == (429, "20")
    assert meanwhile.status_code == 200
    assert {each.json()["status"] for each in answers} == {"approved"}


def test_one_key_sent_by_many_at_once_is_one_request_with_one_answer(house, token):
    body = {"action_type": "refund", "args": CASES[0]}
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: _post(house, token, "/api/v1/requests", body), range(8)))

    assert Proposal.objects.count() == 1
    assert all(each == told[0] for each in told)


def test_one_approval_is_consumed_by_one_of_many(house, token, ben):
    asked = _post(house, token, "/api/v1/requests", {"action_type": "refund", "args": CASES[0]})
    decide(card("A1"), ben, at=None)
    path, body = f"/api/v1/requests/{asked['id']}/consume", {"digest": asked["digest"]}
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(lambda _: _send(house, token, path, body, {}).status_code, range(8)))

    assert codes == [200] + [409] * 7
    assert ActionExecution.objects.count() == 1


def _send(house, token, path, body, headers):
    headers = {"Authorization": f"Bearer {token}", **headers}
    return httpx.post(f"{house.url}{path}", json=body, headers=headers, trust_env=False, timeout=60)


def _post(house, token, path, body):
    return _send(house, token, path, body, {"Idempotency-Key": "k"}).raise_for_status().json()


def _read(house, token, pk):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(
        f"{house.url}/api/v1/requests/{pk}", params={"wait": 20}, headers=headers, trust_env=False, timeout=60
    )
