"""R5: which proposals of one kind came in place of another in one thread."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef

from apps.approvals.domain import asking, outside
from apps.approvals.models import Decision, Proposal


@dataclass(frozen=True, slots=True)
class Before:
    """The proposal that a new one comes in place of, if any, and how many of its kind did so in its thread before."""

    superseded_id: int | None
    repeats: int


def before(*, thread_id: str, action_type_id: int, target: str) -> Before:
    """Look back over a thread for what a new proposal comes in place of. 1 query.

    A thread of an agent elsewhere may hold many cases, so there only the same target counts.
    """
    earlier = Proposal.objects.filter(thread_id=thread_id, action_type_id=action_type_id)
    if outside.is_outside(thread_id):
        earlier = earlier.filter(target=target)
    asked = Decision.objects.filter(proposal=OuterRef("pk"), final=True, voided_at__isnull=True, verdict="ask")
    rows = list(
        earlier.annotate(was_asked=Exists(asked))
        .order_by("-pk")
        .values_list("pk", "state", "was_asked", "supersedes_id")
    )
    return Before(_superseded(rows), sum(supersedes is not None for *_, supersedes in rows))


def repeats_before(row: Proposal) -> int:
    """Count the proposals of a card's kind that came in place of another in its thread before it did. 0 or 1 query."""
    if row.supersedes_id is None:
        return 0
    earlier = Proposal.objects.filter(
        thread_id=row.thread_id, action_type_id=row.action_type_id, supersedes__isnull=False, pk__lt=row.pk
    )
    if outside.is_outside(row.thread_id):
        earlier = earlier.filter(target=row.target)
    return earlier.count()


def _superseded(rows: "Sequence[tuple[int, str, bool, int | None]]") -> int | None:
    for pk, state, was_asked, _ in rows[:1]:
        if asking.comes_instead(state, was_asked=was_asked):
            return pk
    return None
