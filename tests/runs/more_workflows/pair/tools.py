from langchain_core.tools import tool
from langgraph.prebuilt.tool_node import ToolRuntime

from apps.runs import execution
from apps.runs.execution import RunContext
from apps.runs.workflows.ticket_desk import cards as desk


@tool(return_direct=True)
def move_ticket(ticket: str, queue: str, priority: str, reply: str, runtime: ToolRuntime[RunContext]) -> str:
    """Move a ticket."""
    at = desk.target(runtime.context.connector_key, ticket)
    written = execution.write(at, desk.changes(queue, priority, reply))
    return f"Written to {written.ref or at}."


TOOLS = [move_ticket]
