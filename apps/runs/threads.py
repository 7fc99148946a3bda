"""Moves one thread at a time: start it, put its questions before people, hand it their answers, end its run.

Everything happens under the thread's lock, and every step may be repeated: a worker may die between any two lines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import httpx
import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError as DatabaseInterfaceError
from django.db import OperationalError as DatabaseOperationalError
from django.db.models.functions import Now
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, Interrupt
from psycopg import OperationalError

from apps.agents.models import ActionType, AgentVersion
from apps.approvals.actions import outbox
from apps.approvals.domain.edit import schema_problems
from apps.approvals.errors import NotReady
from apps.approvals.models import Proposal, ResumeOutbox
from apps.approvals.models import State as Proposed
from apps.connectors.client import Record
from apps.connectors.errors import ConnectorError
from apps.runs import checkpoints, heartbeat
from apps.runs.actions import ends, repairs, runs, writes
from apps.runs.actions.openings import open_case
from apps.runs.actions.runs import Question
from apps.runs.domain import outcome as endings
from apps.runs.domain.lease import MAX_ATTEMPTS
from apps.runs.domain.outcome import Call, Outcome, Said
from apps.runs.errors import HandOver, NotRepaired, OutcomeUnknown
from apps.runs.execution import RunContext
from apps.runs.middleware import OUTCOME, answer_problem
from apps.runs.models import Run
from apps.runs.workflow import part

logger = structlog.get_logger(__name__)

MAX_HANDED: Final = 2
"""R16: a thread that raised twice on its answer is bricked: it waits for an operator instead of a third try."""
RECURSION_LIMIT: Final = 40
"""Steps of one invocation: about 18 tool calls. A model that runs in circles ends here, with a person."""

_PASSING: Final = (
    *(ConnectorError, ConnectionError, TimeoutError, httpx.TransportError),
    *(DatabaseOperationalError, DatabaseInterfaceError, OperationalError, SoftTimeLimitExceeded),
)
"""Failures of the surroundings: the thread is not at fault, and the same answer is sent again until they are over."""


class GraphFor(Protocol):
    """Gives the compiled graph of a version."""

    def __call__(self, version: AgentVersion, action_types: Sequence[ActionType], /) -> Any: ...


def start(run_id: int, *, graph_for: GraphFor, worker: str) -> None:
    """Take a run from the queue to its first question or to its end. Does nothing if it is not to be started.

    While a kill switch stands it keeps its place in the queue: the sweep sends it again, and no attempt is counted.
    """
    run = _found(run_id)
    if run is None or run.state not in (Run.State.QUEUED, Run.State.RUNNING):
        return
    if stopped := runs.stopped_by(run.agent):
        logger.info("run held back", run_id=run_id, reason=stopped)
        return
    with checkpoints.thread_lock(run.thread_id) as is_ours:
        if not is_ours:
            return
        before = runs.claim(run.pk, worker=worker)
        if before is None:
            return
        if before >= MAX_ATTEMPTS:
            # It never came to an error of its own: each time its worker was gone.
            gone = Outcome(endings.TECHNICAL, f"It was started {before} times, and each time its worker was gone.")
            runs.end(run, gone, steps=[])
            return
        with heartbeat.of(run.pk):
            _guarded(run, graph_for, worker, lambda thread: thread.go_on() if before else thread.begin())


def project(run_id: int, *, graph_for: GraphFor, worker: str) -> None:
    """Bring a waiting run in line with its thread: ask what is not asked yet, go on if it stalled, end it if it ended."""
    thread_id = Run.objects.filter(pk=run_id, state=Run.State.WAITING).values_list("thread_id", flat=True).first()
    if thread_id is None:
        return
    with checkpoints.thread_lock(thread_id) as is_ours:
        # Under the lock: somebody may have ended it since.
        run = _found(run_id) if is_ours else None
        if run is not None and run.state == Run.State.WAITING:
            _guarded(run, graph_for, worker, _Thread.go_on)


def resume(outbox_id: int, *, graph_for: GraphFor, worker: str) -> None:
    """R14: hand one answer to its thread, exactly as it was decided, and see what the thread does next.

    Whatever goes wrong is kept with the answer, for the operators' list.
    """
    answer = ResumeOutbox.objects.only("thread_id").filter(pk=outbox_id).first()
    if answer is None:
        return
    with checkpoints.thread_lock(answer.thread_id) as is_ours:
        if not is_ours:
            return
        try:
            _resume(outbox_id, graph_for, worker)
        except NotReady as reason:
            logger.info("answer not handed", outbox_id=outbox_id, code=reason.code)
        except OutcomeUnknown as reason:
            # The question stays open. Once an operator has said what happened, the same answer is sent again.
            outbox.note_failure(outbox_id, error=_in_words(reason))
        except Exception as error:  # noqa: BLE001  # kept with the answer and logged there, whatever it is
            _failed(outbox_id, error, is_counted=False)


def repair(thread_id: str, *, graph_for: GraphFor, worker: str, actor: str) -> list[str]:
    """R16: plan a bricked thread's last turn anew; its questions return under new ids, with the same proposals. Return the ids.

    Raises NotRepaired if it is being worked on, or its run does not wait.
    """
    with checkpoints.thread_lock(thread_id) as is_ours:
        if not is_ours:
            raise NotRepaired(f"Thread {thread_id} is being worked on. Nothing was changed.")
        return _repair(_run(thread_id=thread_id), graph_for, worker, actor)


def repair_asked(run_id: int, *, graph_for: GraphFor, worker: str) -> None:
    """Do the repair that somebody asked for on the page; whatever goes wrong is told on the operators' list."""
    asked = Run.objects.filter(pk=run_id, repair_asked_at__isnull=False)
    thread_id = asked.values_list("thread_id", flat=True).first()
    if thread_id is None:
        return
    with checkpoints.thread_lock(thread_id) as is_ours:
        # Under the lock: another worker may have done it since. A busy thread is left to the next sweep.
        row = asked.select_related("repair_asked_by").first() if is_ours else None
        if row is None:
            return
        try:
            _repair(_run(pk=run_id), graph_for, worker, row.repair_asked_by.actor if row.repair_asked_by else "system")
        except NotRepaired as reason:
            repairs.settle(_run(pk=run_id), problem=str(reason))
        except Exception as error:
            logger.exception("repair failed", run_id=run_id)
            repairs.settle(_run(pk=run_id), problem=_in_words(error))
        else:
            repairs.settle(_run(pk=run_id))


