import uuid
from fractions import Fraction

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.agents.models import ActionType, Agent


class Indicator(models.Model):
    """What makes a subject good or bad, for one agent, optionally one action type."""

    class Kind(models.TextChoices):
        AGREEMENT = "agreement", "Agreement"
        WRITE_BACK = "write_back", "Write-back integrity"

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    slug = models.SlugField()
    kind = models.CharField(max_length=20, choices=Kind)
    action_type = models.ForeignKey(ActionType, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    settle_s = models.PositiveIntegerField(default=60)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "slug"], name="one_indicator_per_slug_and_agent")]

    def __str__(self) -> str:
        return f"{self.agent}: {self.get_kind_display()}"


class SliEvent(models.Model):
    """The ledger: each subject once, with the verdict it has now. A correction changes the verdict, never the time."""

    pk = models.CompositePrimaryKey("indicator_id", "subject_key", "occurred_at")
    indicator = models.ForeignKey(Indicator, on_delete=models.CASCADE, related_name="+", db_index=False)
    subject_key = models.CharField(max_length=120)
    occurred_at = models.DateTimeField()
    observed_at = models.DateTimeField(db_default=Now())
    good = models.BigIntegerField()
    total = models.BigIntegerField(default=1)
    is_skewed = models.BooleanField(
        default=False, db_comment="Told as later than it was learned; counted when learned."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(good__gte=0) & Q(good__lte=models.F("total")), name="event_good_within_total"
            )
        ]

    def __str__(self) -> str:
        return f"{self.subject_key}: {self.good}/{self.total}"


class SliMinute(models.Model):
    """Additive counts keyed by the end of the minute."""

    pk = models.CompositePrimaryKey("indicator_id", "m")
    indicator = models.ForeignKey(Indicator, on_delete=models.CASCADE, related_name="+", db_index=False)
    m = models.BigIntegerField()
    good = models.BigIntegerField()
    total = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(good__gte=0) & Q(good__lte=models.F("total")), name="minute_good_within_total"
            )
        ]

    def __str__(self) -> str:
        return f"{self.m}: {self.good}/{self.total}"


class SliHour(models.Model):
    """Additive counts keyed by the end of the hour."""

    pk = models.CompositePrimaryKey("indicator_id", "h")
    indicator = models.ForeignKey(Indicator, on_delete=models.CASCADE, related_name="+", db_index=False)
    h = models.BigIntegerField()
    good = models.BigIntegerField()
    total = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(good__gte=0) & Q(good__lte=models.F("total")), name="hour_good_within_total"
            )
        ]

    def __str__(self) -> str:
        return f"{self.h}: {self.good}/{self.total}"


class Objective(models.Model):
    """A target for an indicator over a rolling period. Versions of one objective share their line."""

    line_id = models.UUIDField(default=uuid.uuid4)
    version = models.PositiveIntegerField(default=1)
    indicator = models.ForeignKey(Indicator, on_delete=models.CASCADE, related_name="objectives")
    name = models.CharField(max_length=120)
    target = models.DecimalField(max_digits=10, decimal_places=9)
    period_s = models.PositiveIntegerField(default=30 * 86400)
    valid_from = models.DateTimeField(db_default=Now())
    valid_to = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["line_id", "version"], name="one_objective_per_version"),
            models.UniqueConstraint(
                fields=["line_id"], condition=Q(valid_to__isnull=True), name="one_current_objective_per_line"
            ),
            models.CheckConstraint(condition=Q(target__gte=0) & Q(target__lt=1), name="target_below_one"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ≥ {self.target.normalize():%}"

    @property
    def exact_target(self) -> Fraction:
        return Fraction(self.target)


class Cursor(models.Model):
    """How far a source table has been counted, in commit order: everything below `xid` is in the roll-ups."""

    source = models.CharField(max_length=40, primary_key=True)
    xid = models.BigIntegerField(default=0)
    collected_at = models.DateTimeField(
        null=True, db_comment="Database clock when the collector last got further; null before the first time."
    )

    def __str__(self) -> str:
        return f"{self.source} up to {self.xid}"
