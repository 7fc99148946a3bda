"""The one way a proposal changes its state: locked, through the table, with its version and its audit event."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from django.db import transaction

from apps.approvals import errors
from apps.approvals.actions import hints, notices
from apps.approvals.domain import states
from apps.approvals.models import Proposal
from apps.approvals.signals import decided
from apps.audit import actions as audit


@dataclass(frozen=True, slots=True)
class Step:
    """One named move of the table with who or what causes it."""

    name: str
    cause: str
    target: str | None = None


def lock(proposal_id: int) -> Proposal:
    """Lock one proposal for the rest of the transaction, with all that its rules ask for. Raises NotFound."""
    try:
        return (
            Proposal.objects.select_for_update(of=("self",))
            .select_related(
                "action_type", "agent_version__agent", "policy", "body", "team__lead", "team__deputy_team__lead"
            )
            .get(pk=proposal_id)
        )
    except Proposal.DoesNotExist:
        raise errors.NotFound from None


def follow(source: str, *steps: Step) -> str:
    """Return where the steps lead from a state; raises IllegalMove where the table has no such arrow."""
    for step in steps:
        source = states.after(step.name, source, step.target, cause=step.cause)
    return source


def move(row: Proposal, *steps: Step, **changes: object) -> None:
    """Move a locked row: one UPDATE, one version, however many steps the transaction takes."""
    row.state = follow(row.state, *steps)
    row.version += 1
    if row.state != states.CLAIMED:
        changes = {"claimed_by": None, "claim_until": None, **changes}
    if row.state not in states.OPEN and row.next_escalation_at is not None:
        changes = {"next_escalation_at": None, **changes}
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=["state", "version", *changes])


def tell(
    row: Proposal,
    action: str,
    *steps: Step,
    actor: str,
    payload: Mapping[str, object] | None = None,
    on_behalf_of: str | None = None,
) -> None:
    """Write the audit event of what just happened to a proposal, and what the team's channels and open pages hear of it."""
    audit.record_many([event(row, action, *steps, actor=actor, payload=payload, on_behalf_of=on_behalf_of)])
    notices.write(row, action)
    hints.changed(row.team_id)


def event(
    row: Proposal,
    action: str,
    *steps: Step,
    actor: str,
    payload: Mapping[str, object] | None = None,
    on_behalf_of: str | None = None,
) -> audit.Event:
    return audit.Event(
        action=action,
        subject=f"proposal:{row.pk}",
        actor=actor,
        on_behalf_of=on_behalf_of,
        team_id=row.team_id,
        payload={"moves": [step.name for step in steps], "version": row.version, **(payload or {})},
        agent_version=row.agent_version.fingerprint,
        policy=policy_name(row),
        proposal_id=row.pk,
        digest=row.digest,
        outcome=str(row.state),
    )


def announce(row: Proposal) -> None:
    """Tell higher floors after commit that a proposal was decided. For speed only: their sweep is for truth."""
    transaction.on_commit(partial(decided.send_robust, sender=Proposal, proposal_id=row.pk), robust=True)


def policy_name(row: Proposal) -> str | None:
    return f"policy:{row.policy.key}@{row.policy.version}" if row.policy else None
