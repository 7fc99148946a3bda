"""§5.4: what each format brings in and takes back. Types are kept; nothing goes out that its agent could not take."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents.middleware.human_in_the_loop import HumanInTheLoopMiddleware, _decision_schema
from langchain_core.tools import tool
from pydantic import TypeAdapter

from apps.approvals.domain.wire import ag_ui, formats, langchain
from apps.approvals.domain.wire.asked import BadAnswer, BadFormat, Outcome, from_json, to_json

ARGS = {"order_id": "A1", "amount": 40.0}
EDITED = {"order_id": "A1", "amount": 25.0}
TOLD = "Rejected by a reviewer: the invoice is right."
APPROVED = Outcome("approve")
CHANGED = Outcome("edit", args=EDITED)
REJECTED = Outcome("reject", TOLD)
RESPONDED = Outcome("respond", "The customer was refunded yesterday.")
NOT_YES = [
    ("ask", "A reviewer asks: which invoice? This is not a refusal. Nothing was executed."),
    ("expired", "Nobody answered within 4 h. This is not a refusal. Nothing was executed. Policy refunds v12."),
    ("stale", "The target changed after it was proposed: status was open and is now closed. Nothing was executed."),
    ("withdrawn", "Withdrawn: the run was cancelled. Nothing was executed."),
]
ID = "0123456789abcdef0123456789abcdef"


@tool
def refund(order_id: str, amount: float) -> str:
    """Refund an order."""
    return f"{order_id} {amount}"


def call(*allowed, ident=ID, args=ARGS):
    """Make an interrupt of `per_call` with the schema that the middleware itself publishes."""
    published = TypeAdapter(_decision_schema(allowed or ("approve", "edit", "reject", "respond"), "refund", refund))
    value = {
        "type": "tool_approval",
        "tool_call_id": "c1",
        "name": "refund",
        "args": args,
        "description": "Please look.",
    }
    return {"id": ident, "value": value, "response_schema": published.json_schema()}


def batch(*calls):
    """Make a HITLRequest of (name, allowed decisions)."""
    return {
        "action_requests": [{"name": name, "args": ARGS, "description": ""} for name, _ in calls],
        "review_configs": [{"action_name": name, "allowed_decisions": allowed} for name, allowed in calls],
    }


def human(**allowed):
    """Make a HumanInterrupt; what is not named is not allowed."""
    config = {f"allow_{name}": allowed.get(name, False) for name in ("ignore", "respond", "edit", "accept")}
    return {"action_request": {"action": "refund", "args": ARGS}, "config": config, "description": "Please look."}


ALL = {"ignore": True, "respond": True, "edit": True, "accept": True}
APPROVE_OR_EDIT = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}},
    "required": ["approved"],
}


def interrupt(ident="i-1", **extra):
    return {
        "id": ident,
        "reason": "tool_call",
        "message": "Refund 40.00?",
        "toolCallId": "tc-1",
        "metadata": {"name": "refund", "args": ARGS},
        **extra,
    }


def interrupted(*interrupts, **extra):
    return {
        "type": "RUN_FINISHED",
        "threadId": "t",
        "runId": "r",
        "outcome": {"type": "interrupt", "interrupts": list(interrupts or [interrupt()])},
        **extra,
    }


def resumed(payload, ident="i-1"):
    return {"resume": [{"interruptId": ident, "status": "resolved", "payload": payload}]}


def decided(*decisions):
    return {"decisions": list(decisions)}


EDITED_ACTION = {"type": "edit", "edited_action": {"name": "refund", "args": EDITED}}

# format, what came in, what became of it, what goes out
ANSWERS = [
    ("langchain.call", call(), [APPROVED], {ID: {"type": "approve"}}),
    ("langchain.call", call(), [CHANGED], {ID: EDITED_ACTION}),
    ("langchain.call", call(), [REJECTED], {ID: {"type": "reject", "message": TOLD}}),
    ("langchain.call", call(), [RESPONDED], {ID: {"type": "respond", "message": RESPONDED.message}}),
    ("langchain.call", call("respond"), [REJECTED], {ID: {"type": "respond", "message": TOLD}}),
    (
        "langchain.call",
        [call(ident="a" * 32), call(ident="b" * 32)],
        [APPROVED, REJECTED],
        {"a" * 32: {"type": "approve"}, "b" * 32: {"type": "reject", "message": TOLD}},
    ),
    ("langchain.batch", batch(("refund", ["approve", "reject"])), [APPROVED], decided({"type": "approve"})),
    (
        "langchain.batch",
        batch(("refund", ["edit", "reject"]), ("mail", ["approve", "respond"]), ("refund", ["edit", "reject"])),
        [CHANGED, RESPONDED, REJECTED],
        decided(
            EDITED_ACTION,
            {"type": "respond", "message": RESPONDED.message},
            {"type": "reject", "message": TOLD},
        ),
    ),
    ("agent_inbox", human(**ALL), [APPROVED], [{"type": "accept", "args": None}]),
    (
        "agent_inbox",
        human(**ALL),
        [CHANGED],
        [{"type": "edit", "args": {"action": "refund", "args": EDITED}}],
    ),
    ("agent_inbox", human(**ALL), [RESPONDED], [{"type": "response", "args": RESPONDED.message}]),
    ("agent_inbox", human(**ALL), [REJECTED], [{"type": "response", "args": TOLD}]),
    ("agent_inbox", human(accept=True, ignore=True), [REJECTED], [{"type": "ignore", "args": None}]),
    ("agent_inbox", [human(**ALL)], [APPROVED], [{"type": "accept", "args": None}]),
    (
        "agent_inbox",
        [human(**ALL), human(accept=True, ignore=True)],
        [REJECTED, REJECTED],
        [{"type": "response", "args": TOLD}, {"type": "ignore", "args": None}],
    ),
    ("agent_inbox", json.dumps(human(**ALL)), [APPROVED], [{"type": "accept", "args": None}]),
    ("agent_inbox", json.dumps([human(**ALL)]), [APPROVED], [{"type": "accept", "args": None}]),
    ("ag_ui", interrupted(), [APPROVED], resumed({"approved": True})),
    ("ag_ui", interrupted()["outcome"], [APPROVED], resumed({"approved": True})),
    ("ag_ui", interrupted(), [REJECTED], resumed({"approved": False, "message": TOLD})),
    (
        "ag_ui",
        interrupted(interrupt(responseSchema=APPROVE_OR_EDIT)),
        [CHANGED],
        resumed({"approved": True, "editedArgs": EDITED}),
    ),
    (
        "ag_ui",
        interrupted(interrupt(responseSchema={**APPROVE_OR_EDIT, "additionalProperties": False})),
        [REJECTED],
        resumed({"approved": False}),
    ),
    ("ag_ui", interrupted(interrupt(responseSchema={"type": "boolean"})), [REJECTED], resumed(False)),
    ("ag_ui", interrupted(interrupt(reason="confirmation")), [APPROVED], resumed(True)),
    (
        "ag_ui",
        interrupted(interrupt(responseSchema=call()["response_schema"])),
        [RESPONDED],
        resumed({"type": "respond", "message": RESPONDED.message}),
    ),
    (
        "ag_ui",
        interrupted(interrupt("i-1"), interrupt("i-2")),
        [APPROVED, Outcome("withdrawn", "Withdrawn: not needed.")],
        {
            "resume": [
                {"interruptId": "i-1", "status": "resolved", "payload": {"approved": True}},
                {"interruptId": "i-2", "status": "cancelled"},
            ]
        },
    ),
    ("plain", {"action_type": "refund", "args": ARGS}, [APPROVED], {"type": "approve", "args": ARGS}),
    ("plain", {"action_type": "refund", "args": ARGS}, [CHANGED], {"type": "edit", "args": EDITED}),
    ("plain", {"action_type": "refund", "args": ARGS}, [REJECTED], {"type": "reject", "message": TOLD}),
]


@pytest.mark.parametrize(("name", "payload", "outcomes", "answer"), ANSWERS)
def test_each_format_answers_in_its_own_words(name, payload, outcomes, answer):
    asked = formats.read(name, payload)

    assert formats.write(asked, outcomes) == answer


@pytest.mark.parametrize(("verdict", "told"), NOT_YES)
@pytest.mark.parametrize(
    ("name", "payload", "refusal"),
    [
        ("langchain.call", call(), lambda told: {ID: {"type": "reject", "message": told}}),
        (
            "langchain.batch",
            batch(("refund", ["approve", "reject"])),
            lambda told: decided({"type": "reject", "message": told}),
        ),
        ("agent_inbox", human(**ALL), lambda told: [{"type": "response", "args": told}]),
        ("agent_inbox", human(accept=True, ignore=True), lambda _: [{"type": "ignore", "args": None}]),
        ("ag_ui", interrupted(), lambda told: resumed({"approved": False, "message": told})),
    ],
)
def test_what_is_no_yes_goes_out_as_a_refusal_that_tells_the_truth(name, payload, refusal, verdict, told):
    expected = {"resume": [{"interruptId": "i-1", "status": "cancelled"}]}
    is_cancelled = name == "ag_ui" and verdict == "withdrawn"

    answer = formats.write(formats.read(name, payload), [Outcome(verdict, told)])

    assert answer == (expected if is_cancelled else refusal(told))


@pytest.mark.parametrize(
    ("name", "payload", "pointer"),
    [
        ("morse", {}, ""),
        ("langchain.call", "text", ""),
        ("langchain.call", {"id": ID}, "/value"),
        ("langchain.call", {**call(), "value": {"type": "other"}}, "/value/type"),
        ("langchain.call", {**call(), "id": ""}, "/id"),
        ("langchain.call", {**call(), "response_schema": {"type": 7}}, "/response_schema/type"),
        ("langchain.call", call("approve", "edit"), "/response_schema"),
        ("langchain.call", [call(), call()], ""),
        ("langchain.batch", {"action_requests": []}, "/action_requests"),
        ("langchain.batch", {**batch(("refund", ["reject"])), "review_configs": []}, "/review_configs"),
        ("langchain.batch", batch(("refund", ["approve"])), "/review_configs/0/allowed_decisions"),
        ("langchain.batch", batch(("refund", ["nod"])), "/review_configs/0/allowed_decisions"),
        (
            "langchain.batch",
            {**batch(("refund", ["reject"])), "action_requests": [{"name": "other", "args": {}}]},
            "/review_configs",
        ),
        (
            "langchain.batch",
            {**batch(("refund", ["reject"])), "action_requests": [{"name": "refund", "arguments": {}}]},
            "/action_requests/0/args",
        ),
        ("agent_inbox", "{", ""),
        ("agent_inbox", '{"action_request": NaN}', ""),
        ("agent_inbox", [], ""),
        ("agent_inbox", human(accept=True, edit=True), "/config"),
        ("agent_inbox", [human(**ALL), human(accept=True)], "/1/config"),
        ("agent_inbox", {**human(**ALL), "config": {"allow_ignore": "yes"}}, "/config/allow_ignore"),
        ("ag_ui", {"outcome": {"type": "success"}}, "/outcome/type"),
        ("ag_ui", {"type": "interrupt", "interrupts": []}, "/interrupts"),
        ("ag_ui", interrupted(interrupt(), interrupt()), "/outcome/interrupts"),
        ("ag_ui", interrupted(interrupt(metadata={})), "/outcome/interrupts/0/toolCallId"),
        ("ag_ui", interrupted(interrupt(metadata=None, toolCallId=None)), "/outcome/interrupts/0/metadata"),
        ("ag_ui", interrupted(interrupt(responseSchema={"type": "string"})), "/outcome/interrupts/0/responseSchema"),
        ("ag_ui", interrupted(interrupt(reason="")), "/outcome/interrupts/0/reason"),
        ("plain", {"action_type": "refund"}, "/args"),
        ("plain", {"action_type": 7, "args": {}}, "/action_type"),
    ],
)
def test_what_is_not_in_the_format_is_refused_with_its_place(name, payload, pointer):
    with pytest.raises(BadFormat) as refusal:
        formats.read(name, payload)

    assert refusal.value.pointer == pointer


@pytest.mark.parametrize(
    ("name", "payload", "outcomes"),
    [
        ("langchain.call", call("approve", "reject"), [CHANGED]),
        ("langchain.call", call("approve", "reject"), [RESPONDED]),
        ("langchain.call", call("reject"), [APPROVED]),
        ("langchain.call", call(), []),
        ("langchain.call", call(), [APPROVED, APPROVED]),
        ("langchain.call", call(), [Outcome("edit", args={"order_id": "A1", "amount": "lots"})]),
        ("langchain.call", call(), [Outcome("edit", args={"order_id": "A1"})]),
        ("langchain.call", {key: each for key, each in call().items() if key != "response_schema"}, [CHANGED]),
        ("langchain.batch", batch(("refund", ["approve", "reject"]), ("mail", ["reject"])), [APPROVED]),
        ("langchain.batch", batch(("refund", ["approve", "reject"]), ("mail", ["reject"])), [APPROVED, APPROVED]),
        ("agent_inbox", human(accept=True, ignore=True), [CHANGED]),
        ("agent_inbox", human(accept=True, ignore=True), [RESPONDED]),
        ("agent_inbox", human(respond=True), [APPROVED]),
        ("ag_ui", interrupted(), [CHANGED]),
        ("ag_ui", interrupted(), [RESPONDED]),
        ("ag_ui", interrupted(interrupt("i-1"), interrupt("i-2")), [APPROVED]),
        ("plain", {"action_type": "refund", "args": ARGS}, [Outcome("edit")]),
    ],
)
def test_an_answer_that_its_agent_could_not_take_does_not_go_out(name, payload, outcomes):
    asked = formats.read(name, payload)

    with pytest.raises(BadAnswer):
        formats.write(asked, outcomes)


@pytest.mark.parametrize("decision", ["approve", "edit", "reject", "respond"])
def test_the_middleware_itself_takes_what_goes_out(decision):
    published = TypeAdapter(_decision_schema(("approve", "edit", "reject", "respond"), "refund", refund))
    outcome = {"approve": APPROVED, "edit": CHANGED, "reject": REJECTED, "respond": RESPONDED}[decision]

    answer = formats.write(formats.read("langchain.call", call()), [outcome])

    assert published.validate_python(answer[ID])["type"] == decision


def test_the_batched_middleware_takes_what_goes_out():
    allowed = ["approve", "edit", "reject", "respond"]
    tool_call = {"name": "refund", "args": ARGS, "id": "c1", "type": "tool_call"}
    answer = formats.write(formats.read("langchain.batch", batch(("refund", allowed))), [REJECTED])

    _, message = HumanInTheLoopMiddleware._process_decision(
        answer["decisions"][0], tool_call, {"allowed_decisions": allowed}
    )

    assert TOLD in message.content


def test_an_edit_keeps_the_name_of_its_call():
    asked = formats.read("langchain.batch", batch(("refund", ["edit", "reject"])))

    answer = langchain.write_batch(asked, [Outcome("edit", args={"name": "wipe", "amount": 1})])

    assert answer["decisions"][0]["edited_action"]["name"] == "refund"


def test_an_interrupt_finds_its_arguments_in_the_messages_of_its_run():
    function = {"name": "refund", "arguments": json.dumps(ARGS)}
    messages = [
        {"id": "m", "role": "assistant", "toolCalls": [{"id": "tc-1", "type": "function", "function": function}]}
    ]

    asked = ag_ui.read(interrupted(interrupt(metadata=None), messages=messages))

    assert (asked.actions[0].name, asked.actions[0].args) == ("refund", ARGS)


def test_langgraphs_own_value_is_read_where_ag_ui_keeps_it():
    raw = call()["value"]
    asked = ag_ui.read(interrupted(interrupt(metadata={"langgraph": {"raw": raw}})))

    assert asked.actions[0].name == "refund"
    assert ag_ui.write(asked, [APPROVED]) == resumed({"type": "approve"})
    assert asked.actions[0].allowed == {"approve", "reject"}


def test_the_fingerprint_that_an_approval_is_bound_to_is_given_back():
    schema = {
        "type": "object",
        "properties": {"approved": {"type": "boolean"}, "approvedActionFingerprint": {"type": "string"}},
        "required": ["approved", "approvedActionFingerprint"],
    }
    metadata = {"name": "refund", "args": ARGS, "governance": {"actionFingerprint": "sha256:8f1b"}}

    asked = ag_ui.read(interrupted(interrupt(responseSchema=schema, metadata=metadata)))

    assert ag_ui.write(asked, [APPROVED]) == resumed({"approved": True, "approvedActionFingerprint": "sha256:8f1b"})


def test_the_word_for_a_reason_is_the_schemas_own():
    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}}}

    asked = ag_ui.read(interrupted(interrupt(responseSchema=schema)))

    assert ag_ui.write(asked, [REJECTED]) == resumed({"approved": False, "reason": TOLD})


def test_a_batch_without_parallel_configurations_finds_each_by_name():
    request = batch(("refund", ["approve", "reject"]), ("mail", ["reject"]))
    request["action_requests"].append({"name": "refund", "args": {}})

    asked = langchain.read_batch(request)

    assert [each.allowed for each in asked.actions] == [{"approve", "reject"}, {"reject"}, {"approve", "reject"}]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(min_size=1), JSON, max_size=4)
TEXT = st.text(min_size=1, max_size=40)


def same(one, other):
    """Say whether two JSON values are the same to the letter: 40.0 is not 40, and 25 is not "25"."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@settings(deadline=None)
