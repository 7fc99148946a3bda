from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.agents.models import ActionType
from apps.approvals.models.proposals import Proposal


class CardView(models.Model):
    """How long one person looked at one card. Partitioned by month; kept for 13 months."""

    proposal = models.ForeignKey(Proposal, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    version = models.PositiveIntegerField()
    opened_at = models.DateTimeField()
    evidence_opened_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        managed = False  # its table is partitioned: migration 0004
        db_table = "approvals_cardview"

    def __str__(self) -> str:
        return f"{self.user_id} saw proposal {self.proposal_id} v{self.version}"


class Snooze(models.Model):
    """One person does not want to see one card for a while. Neither yes nor no; others see it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="snoozes")
    until = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "proposal"], name="one_snooze_per_person_and_card")]

    def __str__(self) -> str:
        return f"proposal {self.proposal_id} hidden until {self.until:%Y-%m-%d %H:%M}"


class DelegationQuerySet(models.QuerySet["Delegation"]):
    def running(self, at: datetime) -> "DelegationQuerySet":
        """Keep what runs at an instant, or ran then: revoking ends it from that moment on."""
        return self.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=at), starts__lte=at, ends__gt=at)


class Delegation(models.Model):
    """A reviewer lets a colleague decide in their place, for some days and some kinds of action. Not passed on."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    from_user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    to_user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    action_types = models.ManyToManyField(ActionType, related_name="+", blank=True)
    starts = models.DateTimeField()
    ends = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = DelegationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(ends__gt=F("starts")), name="a_delegation_ends_after_it_starts"),
            models.CheckConstraint(condition=~Q(from_user=F("to_user")), name="nobody_delegates_to_themselves"),
        ]
        indexes = [models.Index(fields=["to_user", "ends"], name="delegations_by_delegate")]

    def __str__(self) -> str:
        return f"{self.to_user} decides for {self.from_user} until {self.ends:%Y-%m-%d}"


class SavedView(models.Model):
    """A search of the inbox under a name: a person's own, or shared with a team."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=300)
    position = models.PositiveSmallIntegerField(default=0, db_comment="Its place in the list, and its key 1 to 9.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_view_per_name_and_person")]

    def __str__(self) -> str:
        return self.name
