"""R13: what stands between the model's tool calls and the world, outermost first."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

from django.db import connections
from jsonschema import Draft202012Validator
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain.agents.middleware.human_in_the_loop import Action, DecisionType, _answer_message, _decision_schema
from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command, interrupt
from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from apps.connectors import errors as connectors
from apps.runs.actions import writes
from apps.runs.domain.outcome import GOES_ON, RESPONDED
from apps.runs.errors import HandOver
from apps.runs.execution import RunContext, claimed

Answer = ToolMessage | Command[Any]
Handler = Callable[[ToolCallRequest], Answer]

MAX_TRIES_OF_A_TURN: Final = 3
"""A model that answers in a form nobody can use is asked again so often, and no more, before a person takes over."""
DECISIONS: Final[tuple[DecisionType, ...]] = ("approve", "edit", "reject", "respond")
OUTCOME: Final = "outcome"
"""Where a tool's message says in one word what became of its call."""
MODEL: Final = "model"
"""LangChain's name of the node where the model has its turn."""
_REFUSED_BY_LANGCHAIN: Final = "User rejected the tool call for `{name}` with reason: "


class CheckedTurn(AgentMiddleware[Any, RunContext, Any]):
    """Lets no turn of the model pass that could not be run as it is, so that no person is asked about nonsense."""

    def __init__(
        self, *, ends: Collection[str], case_arg: str, schemas: Mapping[str, Mapping[str, Any]], extra: Collection[str]
    ) -> None:
        super().__init__()
        self.ends = frozenset(ends)
        self.case_arg = case_arg
        self.extra = frozenset(extra)
        self.validators = {name: Draft202012Validator(schema) for name, schema in schemas.items()}

    def wrap_model_call(
        self, request: ModelRequest[RunContext], handler: Callable[[ModelRequest[RunContext]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Ask the model again, with what was wrong; after the last try a person takes over."""
        for _ in range(MAX_TRIES_OF_A_TURN):
            response = handler(request)
            turn = response.result[-1]
            if not isinstance(turn, AIMessage):
                return response
            wrong = self._problems(turn, request.runtime.context.case)
            if not wrong:
                return response
            request = request.override(messages=[*request.messages, turn, *_complaints(turn, wrong)])
        raise HandOver(
            "technical", f"The model did not give a usable answer in {MAX_TRIES_OF_A_TURN} tries: {wrong[0]}"
        )

    def _problems(self, turn: AIMessage, case: str) -> list[str]:
        if turn.invalid_tool_calls:
            return [f"{call['name']}: the arguments are not JSON." for call in turn.invalid_tool_calls]
        if not turn.tool_calls:
            return ["Answer with exactly one tool call; to stop, call hand_over."]
        if len(turn.tool_calls) > 1 and any(call["name"] in self.ends for call in turn.tool_calls):
            return [f"{' and '.join(sorted(self.ends))} end the task: call one of them, alone."]
        found = []
        for call in turn.tool_calls:
            args = {key: value for key, value in call["args"].items() if key not in self.extra}
            if args.get(self.case_arg, case) != case:
                found.append(f"{call['name']}: you work on {case} only.")
            if validator := self.validators.get(call["name"]):
                found += [
                    f"{call['name']}{error.json_path[1:]}: {error.message}" for error in validator.iter_errors(args)
                ]
        return found


class ReplyText(AgentMiddleware[Any, RunContext, Any]):
    """
    Outermost: tells the agent the true text instead of LangChain's fixed "User rejected…", and gives it the next word.

    Acts after its handler only: what stands before it would run twice. An answer that is neither yes nor no (a question, a
    target that moved, a person's own result) leads back to the model (R5), although the tool would end the run.
    """

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Answer:
        """Also gives back the database connections of the pool's thread, which nobody else would close."""
        try:
            answer = handler(request)
            return _heard(request, answer) if isinstance(answer, ToolMessage) else answer
        finally:
            connections.close_all()


class Approval(HumanInTheLoopMiddleware[Any, RunContext, Any]):
    """One pause per call of every write tool. No `when`: it would run again on resume, and a changed mind executes."""

    # Per call, LangChain's own after_model does nothing; as a node it would cost a checkpoint after every model turn.
    after_model = AgentMiddleware.after_model
    aafter_model = AgentMiddleware.aafter_model

    def __init__(self, *, write_tools: Collection[str]) -> None:
        super().__init__(
            {name: {"allowed_decisions": list(DECISIONS)} for name in sorted(write_tools)},
            interrupt_mode="per_call",
            description_prefix="A person decides about this call",
        )

    def _resolve_per_call(self, request: ToolCallRequest) -> tuple[ToolCallRequest, Action | None] | ToolMessage:
        """Ask as LangChain does, but with a schema that is made once per tool: making it took a quarter of a run's time."""
        config = self.interrupt_on.get(request.tool_call["name"])
        if config is None or request.tool is None:
            return super()._resolve_per_call(request)
        asked = self._tool_approval_request(request, config)
        answer = interrupt(asked, response_schema=_answer_type(request.tool, tuple(config["allowed_decisions"])))
        if answer["type"] == "approve":
            return request, None
        if answer["type"] == "edit":
            return self._apply_edit(request, answer["edited_action"]), answer["edited_action"]
        told = _answer_message(request.tool_call, answer)
        return told.model_copy(update={"additional_kwargs": {OUTCOME: answer["type"]}})


class ExecutionClaim(AgentMiddleware[Any, RunContext, Any]):
    """R9 to R11 around every write: consume the proposal, write the ledger row, call once, store what happened."""

    def __init__(self, *, write_tools: Collection[str], extra: Collection[str]) -> None:
        super().__init__()
        self.write_tools = frozenset(write_tools)
        self.extra = frozenset(extra)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Answer:
        """Return the tool's result, the stored result of an earlier call, or why nothing was sent."""
        call = request.tool_call
        if call["name"] not in self.write_tools:
            return handler(request)
        args = {key: value for key, value in call["args"].items() if key not in self.extra}
        granted = writes.claim(_context(request), tool_call_id=str(call["id"]), args=args)
        if isinstance(granted, writes.Told):
            return _message(request, granted.text, is_error=not granted.happened, code=granted.code)
        try:
            with claimed(granted.claim):
                answer = handler(request)
        except connectors.ConnectorError as error:
            told = writes.failed(granted, error)
            return _message(request, told.text, is_error=True, code=told.code)
        except BaseException:
            # We cannot say what was sent: an interrupted or broken tool counts as unknown, never as not happened.
            writes.lost(granted)
            raise
        if isinstance(answer, ToolMessage) and answer.status == "error":
            writes.refused(granted, str(answer.content))
        else:
            writes.succeeded(granted, str(getattr(answer, "content", "")))
        return answer


class Retry(AgentMiddleware[Any, RunContext, Any]):
    """Innermost: repeats a write that got no answer, only where the system honours the idempotency key. Reads repeat in the client."""

    def __init__(self, *, write_tools: Collection[str]) -> None:
        super().__init__()
        self.write_tools = frozenset(write_tools)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Answer:
        """Try at most three times, with growing random pauses. After an unclear try only a success settles it."""
        if request.tool_call["name"] not in self.write_tools:
            return handler(request)
        return writes.answered(lambda: handler(request), connector_key=_context(request).connector_key)


def stack(
    *, write_tools: Collection[str], ends: Collection[str], case_arg: str, schemas: Mapping[str, Mapping[str, Any]]
) -> Sequence[AgentMiddleware[Any, RunContext, Any]]:
    """Return the middleware in the one order that is safe."""
    extra = {"confidence"}
    return (
        CheckedTurn(ends=ends, case_arg=case_arg, schemas=schemas, extra=extra),
        ReplyText(),
        Approval(write_tools=write_tools),
        ExecutionClaim(write_tools=write_tools, extra=extra),
        Retry(write_tools=write_tools),
    )


def _heard(request: ToolCallRequest, answer: ToolMessage) -> Answer:
    """Say truly what became of a call. The answer and who speaks next are one write of the graph: no crash comes between."""
    code = str(answer.additional_kwargs.get(OUTCOME) or "")
    if code == "respond":
        code = RESPONDED
    elif code == "reject":
        # The wire knows only a refusal; the row knows whether it was one.
        code = writes.became(_context(request).thread_id, str(request.tool_call["id"]))
        prefix = _REFUSED_BY_LANGCHAIN.format(name=request.tool_call["name"])
        answer = answer.model_copy(update={"content": str(answer.content).removeprefix(prefix)})
    if code:
        answer = answer.model_copy(update={"additional_kwargs": {**answer.additional_kwargs, OUTCOME: code}})
    return Command(update={"messages": [answer]}, goto=MODEL) if code in GOES_ON else answer


def _complaints(turn: AIMessage, wrong: Sequence[str]) -> list[AnyMessage]:
    from_us = "Nothing was done. " + " ".join(wrong)
    calls = [*turn.tool_calls, *turn.invalid_tool_calls]
    if not calls:
        return [HumanMessage(from_us)]
    return [ToolMessage(from_us, tool_call_id=str(call["id"]), name=call["name"], status="error") for call in calls]


# Tools live as long as the process; a model of pydantic has no hash, so they are known by identity.
_answer_types: dict[tuple[int, tuple[DecisionType, ...]], tuple[BaseTool, Any]] = {}


def _answer_type(tool: BaseTool, allowed: tuple[DecisionType, ...]) -> Any:
    """Wrap LangChain's schema of an answer in a type that remembers its validator and its JSON Schema."""
    known = _answer_types.get((id(tool), allowed))
    if known is not None:
        return known[1]
    adapter: TypeAdapter[Any] = TypeAdapter(_decision_schema(allowed, tool.name, tool))
    shown = _whole(adapter.json_schema())

    class Answer:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
            return core_schema.no_info_plain_validator_function(adapter.validate_python)

        @classmethod
        def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
            return shown

    _answer_types[id(tool), allowed] = (tool, Answer)
    return Answer


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """Write a JSON Schema without references: pydantic would look them up among definitions of its own."""
    definitions = schema.get("$defs", {})

    def written(value: Any) -> Any:
        if isinstance(value, list):
            return [written(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return written(definitions[value["$ref"].rpartition("/")[2]])
        return {key: written(each) for key, each in value.items() if key not in {"$defs", "discriminator"}}

    whole: dict[str, Any] = written(schema)
    return whole


def answer_problem(tool: BaseTool, answer: Mapping[str, Any]) -> str:
    """Say what LangGraph would not accept of an answer, before it is handed over."""
    try:
        TypeAdapter(_answer_type(tool, DECISIONS)).validate_python(answer)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'/'.join(map(str, first['loc']))}: {first['msg']}"
    return ""


def _context(request: ToolCallRequest) -> RunContext:
    return cast("RunContext", request.runtime.context)


def _message(request: ToolCallRequest, text: str, *, is_error: bool, code: str = "") -> ToolMessage:
    return ToolMessage(
        text,
        name=request.tool_call["name"],
        tool_call_id=str(request.tool_call["id"]),
        status="error" if is_error else "success",
        additional_kwargs={OUTCOME: code} if code else {},
    )
