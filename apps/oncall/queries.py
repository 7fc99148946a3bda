"""Who answers now, and who is next."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import Prefetch, QuerySet

from apps.accounts.models import Team, User
from apps.accounts.queries import users_with
from apps.oncall.domain import resolve
from apps.oncall.domain.rotation import Rotation
from apps.oncall.models import Layer, Position, Schedule

# A sentence that names more people than this is read by none of them.
NAMED_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody's turn. `since` is the instant asked about for the one under way; `until` None means for good."""

    people: list[User]
    since: datetime
    until: datetime | None
    schedule: Schedule

    @property
    def user(self) -> User:
        """The first of those on call together, by name."""
        return self.people[0]

    @property
    def names(self) -> str:
        return " and ".join(str(person) for person in self.people)


@dataclass(frozen=True, slots=True)
class Duty:
    """One team's row on the on-call page. `now` is None in a gap, `schedule` None before there is a rota."""

    team: Team
    schedule: Schedule | None
    now: Shift | None
    next: list[Shift]


def on_duty(team_id: int, *, at: datetime) -> list[User]:  # 3 queries
    """Return everybody on call for a team at an instant, by name; nobody is an empty list."""
    shift = shift_now(team_id, at=at)
    return shift.people if shift else []


@dataclass(frozen=True, slots=True)
class StandIns:
    """Who answers for a team while nobody is on call: the one who leads it, else those who can add a rotation."""

    people: list[User]
    is_lead: bool


def stand_ins(team: Team) -> StandIns:  # 1 query, none where the team's lead is loaded
    """Return who answers in a gap. Nobody at all is an empty list: then an administrator must name an operator."""
    if team.lead is not None and team.lead.is_active:
        return StandIns([team.lead], is_lead=True)
    return StandIns(list(users_with("oncall.change", team.pk).order_by("name", "pk")[:NAMED_AT_MOST]), is_lead=False)


def has_rotation() -> bool:  # 1 query
    """Say whether anybody was ever put on call."""
    return Layer.objects.exists()


def shift_now(team_id: int, *, at: datetime) -> Shift | None:  # 3 queries
    """Return the shift under way, or None where nobody is on call."""
    schedule = _schedules([team_id]).first()
    if schedule is None:
        return None
    first, *_ = _shifts(schedule, at=at, count=1)
    return first if first.people else None


def duties(teams: Iterable[Team], *, at: datetime, ahead: int = 3) -> list[Duty]:  # 3 queries, any length
    """Return for each team who answers now and the next shifts, gaps among them."""
    rows = list(teams)
    schedules = {schedule.team_id: schedule for schedule in _schedules([team.pk for team in rows])}
    return [_duty(team, schedules.get(team.pk), at=at, ahead=ahead) for team in rows]


def people_in_order(schedule: Schedule) -> list[list[User]]:  # 2 queries
    """Return the positions of the newest layer, first turn first."""
    layer = newest_layer(schedule)
    places: dict[int, list[User]] = defaultdict(list)
    for position in layer.positions.select_related("user").order_by("position", "user__name") if layer else []:
        places[position.position].append(position.user)
    return [places[place] for place in sorted(places)]


def names_of_schedules(ids: Collection[int]) -> Mapping[int, str]:  # 1 query
    """Name schedules for pages that know their ids only."""
    return dict(Schedule.objects.filter(pk__in=ids).values_list("pk", "name"))


def newest_layer(schedule: Schedule) -> Layer | None:  # 1 query
    return schedule.layers.filter(valid_to=None).order_by("-priority", "-valid_from").first()


def _schedules(team_ids: Sequence[int]) -> QuerySet[Schedule]:
    positions = Position.objects.select_related("user").order_by("position", "user__name", "user_id")
    layers = Layer.objects.order_by("valid_from").prefetch_related(Prefetch("positions", queryset=positions))
    return Schedule.objects.filter(team_id__in=team_ids).prefetch_related(Prefetch("layers", queryset=layers))


def _duty(team: Team, schedule: Schedule | None, *, at: datetime, ahead: int) -> Duty:
    if schedule is None:
        return Duty(team=team, schedule=None, now=None, next=[])
    first, *following = _shifts(schedule, at=at, count=1 + ahead)
    return Duty(team=team, schedule=schedule, now=first if first.people else None, next=following)


def _shifts(schedule: Schedule, *, at: datetime, count: int) -> list[Shift]:
    people: dict[int, User] = {}
    layers = []
    for row in schedule.layers.all():
        places: dict[int, set[int]] = {}
        for position in row.positions.all():
            place = places.setdefault(position.position, set())
            # Whoever left keeps the place, so that nobody else's turns move; their turn is a gap to be seen.
            if position.user.is_active:
                people[position.user_id] = position.user
                place.add(position.user_id)
        layers.append(
            resolve.Layer(
                rotation=Rotation(zone=ZoneInfo(row.zone), start=row.start_wall, unit=row.unit, length=row.length),
                positions=[frozenset(places[place]) for place in sorted(places)],
                valid_from=row.valid_from,
                valid_to=row.valid_to,
                priority=row.priority,
            )
        )
    return [
        Shift(
            people=sorted((people[pk] for pk in turn.people), key=lambda person: (person.name, person.pk)),
            since=turn.since,
            until=turn.until,
            schedule=schedule,
        )
        for turn in resolve.turns(layers, at, count=count)
    ]