def _repair(run: Run, graph_for: GraphFor, worker: str, actor: str) -> list[str]:
    if run.state != Run.State.WAITING:
        raise NotRepaired(
            f"Run {run.pk} is {run.get_state_display().lower()}; only a waiting one can be repaired. Nothing was changed."
        )
    thread = _Thread(run, graph_for, worker)
    thread.graph.update_state(thread.config, None, as_node="model")
    runs.tell_repaired(run, actor=actor)
    thread.work(lambda: thread.settle(thread.invoke(None)))
    _settle_heard(thread)
    return [each.id for each in thread.graph.get_state(thread.config).interrupts]


def prune(thread_ids: Sequence[str]) -> int:
    """Keep the last checkpoint of finished threads; return how many. One that is busy or fails is left for the next time."""
    return sum(_pruned(thread_id) for thread_id in thread_ids)


@dataclass(frozen=True, slots=True)
class _Result:
    messages: Sequence[AnyMessage]
    interrupts: Sequence[Interrupt]


class _Thread:
    """One run's thread with its graph; the caller holds the lock."""

    def __init__(self, run: Run, graph_for: GraphFor, worker: str) -> None:
        self.run = run
        self.worker = worker
        self.version = run.agent_version
        self.action_types = list(ActionType.objects.filter(agent_id=run.agent_id).order_by("pk"))
        self.cards = part(run.agent.workflow, "cards")
        self._graph_for = graph_for
        self.config: RunnableConfig = {
            "configurable": {"thread_id": run.thread_id},
            "recursion_limit": RECURSION_LIMIT,
        }

    @cached_property
    def graph(self) -> Any:
        return self._graph_for(self.version, self.action_types)

    def work(self, step: Callable[[], None]) -> None:
        """Do one step; where the thread itself gives up, a person takes over."""
        try:
            step()
        except HandOver as reason:
            self.hand_over(reason)
        except GraphRecursionError:
            self.hand_over(HandOver(endings.TECHNICAL, "The agent went in circles and was stopped."))

    def begin(self) -> None:
        """Open a thread that has no checkpoint yet."""
        open_case(self.run, worker=self.worker)
        self.settle(self.invoke({"messages": [HumanMessage(self.cards.opening(self.run.work_item.external_id))]}))

    def go_on(self) -> None:
        """Continue from the last checkpoint, wherever a worker left it."""
        state = self.graph.get_state(self.config)
        messages = state.values.get("messages", ())
        if not messages:
            self.begin()
        elif state.interrupts:
            self.settle(_Result(messages, state.interrupts))
        elif state.next or not self.has_ended(messages):
            # A task whose writes are saved but not yet in a checkpoint is in `next` no more: the messages tell the truth.
            self.settle(self.invoke(None))
        else:
            self.settle(_Result(messages, ()))

    def invoke(self, given: Any, *, target_now: Record | None = None) -> _Result:
        """Run the graph until it asks or ends. `sync`: a later checkpoint would lose a decision in a crash."""
        run = self.run
        context = RunContext(
            run_id=run.pk,
            thread_id=run.thread_id,
            case=run.work_item.external_id,
            connector_key=run.agent.connector_key,
            fingerprint=self.version.fingerprint,
            worker=self.worker,
            target_now=target_now,
        )
        output = self.graph.invoke(given, self.config, context=context, durability="sync", version="v2")
        return _Result(output.value.get("messages", ()), output.interrupts)

    def settle(self, result: _Result) -> None:
        """Write what the thread came to: open questions go before people, an end ends the run."""
        said = [_plain(each) for each in result.messages]
        self.run.model = _model_of(result.messages)
        steps = endings.trace(said, model=self.run.model or "model", writes=frozenset(self.cards.WRITES))
        if result.interrupts:
            runs.wait(self.run, questions=self._questions(result.interrupts, said), steps=steps)
            return
        proposals = list(Proposal.objects.filter(thread_id=self.run.thread_id).order_by("pk"))
        ended = endings.outcome(said, {each.tool_call_id: _end_of(each) for each in proposals})
        text = self.cards.text_of(endings.facts(said))
        runs.end(self.run, ended, steps=steps, proposals=proposals, text=text)

    def hand_over(self, reason: HandOver) -> None:
        """A person takes over, with what the thread knows so far; a thread that cannot be read keeps no case from people."""
        try:
            messages = self.graph.get_state(self.config).values.get("messages", ())
        except Exception:
            logger.exception("handed over without its steps", run_id=self.run.pk)
            messages = ()
        steps = endings.trace(
            [_plain(each) for each in messages],
            model=_model_of(messages) or "model",
            writes=frozenset(self.cards.WRITES),
        )
        runs.end(self.run, Outcome(reason.reason, reason.explanation), steps=steps)

    def _questions(self, interrupts: Sequence[Interrupt], said: Sequence[Said]) -> list[Question]:
        kinds = {each.key: each for each in self.action_types}
        found = endings.facts(said)
        questions = []
        for each in interrupts:
            asked = each.value
            kind = kinds.get(self.cards.WRITES[asked["name"]])
            if kind is None:
                raise HandOver(
                    endings.TECHNICAL, f"{self.run.agent} has no action type {self.cards.WRITES[asked['name']]}."
                )
            ask = self.cards.ask(
                asked["args"],
                connector_key=self.run.agent.connector_key,
                case=self.run.work_item.external_id,
                facts=found,
                nearest=endings.nearest(said),
                settings=self.version.settings,
                watched=kind.watch_fields,
                words=endings.words_with(said, asked["tool_call_id"]),
            )
            questions.append(
                Question(
                    interrupt_id=each.id,
                    tool_call_id=asked["tool_call_id"],
                    tool=asked["name"],
                    action_type=kind,
                    ask=ask,
                )
            )
        return questions

    def has_ended(self, messages: Sequence[AnyMessage]) -> bool:
        """Nothing is left to do: the agent has not the next word, and no call of its last turn is unanswered."""
        return endings.has_ended([_plain(each) for each in messages], ends=self.cards.ENDS)


