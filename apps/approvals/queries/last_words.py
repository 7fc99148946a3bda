from collections.abc import Iterable
from typing import Final

from apps.approvals.models import Decision, Proposal

# How people's verdicts are counted.
FIELD_OF_VERDICT: Final = {"approve": "approved", "edit": "edited", "reject": "rejected"}


def final_decisions(ids: Iterable[int]) -> dict[int, Decision]:
    """Return the last word on each proposal that has one. 1 query."""
    rows = Decision.objects.filter(proposal__in=list(ids), final=True, voided_at__isnull=True)
    return {each.proposal_id: each for each in rows.select_related("actor")}


def verdict_words(decision: Decision | None, row: Proposal) -> str:
    """Say what was decided; where nobody decided, what became of it."""
    return decision.get_verdict_display() if decision else row.get_state_display()


def by(decision: Decision | None) -> str:
    """Name who decided: a person, the policy, the clock or the agent."""
    if decision is None:
        return ""
    nobody = {Decision.By.POLICY: "the policy", Decision.By.TIMER: "the clock"}.get(Decision.By(decision.by_kind))
    return str(decision.actor) if decision.actor else nobody or "the agent"
