"""Re-open what was signed about an agent that has changed since (readiness.md, rule 10)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from apps.agents.models import ActionType, Agent
from apps.approvals.domain.policy import USUAL_TIERS
from apps.approvals.domain.window import UNDO_S, WINDOW_S
from apps.approvals.models import ApprovalPolicy
from apps.audit import actions as audit
from apps.audit.domain.hashing import digest_of
from apps.connectors.models import Connector
from apps.programs.actions.board import Board
from apps.programs.domain.attesting import Change, changes
from apps.programs.domain.catalogue import read_catalogue
from apps.programs.domain.states import Event, Kind, State
from apps.programs.models import Gate


def re_attest(board: Board) -> None:
    """Re-open the gates whose catalogue entry lists what changed about the agent since the program last looked.

    Under the program's lock each change is seen once: the look is kept with what it re-opened.
    """
    program = board.program
    seen = look_at(program.agent, at=board.at)
    if seen == program.seen:
        return
    found = {change.word: change for change in changes(program.seen, seen)}
    reopened = _reopen(board, found) if found else []
    program.seen = seen
    program.save(update_fields=["seen"])
    if found:
        audit.record(
            "program.agent_changed",
            subject=f"program:{program.pk}",
            actor="timer",
            team_id=program.home_team_id,
            agent_version=seen["version"] or None,
            payload={"events": sorted(found), "reopened": reopened},
        )


def _reopen(board: Board, found: Mapping[str, Change]) -> list[str]:
    listed = {spec.key: spec.re_attest_on for spec in read_catalogue(board.program.catalogue.body).gates}
    reopened = []
    for gate in board:
        told = [found[word] for word in listed[gate.catalogue_key] if word in found]
        if told and gate.state in {State.PASSED, State.WAIVED}:
            reason = " ".join(dict.fromkeys(change.reason for change in told))
            payload = {"re_attest": [change.word for change in told], "reason": reason}
            board.happen(gate, Event(Kind.REOPENED, board.today), actor="timer", payload=payload)
            if gate.mode != "automatic":
                open_round(gate, requester_id=None, at=board.at)
            reopened.append(gate.key)
    board.settle_all()
    return reopened


def open_round(gate: Gate, *, requester_id: int | None, at: datetime) -> int:
    """Put a gate before its owning team; return the number of the round."""
    number = gate.sign_offs.count() + 1
    gate.sign_offs.create(round=number, requester_id=requester_id, requested_at=at, team=gate.team)
    return number


def look_at(agent: Agent, *, at: datetime) -> dict[str, Any]:  # 4 queries
    """Return what gates are signed about, as `changes` compares it."""
    version = agent.versions.filter(is_current=True).first()
    settings = version.settings if version else {}
    connector = Connector.objects.filter(key=agent.connector_key).first()
    address = urlsplit(connector.base_url if connector else "")
    return {
        "version": version.fingerprint if version else "",
        "scope": digest_of([agent.workflow, agent.purpose, settings.get("scope", "")]),
        "owner": f"user:{agent.owner_id}",
        "prompt": digest_of([version.instructions if version else "", settings]),
        "model": agent.model,
        "provider": agent.model.partition(":")[0],
        # Not the port: where a system listens on its host says nothing about what it is.
        "system": digest_of(
            [
                agent.connector_key,
                address.scheme,
                address.hostname or "",
                connector.auth if connector else "",
                connector.is_idempotent if connector else False,
            ]
        ),
        "interface": address.path,
        **_actions(agent, at=at),
    }


def _actions(agent: Agent, *, at: datetime) -> dict[str, dict[str, str]]:
    """Say by kind of action what it is with its rules, and who decides it and who is called when nobody does."""
    newest = (
        ApprovalPolicy.objects.filter(action_type__agent=agent, active_from__lte=at)
        .order_by("action_type", "-version")
        .distinct("action_type")
    )
    policies = {policy.action_type_id: policy for policy in newest}
    kinds = [(each, policies.get(each.pk) or _first_policy(each)) for each in agent.action_types.order_by("key")]
    return {
        "actions": {
            each.key: digest_of(
                [
                    each.args_schema,
                    each.editable_fields,
                    each.risk_class,
                    each.reversibility,
                    each.regulated,
                    _rules(policy),
                ]
            )
            for each, policy in kinds
        },
        # Beside the rules, not among them: looks from before this was compared do not hold it, and nothing changed then.
        "deciders": {each.key: digest_of([policy.approvers, policy.escalation]) for each, policy in kinds},
    }


def _first_policy(action_type: ActionType) -> ApprovalPolicy:
    """Return the policy that its first proposal will be given: writing it down then changes nothing."""
    return ApprovalPolicy(
        action_type=action_type,
        undo_s=UNDO_S[action_type.reversibility],
        window_s=WINDOW_S,
        escalation=list(USUAL_TIERS),
    )


def _rules(policy: ApprovalPolicy) -> list[object]:
    return [policy.conditions, policy.approvals_needed, policy.window_s, policy.on_expiry, policy.undo_s]
