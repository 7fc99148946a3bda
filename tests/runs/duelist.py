"""A worker process of a duel: it decides and resumes at a barrier, and dies or fails where it is told to. Lines of JSON in and out."""

import json
import os
import signal
import sys
from pathlib import Path

import django

if __name__ == "__main__":
    django.setup()

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from apps.accounts.models import User
from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.errors import Refused
from apps.approvals.models import Proposal, ResumeOutbox
from apps.connectors import client
from apps.runs import checkpoints, direct, middleware, threads, workflows
from apps.runs.execution import RunContext
from apps.runs.workflow import part

WORKFLOW = "pair"
_more = str(Path(__file__).parent / "more_workflows")
if _more not in workflows.__path__:
    workflows.__path__.append(_more)

told = {"fault": ""}
"""Where this process dies or fails next: die_before_consume, die_after_effect, raise_before_consume."""


def tickets_of(case: str) -> list[str]:
    """Cases of two calls say so in their name."""
    return [f"{case}-1", f"{case}-2"] if case.startswith("two") else [case]


class Mover(BaseChatModel):
    """Asks in its one turn for every move of its case."""

    @property
    def _llm_type(self) -> str:
        return "mover"

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **_) -> ChatResult:
        case = next(each.text for each in messages if isinstance(each, HumanMessage)).split()[-1].rstrip(".")
        asked = [
            {"name": "move_ticket", "id": f"move-{ticket}", "args": {"ticket": ticket, **MOVE}}
            for ticket in tickets_of(case)
        ]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=asked))])


MOVE = {"queue": "printing", "priority": "low", "reply": "We are on it."}


class Outside(AgentMiddleware):
    """Stands between the approval and the claim."""

    def wrap_tool_call(self, request, handler):
        if told["fault"] == "die_before_consume":
            die()
        if told["fault"] == "raise_before_consume":
            raise RuntimeError("told to fail")
        return handler(request)


class Inside(AgentMiddleware):
    """Stands between the claim and the tool."""

    def wrap_tool_call(self, request, handler):
        answer = handler(request)
        if told["fault"] == "die_after_effect":
            die()
        return answer


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def graph_for(version, action_types):
    checked, reply, approval, claim, retry = middleware.stack(
        write_tools=["move_ticket"], ends=[], case_arg="case", schemas={}
    )
    return create_agent(
        Mover(),
        tools=part(WORKFLOW, "tools").TOOLS,
        middleware=[checked, reply, approval, Outside(), claim, Inside(), retry],
        context_schema=RunContext,
        checkpointer=checkpoints.saver(),
    )


DOORS = {"graph_for": graph_for, "worker": f"duel:{os.getpid()}"}


def decide(order) -> str:
    person = User.objects.get(pk=order["by"])
    try:
        done = decide_proposal(
            order["proposal"],
            verdict=order["verdict"],
            version=order["version"],
            digest=order["digest"],
            reason="Wrong queue." if order["verdict"] == "reject" else "",
            actor=person,
        )
    except Refused as refusal:
        return refusal.code
    return "replayed" if done.replayed else "decided"


def resume(proposal_id) -> None:
    answer = ResumeOutbox.objects.filter(proposal=proposal_id).order_by("-pk").values_list("pk", flat=True).first()
    if answer is not None:
        threads.resume(answer, **DOORS)


def obey(order) -> str:
    told["fault"] = order.get("fault", "")
    if order["do"] == "execute":
        direct.execute(order["proposal"], worker=DOORS["worker"])
        return "executed"
    heard = decide(order) if order["do"] == "decide" else "resumed"
    if order.get("then") == "die":
        die()
    resume(order["proposal"])
    return heard


def say(word) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Proposal.objects.exists()
    checkpoints.saver()
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        # The desk of another test may answer elsewhere.
        client.forget()
        say("ready")
        sys.stdin.readline()
        say(obey(order))
