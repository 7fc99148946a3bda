"""Who may do what. A right belongs to roles; a role is held in a team; so a right holds inside teams."""

from collections.abc import Collection, Mapping

REVIEWER, OPERATOR, TPM, EXECUTIVE = "reviewer", "operator", "tpm", "executive"
AGENT_OWNER, AUDITOR, ADMIN = "agent_owner", "auditor", "admin"

ROLES = (REVIEWER, OPERATOR, TPM, EXECUTIVE, AGENT_OWNER, AUDITOR, ADMIN)

RIGHTS: dict[str, frozenset[str]] = {
    "approvals.view": frozenset({REVIEWER, OPERATOR, AGENT_OWNER, AUDITOR}),
    "approvals.decide": frozenset({REVIEWER}),
    "approvals.undo": frozenset({REVIEWER}),
    "approvals.withdraw": frozenset({OPERATOR, ADMIN}),
    "channels.view": frozenset({REVIEWER, OPERATOR, AUDITOR, ADMIN}),
    "channels.change": frozenset({OPERATOR, ADMIN}),
    "vigilance.view": frozenset({AUDITOR, ADMIN}),
    "drills.plant": frozenset({ADMIN}),
    "runs.view": frozenset({REVIEWER, OPERATOR, TPM, AGENT_OWNER, AUDITOR}),
    "runs.repair": frozenset({OPERATOR}),
    "repairs.view": frozenset({OPERATOR, TPM, AGENT_OWNER, AUDITOR}),
    "traces.read": frozenset({REVIEWER, OPERATOR, AGENT_OWNER, AUDITOR}),
    "work.import": frozenset({OPERATOR, AGENT_OWNER}),
    "work.close_hand_over": frozenset({REVIEWER}),
    "agents.view": frozenset({REVIEWER, OPERATOR, TPM, AGENT_OWNER, AUDITOR, ADMIN}),
    "agents.change": frozenset({AGENT_OWNER}),
    "agents.register": frozenset({AGENT_OWNER, ADMIN}),
    "kill.engage": frozenset({REVIEWER, OPERATOR, AGENT_OWNER, ADMIN}),
    "kill.release": frozenset({OPERATOR, ADMIN}),
    "slo.view": frozenset({REVIEWER, OPERATOR, TPM, AGENT_OWNER, AUDITOR, ADMIN}),
    "slo.change": frozenset({AGENT_OWNER}),
    "oncall.view": frozenset({OPERATOR, TPM, AGENT_OWNER, AUDITOR}),
    "oncall.change": frozenset({OPERATOR}),
    "connectors.view": frozenset({AUDITOR, ADMIN}),
    "connectors.change": frozenset({ADMIN}),
    "programs.view": frozenset(ROLES),
    "programs.plan": frozenset({TPM}),
    "programs.submit": frozenset({TPM, AGENT_OWNER}),
    "gates.sign": frozenset({REVIEWER, OPERATOR, TPM, AGENT_OWNER, ADMIN}),
    "catalogue.change": frozenset({TPM, ADMIN}),
    "portfolio.view": frozenset({OPERATOR, TPM, EXECUTIVE, AGENT_OWNER, AUDITOR, ADMIN}),
    "audit.search": frozenset({AUDITOR}),
    "people.view": frozenset({AUDITOR, ADMIN}),
    "people.change": frozenset({ADMIN}),
}

# What the role of agent owner gives over the person's own agents only; other roles give it in the whole team.
OVER_OWN_AGENTS = frozenset({"agents.change", "traces.read"})


class UnknownRight(LookupError):
    """A right that no role can hold: a slip of the pen in the code that asks."""


def roles_with(right: str) -> frozenset[str]:
    """Return the roles that give a right."""
    try:
        return RIGHTS[right]
    except KeyError:
        raise UnknownRight(f"There is no right {right!r}; apps/accounts/domain/rights.py lists them all.") from None


def teams_with(right: str, roles_by_team: Mapping[int, Collection[str]]) -> frozenset[int]:
    """Return the teams in which a person's roles give the right."""
    wanted = roles_with(right)
    return frozenset(team_id for team_id, roles in roles_by_team.items() if not wanted.isdisjoint(roles))


def holds_over_agent(right: str, roles: Collection[str], *, owns: bool) -> bool:
    """Say whether the roles that a person holds in an agent's team give a right over that agent; `owns`: it is theirs."""
    giving = roles_with(right).intersection(roles)
    return bool(giving - {AGENT_OWNER}) or (AGENT_OWNER in giving and (owns or right not in OVER_OWN_AGENTS))
