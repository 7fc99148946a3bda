"""An agent in a process of its own, as somebody else would write it: it knows the address and a token, and nothing of this house.

    python agent.py FORMAT '[{"order_id": "A1", "amount": 40.0}]'

It asks, waits by long poll, resumes its framework with exactly the answer it got, consumes, executes and reports.
What it executed and what its framework made of the answer go to standard output as JSON.
"""

import json
import os
import sys
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import httpx
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

ANSWER_WITHIN = 60


@dataclass
class Report:
    """What happened in this process."""

    executed: list[Any] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Door:
    """The four calls of Pastpilot's REST door."""

    def __init__(self) -> None:
        self.http = httpx.Client(
            base_url=os.environ["PASTPILOT_URL"],
            headers={"Authorization": f"Bearer {os.environ['PASTPILOT_TOKEN']}"},
            timeout=ANSWER_WITHIN,
            trust_env=False,
        )
        self.report = Report()
        self.decided: list[dict[str, Any]] = []

    def ask(self, form: str, payload: Any) -> Any:
        """Ask, and return what to resume with once everything in the message is decided."""
        body = {"format": form, "payload": payload}
        told = self._post("/api/v1/requests", body, {"Idempotency-Key": uuid.uuid4().hex})
        while told["status"] == "pending" or told["answer"] is None:
            answer = self.http.get(f"/api/v1/requests/{told['id']}", params={"wait": 20})
            told = answer.raise_for_status().json()
        self.decided += [{**each, "request": told["id"]} for each in told["actions"]]
        self.report.answers.append(told["answer"])
        return told["answer"]

    def execute(self, **args: Any) -> str:
        """Do the thing, if it is one that was approved and not consumed before."""
        found = next((each for each in self.decided if each["args"] == args and not each.get("used")), None)
        if found is None:
            self.report.refused.append("never asked")
            return "This was never approved."
        found["used"] = True
        body = {"digest": found["digest"], "position": found["position"]}
        try:
            permission = self._post(f"/api/v1/requests/{found['request']}/consume", body)
        except httpx.HTTPStatusError as refusal:
            self.report.refused.append(refusal.response.json()["code"])
            return refusal.response.json()["message"]
        self.report.executed.append(permission["args"])
        ended = {"status": "succeeded", "note": "booked", "position": found["position"]}
        self._post(f"/api/v1/requests/{found['request']}/outcome", ended)
        return f"refunded {args['amount']}"

    def _post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        return self.http.post(path, json=body, headers=headers or {}).raise_for_status().json()


class OneTurn(BaseChatModel):
    """A model that calls `refund` for each case it was given, and then is done."""

    cases: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "one-turn"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        if any(isinstance(each, ToolMessage) for each in messages):
            return ChatResult(generations=[ChatGeneration(message=AIMessage("Done."))])
        calls = [
            {"name": "refund", "args": args, "id": f"c{at}", "type": "tool_call"} for at, args in enumerate(self.cases)
        ]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=calls))])


def langchain(door: Door, cases: list[dict[str, Any]], *, mode: str) -> None:
    @tool
    def refund(order_id: str, amount: float) -> str:
        """Refund an order."""
        return door.execute(order_id=order_id, amount=amount)

    gate = HumanInTheLoopMiddleware(
        interrupt_on={"refund": {"allowed_decisions": ["approve", "edit", "reject", "respond"]}}, interrupt_mode=mode
    )
    agent = create_agent(OneTurn(cases=cases), [refund], middleware=[gate], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    result = agent.invoke({"messages": [{"role": "user", "content": "Go."}]}, config)
    while open_ones := result.get("__interrupt__"):
        if mode == "per_call":
            surfaced = [
                {"id": each.id, "value": each.value, "response_schema": each.response_schema} for each in open_ones
            ]
            answer = door.ask("langchain.call", surfaced)
        else:
            answer = door.ask("langchain.batch", open_ones[0].value)
        result = agent.invoke(Command(resume=answer), config)
    # The middleware puts what was refused before what ran; here each call's answer stands in its call's place.
    told = sorted(
        (each for each in result["messages"] if isinstance(each, ToolMessage)), key=lambda each: each.tool_call_id
    )
    door.report.heard += [each.text for each in told]


class State(TypedDict):
    """What the plain graph carries."""

    case: dict[str, Any]
    heard: str


def agent_inbox(door: Door, cases: list[dict[str, Any]]) -> None:
    def gate(state: State) -> dict[str, str]:
        request = {
            "action_request": {"action": "refund", "args": state["case"]},
            "config": {"allow_ignore": True, "allow_respond": True, "allow_edit": True, "allow_accept": True},
            "description": "A refund.",
        }
        response = interrupt(request)[0]
        match response["type"]:
            case "accept":
                return {"heard": door.execute(**state["case"])}
            case "edit":
                return {"heard": door.execute(**response["args"]["args"])}
            case "response":
                return {"heard": response["args"]}
            case _:
                return {"heard": "ignored"}

    graph = StateGraph(State).add_node("gate", gate).add_edge(START, "gate").add_edge("gate", END)
    compiled = graph.compile(checkpointer=InMemorySaver())
    for at, case in enumerate(cases):
        config = {"configurable": {"thread_id": f"t{at}"}}
        result = compiled.invoke({"case": case, "heard": ""}, config)
        while open_ones := result.get("__interrupt__"):
            # Agent Inbox agents often send their request as text.
            payload = json.dumps(open_ones[0].value) if at % 2 else open_ones[0].value
            result = compiled.invoke(Command(resume=door.ask("agent_inbox", payload)), config)
        door.report.heard.append(result["heard"])


def ag_ui(door: Door, cases: list[dict[str, Any]]) -> None:
    calls = [
        {"id": f"tc-{at}", "type": "function", "function": {"name": "refund", "arguments": json.dumps(case)}}
        for at, case in enumerate(cases)
    ]
    schema = {
        "type": "object",
        "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}, "reason": {"type": "string"}},
        "required": ["approved"],
        "additionalProperties": False,
    }
    interrupts = [
        {"id": f"int-{at}", "reason": "tool_call", "toolCallId": f"tc-{at}", "responseSchema": schema}
        for at in range(len(cases))
    ]
    finished = {
        "type": "RUN_FINISHED",
        "threadId": "t",
        "runId": "r1",
        "outcome": {"type": "interrupt", "interrupts": interrupts},
        "messages": [{"id": "m", "role": "assistant", "toolCalls": calls}],
    }
    resume = door.ask("ag_ui", finished)["resume"]
    # The next run: every interrupt must be covered, or nothing is done.
    if [each["interruptId"] for each in resume] != [each["id"] for each in interrupts]:
        raise SystemExit("an interrupt is not covered")
    for case, entry in zip(cases, resume, strict=True):
        if entry["status"] == "cancelled":
            door.report.heard.append("cancelled")
        elif entry["payload"]["approved"]:
            door.report.heard.append(door.execute(**entry["payload"].get("editedArgs", case)))
        else:
            door.report.heard.append(entry["payload"].get("reason", "no"))


def main(form: str, cases: list[dict[str, Any]]) -> None:
    door = Door()
    match form:
        case "langchain.call":
            langchain(door, cases, mode="per_call")
        case "langchain.batch":
            langchain(door, cases, mode="batched")
        case "agent_inbox":
            agent_inbox(door, cases)
        case "ag_ui":
            ag_ui(door, cases)
    sys.stdout.write(json.dumps(asdict(door.report)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
