"""What people see of this workflow: the opening task, the card of a proposal and the definition of its one write."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from apps.runs.domain.limits import MAX_REPLY
from apps.runs.domain.workflow import Ask, Evidence
from apps.runs.workflows.ticket_desk.scope import priorities_of, queues_of

COLLECTION: Final = "tickets"
CUSTOMERS: Final = "customers"
CASE_ARG: Final = "ticket"
WRITES: Final[Mapping[str, str]] = {"route_ticket": "tickets.route"}
"""Each write tool and the action type that people decide about."""
ROUTE_BACK: Final = "tickets.route_back"
"""What undoes a route; no tool of the agent: people ask for it."""
ENDS: Final = frozenset({"route_ticket", "hand_over"})
"""A call of these ends the run and stands alone in its turn."""
ROUTED: Final = "routed"
"""The desk's status of a ticket that has its queue."""
CONFIDENCE: Final = "confidence"
"""Said by the model about its call; not a part of the action, so not in its digest."""
NEAREST_SHOWN: Final = 3
SUBJECT: Final = 120
"""Characters of a new ticket's subject; the text has it all."""
_FACTS: Final = ("name", "plan", "site", "seats", "devices", "contact", "note")


def opening(case: str) -> str:
    """The first message of every thread."""
    return f"Route ticket {case}."


def target(connector_key: str, case: str) -> str:
    return f"{connector_key}:{COLLECTION}/{case}"


