from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.accounts.models import Team


class Unit(models.TextChoices):
    """The step of a rotation, in wall time of the schedule's zone."""

    HOURLY = "hourly", "Hours"
    DAILY = "daily", "Days"
    WEEKLY = "weekly", "Weeks"
    MONTHLY = "monthly", "Months"


class Schedule(models.Model):
    """The rota of one team: who answers when nobody decides."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=120)
    zone = models.CharField(
        max_length=64, default="UTC", db_comment="IANA time zone; all hand-offs are wall times in it."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team"], name="one_schedule_per_team")]

    def __str__(self) -> str:
        return self.name


class Layer(models.Model):
    """One rotation of a schedule, in force from valid_from until valid_to."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="layers")
    priority = models.PositiveSmallIntegerField(default=1, db_comment="The highest with anybody answers.")
    unit = models.CharField(max_length=8, choices=Unit, default=Unit.WEEKLY)
    length = models.PositiveSmallIntegerField(default=1, db_comment="A shift lasts this many units.")
    zone = models.CharField(
        max_length=64, db_comment="The schedule's zone when the layer was made: a later move leaves the past alone."
    )
    start_day = models.DateField(db_comment="Wall date of hand-off 0 in the zone.")
    start_time = models.TimeField(db_comment="Wall time of hand-off 0 in the zone.")
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(length__gte=1), name="a_shift_lasts_at_least_one_unit"),
            models.CheckConstraint(condition=models.Q(unit__in=Unit.values), name="a_rotation_unit_is_known"),
            models.CheckConstraint(
                condition=models.Q(valid_to__isnull=True) | models.Q(valid_to__gt=models.F("valid_from")),
                name="a_layer_ends_after_it_begins",
            ),
            models.UniqueConstraint(
                fields=["schedule", "priority"],
                condition=models.Q(valid_to__isnull=True),
                name="one_open_layer_per_priority",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.schedule}: every {self.length} {self.get_unit_display().lower()}"

    @property
    def start_wall(self) -> datetime:
        """The wall clock's reading at hand-off 0, without a zone."""
        return datetime.combine(self.start_day, self.start_time)


class Position(models.Model):
    """A place in the rotation; several people may share it and are then on call together."""

    layer = models.ForeignKey(Layer, on_delete=models.CASCADE, related_name="positions")
    position = models.PositiveSmallIntegerField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["layer", "position", "user"], name="a_person_is_once_in_a_position")
        ]

    def __str__(self) -> str:
        return f"{self.position}: {self.user}"