def _run(**key: Any) -> Run:
    run = Run.objects.select_related("agent", "work_item", "agent_version").get(**key)
    run.agent_version.agent = run.agent
    return run


def _found(run_id: int) -> Run | None:
    try:
        return _run(pk=run_id)
    except Run.DoesNotExist:
        return None


def _guarded(run: Run, graph_for: GraphFor, worker: str, work: Callable[["_Thread"], None]) -> None:
    """Run one piece of work; whatever goes wrong ends with the run tried again later or with a person."""
    try:
        thread = _Thread(run, graph_for, worker)
        thread.work(lambda: work(thread))
    except Exception as error:
        pause = runs.put_back(run, error=_in_words(error))
        logger.exception("run failed", run_id=run.pk, again_in_s=pause and pause.total_seconds())


def _resume(outbox_id: int, graph_for: GraphFor, worker: str) -> None:
    # Nothing of an answer that may still be taken back is touched, not even to note a failure.
    due = ResumeOutbox.objects.filter(
        state__in=[ResumeOutbox.State.NEW, ResumeOutbox.State.HANDED], not_before__lte=Now()
    )
    answer = due.select_related("proposal__action_type").filter(pk=outbox_id).first()
    if answer is None:
        return
    run = _run(thread_id=answer.thread_id)
    if run.state in (Run.State.CANCELLED, Run.State.FAILED):
        ends.silence(run.thread_id, why="Its run was ended by hand.")
        return
    thread = _Thread(run, graph_for, worker)
    state = thread.graph.get_state(thread.config)
    asked = {each.id: each for each in state.interrupts}
    if answer.interrupt_id not in asked:
        _answered_before(thread, outbox.ready_answer(outbox_id), state)
        return
    problem = _misfit(thread, answer, asked[answer.interrupt_id])
    if problem:
        outbox.park(outbox.ready_answer(outbox_id).pk, error=problem)
        return
    # If this cannot be read, nothing was handed over: the answer stays due, and expires if the system stays away.
    target_now = writes.target_now(answer.proposal)
    # Looks once more, under the row's lock, whether the thread may hear this now.
    handed = outbox.mark_handed(outbox_id)
    told: Any = Command(resume={answer.interrupt_id: handed.answer})
    try:
        thread.work(lambda: thread.settle(thread.invoke(told, target_now=target_now)))
    except OutcomeUnknown:
        raise
    except Exception as error:  # noqa: BLE001  # see resume()
        _failed(outbox_id, error, is_counted=True)
        return
    outbox.mark_delivered(outbox_id)


