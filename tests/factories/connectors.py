from itertools import count

from apps.connectors.actions import connect_system, store_credential
from apps.connectors.models import ActionExecution, Connector

LOOPBACK = "127.0.0.0/8"
DIGEST = "sha256:" + "ab" * 32

_numbers = count(1)


def make_connector(team, **fields):
    """Connect a system that nobody can call: its address is a public name that no test resolves."""
    number = next(_numbers)
    return connect_system(
        **{
            "key": f"system-{number}",
            "name": f"System {number}",
            "team": team,
            "base_url": "https://tickets.example.com",
            "actor": "system",
            **fields,
        }
    )


def connect_desk(desk, team, **fields):
    """Connect a running desk (tests/plugins_desk.py) under the key `desk`."""
    connector = make_connector(
        team,
        **{
            "key": "desk",
            "name": "Ticket desk",
            "base_url": desk.base_url,
            "allowed_cidrs": [LOOPBACK],
            "is_idempotent": True,
            "probe_path": "/tickets?limit=1",
            **fields,
        },
    )
    store_credential(connector, secret=desk.api_key, actor="system")
    return Connector.objects.select_related("team", "credential").get(pk=connector.pk)


def make_execution(connector, **fields):
    """Write a ledger row as it is after `start_execution`."""
    number = next(_numbers)
    fields = {
        "thread_id": f"thread-{number}",
        "tool_call_id": f"call-{number}",
        "proposal_id_value": number,
        "agent_id_value": 7,
        "digest": DIGEST,
        "actor": "agent:7",
        "worker": "worker-1",
        **fields,
    }
    fields.setdefault("idempotency_key", f"{fields['thread_id']}:{fields['tool_call_id']}")
    return ActionExecution.objects.create(connector=connector, **fields)
