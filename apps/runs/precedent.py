"""`precedent`: a chat model that answers from decided cases. No language model: it picks the tool call by its nearest precedents."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Max, QuerySet
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from apps.runs.domain import reply
from apps.runs.domain.nearest import Answer, Case, NearestIndex, Verdict
from apps.runs.domain.outcome import ASKED_BACK, OUTDATED, RESPONDED
from apps.runs.lineage import lineage_of
from apps.runs.models import Precedent

NAME = "precedent"
SURE_AT = 0.75
"""Proposes from this score unless the agent's version says otherwise: on CLINC-150 this asks a person in 11 of 100 cases in scope and in 82 of 100 outside."""
REFRESH_EVERY = 5.0
"""Seconds for which a worker trusts its index before it looks for new precedents again."""
SHOWN = 5
"""So many of the nearest cases go with an answer as evidence."""
QUOTED = 120
"""Characters of the nearest case that an explanation quotes."""
MAX_ASKED = 1
"""It answers so many questions about a case by what it decides from; to a further one it has no better answer."""
MAX_OUTDATED = 3
"""A case that changes under its proposals more often than this is somebody's hands on it, and theirs."""
HEARD = 600
"""Characters of what it heard that it quotes."""
EXPLAINED = 3
"""So many of the nearest cases are told to a reviewer who asks."""


class PrecedentChatModel(BaseChatModel):
    """Reads the ticket, looks the customer up, then routes as the nearest decided cases were routed, or hands over.

    `version_id` names the AgentVersion whose precedents count, with those of the versions before it; `settings` are its own. Every answer carries its evidence in
    `additional_kwargs["evidence"]`. The same messages always give the same answer and the same tool call ids.
    """

    version_id: int
    settings: dict[str, Any] = {}

    @property
    def _llm_type(self) -> str:
        return NAME

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": NAME, "version_id": self.version_id}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,  # noqa: ARG002  # LangChain's signature; the nearest cases choose
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Tell the model its tools; it fills only arguments that a tool declares."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  # LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002  # see stop
        **kwargs: Any,
    ) -> ChatResult:
        message = self._next(_Conversation.of(messages), _Tools(kwargs.get("tools") or []))
        message.response_metadata = {"model_name": NAME, "model_provider": NAME}
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _next(self, said: "_Conversation", tools: "_Tools") -> AIMessage:
        if said.ended_with is not None:
            return AIMessage(content=said.ended_with)
        stop = self._reason_to_stop(said)
        if stop is not None:
            return self._hand_over(said, tools, *stop)
        if said.ticket is None:
            return said.call(tools, "read_ticket", ticket=said.ticket_id)
        customer = str(said.ticket.get("customer") or "")
        if customer and not said.looked_up:
            return said.call(tools, "look_up_customer", customer=customer)
        return self._answer(said, tools)

    def _reason_to_stop(self, said: "_Conversation") -> tuple[str, str] | None:
        if said.refusal is not None:
            return "not_sure", f"Not routed: {said.refusal}"
        if said.asked > MAX_ASKED:
            return "not_sure", f"I have no better answer. {self._known(said)} {said.heard}"
        if said.outdated > MAX_OUTDATED:
            return "not_sure", f"It changed each time I proposed. {said.heard}"
        if said.failed_read is not None:
            return "not_found", f"The ticket could not be read: {said.failed_read}"
        return None

    def _answer(self, said: "_Conversation", tools: "_Tools") -> AIMessage:
        answer = index_of(self.version_id).answer(text_of(said.ticket or {}))
        names = {queue["key"]: queue.get("name") or queue["key"] for queue in self.settings.get("queues", [])}
        evidence = evidence_of(answer)
        if answer.verdict is Verdict.OUT_OF_SCOPE:
            return self._hand_over(
                said, tools, "out_of_scope", f"People took cases like this themselves. {_nearest(answer)}", evidence
            )
        if answer.verdict is Verdict.NOT_SURE:
            return self._hand_over(said, tools, "not_sure", "No decided case is near this one.", evidence)
        if answer.queue not in names:
            return self._hand_over(
                said, tools, "not_sure", f"Near cases went to a queue that is gone. {_nearest(answer)}", evidence
            )
        sure_at = float(self.settings.get("sure_at", SURE_AT))
        if answer.score < sure_at:
            return self._hand_over(
                said,
                tools,
                "not_sure",
                f"Score {answer.score:.2f} is below {sure_at:.2f}; {names[answer.queue]} is the best guess. {_nearest(answer)}",
                evidence,
            )
        return said.call(
            tools,
            "route_ticket",
            words=self._words(said, answer, names[answer.queue]),
            evidence=evidence,
            ticket=said.ticket_id,
            queue=answer.queue,
            priority=_allowed_priority(answer.priority, self.settings.get("priorities", [])),
            reply=reply.draft(
                answer,
                queue_name=names[answer.queue],
                customer_name=str(said.customer.get("contact") or said.customer.get("name") or ""),
            ),
            confidence=answer.score,
        )

    def _words(self, said: "_Conversation", answer: Answer, queue_name: str) -> str:
        """Say what it would do and why; to a reviewer's question it gives the whole ground, and says that there is no more."""
        words = f"{queue_name}, score {answer.score:.2f}."
        if not said.heard:
            return f"{words} {_nearest(answer)}"
        if said.is_asked:
            return (
                f"{said.heard}\n\nI read the ticket again and propose {words} I decide by the nearest decided cases and know "
                f"no other reason:\n{_explained(answer)}"
            )
        return f"{said.heard}\n\nI read the ticket again and propose {words} {_nearest(answer)}"

    def _known(self, said: "_Conversation") -> str:
        return _nearest(index_of(self.version_id).answer(text_of(said.ticket or {})))

    def _hand_over(
        self, said: "_Conversation", tools: "_Tools", reason: str, words: str, evidence: dict[str, Any] | None = None
    ) -> AIMessage:
        return said.call(
            tools,
            "hand_over",
            words=words,
            evidence=evidence,
            ticket=said.ticket_id,
            reason=tools.allowed("hand_over", "reason", reason, otherwise="not_sure"),
            explanation=words[:500],
        )