def _answered_before(thread: _Thread, answer: ResumeOutbox, state: Any) -> None:
    """The question is no longer open: the thread heard this very answer and its worker died, or the id is dead."""
    call = answer.proposal.tool_call_id
    is_between = not state.interrupts and not thread.has_ended(state.values.get("messages", ()))
    if not is_between and not _has_heard(state, call):
        outbox.park(answer.pk, error="The question is no longer open on the thread.")
        return
    thread.work(thread.go_on)
    if not _has_heard(thread.graph.get_state(thread.config), call):
        return
    if answer.state == ResumeOutbox.State.NEW:
        outbox.mark_handed(answer.pk)
    outbox.mark_delivered(answer.pk)


def _settle_heard(thread: _Thread) -> None:
    """Answers that were set aside although the thread had heard them are done, now that it went on."""
    state = thread.graph.get_state(thread.config)
    parked = ResumeOutbox.objects.filter(thread_id=thread.run.thread_id, state=ResumeOutbox.State.PARKED)
    for answer in parked.select_related("proposal"):
        if _has_heard(state, answer.proposal.tool_call_id):
            outbox.mark_delivered(answer.pk)


def _has_heard(state: Any, call_id: str) -> bool:
    messages = state.values.get("messages", ())
    return any(isinstance(each, ToolMessage) and each.tool_call_id == call_id for each in messages)


