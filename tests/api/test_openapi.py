"""The description at /api/v1/openapi.json is true: each status that it names occurs, and each answer fits its schema."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse
from jsonschema import Draft202012Validator

from apps.api.urls import api
from apps.api.waiting import place
from apps.approvals.models import OutsideRequest, Proposal
from apps.audit.clock import clock
from tests.factories.approvals import decide, make_proposal
from tests.factories.outside import REFUND_ARGS, make_outside_agent, make_token

DESCRIBED = api.get_openapi_schema(path_prefix="/api/v1/")
ASKED = {"action_type": "refund", "args": REFUND_ARGS}

SESSION, BEARER = "PersonSession", "AgentToken"
OPERATIONS = [
    (path, method, operation) for path, methods in DESCRIBED["paths"].items() for method, operation in methods.items()
]
DOCUMENTED = [
    (path, method, str(int(code))) for path, method, operation in OPERATIONS for code in operation["responses"]
]


class World:
    """A team with its agents, and the two ways in."""

    def __init__(self, client, request):
        self.client = client
        self.get = request.getfixturevalue
        self.team, self.ada, self.ben = self.get("team"), self.get("ada"), self.get("ben")
        self.agent = make_outside_agent(self.team, self.ada)
        self.row, self.text = make_token(self.agent)

    def bearer(self, text=None, **more):
        return {"Authorization": f"Bearer {text or self.text}", **more}

    def call(self, method, path, body=None, *, headers=None):
        text = body if isinstance(body, str) else json.dumps(body)
        return self.client.generic(method.upper(), path, text, content_type="application/json", headers=headers or {})

    def ask(self, *, text=None, key="k", **extra):
        return self.call(
            "post", "/api/v1/requests", {**ASKED, **extra}, headers=self.bearer(text, **{"Idempotency-Key": key})
        )

    def asked(self, *, is_approved=False, is_consumed=False):
        pk = self.ask(
            key=f"key-{OutsideRequest.objects.count()}", title=f"No. {OutsideRequest.objects.count()}"
        ).json()["id"]
        row = Proposal.objects.get(tool_call_id=str(pk))
        if is_approved or is_consumed:
            decide(row, self.ben, at=None)
        if is_consumed:
            self.call("post", f"/api/v1/requests/{pk}/consume", {"digest": row.digest}, headers=self.bearer())
        return pk, row

    def narrow(self):
        return make_token(self.agent, scopes=["events:write"])[1]

    def card(self):
        return make_proposal(self.team, self.ada, at=clock())

    def as_person(self, name):
        self.client.force_login(self.get(name))
        return self

    def decide(self, row, **extra):
        body = {"verdict": "approve", "version": row.version, "digest": row.digest, **extra}
        return self.call("post", reverse("api:decide", args=[row.pk]), body)


def decided_together(world):
    world.card()
    world.as_person("ben")
    group = world.call("get", GROUPS).json()["groups"][0]["group"]
    page = world.client.get(GROUPS, {"group": group}).json()
    for each in page["items"]:
        world.call("get", reverse("api:proposal", args=[each["id"]]))
    items = [{name: each[name] for name in ("id", "version", "digest")} for each in page["items"]]
    return world.call("post", BULK, {"verdict": "approve", "shown": page["shown"], "items": items})


def requests_429(world):
    agent = make_outside_agent(world.team, world.ada, max_new_per_minute=0)
    return world.ask(text=make_token(agent)[1])


def read_429(world):
    pk, _ = world.asked()
    row = world.row
    with place(row, seconds=9), place(row, seconds=9), place(row, seconds=9), place(row, seconds=9):
        return world.call("get", f"/api/v1/requests/{pk}?wait=1", headers=world.bearer())


def conflicting(world):
    world.ask(key="a", external_id="r-1")
    return world.ask(key="b", external_id="r-1", title="Another")


def consumed_again(world):
    pk, row = world.asked(is_consumed=True)
    return world.call("post", f"/api/v1/requests/{pk}/consume", {"digest": row.digest}, headers=world.bearer())


def consumed(world):
    pk, row = world.asked(is_approved=True)
    return world.call("post", f"/api/v1/requests/{pk}/consume", {"digest": row.digest}, headers=world.bearer())


def withdrawn_too_late(world):
    pk, _ = world.asked(is_consumed=True)
    return world.call("delete", f"/api/v1/requests/{pk}", headers=world.bearer())


def on(path, method, body=None, **asked):
    """Call one address of a request of the agent's own."""

    def call(world, *, headers=None):
        pk, _ = world.asked(**asked)
        return world.call(method, path.replace("{request_id}", str(pk)), body, headers=headers or world.bearer())

    return call