def new_record(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The ticket that is opened for a row of an imported file. Queue and priority are for the agent to propose."""
    text = str(payload.get("text") or "")
    subject = str(payload.get("subject") or "") or text.strip().partition("\n")[0]
    customer = payload.get("customer")
    ticket = {"subject": " ".join(subject.split())[:SUBJECT], "text": text}
    return ticket if customer in (None, "") else {**ticket, "customer": str(customer)}


def changes(queue: str, priority: str, reply: str) -> dict[str, Any]:
    """What routing writes to the ticket, whoever decided it."""
    return {"queue": queue, "priority": priority, "reply": reply, "status": ROUTED}


def put_back(args: Mapping[str, Any]) -> dict[str, Any]:
    """What undoing a route writes to the ticket: its fields as they were, null where they were empty."""
    return {key: args.get(key) for key in ("queue", "priority", "status", "reply")}


COMPENSATIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {ROUTE_BACK: put_back}
"""Each action type that undoes another and the change that it writes."""


def ask(
    args: Mapping[str, Any],
    *,
    connector_key: str,
    case: str,
    facts: Mapping[str, str],
    nearest: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    watched: Sequence[str],
    words: str = "",
) -> Ask:
    """Build the card of a route from its typed arguments and from what the tools read; `words` the agent said beside it."""
    ticket = _fields(facts.get("read_ticket"))
    customer = _fields(facts.get("look_up_customer"))
    said = {key: value for key, value in args.items() if key != CONFIDENCE}
    after = {**ticket, **changes(*(args.get(key) for key in ("queue", "priority", "reply")))}  # type: ignore[arg-type]
    shown = list(dict.fromkeys([*watched, "queue", "priority", "status", "reply"]))
    names = {each["key"]: each.get("name") or each["key"] for each in queues_of(settings)}
    queue = names.get(str(args.get("queue")), args.get("queue"))
    return Ask(
        args=said,
        target=target(connector_key, case),
        subject=f"customer/{ticket['customer']}" if ticket.get("customer") else "",
        title=f"Route {case} to {queue}, priority {args.get('priority')}",
        confidence=_share(args.get(CONFIDENCE)),
        state_proposed={key: ticket.get(key) for key in shown},
        state_if_approved={key: after.get(key) for key in shown},
        evidence=_evidence(target(connector_key, case), ticket, customer, nearest, names),
        agent_text=words.strip() or str(args.get("reply") or ""),
    )


def text_of(facts: Mapping[str, str]) -> str:
    """The customer's own words, from which precedents are learned."""
    return str(_fields(facts.get("read_ticket")).get("text") or "")


def action_types(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    Keyword arguments for agents.actions.define_action_type: what an agent on this workflow may ask for.

    What undoes another comes before it, as that one names it.
    """
    text = {"type": "string", "minLength": 1}
    # As the desk may have had it: any text, or nothing at all.
    earlier = {"type": ["string", "null"]}
    return [
        {
            "key": ROUTE_BACK,
            "name": "Put a ticket back",
            "args_schema": {
                "type": "object",
                "properties": {
                    "ticket": {"title": "Ticket", **text, "maxLength": 120},
                    "queue": {"title": "Queue before", **earlier, "maxLength": 80},
                    "priority": {"title": "Priority before", **earlier, "maxLength": 40},
                    "status": {"title": "Status before", **earlier, "maxLength": 20},
                    "reply": {"title": "Reply before", **earlier, "maxLength": 20_000},
                },
                "required": ["ticket", "queue", "priority", "status", "reply"],
                "additionalProperties": False,
            },
            "editable_fields": [],
            "materiality": {"ticket": 1.0, "queue": 1.0, "priority": 0.5, "status": 0.5, "reply": 0.1},
            "watch_fields": ["queue", "priority", "status", "reply"],
            "consequence": "Approving puts {ticket} back: queue {queue}, priority {priority}, status {status} and the reply it had; it can be routed again.",
            "risk_class": "low",
            "reversibility": "reversible",
        },
        {
            "key": "tickets.route",
            "name": "Route a ticket",
            "args_schema": {
                "type": "object",
                "properties": {
                    "ticket": {"title": "Ticket", **text, "maxLength": 120},
                    "queue": {
                        "title": "Queue",
                        "type": "string",
                        "enum": [each["key"] for each in queues_of(settings)],
                    },
                    "priority": {"title": "Priority", "type": "string", "enum": list(priorities_of(settings))},
                    "reply": {"title": "Reply", "type": "string", "maxLength": MAX_REPLY},
                },
                "required": ["ticket", "queue", "priority", "reply"],
                "additionalProperties": False,
            },
            "editable_fields": ["queue", "priority", "reply"],
            "materiality": {"ticket": 1.0, "queue": 1.0, "priority": 0.5, "reply": 0.1},
            "watch_fields": ["queue", "priority", "status", "text"],
            "consequence": "Approving moves {ticket} to {queue} with priority {priority} and stores the reply; it can be moved again.",
            "risk_class": "low",
            "reversibility": "reversible",
            "compensated_by": ROUTE_BACK,
            "compensation_args": {
                "ticket": "args.ticket",
                "queue": "before.queue",
                "priority": "before.priority",
                "status": "before.status",
                "reply": "before.reply",
            },
        },
    ]


def _fields(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _share(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


def _evidence(
    source: str,
    ticket: Mapping[str, Any],
    customer: Mapping[str, Any],
    nearest: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
) -> tuple[Evidence, ...]:
    found = [Evidence("Ticket", _told(ticket), source)]
    for each in nearest[:NEAREST_SHOWN]:
        where = names.get(str(each.get("queue")), each.get("queue")) or "out of scope"
        label = f"Precedent: {where}, {float(each.get('similarity') or 0):.0%} alike"
        found.append(Evidence(label, str(each.get("text") or "")[:600], str(each.get("source") or "")))
    if customer:
        facts = "; ".join(f"{key} {_plain(customer[key])}" for key in _FACTS if customer.get(key))
        connector_key = source.partition(":")[0]
        found.append(Evidence("Customer", facts, f"{connector_key}:{CUSTOMERS}/{ticket.get('customer')}"))
    return tuple(found)


def _told(ticket: Mapping[str, Any]) -> str:
    return "\n\n".join(str(ticket[key]) for key in ("subject", "text") if ticket.get(key))[:8000]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
