"""R18: some decided cards are judged by a second person who does not know the first verdict, nor that there was one."""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils.crypto import salted_hmac

from apps.approvals.actions import intake
from apps.approvals.actions.drills import BY_CLOCK, copy_of
from apps.approvals.domain import edit, pace, vigilance
from apps.approvals.domain.drills import Revealed
from apps.approvals.models import OPEN, Decision, Proposal, SecondLook
from apps.approvals.queries import reviewers
from apps.approvals.queries.drills import told_of_look
from apps.audit import actions as audit
from apps.audit.clock import clock

# A verdict that can still be taken back is none yet; later than a day nobody remembers what they saw.
NOT_BEFORE: Final = timedelta(minutes=15)
NOT_AFTER: Final = timedelta(days=1)
BATCH: Final = 200
THREAD_PREFIX: Final = "look:"


def plant_due(at: datetime | None = None) -> int:
    """Put the drawn share of decided cards before second reviewers; return how many."""
    now = at or clock()
    decided = Decision.objects.filter(
        by_kind=Decision.By.PERSON,
        final=True,
        voided_at__isnull=True,
        verdict__in=[Decision.Verdict.APPROVE, Decision.Verdict.EDIT, Decision.Verdict.REJECT],
        synthetic=False,
        decided_at__gt=now - NOT_AFTER,
        decided_at__lte=now - NOT_BEFORE,
        proposal__kind=Proposal.Kind.LIVE,
        proposal__source=intake.OWN_RUNS,
        proposal__compensates__isnull=True,
    ).exclude(proposal__in=SecondLook.objects.values("original"))
    rows = decided.order_by("decided_at", "pk").values_list("pk", "proposal_id")
    drawn = [pk for pk, proposal_id in rows if is_drawn(proposal_id)]
    return sum(_plant(pk, now) for pk in drawn[:BATCH])


def is_drawn(proposal_id: int) -> bool:
    """Say whether a card gets a second look: by a keyed hash, so that nobody can tell beforehand, and it never changes."""
    mac = salted_hmac("approvals.second_look", str(proposal_id), algorithm="sha256").digest()
    return pace.drawn(mac) < pace.SECOND_LOOK_SHARE


@transaction.atomic
def settle(row: Proposal, decision: Decision, *, at: datetime) -> Revealed:
    """Compare the second verdict with the first, and tell the second person; the first one reads it on their own page."""
    look = SecondLook.objects.select_related("first__actor", "original__action_type").get(proposal=row)
    look.agrees = vigilance.agrees(look.first.verdict, decision.verdict, weight_between=_weight(look, row, decision))
    look.revealed_at = at
    look.save(update_fields=["agrees", "revealed_at"])
    audit.record(
        "second_look.settled",
        subject=f"second_look:{look.pk}",
        actor=decision.actor.actor if decision.actor else BY_CLOCK,
        team_id=row.team_id,
        proposal_id=row.pk,
        digest=row.digest,
        outcome="agrees" if look.agrees else "differs",
        payload={"first": look.first.verdict, "second": decision.verdict, "original": look.original_id},
    )
    return told_of_look(look)


@transaction.atomic
def settle_undecided(at: datetime | None = None) -> int:
    """Close second looks that nobody gave in time: they say nothing about anybody."""
    now = at or clock()
    rows = SecondLook.objects.filter(revealed_at__isnull=True).exclude(proposal__state__in=OPEN)
    return rows.update(revealed_at=now)


@transaction.atomic
def _plant(decision_id: int, now: datetime) -> int:
    first = Decision.objects.select_related(
        "proposal__action_type", "proposal__agent_version__agent", "proposal__policy", "proposal__body"
    ).get(pk=decision_id)
    original = first.proposal
    version = original.agent_version.agent.versions.filter(is_current=True).select_related("agent").first()
    if version is None or original.schema_version != original.action_type.schema_version:
        return 0
    request = copy_of(original, version, args=original.args_original, prefix=THREAD_PREFIX, now=now)
    row = intake.plant(request, kind=Proposal.Kind.SECOND_LOOK, judged=request, at=now)
    if row is None:
        return 0
    if not _has_enough_eyes(row, original, now):
        transaction.set_rollback(True)
        return 0
    look = SecondLook.objects.create(proposal=row, original=original, first=first, planted_at=now)
    audit.record(
        "second_look.planted",
        subject=f"second_look:{look.pk}",
        actor=BY_CLOCK,
        team_id=row.team_id,
        proposal_id=row.pk,
        digest=row.digest,
        payload={"original": original.pk},
    )
    return 1


def _has_enough_eyes(row: Proposal, original: Proposal, now: datetime) -> bool:
    """Without somebody who did not decide it there is no second look, only a card that nobody may answer."""
    knowing = set(Decision.objects.filter(proposal=original, actor__isnull=False).values_list("actor", flat=True))
    others = [each for each in reviewers.colleagues(row, at=now) if each.pk not in knowing]
    return len(others) >= row.approvals_needed


def _weight(look: SecondLook, row: Proposal, decision: Decision) -> float:
    """Return how much what the two would let happen differs, in [0, 1]."""
    first = look.first.args_edited or look.original.args_original
    second = decision.args_edited or row.args_original
    return edit.materiality(look.original.action_type.materiality, edit.changed_fields(first, second))