def of_another(path, method, body=None):
    return lambda world: world.call(method, path.replace("{request_id}", "999999"), body, headers=world.bearer())


def without_token(path, method, body=None):
    return lambda world: world.call(method, path.replace("{request_id}", "1"), body)


def with_narrow_token(path, method, body=None):
    return lambda world: world.call(
        method, path.replace("{request_id}", "1"), body, headers=world.bearer(world.narrow())
    )


ONE, CONSUME, OUTCOME = (
    "/api/v1/requests/{request_id}",
    "/api/v1/requests/{request_id}/consume",
    "/api/v1/requests/{request_id}/outcome",
)
CARD, DECIDE = "/api/v1/proposals/{proposal_id}", "/api/v1/proposals/{proposal_id}/decide"
GROUPS, BULK = "/api/v1/proposals/groups", "/api/v1/proposals/bulk"
NOTHING = {"verdict": "approve", "shown": "", "items": []}
DIGEST = {"digest": "sha256:" + "0" * 64}
ENDED = {"status": "succeeded"}

# What makes each documented status occur.
OCCURS = {
    ("/api/v1/requests", "post", "201"): lambda world: world.ask(),
    ("/api/v1/requests", "post", "400"): lambda world: world.call(
        "post", "/api/v1/requests", ASKED, headers=world.bearer()
    ),
    ("/api/v1/requests", "post", "401"): without_token("/api/v1/requests", "post", ASKED),
    ("/api/v1/requests", "post", "403"): with_narrow_token("/api/v1/requests", "post", ASKED),
    ("/api/v1/requests", "post", "409"): conflicting,
    ("/api/v1/requests", "post", "422"): lambda world: world.ask(format="morse"),
    ("/api/v1/requests", "post", "429"): requests_429,
    (ONE, "get", "200"): on(ONE, "get", is_consumed=True),
    (ONE, "get", "401"): without_token(ONE, "get"),
    (ONE, "get", "403"): with_narrow_token(ONE, "get"),
    (ONE, "get", "404"): of_another(ONE, "get"),
    (ONE, "get", "422"): on(f"{ONE}?wait=99", "get"),
    (ONE, "get", "429"): read_429,
    (ONE, "delete", "200"): on(ONE, "delete"),
    (ONE, "delete", "401"): without_token(ONE, "delete"),
    (ONE, "delete", "403"): with_narrow_token(ONE, "delete"),
    (ONE, "delete", "404"): of_another(ONE, "delete"),
    (ONE, "delete", "409"): withdrawn_too_late,
    (CONSUME, "post", "200"): consumed,
    (CONSUME, "post", "400"): on(CONSUME, "post", "{"),
    (CONSUME, "post", "401"): without_token(CONSUME, "post", DIGEST),
    (CONSUME, "post", "403"): with_narrow_token(CONSUME, "post", DIGEST),
    (CONSUME, "post", "404"): of_another(CONSUME, "post", DIGEST),
    (CONSUME, "post", "409"): consumed_again,
    (CONSUME, "post", "422"): on(CONSUME, "post", {}),
    (OUTCOME, "post", "200"): on(OUTCOME, "post", ENDED, is_consumed=True),
    (OUTCOME, "post", "400"): on(OUTCOME, "post", "{"),
    (OUTCOME, "post", "401"): without_token(OUTCOME, "post", ENDED),
    (OUTCOME, "post", "403"): with_narrow_token(OUTCOME, "post", ENDED),
    (OUTCOME, "post", "404"): of_another(OUTCOME, "post", ENDED),
    (OUTCOME, "post", "409"): on(OUTCOME, "post", ENDED),
    (OUTCOME, "post", "422"): on(OUTCOME, "post", {"status": "unknown"}, is_consumed=True),
    ("/api/v1/proposals", "get", "200"): lambda world: (
        world.card(),
        world.as_person("ben").call("get", "/api/v1/proposals"),
    )[1],
    ("/api/v1/proposals", "get", "401"): lambda world: world.call("get", "/api/v1/proposals"),
    ("/api/v1/proposals", "get", "403"): lambda world: world.as_person("dev").call("get", "/api/v1/proposals"),
    ("/api/v1/proposals", "get", "422"): lambda world: world.as_person("ben").call("get", "/api/v1/proposals?limit=0"),
    (GROUPS, "get", "200"): lambda world: (world.card(), world.as_person("ben").call("get", GROUPS))[1],
    (GROUPS, "get", "401"): lambda world: world.call("get", GROUPS),
    (GROUPS, "get", "403"): lambda world: world.as_person("dev").call("get", GROUPS),
    (BULK, "post", "200"): decided_together,
    (BULK, "post", "400"): lambda world: world.as_person("ben").call("post", BULK, "{"),
    (BULK, "post", "401"): lambda world: world.call("post", BULK, NOTHING),
    (BULK, "post", "403"): lambda world: world.as_person("dev").call("post", BULK, NOTHING),
    (BULK, "post", "422"): lambda world: world.as_person("ben").call("post", BULK, {}),
    (CARD, "get", "200"): lambda world: world.as_person("ben").call(
        "get", reverse("api:proposal", args=[world.card().pk])
    ),
    (CARD, "get", "401"): lambda world: world.call("get", reverse("api:proposal", args=[1])),
    (CARD, "get", "403"): lambda world: world.as_person("dev").call(
        "get", reverse("api:proposal", args=[world.card().pk])
    ),
    (CARD, "get", "404"): lambda world: world.as_person("eve").call(
        "get", reverse("api:proposal", args=[world.card().pk])
    ),
    (DECIDE, "post", "200"): lambda world: world.as_person("ben").decide(world.card()),
    (DECIDE, "post", "400"): lambda world: world.as_person("ben").call(
        "post", reverse("api:decide", args=[world.card().pk]), "{"
    ),
    (DECIDE, "post", "401"): lambda world: world.decide(world.card()),
    (DECIDE, "post", "403"): lambda world: world.as_person("olga").decide(world.card()),
    (DECIDE, "post", "404"): lambda world: world.as_person("eve").decide(world.card()),
    (DECIDE, "post", "409"): lambda world: world.as_person("ben").decide(world.card(), version=9),
    (DECIDE, "post", "422"): lambda world: world.as_person("ben").decide(world.card(), verdict="maybe"),
}