def text_of(ticket: Mapping[str, Any]) -> str:
    """Return the words of a ticket by which cases are compared."""
    if ticket.get("text"):
        return str(ticket["text"])
    return "\n".join(str(ticket[key]) for key in ("subject", "body", "description", "message") if ticket.get(key))


def evidence_of(answer: Answer) -> dict[str, Any]:
    """Return what a reviewer may check: the score and the nearest decided cases."""
    return {
        "model": NAME,
        "score": answer.score,
        "share": round(answer.share, 3),
        "nearest": [
            {
                "text": each.case.text[:300],
                "queue": each.case.queue,
                "priority": each.case.priority,
                "similarity": each.similarity,
                "source": f"precedent:{each.case.id}",
            }
            for each in answer.neighbours[:SHOWN]
        ],
    }


def _nearest(answer: Answer) -> str:
    near = answer.nearest
    if near is None:
        return ""
    return f"Nearest ({near.similarity:.2f}): “{_quoted(near.case.text)}” went to {near.case.queue or 'a person'}."


def _explained(answer: Answer) -> str:
    """Name the nearest cases, how alike each is and what became of it, a line each."""
    lines = [
        f"- {each.similarity:.0%} alike, went to {each.case.queue or 'a person'}"
        + (f" with priority {each.case.priority}" if each.case.priority else "")
        + f": “{_quoted(each.case.text)}” (precedent:{each.case.id})"
        for each in answer.neighbours[:EXPLAINED]
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= QUOTED else f"{words[: QUOTED - 1]}…"


def _allowed_priority(voted: str, priorities: Sequence[str]) -> str:
    """Return the voted priority; where the cases name none, or one that is gone, `normal` or the lowest there is."""
    if voted in priorities or not priorities:
        return voted or "normal"
    return "normal" if "normal" in priorities else priorities[0]


class _Tools:
    """The bound tools' own words on which arguments they take."""

    def __init__(self, tools: Sequence[dict[str, Any]]) -> None:
        self._parameters: dict[str, dict[str, Any]] = {
            tool["function"]["name"]: tool["function"].get("parameters", {}).get("properties", {}) for tool in tools
        }

    def declared(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        known = self._parameters.get(name)
        return {key: value for key, value in args.items() if known is None or key in known}

    def allowed(self, name: str, argument: str, value: str, *, otherwise: str) -> str:
        choices = self._parameters.get(name, {}).get(argument, {}).get("enum")
        return value if choices is None or value in choices else otherwise


@dataclass(slots=True)
class _Conversation:
    """What the messages so far establish."""

    ticket_id: str
    seed: str
    ticket: dict[str, Any] | None = None
    failed_read: str | None = None
    customer: dict[str, Any] = field(default_factory=dict)
    looked_up: bool = False
    refusal: str | None = None
    asked: int = 0
    outdated: int = 0
    heard: str = ""
    is_asked: bool = False
    ended_with: str | None = None

    @classmethod
    def of(cls, messages: Sequence[BaseMessage]) -> "_Conversation":
        # Only the case at hand counts: what was said before the last question is another's.
        asked = max((at for at, each in enumerate(messages) if isinstance(each, HumanMessage)), default=0)
        question = messages[asked].text if messages else ""
        said = cls(ticket_id=_ticket_id(question), seed=_digest(messages))
        names: dict[str, str] = {}
        for message in messages[asked:]:
            if isinstance(message, AIMessage):
                names.update({call["id"] or "": call["name"] for call in message.tool_calls})
            elif isinstance(message, ToolMessage):
                said.hear(message.name or names.get(message.tool_call_id, ""), message)
        return said

    def hear(self, tool: str, message: ToolMessage) -> None:
        failed, words = message.status == "error", message.text
        if tool == "read_ticket":
            self.ticket = None if failed else _record(words)
            self.failed_read = words if self.ticket is None else None
        elif tool == "look_up_customer":
            # A customer who cannot be found is no reason to stop: the reply then has no name.
            self.customer, self.looked_up = ({} if failed else _record(words) or {}), True
        elif tool == "route_ticket":
            self.hear_of_route(message)
        elif tool == "hand_over" and not failed:
            self.ended_with = f"Ticket {self.ticket_id} is with a person now."

    def hear_of_route(self, message: ToolMessage) -> None:
        """After a question or a change the case is read anew; any other answer but success is the last word about it."""
        code, words = message.additional_kwargs.get("outcome"), message.text
        if code == ASKED_BACK:
            self.asked += 1
            self.read_again(words, is_asked=True)
        elif code == OUTDATED:
            self.outdated += 1
            self.read_again(words, is_asked=False)
        elif code == RESPONDED:
            self.refusal = f"a person answered instead: {words}"
        elif message.status == "error":
            self.refusal = words or "no reason was given"
        else:
            self.ended_with = f"Ticket {self.ticket_id} is routed."

    def read_again(self, heard: str, *, is_asked: bool) -> None:
        self.heard, self.is_asked = heard[:HEARD], is_asked
        if self.asked <= MAX_ASKED and self.outdated <= MAX_OUTDATED:
            self.ticket, self.looked_up, self.customer = None, False, {}

    def call(
        self, tools: _Tools, name: str, *, words: str = "", evidence: dict[str, Any] | None = None, **args: Any
    ) -> AIMessage:
        """Ask for one tool. The id follows from the messages, so that a repeated turn asks for the same call."""
        digest = hashlib.sha256(f"{self.seed}|{name}".encode()).hexdigest()
        return AIMessage(
            content=words,
            tool_calls=[ToolCall(name=name, args=tools.declared(name, args), id=f"call_{digest[:24]}")],
            additional_kwargs={"evidence": evidence, "score": evidence["score"]} if evidence else {},
        )


_TICKET = re.compile(r"\b(?:ticket|case)\b[\s:#]+[\"'“]?([^\s\"'”,]+)", re.IGNORECASE)


def _ticket_id(question: str) -> str:
    """Read the ticket's id from a question such as `Route ticket T-1001.`; failing that, take its last word."""
    found = _TICKET.search(question)
    words = question.split()
    return (found[1] if found else words[-1] if words else "").rstrip(".!?;:")


def _digest(messages: Sequence[BaseMessage]) -> str:
    return hashlib.sha256(
        json.dumps([[each.type, each.text, getattr(each, "tool_call_id", "")] for each in messages]).encode()
    ).hexdigest()


def _record(words: str) -> dict[str, Any] | None:
    """Read a tool's answer: a JSON object. Anything else tells why there is none."""
    try:
        found = json.loads(words)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(slots=True)
class _Cached:
    index: NearestIndex
    lineage: tuple[int, ...]
    last_id: int
    checked: float


_cache: dict[int, _Cached] = {}
_lock = threading.Lock()


def index_of(version_id: int, *, refresh_every: float = REFRESH_EVERY) -> NearestIndex:
    """Return the index of a version's precedents. Loaded once per process; afterwards one short query every few seconds at most."""
    with _lock:
        cached = _cache.get(version_id)
        if cached is None or time.monotonic() - cached.checked >= refresh_every:
            cached = _cache[version_id] = _refreshed(version_id, cached)
        return cached.index


def forget_indexes() -> None:
    """Drop what this process knows; the next question loads anew."""
    with _lock:
        _cache.clear()


def _refreshed(version_id: int, cached: _Cached | None) -> _Cached:
    now = time.monotonic()
    lineage = lineage_of(version_id) if cached is None else cached.lineage
    rows = Precedent.objects.filter(agent_version__in=lineage)
    if cached is not None:
        seen = rows.aggregate(count=Count("id"), last=Max("id"))
        fresh = _cases(rows.filter(id__gt=cached.last_id)) if (seen["last"] or 0) > cached.last_id else []
        # A slow transaction may bring lower ids after higher ones, and rows may go: then the count tells.
        if len(cached.index) + len(fresh) == seen["count"]:
            for case in fresh:
                cached.index.add(case)
            return _Cached(cached.index, lineage, max(seen["last"] or 0, cached.last_id), now)
    cases = _cases(rows)
    return _Cached(NearestIndex(cases), lineage, cases[-1].id if cases else 0, now)


def _cases(rows: QuerySet[Precedent]) -> list[Case]:
    return [
        Case(*row) for row in rows.order_by("id").values_list("id", "text", "queue", "priority", "reply").iterator()
    ]