@given(st.lists(ARGUMENTS, min_size=1, max_size=4), ARGUMENTS, TEXT)
def test_arguments_come_through_each_format_as_they_were(many, edited, text):
    allowed = ["approve", "edit", "reject", "respond"]
    requests = {
        "langchain.call": [
            {
                "id": f"{at:032x}",
                "value": {"type": "tool_approval", "tool_call_id": "c", "name": "refund", "args": args},
                "response_schema": {
                    "oneOf": [{"properties": {"type": {"const": each}}} for each in allowed],
                },
            }
            for at, args in enumerate(many)
        ],
        "langchain.batch": {
            "action_requests": [{"name": "refund", "args": args} for args in many],
            "review_configs": [{"action_name": "refund", "allowed_decisions": allowed}],
        },
        "agent_inbox": json.dumps(
            [{**human(**ALL), "action_request": {"action": "refund", "args": args}} for args in many]
        ),
        "ag_ui": interrupted(
            *(interrupt(f"i-{at}", metadata={"name": "refund", "args": args}) for at, args in enumerate(many))
        ),
    }

    for name, payload in requests.items():
        asked = formats.read(name, payload)
        kept = from_json(name, json.loads(json.dumps(to_json(asked))), many)

        assert same([dict(each.args) for each in asked.actions], many)
        assert [(each.name, each.allowed, each.shape) for each in kept.actions] == [
            (each.name, each.allowed, each.shape) for each in asked.actions
        ]
        refusals = formats.write(kept, [Outcome("reject", text)] * len(many))
        assert refusals == formats.write(asked, [Outcome("reject", text)] * len(many))
        if name != "ag_ui":
            assert same(
                list(_edits(name, formats.write(kept, [Outcome("edit", args=edited)] * len(many)))),
                [edited] * len(many),
            )


def _edits(name, answer):
    match name:
        case "langchain.call":
            return (each["edited_action"]["args"] for each in answer.values())
        case "langchain.batch":
            return (each["edited_action"]["args"] for each in answer["decisions"])
        case _:
            return (each["args"]["args"] for each in answer)


@settings(deadline=None)
@given(JSON)
@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_whatever_comes_in_is_read_or_refused(name, payload):
    try:
        asked = formats.read(name, payload)
    except BadFormat:
        return

    assert asked.actions