@pytest.fixture
def world(client, request, db):
    return World(client, request)


@pytest.mark.parametrize(("path", "method", "code"), DOCUMENTED)
def test_each_documented_status_occurs_and_its_answer_fits(world, path, method, code):
    assert (path, method, code) in OCCURS, "Say in OCCURS how this status comes about, or do not document it."

    answer = OCCURS[path, method, code](world)

    schema = DESCRIBED["paths"][path][method]["responses"][int(code)]["content"]["application/json"]["schema"]
    assert str(answer.status_code) == code
    Draft202012Validator({**schema, "components": DESCRIBED["components"]}).validate(answer.json())


def test_nothing_is_said_to_occur_that_is_not_documented():
    assert set(OCCURS) <= set(DOCUMENTED)


@pytest.mark.parametrize(("path", "method", "operation"), [each for each in OPERATIONS if "/requests" in each[0]])
def test_each_door_for_programs_names_the_scope_it_needs(path, method, operation):
    assert operation["security"] == [{BEARER: ["proposals:write"]}]


def test_people_come_in_with_their_session_and_programs_with_a_token():
    kinds = {name: scheme["type"] for name, scheme in DESCRIBED["components"]["securitySchemes"].items()}

    assert kinds[BEARER] == "http"
    assert not any(
        "AgentToken" in str(operation.get("security")) for path, _, operation in OPERATIONS if "/proposals" in path
    )


def test_it_describes_itself_to_those_who_are_signed_in(client, ben):
    client.force_login(ben)

    described = client.get("/api/v1/openapi.json").json()

    assert {path for path, _, _ in OPERATIONS} <= set(described["paths"])
    assert described["openapi"].startswith("3.1")


def test_a_key_is_asked_for_where_it_is_needed():
    headers = {
        (path, each["name"]): each["required"]
        for path, _, operation in OPERATIONS
        for each in operation.get("parameters", ())
        if each["in"] == "header"
    }

    assert headers == {("/api/v1/requests", "Idempotency-Key"): True, (CONSUME, "Idempotency-Key"): False}


def test_the_description_waits_for_nothing():
    assert timedelta(seconds=DESCRIBED["paths"][ONE]["get"]["parameters"][1]["schema"]["maximum"]) == timedelta(
        seconds=20
    )
