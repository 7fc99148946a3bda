import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.agents.models import ActionType


class ApprovalPolicy(models.Model):
    """One immutable version of the rules for a kind of action. A change is a new version."""

    class OnExpiry(models.TextChoices):
        EXPIRE = "expire", "Expire"
        EXTEND_ONCE = "extend_once", "Extend once"

    key = models.SlugField()
    version = models.PositiveIntegerField()
    name = models.CharField(max_length=120)
    action_type = models.ForeignKey(ActionType, on_delete=models.CASCADE, related_name="+")
    conditions = models.JSONField(
        default=dict, db_comment="Read by domain/policy.py: auto_from_confidence, deny, rules."
    )
    approvers = models.JSONField(
        default=dict, db_comment="people: [user ids] who alone may decide; empty: every reviewer of the team."
    )
    escalation = models.JSONField(
        default=list, db_comment="[{at: share of the window, to: on_duty | lead | deputy}], in the order of the tiers."
    )
    author = models.CharField(max_length=60, blank=True, db_comment="Who published it, as the audit log names them.")
    note = models.CharField(max_length=300, blank=True, db_comment="Why it was changed.")
    approvals_needed = models.PositiveSmallIntegerField(default=1)
    window_s = models.PositiveIntegerField(default=4 * 3600)
    on_expiry = models.CharField(max_length=12, choices=OnExpiry, default=OnExpiry.EXPIRE)
    undo_s = models.PositiveSmallIntegerField(default=5)
    active_from = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key", "version"], name="one_policy_per_version"),
            models.CheckConstraint(
                condition=Q(window_s__gte=60) & Q(window_s__lte=30 * 86400), name="window_is_60_s_to_30_days"
            ),
            models.CheckConstraint(condition=Q(undo_s__lte=300), name="undo_is_at_most_300_s"),
        ]
        triggers = [pgtrigger.Protect(name="a_version_never_changes", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"