def _misfit(thread: _Thread, answer: ResumeOutbox, asked: Interrupt) -> str:
    """Say why an answer must not be handed over: a wrong one would stay in the thread and block every later one."""
    problem = answer_problem(_tool(thread, asked.value["name"]), answer.answer)
    if problem:
        return f"The answer does not fit its question: {problem}"
    if answer.answer["type"] != "edit":
        return ""
    args = answer.answer["edited_action"]["args"]
    problems = schema_problems(answer.proposal.action_type.args_schema, args)
    return f"The edited arguments do not fit: {problems[0].pointer} {problems[0].message}" if problems else ""


def _tool(thread: _Thread, name: str) -> Any:
    tools = part(thread.run.agent.workflow, "tools").TOOLS
    return next(each for each in tools if each.name == name)


def _failed(outbox_id: int, error: Exception, *, is_counted: bool) -> None:
    """Keep why a resume failed. After the second failure that will not pass by itself it waits for an operator (R16)."""
    passes = any(isinstance(each, _PASSING) for each in _causes(error))
    answer = outbox.note_failure(outbox_id, error=_in_words(error), counts=not (passes or is_counted))
    if passes:
        logger.warning("resume put off", outbox_id=outbox_id, error=_in_words(error))
        return
    logger.error("resume failed", outbox_id=outbox_id, attempts=answer.attempts, exc_info=error)
    if answer.attempts >= MAX_HANDED:
        outbox.park(outbox_id, error=_in_words(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what it was raised from: providers wrap a lost connection in an error of their own."""
    while error is not None:
        yield error
        error = error.__cause__


def _pruned(thread_id: str) -> bool:
    try:
        with checkpoints.thread_lock(thread_id, wait_s=0) as is_ours:
            if is_ours:
                checkpoints.saver().prune([thread_id], strategy="keep_latest")
                runs.mark_pruned(thread_id)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("thread not pruned", thread_id=thread_id)
        return False
    return is_ours


def _end_of(proposal: Proposal) -> str:
    """A proposal that expired after its approval was answered in time: only its execution was not."""
    is_lapsed = proposal.state == Proposed.EXPIRED and proposal.execute_after is not None
    if proposal.kind == Proposal.Kind.ADVICE and proposal.state == Proposed.WITHDRAWN:
        return endings.ADVICE
    return endings.LAPSED if is_lapsed else proposal.state


def _plain(message: AnyMessage) -> Said:
    if isinstance(message, AIMessage):
        calls = tuple(Call(str(each["id"]), each["name"], each["args"]) for each in message.tool_calls)
        evidence = message.additional_kwargs.get("evidence") or {}
        return Said("model", message.text, calls=calls, nearest=tuple(evidence.get("nearest", ())))
    if isinstance(message, ToolMessage):
        return Said(
            "tool",
            message.text,
            name=message.name or "",
            call_id=message.tool_call_id,
            is_error=message.status == "error",
            code=str(message.additional_kwargs.get(OUTCOME) or ""),
        )
    return Said("user", message.text)


def _model_of(messages: Sequence[AnyMessage]) -> str:
    for each in messages:
        if isinstance(each, AIMessage):
            told = each.response_metadata
            provider, name = told.get("model_provider", ""), told.get("model_name") or told.get("model") or ""
            return (name if provider in ("", name) else f"{provider}:{name}")[:120]
    return ""


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
