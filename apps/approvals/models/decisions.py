import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.approvals.models.proposals import Proposal
from apps.audit.fields import Xid8Field, stamp_xid

UNDELIVERED = ("new", "handed", "parked")


class Decision(models.Model):
    """One verdict by a person, a policy or a timer."""

    class Verdict(models.TextChoices):
        APPROVE = "approve", "Approved"
        EDIT = "edit", "Approved with changes"
        REJECT = "reject", "Rejected"
        RESPOND = "respond", "Answered"
        ASK = "ask", "Asked back"
        EXPIRE = "expire", "Expired"
        WITHDRAW = "withdraw", "Withdrawn"
        STALE = "stale", "Out of date"

    class By(models.TextChoices):
        PERSON = "person", "Person"
        POLICY = "policy", "Policy"
        TIMER = "timer", "Timer"
        AGENT = "agent", "Agent"
        SYSTEM = "system", "System"

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="decisions")
    verdict = models.CharField(max_length=8, choices=Verdict)
    by_kind = models.CharField(max_length=8, choices=By)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    on_behalf_of = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_comment="Whose delegation gave the right to decide.",
    )
    channel = models.CharField(max_length=12, default="page")
    digest = models.CharField(max_length=71)
    policy_version = models.PositiveIntegerField(null=True)
    reason = models.CharField(max_length=2000, blank=True)
    args_edited = models.JSONField(null=True)
    materiality = models.DecimalField(max_digits=4, decimal_places=3, null=True)
    opened_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True)
    final = models.BooleanField(default=True)
    is_evidence = models.BooleanField(
        default=True, db_comment="False while the person's vigilance is in doubt: no ground for more autonomy."
    )
    synthetic = models.BooleanField(default=False)
    xid = Xid8Field()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["proposal"], condition=Q(final=True, voided_at__isnull=True), name="one_live_final_decision"
            ),
            models.UniqueConstraint(
                fields=["proposal", "actor"],
                condition=Q(voided_at__isnull=True, verdict__in=["approve", "edit"]),
                name="one_live_approval_per_person",
            ),
            models.CheckConstraint(
                condition=~Q(by_kind="person") | Q(actor__isnull=False), name="a_person_decides_by_name"
            ),
        ]
        indexes = [
            models.Index(fields=["xid", "id"], name="decisions_in_commit_order"),
            models.Index(fields=["actor", "-decided_at"], name="decisions_by_person"),
        ]
        # The stamp changes xid by itself, whatever changes.
        triggers = [pgtrigger.ReadOnly(name="only_voiding_changes_it", exclude=["voided_at", "xid"]), stamp_xid()]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} by {self.actor or self.get_by_kind_display()}"


class ResumeOutboxQuerySet(models.QuerySet["ResumeOutbox"]):
    def undelivered(self) -> "ResumeOutboxQuerySet":
        """Keep what the thread has not heard for certain."""
        return self.filter(state__in=UNDELIVERED)


class ResumeOutbox(models.Model):
    """What a waiting thread must be told. Written with the decision; the broker only carries its id."""

    class State(models.TextChoices):
        NEW = "new", "New"
        HANDED = "handed", "Handed over"
        DELIVERED = "delivered", "Delivered"
        CANCELLED = "cancelled", "Cancelled"
        PARKED = "parked", "Parked"

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="outbox")
    thread_id = models.CharField(max_length=80)
    interrupt_id = models.CharField(max_length=32)
    answer = models.JSONField()
    not_before = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.NEW)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    handed_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True, db_comment="When the broker was last told; the sweep re-sends from here.")

    objects = ResumeOutboxQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["proposal"], condition=Q(state__in=["new", "handed", "parked"]), name="one_undelivered_answer"
            )
        ]
        indexes = [models.Index(fields=["not_before"], condition=Q(state__in=["new", "handed"]), name="answers_due")]

    def __str__(self) -> str:
        return f"answer to proposal {self.proposal_id}: {self.state}"
