"""Connecting systems, and the ledger of what was executed in them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from apps.accounts.models import Team
from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors.domain.addresses import BadAddress, check_grant, check_url, is_same_origin, parse_networks
from apps.connectors.domain.ledger import may_move
from apps.connectors.errors import AlreadyExecuted, BadSecret, KeyTaken, OutcomeKnown, Unsafe
from apps.connectors.models import ActionExecution, Connector, Credential
from apps.connectors.queries import connector as connector_of
from apps.connectors.sealing import seal


@transaction.atomic
def connect_system(
    *,
    key: str,
    name: str,
    team: Team,
    base_url: str,
    actor: str,
    auth: str = Connector.Auth.API_KEY,
    allowed_cidrs: Sequence[str] = (),
    is_idempotent: bool = False,
    is_demo: bool = False,
    probe_path: str = "/",
    at: datetime | None = None,
) -> Connector:
    """
    Add an outside system, with its kill switch. Nothing is called yet.

    Raises Unsafe for an address that rule S5 refuses, BadNetwork for a network that may not be granted, KeyTaken.
    """
    granted = [check_grant(cidr) for cidr in allowed_cidrs]
    try:
        check_url(base_url, parse_networks(granted))
    except BadAddress as error:
        raise Unsafe(f"{error} The system was not connected.") from error
    try:
        with transaction.atomic():
            row = Connector.objects.create(
                key=key,
                name=name,
                team=team,
                base_url=base_url.rstrip("/"),
                auth=auth,
                allowed_cidrs=granted,
                is_idempotent=is_idempotent,
                is_demo=is_demo,
                probe_path=probe_path,
                created_at=at or clock(),
            )
    except IntegrityError as error:
        raise KeyTaken(f"Another system is already called {key}. Choose another short name.") from error
    agents.ensure_switch(KillSwitch.Scope.CONNECTOR, row.pk, name=name, team=team)
    audit.record(
        "connector.connected",
        subject=row.subject,
        actor=actor,
        team_id=team.pk,
        payload={"key": key, "base_url": row.base_url, "auth": auth, "networks": granted, "idempotent": is_idempotent},
    )
    return row


@transaction.atomic
def move_system(connector: Connector, *, base_url: str, actor: str) -> Connector:
    """
    Say that a system answers at another address from now on. Raises Unsafe. The same address changes nothing.

    Another origin loses the stored credential: else whoever may move a system could have its secret sent to themselves.
    """
    row = Connector.objects.select_for_update().get(pk=connector.pk)
    try:
        new = check_url(base_url, parse_networks(row.allowed_cidrs))
    except BadAddress as error:
        raise Unsafe(f"{error} The system was not moved.") from error
    before, row.base_url = row.base_url, base_url.rstrip("/")
    if row.base_url == before:
        return row
    row.is_reachable, row.check_note, row.checked_at = None, "", None
    row.save(update_fields=["base_url", "is_reachable", "check_note", "checked_at"])
    dropped = 0
    if not is_same_origin(before, new):
        dropped, _ = Credential.objects.filter(connector=row).delete()
    audit.record(
        "connector.moved",
        subject=row.subject,
        actor=actor,
        team_id=row.team_id,
        payload={"from": before, "to": row.base_url, "credential_dropped": bool(dropped)},
    )
    return row


@transaction.atomic
def store_credential(connector: Connector, *, secret: str, actor: str, at: datetime | None = None) -> Credential:
    """Seal a secret and put it in the place of the old one; it is never shown again. Raises NoSealingKey, BadSecret."""
    if not (secret and secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise BadSecret("A key is one line of plain characters without spaces around it. Nothing was stored.")
    row = Connector.objects.select_for_update().get(pk=connector.pk)
    sealed = seal(secret, about=row.subject, key=settings.CREDENTIAL_KEY)
    credential, is_new = Credential.objects.update_or_create(
        connector=row, defaults={"sealed": sealed.sealed, "key_id": sealed.key_id, "changed_at": at or clock()}
    )
    audit.record(
        "connector.credential_stored",
        subject=row.subject,
        actor=actor,
        team_id=row.team_id,
        payload={"key_id": sealed.key_id, "replaced": not is_new},
    )
    return credential


@transaction.atomic
def grant_network(connector: Connector, *, cidr: str, reason: str = "", actor: str) -> Connector:
    """Let a connector reach one internal network besides public addresses. Raises BadNetwork. Twice changes nothing."""
    row = Connector.objects.select_for_update().get(pk=connector.pk)
    network = check_grant(cidr)
    if network not in row.allowed_cidrs:
        row.allowed_cidrs = [*row.allowed_cidrs, network]
        _save_networks(row, "connector.network_granted", network, reason=reason, actor=actor)
    return row


@transaction.atomic
def withdraw_network(connector: Connector, *, cidr: str, reason: str = "", actor: str) -> Connector:
    """Take a granted network back. Calls into it are refused within seconds."""
    row = Connector.objects.select_for_update().get(pk=connector.pk)
    if cidr in row.allowed_cidrs:
        row.allowed_cidrs = [each for each in row.allowed_cidrs if each != cidr]
        _save_networks(row, "connector.network_withdrawn", cidr, reason=reason, actor=actor)
    return row


@transaction.atomic
def record_check(
    connector: Connector, *, is_reachable: bool, note: str, actor: str, at: datetime | None = None
) -> Connector:
    """Keep what a test of the connection found."""
    row = Connector.objects.select_for_update().get(pk=connector.pk)
    row.is_reachable, row.check_note, row.checked_at = is_reachable, note[:400], at or clock()
    row.save(update_fields=["is_reachable", "check_note", "checked_at"])
    outcome = "reachable" if is_reachable else "unreachable"
    audit.record(
        "connector.tested",
        subject=row.subject,
        actor=actor,
        team_id=row.team_id,
        outcome=outcome,
        payload={"note": row.check_note},
    )
    return row


@transaction.atomic
def start_execution(
    *,
    thread_id: str,
    tool_call_id: str,
    proposal_id: int | None,
    agent_id: int,
    connector_key: str | None,
    digest: str,
    actor: str,
    worker: str,
    request_hash: str = "",
    team: Team | None = None,
    at: datetime | None = None,
) -> ActionExecution:
    """
    Write the ledger row before the side effect, in the caller's transaction. Whoever writes it may send; nobody else.

    Without a `connector_key` the system is not connected here: an agent in another process writes, for its `team`.
    Raises AlreadyExecuted, carrying the row, when the tool call has one; UnknownSystem for an unknown connector.
    """
    connector = None if connector_key is None else connector_of(connector_key)
    try:
        with transaction.atomic():
            execution = ActionExecution.objects.create(
                thread_id=thread_id,
                tool_call_id=tool_call_id,
                proposal_id_value=proposal_id,
                agent_id_value=agent_id,
                connector=connector,
                team=team if connector is None else None,
                digest=digest,
                idempotency_key=f"{thread_id}:{tool_call_id}",
                request_hash=request_hash,
                actor=actor,
                worker=worker,
                started_at=at or clock(),
            )
    except IntegrityError:
        earlier = ActionExecution.objects.filter(thread_id=thread_id, tool_call_id=tool_call_id).first()
        if earlier is None:
            raise
        raise AlreadyExecuted(earlier) from None
    _record("execution.started", execution, actor=actor, payload={"key": execution.idempotency_key, "worker": worker})
    return execution


@transaction.atomic
def finish_execution(
    execution: ActionExecution,
    *,
    state: str,
    result: Mapping[str, Any] | None = None,
    external_ref: str = "",
    actor: str | None = None,
    at: datetime | None = None,
) -> ActionExecution:
    """
    Write how an execution ended. The same outcome again changes nothing; `unknown` may still become done or failed.

    Raises OutcomeKnown when another outcome was written before.
    """
    row = ActionExecution.objects.select_for_update(of=("self",)).select_related("connector").get(pk=execution.pk)
    if row.state == state:
        return row
    if not may_move(row.state, state):
        raise OutcomeKnown(f"{row.idempotency_key} already ended as {row.state}. That stays.")
    row.state, row.result, row.external_ref = state, None if result is None else dict(result), external_ref[:200]
    row.ended_at = at or clock()
    row.save(update_fields=["state", "result", "external_ref", "ended_at"])
    _record("execution.finished", row, actor=actor or row.actor, payload={"external_ref": row.external_ref})
    return row


@transaction.atomic
def suppress(execution: ActionExecution, *, actor: str | None = None) -> ActionExecution:
    """Count a repeat that was answered from the ledger instead of sent."""
    ActionExecution.objects.filter(pk=execution.pk).update(suppressed=F("suppressed") + 1)
    row = ActionExecution.objects.select_related("connector").get(pk=execution.pk)
    _record("execution.suppressed", row, actor=actor or row.actor, payload={"suppressed": row.suppressed})
    return row


def _record(action: str, execution: ActionExecution, *, actor: str, payload: Mapping[str, object]) -> None:
    audit.record(
        action,
        subject=f"execution:{execution.pk}",
        actor=actor,
        team_id=execution.owner_id,
        proposal_id=execution.proposal_id_value,
        digest=execution.digest,
        outcome=execution.state,
        payload={
            "connector": execution.connector and execution.connector.key,
            "agent": execution.agent_id_value,
            **payload,
        },
    )


def _save_networks(row: Connector, action: str, network: str, *, reason: str, actor: str) -> None:
    row.save(update_fields=["allowed_cidrs"])
    audit.record(
        action,
        subject=row.subject,
        actor=actor,
        team_id=row.team_id,
        payload={"network": network, "reason": reason, "networks": row.allowed_cidrs},
    )
