"""What must hold between proposals, decisions, answers, the ledger and the audit log, read back from the database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from apps.approvals.actions.intake import INTAKE_EVENTS
from apps.approvals.domain import states
from apps.approvals.models import OPEN, Decision, Proposal, ResumeOutbox
from apps.audit.domain.canonical import CanonicalError
from apps.audit.models import AuditEvent
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
    yield from _untold()
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


def _untold() -> Iterator[Mismatch]:
    """Hold the rows against the audit log: no proposal, verdict or outcome without its event (A1).

    Generated rows are left out: one event stands for each imported batch. Memory holds one chunk of proposals.
    """
    real = Proposal.objects.filter(synthetic=False).order_by("pk").values_list("pk", flat=True)
    ids = real.iterator(chunk_size=CHUNK)
    while chunk := list(islice(ids, CHUNK)):
        yield from _untold_of(chunk)


def _untold_of(chunk: Sequence[int]) -> Iterator[Mismatch]:
    events = AuditEvent.objects.filter(object__in=[f"proposal:{pk}" for pk in chunk], action__in=_TELLING)
    counted = events.values_list("object", "action", "actor").annotate(n=Count("id")).order_by()
    told = {(subject, action, actor): n for subject, action, actor, n in counted}
    said = {(subject, action) for subject, action, _ in told}
    for pk in chunk:
        if not any((f"proposal:{pk}", action) in said for action in INTAKE_EVENTS.values()):
            yield Mismatch(pk, "the audit log does not know that it was proposed")
    for pk, actor_id, n in _verdicts(chunk):
        # Who undoes and decides again gave two verdicts, and the log tells of both.
        if told.get((f"proposal:{pk}", DECIDED, f"user:{actor_id}"), 0) < n:
            yield Mismatch(pk, "the audit log does not know every verdict on it")
    for proposal_id, state in _executions(chunk):
        if not any((f"proposal:{proposal_id}", action) in said for action in _OUTCOME_EVENTS[state]):
            yield Mismatch(proposal_id or 0, f"the audit log does not know that its execution is {state}")


def _verdicts(proposal_ids: Sequence[int]) -> Any:
    # Who withdraws, or asks for a new proposal because the target moved, gives no verdict; those events are their own.
    rows = Decision.objects.filter(proposal__in=proposal_ids, synthetic=False, by_kind=Decision.By.PERSON)
    rows = rows.exclude(verdict__in=[Decision.Verdict.WITHDRAW, Decision.Verdict.STALE])
    return rows.values_list("proposal_id", "actor_id").annotate(n=Count("pk")).order_by("proposal_id", "actor_id")


def _executions(proposal_ids: Sequence[int]) -> "QuerySet[ActionExecution, tuple[int | None, str]]":
    rows = ActionExecution.objects.filter(proposal_id_value__in=proposal_ids).order_by("pk")
    return rows.values_list("proposal_id_value", "state")


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


def _decision(*verdicts: str, **facts: str) -> Exists:
    final = Decision.objects.filter(proposal=OuterRef("pk"), final=True, voided_at__isnull=True)
    return Exists(final.filter(verdict__in=verdicts, **facts))


DECIDED: Final = "proposal.decided"
_OUTCOME_EVENTS: Final = {
    "started": ("proposal.executing",),
    "done": ("proposal.succeeded", "proposal.reconciled"),
    "failed": ("proposal.failed", "proposal.reconciled"),
    "unknown": ("proposal.unknown",),
}
_TELLING: Final = {*INTAKE_EVENTS.values(), DECIDED, *(each for told in _OUTCOME_EVENTS.values() for each in told)}
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
    # Consent is passed through at once, but for what never runs: there it is the end.
    **dict.fromkeys((*sorted(states.CONSENTED), states.QUEUED, *_RAN), ("approve", "edit")),
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
        "it went on with fewer approvals than it needs",
        Q(
            _decision("approve", "edit", by_kind=Decision.By.PERSON),
            state__in=[*states.CONSENTED, states.QUEUED, *_RAN],
            approvals_given__lt=F("approvals_needed"),
        ),
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
