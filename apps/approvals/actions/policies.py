from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from apps.accounts.queries import users_with
from apps.agents.models import ActionType, AgentVersion
from apps.approvals.domain import policy, window
from apps.approvals.domain.policy import Conditions, Unevaluable, default_key
from apps.approvals.domain.rules import ARGS
from apps.approvals.errors import BadVerdict, Conflict
from apps.approvals.models import ApprovalPolicy
from apps.approvals.queries.rules import policy_in_force
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain.canonical import canonical

# R7: nobody decides in less, and nobody remembers after more.
SHORTEST_WINDOW_S: Final = 60
LONGEST_WINDOW_S: Final = 30 * 86400
LONGEST_UNDO_S: Final = 300
LONGEST_NOTE: Final = 300
# A policy is copied into the audit log as a whole, which takes 64 kB.
_MOST_CHARACTERS: Final = 20_000


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
    approvers: Collection[int] = (),
    escalation: Sequence[Mapping[str, Any]] | None = None,
    note: str = "",
    based_on: int | None = None,
    at: datetime | None = None,
) -> ApprovalPolicy:
    """Write the next version of an action type's policy; earlier versions stay what they were.

    Left out, `undo_s` follows the reversibility and `escalation` the usual tiers. `based_on` is the version that the
    author read, 0 for none. Raises BadVerdict (422) with a pointer for what nobody could evaluate or follow, and
    Conflict (409) if another version came meanwhile. Proposals keep the version they were made under.
    """
    # The action type's row orders writers, so that two editors make two versions.
    owner = ActionType.objects.select_for_update(of=("self",)).select_related("agent").get(pk=action_type.pk)
    before = policy_in_force(owner)
    _ensure_latest(before, based_on)
    policy_row = ApprovalPolicy(
        key=before.key if before else default_key(owner.agent.slug, owner.key, owner.pk),
        version=before.version + 1 if before else 1,
        name=name or (before.name if before else owner.name),
        action_type=owner,
        conditions=dict(conditions or {}),
        approvers={"people": sorted(approvers)} if approvers else {},
        escalation=list(policy.USUAL_TIERS if escalation is None else escalation),
        author=actor,
        note=note,
        approvals_needed=approvals_needed,
        window_s=window_s,
        undo_s=window.UNDO_S[owner.reversibility] if undo_s is None else undo_s,
        on_expiry=on_expiry,
        active_from=at or clock(),
    )
    _ensure_sound(policy_row, owner)
    policy_row.save(force_insert=True)
    named = f"policy:{policy_row.key}@{policy_row.version}"
    audit.record(
        "policy.published",
        subject=named,
        actor=actor,
        team_id=owner.agent.team_id,
        policy=named,
        payload=_told(policy_row),
    )
    return policy_row


def ensure_policy(action_type: ActionType, *, actor: str = "system") -> ApprovalPolicy:
    """Return the policy in force; an action type without one gets the default: one person, 4 h, undo by reversibility."""
    return policy_in_force(action_type) or _first_policy(action_type, actor)


@transaction.atomic
def _first_policy(action_type: ActionType, actor: str) -> ApprovalPolicy:
    # Of two first proposals at once, the second waits here and finds the policy of the first.
    ActionType.objects.select_for_update().get(pk=action_type.pk)
    return policy_in_force(action_type) or publish_policy(action_type, actor=actor)


def _ensure_latest(before: ApprovalPolicy | None, based_on: int | None) -> None:
    newest = before.version if before else 0
    if based_on is not None and based_on != newest:
        raise Conflict(
            f"Version {newest} was published while you wrote. Nothing was published; your draft is still here."
        )


def _ensure_sound(row: ApprovalPolicy, owner: ActionType) -> None:
    """Raise BadVerdict for the first thing that could not be evaluated, or that nobody could ever follow."""
    try:
        conditions = Conditions.parse(row.conditions)
    except Unevaluable as problem:
        raise _bad("/conditions", f"This policy cannot be stored: {problem}.") from problem
    if len(canonical(row.conditions)) > _MOST_CHARACTERS:
        raise _bad("/conditions", "These are more rules than anybody reads. Put fewer into one policy.")
    _ensure_known(conditions, owner)
    if not 1 <= row.approvals_needed <= policy.MOST_APPROVALS:
        raise _bad("/approvals_needed", f"From 1 to {policy.MOST_APPROVALS} people decide.")
    if not SHORTEST_WINDOW_S <= row.window_s <= LONGEST_WINDOW_S:
        raise _bad("/window_s", "People get from 60 seconds to 30 days.")
    if not 0 <= row.undo_s <= LONGEST_UNDO_S:
        raise _bad("/undo_s", f"An approval can be undone for 0 to {LONGEST_UNDO_S} seconds.")
    if row.on_expiry not in ApprovalPolicy.OnExpiry.values:
        raise _bad("/on_expiry", "What waits too long expires, or is extended once.")
    if len(row.note) > LONGEST_NOTE:
        raise _bad("/note", f"The note has at most {LONGEST_NOTE} characters.")
    try:
        policy.escalation_tiers(row.escalation)
    except Unevaluable as problem:
        raise _bad("/escalation", f"This escalation cannot be followed: {problem}.") from problem
    _ensure_approvers(row, conditions, owner)


def _ensure_known(conditions: Conditions, owner: ActionType) -> None:
    """A rule about an argument that does not exist could never be judged, and would ask two people every time."""
    known = set(owner.args_schema.get("properties", {}))
    named = {
        clause.field.split(".")[1] for rule in conditions.rules for clause in rule.when if clause.field.startswith(ARGS)
    }
    for name in sorted((named | set(conditions.deny)) - known):
        raise _bad("/conditions", f"This policy cannot be stored: {name[:60]} is no argument of {owner.name}.")


def _ensure_approvers(row: ApprovalPolicy, conditions: Conditions, owner: ActionType) -> None:
    """Named people must be able to decide, and be enough of them for the most that this policy can ask for."""
    try:
        named = policy.approver_ids(row.approvers)
    except Unevaluable as problem:
        raise _bad("/approvers", f"These approvers cannot be stored: {problem}.") from problem
    if not named:
        return
    agent = owner.agent
    reviewers = set(users_with("approvals.decide", agent.team_id).filter(pk__in=named).values_list("pk", flat=True))
    if named - reviewers:
        raise _bad("/approvers", "Only reviewers of the team can be named. Somebody on this list is none.")
    # R2: the agent's owner and the author of its version never decide what it proposes.
    barred = {
        agent.owner_id,
        *AgentVersion.objects.filter(agent=agent, is_current=True).values_list("author_id", flat=True),
    }
    wanted = policy.approvals_needed(row.approvals_needed, risk=owner.risk_class, reversibility=owner.reversibility)
    if any(rule.then == policy.TWO for rule in conditions.rules):
        wanted = max(policy.FOUR_EYES, wanted)
    if len(named - barred) < wanted:
        told = f"This policy can ask for {wanted} people, so name at least {wanted}. The agent's owner and author do not count."
        raise _bad("/approvers", told)


def _bad(pointer: str, message: str) -> BadVerdict:
    return BadVerdict(message, code="bad_policy", pointer=pointer)


def _told(row: ApprovalPolicy) -> dict[str, Any]:
    return {
        "action_type": row.action_type_id,
        "conditions": row.conditions,
        "approvals_needed": row.approvals_needed,
        "window_s": row.window_s,
        "undo_s": row.undo_s,
        "on_expiry": str(row.on_expiry),
        "approvers": row.approvers,
        "escalation": row.escalation,
        "note": row.note,
    }
