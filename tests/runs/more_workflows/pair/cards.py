"""A workflow for duels: one turn asks for one or two moves of tickets, each decided by itself."""

import json

from apps.connectors import client
from apps.runs.workflows.ticket_desk import cards as desk

CASE_ARG = "case"
WRITES = {"move_ticket": "tickets.route"}
ENDS = frozenset({"move_ticket"})
COMPENSATIONS = desk.COMPENSATIONS

opening, target, text_of, action_types = desk.opening, desk.target, desk.text_of, desk.action_types


def ask(args, *, connector_key, case, facts, nearest, settings, watched, words=""):
    ticket = client.read(target(connector_key, args["ticket"])).fields
    return desk.ask(
        args,
        connector_key=connector_key,
        case=args["ticket"],
        facts={"read_ticket": json.dumps(ticket)},
        nearest=nearest,
        settings=settings,
        watched=watched,
        words=words,
    )
