"""The four tools of the ticket desk agent: two reads, one write, one way out."""

import json
from typing import Literal

from langchain_core.tools import BaseTool, tool
from langgraph.prebuilt.tool_node import ToolRuntime

from apps.connectors import client, errors
from apps.connectors.domain.targets import is_record_id
from apps.runs import execution
from apps.runs.errors import HandOver
from apps.runs.execution import RunContext
from apps.runs.workflows.ticket_desk import cards


@tool
def read_ticket(ticket: str, runtime: ToolRuntime[RunContext]) -> str:
    """Read the support ticket you work on: subject, text, customer, queue, priority and status as JSON."""
    context = runtime.context
    if ticket != context.case:
        return f"You work on {context.case} only."
    try:
        record = client.read(cards.target(context.connector_key, ticket))
    except errors.NotFound:
        raise HandOver("not_found", f"The ticket desk has no ticket {ticket}.") from None
    return json.dumps({"ticket": ticket, **record.fields}, ensure_ascii=False)


@tool
def look_up_customer(customer: str, runtime: ToolRuntime[RunContext]) -> str:
    """Look up the customer that the ticket names: plan, site, seats, devices and notes as JSON."""
    unknown = f"The desk knows no customer {customer}. Go on without."
    # People write names where an id belongs; that is no failure of the run.
    if not is_record_id(customer):
        return unknown
    try:
        record = client.read(f"{runtime.context.connector_key}:{cards.CUSTOMERS}/{customer}")
    except errors.NotFound:
        return unknown
    return json.dumps(record.fields, ensure_ascii=False)


@tool(return_direct=True)
def route_ticket(  # noqa: PLR0917  # a tool's arguments are its schema
    ticket: str,
    queue: str,
    priority: str,
    reply: str,
    runtime: ToolRuntime[RunContext],
    confidence: float | None = None,  # read from the call by the card, not by the write
) -> str:
    """Propose to move the ticket to a queue with a priority and a drafted reply. A person decides before it is written."""
    at = cards.target(runtime.context.connector_key, ticket)
    written = execution.write(at, cards.changes(queue, priority, reply))
    return f"Written to {written.ref or at}."


@tool(return_direct=True)
def hand_over(reason: Literal["not_sure", "out_of_scope", "not_found"], explanation: str) -> str:
    """Give the ticket to a person because you are not sure, it is out of scope, or it was not found. Say why in one or two sentences."""
    return f"A person takes over: {explanation} ({reason})"


TOOLS: list[BaseTool] = [read_ticket, look_up_customer, route_ticket, hand_over]
