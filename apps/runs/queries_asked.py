"""R17: the trace behind a planted card. It ends where the card was asked, as that of any card that waits does."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from apps.accounts.models import User
from apps.approvals.domain import drills
from apps.approvals.models import Drill, Proposal, SecondLook
from apps.approvals.queries.visible import visible
from apps.runs.models import Run, Step

_PLANTED: Final = (Proposal.Kind.DRILL, Proposal.Kind.SECOND_LOOK)


@dataclass(frozen=True, slots=True)
class Asked:
    """A waiting card that was planted, the real case it was made of, and the fault in it: what it was and became."""

    card: Proposal
    original: Proposal
    was: Any = None
    became: Any = None

    @property
    def later(self) -> timedelta:
        """How much later than the real case it was asked."""
        return self.card.created_at - self.original.created_at

    def run_then(self, run: Run) -> Run:
        """Return the run as it stood when it asked: waiting, and without what came of the real case."""
        then = copy(run)
        then.state, then.ended_at, then.reason, then.reason_text, then.last_error = Run.State.WAITING, None, "", "", ""
        then.created_at = run.created_at + self.later
        then.started_at = run.started_at + self.later if run.started_at else None
        return then

    def steps_then(self, steps: Sequence[Step]) -> list[Step]:
        """Return what the run had done by then, with the fault in what it asked for."""
        kept: list[Step] = []
        for step in steps:
            if step.at > self.original.created_at and not self._asks(step):
                break
            then = copy(step)
            then.at = step.at + self.later
            then.detail = self._told(step)
            kept.append(then)
            if self._asks(step):
                break
        return kept

    def _asks(self, step: Step) -> bool:
        return step.kind == Step.Kind.PROPOSE and step.detail.get("proposal") == self.original.pk

    def _told(self, step: Step) -> Mapping[str, Any]:
        """Only what the agent itself said carries the fault; what it read is the truth that gives the fault away."""
        detail = dict(step.detail)
        if step.kind in {Step.Kind.MODEL, Step.Kind.PROPOSE} and self.was is not None:
            detail = dict(drills.carried(detail, was=self.was, became=self.became))
        if step.detail.get("proposal") == self.original.pk:
            detail["proposal"] = self.card.pk
        return detail


def asked_by(user: User, run_id: int, card_id: int | None) -> Asked | None:
    """Return the planted card that a reader came from, if it still waits; None for every other. 2 queries at most."""
    if card_id is None:
        return None
    cards = visible(user).waiting().filter(pk=card_id, run_id_value=run_id, kind__in=_PLANTED)
    card = cards.select_related("agent_version").first()
    if card is None:
        return None
    if card.kind == Proposal.Kind.SECOND_LOOK:
        return Asked(card, SecondLook.objects.select_related("original").get(proposal=card).original)
    drill = Drill.objects.select_related("original").get(proposal=card)
    return Asked(
        card,
        drill.original,
        was=drills.value_at(drill.original.args, drill.fault_path),
        became=drills.value_at(card.args_original, drill.fault_path),
    )
