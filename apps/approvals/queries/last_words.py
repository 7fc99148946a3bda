from collections.abc import Iterable
from typing import Final

from apps.approvals.models import Decision, Proposal

# How people's verdicts are counted.
FIELD_OF_VERDICT: Final = {"approve": "approved", "edit": "edited", "reject": "rejected"}

# Who decided where no person did.
NOBODY: Final[dict[str, str]] = {
    Decision.By.POLICY: "the policy",
    Decision.By.TIMER: "the clock",
    Decision.By.SYSTEM: "Pastpilot",
}


def final_decisions(ids: Iterable[int]) -> dict[int, Decision]:
    """Return the last word on each proposal that has one. 1 query."""
    rows = Decision.objects.filter(proposal__in=list(ids), final=True, voided_at__isnull=True)
    return {each.proposal_id: each for each in rows.select_related("actor")}


def verdict_words(decision: Decision | None, row: Proposal) -> str:
    """Say what was decided; where nobody decided, what became of it."""
    return decision.get_verdict_display() if decision else row.get_state_display()


def by(decision: Decision | None) -> str:
    """Name who decided: a person, the policy, the clock, the agent, or the house itself."""
    if decision is None:
        return ""
    return str(decision.actor) if decision.actor else NOBODY.get(decision.by_kind, "the agent")
