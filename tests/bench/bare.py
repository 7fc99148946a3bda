"""`python -m tests.bench.bare RUNS` measures LangGraph alone: the same turns, the same checkpointer, and nothing of ours around it.

It warms up, says "ready", waits for a line, works, and says how many seconds its runs took.
"""

import json
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

import django

django.setup()

from langchain.agents import create_agent  # noqa: E402  # after Django knows its settings
from langchain.agents.middleware import HumanInTheLoopMiddleware  # noqa: E402
from langchain_core.callbacks import CallbackManagerForLLMRun  # noqa: E402
from langchain_core.language_models import BaseChatModel  # noqa: E402
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage  # noqa: E402
from langchain_core.outputs import ChatGeneration, ChatResult  # noqa: E402
from langchain_core.tools import tool  # noqa: E402

from apps.runs import checkpoints  # noqa: E402

WARM_UP: Final = 5
TICKET: Final = json.dumps({"ticket": "T-1", "text": "How do I pay my bill?", "status": "new"})


@tool
def read_ticket(ticket: str) -> str:
    """Read the ticket."""
    return TICKET


@tool(return_direct=True)
def route_ticket(ticket: str, queue: str, priority: str, reply: str) -> str:
    """Route the ticket."""
    return f"Routed {ticket} to {queue}."


class TwoTurns(BaseChatModel):
    """Reads, then routes, without a thought."""

    @property
    def _llm_type(self) -> str:
        return "two-turns"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        args = {"ticket": "T-1", "queue": "banking", "priority": "normal", "reply": "We are on it."}
        if isinstance(messages[-1], ToolMessage):
            call = {"name": "route_ticket", "args": args, "id": uuid.uuid4().hex}
        else:
            call = {"name": "read_ticket", "args": {"ticket": "T-1"}, "id": uuid.uuid4().hex}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


def main(runs: int) -> None:
    approval: Any = HumanInTheLoopMiddleware(
        {"route_ticket": {"allowed_decisions": ["approve", "edit", "reject"]}}, interrupt_mode="per_call"
    )
    graph = create_agent(
        TwoTurns(), tools=[read_ticket, route_ticket], middleware=[approval], checkpointer=checkpoints.saver()
    )

    def ask() -> None:
        config: Any = {"configurable": {"thread_id": uuid.uuid4().hex}}
        asked = graph.invoke({"messages": [HumanMessage("Route ticket T-1.")]}, config, durability="sync", version="v2")
        assert asked.interrupts

    for _ in range(WARM_UP):
        ask()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began = time.perf_counter()
    for _ in range(runs):
        ask()
    sys.stdout.write(f"{time.perf_counter() - began}\n")
    checkpoints.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
