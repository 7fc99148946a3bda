"""What must hold between proposals, decisions, answers and the ledger, read back from the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Count, Exists, F, OuterRef, Q

from apps.approvals.domain import states
from apps.approvals.models import OPEN, Decision, Proposal, ResumeOutbox
from apps.audit.domain.canonical import CanonicalError
from apps.connectors.models import ActionExecution

# Rows per round trip of the long scan.
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Mismatch:
    proposal_id: int
    what: str


def mismatches() -> Iterator[Mismatch]:
    """Yield everything that does not agree; nothing is repaired."""
    yield from _digests()
    for what, broken in _RULES:
        for proposal_id in Proposal.objects.filter(broken).order_by("pk").values_list("pk", flat=True).iterator():
            yield Mismatch(proposal_id, what)
    yield from _approvals()
    for proposal_id in _nameless():
        yield Mismatch(proposal_id, "the ledger names it, and there is no such proposal")


def _approvals() -> Iterator[Mismatch]:
    """Compare the counted approvals with the people who gave them."""
    consents = Q(
        decisions__voided_at__isnull=True,
        decisions__verdict__in=["approve", "edit"],
        decisions__by_kind=Decision.By.PERSON,
    )
    rows = Proposal.objects.annotate(people=Count("decisions", filter=consents)).exclude(people=F("approvals_given"))
    for proposal_id in rows.order_by("pk").values_list("pk", flat=True).iterator():
        yield Mismatch(proposal_id, "its approvals are not those that people gave")


def _nameless() -> Iterator[int]:
    known = Proposal.objects.filter(pk=OuterRef("proposal_id_value"))
    rows = ActionExecution.objects.filter(~Exists(known), proposal_id_value__isnull=False)
    for proposal_id in rows.values_list("proposal_id_value", flat=True).iterator():
        yield proposal_id or 0


def _digests() -> Iterator[Mismatch]:
    """Recompute every digest: from the arguments as they stand, and of the final decision."""
    rows = (
        Proposal.objects.select_related("action_type", "agent_version", "policy")
        .prefetch_related("decisions")
        .order_by("pk")
    )
    for row in rows.iterator(chunk_size=CHUNK):
        try:
            digest = row.action.digest
        except CanonicalError as error:
            yield Mismatch(row.pk, f"its arguments have no digest: {error}")
            continue
        if digest != row.digest:
            yield Mismatch(row.pk, "its digest is not that of its arguments")
        for decision in row.decisions.all():
            if decision.final and decision.voided_at is None and decision.digest != row.digest:
                yield Mismatch(row.pk, "what was decided is not what it says now")


def _ledger(**facts: Any) -> Exists:
    return Exists(ActionExecution.objects.filter(proposal_id_value=OuterRef("pk"), **facts))


def _decision(*verdicts: str) -> Exists:
    return Exists(
        Decision.objects.filter(proposal=OuterRef("pk"), final=True, voided_at__isnull=True, verdict__in=verdicts)
    )


_RAN: Final = (states.EXECUTING, states.SUCCEEDED, states.FAILED, states.UNKNOWN, states.ROLLED_BACK)
_LEDGER_STATE: Final = {
    "started": (states.EXECUTING,),
    "done": (states.SUCCEEDED, states.ROLLED_BACK),
    "failed": (states.FAILED,),
    "unknown": (states.UNKNOWN,),
}
_DECIDED_AS: Final = {
    states.REJECTED: ("reject",),
    states.ANSWERED: ("respond", "ask"),
    **dict.fromkeys((states.QUEUED, *_RAN), ("approve", "edit")),
}
_RULES: Final = (
    ("it ran, but the ledger does not know it", Q(~_ledger(), state__in=_RAN)),
    ("the ledger says that it ran, and it does not", Q(_ledger(), ~Q(state__in=_RAN))),
    *(
        (f"the ledger says {ledger}, and it says otherwise", Q(_ledger(state=ledger), ~Q(state__in=ran)))
        for ledger, ran in _LEDGER_STATE.items()
    ),
    ("the ledger holds another digest", Q(_ledger(), ~_ledger(digest=OuterRef("digest")))),
    *(
        (f"it is {state} without such a decision", Q(~_decision(*said), state=state))
        for state, said in _DECIDED_AS.items()
    ),
    (
        "it is open and has a final decision",
        Q(_decision(*Decision.Verdict.values), state__in=[states.PROPOSED, *OPEN]),
    ),
    (
        "it is open, and its thread has an answer",
        Q(
            Exists(ResumeOutbox.objects.undelivered().filter(proposal=OuterRef("pk"))),
            state__in=[states.PROPOSED, *OPEN],
        ),
    ),
)
