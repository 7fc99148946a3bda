from datetime import UTC, date, datetime, time

from apps.accounts.models import Role
from apps.oncall import actions
from apps.oncall.models import Schedule
from tests.factories.accounts import make_member

# A Monday, from which the weeks of make_schedule are counted.
MONDAY = datetime(2027, 5, 3, 9, tzinfo=UTC)


def make_schedule(team, *people, zone: str = "UTC", at: datetime = MONDAY, **fields) -> Schedule:
    """A weekly rotation that changes hands on Mondays at nine, in the order of the people; without people, none."""
    operator = make_member(team, Role.OPERATOR)
    schedule = actions.create_schedule(team, zone=zone, actor=operator)
    if people:
        fields = {"start_day": date(2027, 5, 3), "start_time": time(9), "actor": operator, **fields}
        actions.set_rotation(schedule, people=people, at=at, **fields)
    return schedule
