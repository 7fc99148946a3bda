from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from apps.agents.models import ActionType
from apps.approvals.domain import window
from apps.approvals.domain.policy import Conditions, Unevaluable, default_key
from apps.approvals.errors import BadVerdict
from apps.approvals.models import ApprovalPolicy
from apps.approvals.queries.rules import policy_in_force
from apps.audit import actions as audit
from apps.audit.clock import clock


@transaction.atomic
def publish_policy(
    action_type: ActionType,
    *,
    actor: str,
    name: str = "",
    conditions: Mapping[str, Any] | None = None,
    approvals_needed: int = 1,
    window_s: int = window.WINDOW_S,
    undo_s: int | None = None,
    on_expiry: str = ApprovalPolicy.OnExpiry.EXPIRE,
    at: datetime | None = None,
) -> ApprovalPolicy:
    """Write the next version of an action type's policy; earlier versions stay what they were.

    Raises BadVerdict (422) for conditions nobody could evaluate. Proposals keep the version they were made under.
    """
    try:
        Conditions.parse(conditions or {})
    except Unevaluable as problem:
        raise BadVerdict(f"This policy cannot be stored: {problem}.", code="bad_policy") from problem
    # The action type's row orders writers, so that two editors make two versions.
    owner = ActionType.objects.select_for_update(of=("self",)).select_related("agent").get(pk=action_type.pk)
    before = policy_in_force(owner)
    policy = ApprovalPolicy.objects.create(
        key=before.key if before else default_key(owner.agent.slug, owner.key, owner.pk),
        version=before.version + 1 if before else 1,
        name=name or (before.name if before else owner.name),
        action_type=owner,
        conditions=dict(conditions or {}),
        approvals_needed=approvals_needed,
        window_s=window_s,
        undo_s=window.UNDO_S[owner.reversibility] if undo_s is None else undo_s,
        on_expiry=on_expiry,
        active_from=at or clock(),
    )
    audit.record(
        "policy.published",
        subject=f"policy:{policy.key}@{policy.version}",
        actor=actor,
        team_id=owner.agent.team_id,
        policy=f"policy:{policy.key}@{policy.version}",
        payload={
            "action_type": owner.pk,
            "conditions": policy.conditions,
            "approvals_needed": approvals_needed,
            "window_s": window_s,
            "undo_s": policy.undo_s,
            "on_expiry": str(on_expiry),
        },
    )
    return policy


def ensure_policy(action_type: ActionType, *, actor: str = "system") -> ApprovalPolicy:
    """Return the policy in force; an action type without one gets the default: one person, 4 h, undo by reversibility."""
    return policy_in_force(action_type) or _first_policy(action_type, actor)


@transaction.atomic
def _first_policy(action_type: ActionType, actor: str) -> ApprovalPolicy:
    # Of two first proposals at once, the second waits here and finds the policy of the first.
    ActionType.objects.select_for_update().get(pk=action_type.pk)
    return policy_in_force(action_type) or publish_policy(action_type, actor=actor)
