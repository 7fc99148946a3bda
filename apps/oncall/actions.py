"""The verbs of the rota."""

from collections.abc import Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo, available_timezones

from django.db import IntegrityError, transaction
from django.db.models import Q

from apps.accounts.models import Team, User
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.oncall.domain.wall import instant
from apps.oncall.errors import NobodyNamed, ScheduleExists, UnknownZone
from apps.oncall.models import Layer, Position, Schedule, Unit

# The one layer that people edit on the page.
_PRIORITY = 1


@transaction.atomic
def create_schedule(team: Team, *, zone: str, actor: User, name: str = "") -> Schedule:
    """Give a team its rota, still without people."""
    _ensure_zone(zone)
    try:
        with transaction.atomic():
            schedule = Schedule.objects.create(team=team, name=name or f"{team.name} on call", zone=zone)
    except IntegrityError as error:
        raise ScheduleExists(f"{team.name} already has a rota. Change that one.") from error
    audit.record(
        "oncall.schedule_created",
        subject=f"schedule:{schedule.pk}",
        actor=actor.actor,
        team_id=team.pk,
        payload={"name": schedule.name, "zone": zone},
    )
    return schedule


@transaction.atomic
def set_rotation(
    schedule: Schedule,
    *,
    people: Sequence[User | Sequence[User]],
    start_day: date,
    start_time: time,
    actor: User,
    unit: str = Unit.WEEKLY,
    length: int = 1,
    zone: str = "",
    at: datetime | None = None,
) -> Layer:
    """
    Let people take turns in this order from the first hand-off on, or from now if that has passed.

    Several people in one place are on call together. Until then the rotation before goes on; its past stays as it was.
    """
    row = Schedule.objects.select_for_update().select_related("team").get(pk=schedule.pk)
    places = [[each] if isinstance(each, User) else list(each) for each in people]
    if not places or not all(places):
        raise NobodyNamed("A rotation needs at least one person. Who answers is unchanged.")
    if zone and zone != row.zone:
        _ensure_zone(zone)
        row.zone = zone
        row.save(update_fields=["zone"])
    begins = max(at or clock(), instant(datetime.combine(start_day, start_time), ZoneInfo(row.zone)))
    _end_layers(row, begins)
    layer = Layer.objects.create(
        schedule=row,
        priority=_PRIORITY,
        unit=unit,
        length=length,
        zone=row.zone,
        start_day=start_day,
        start_time=start_time,
        valid_from=begins,
    )
    Position.objects.bulk_create(
        Position(layer=layer, position=place, user=person) for place, group in enumerate(places) for person in group
    )
    audit.record(
        "oncall.rotation_set",
        subject=f"schedule:{row.pk}",
        actor=actor.actor,
        team_id=row.team_id,
        payload={
            "people": [[person.pk for person in group] for group in places],
            "every": f"{length} {unit}",
            "from": begins,
            "start": f"{start_day} {start_time} {row.zone}",
        },
    )
    return layer


def _end_layers(schedule: Schedule, begins: datetime) -> None:
    layers = schedule.layers.filter(priority=_PRIORITY)
    layers.filter(valid_from__gte=begins).delete()
    layers.filter(Q(valid_to=None) | Q(valid_to__gt=begins)).update(valid_to=begins)


def _ensure_zone(zone: str) -> None:
    if zone not in available_timezones():
        raise UnknownZone(f"{zone} is no time zone. Choose one such as Europe/Berlin.")
