"""The compiled agent of a version. LangChain lives from here down; only tasks.py imports this."""

from collections.abc import Sequence
from typing import Any, Final

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from apps.agents.models import ActionType, AgentVersion
from apps.runs import checkpoints, middleware
from apps.runs.chat import chat_model, model_name
from apps.runs.execution import RunContext
from apps.runs.workflow import part

Graph = CompiledStateGraph[Any, RunContext, Any, Any]

CACHED: Final = 32
"""So many versions stay compiled in a worker; a graph takes some 30 ms to build."""

_graphs: dict[tuple[Any, ...], Graph] = {}


def graph_for(version: AgentVersion, action_types: Sequence[ActionType]) -> Graph:
    """Return the compiled graph of a version; what the precedent model learned since is inside its own index."""
    key = (
        version.pk,
        model_name(version),
        id(checkpoints.saver()),
        *((each.pk, each.schema_version) for each in action_types),
    )
    graph = _graphs.get(key)
    if graph is None:
        while len(_graphs) >= CACHED:
            _graphs.pop(next(iter(_graphs)))
        graph = _graphs[key] = build_graph(version, action_types)
    return graph


def build_graph(
    version: AgentVersion,
    action_types: Sequence[ActionType],
    *,
    model: BaseChatModel | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> Graph:
    """Compile a version: its model, its workflow's tools, and the middleware in the order of R13."""
    name = version.agent.workflow
    cards, scope, tools = (part(name, each) for each in ("cards", "scope", "tools"))
    schemas = {each.key: each.args_schema for each in action_types}
    return create_agent(
        model or chat_model(version),
        tools=tools.TOOLS,
        system_prompt=scope.instructions(version.settings, version.instructions),
        middleware=middleware.stack(
            write_tools=cards.WRITES.keys(),
            ends=cards.ENDS,
            case_arg=cards.CASE_ARG,
            schemas={tool: schemas[key] for tool, key in cards.WRITES.items() if key in schemas},
        ),
        context_schema=RunContext,
        checkpointer=checkpointer or checkpoints.saver(),
    )
