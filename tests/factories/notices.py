"""Channels and messages for tests, made by the real verbs wherever a rule is involved."""

from itertools import count

from apps.accounts.models import Team, User
from apps.approvals.actions.channels import add_channel
from apps.approvals.models import Channel, Notice, Proposal
from apps.audit.clock import clock

LOOPBACK = "127.0.0.0/8"

_numbers = count(1)


def make_channel(team: Team, actor: User, **fields) -> Channel:
    """Add a signed webhook that nobody can call: its address is a public name that no test resolves."""
    number = next(_numbers)
    facts = {"kind": "webhook", "name": f"Channel {number}", "address": "https://hooks.example.com/pastpilot"}
    return add_channel(**{**facts, **fields}, team=team, actor=actor).channel


def make_notice(channel: Channel, proposal: Proposal, **fields) -> Notice:
    """Write a message as `write` does; it waits to be sent."""
    number = next(_numbers)
    facts = {"event": "asked", "version": proposal.version, "next_try_at": clock(), "message_id": f"msg_{number:032x}"}
    return Notice.objects.create(channel=channel, proposal=proposal, **{**facts, **fields})
