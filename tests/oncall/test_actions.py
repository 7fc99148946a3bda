from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.audit.models import AuditEvent
from apps.oncall import actions, queries
from apps.oncall.errors import NobodyNamed, ScheduleExists, UnknownZone
from apps.oncall.models import Layer, Position, Schedule
from tests.factories.oncall import MONDAY, make_schedule

pytestmark = pytest.mark.django_db
WEEK = timedelta(weeks=1)


def rotate(schedule, *people, actor, at, start=date(2027, 5, 3), **fields):
    return actions.set_rotation(
        schedule, people=people, start_day=start, start_time=time(9), actor=actor, at=at, **fields
    )


def test_a_team_gets_one_schedule(team, cora):
    actions.create_schedule(team, zone="Europe/Berlin", actor=cora)

    with pytest.raises(ScheduleExists, match="already has a rota"):
        actions.create_schedule(team, zone="UTC", actor=cora)


def test_an_unknown_zone_is_refused_and_nothing_is_kept(team, cora):
    with pytest.raises(UnknownZone, match="Middle/Earth"):
        actions.create_schedule(team, zone="Middle/Earth", actor=cora)

    assert not Schedule.objects.exists()


def test_people_take_weekly_turns_in_their_order(team, ben, cora):
    make_schedule(team, ben, cora)

    assert [queries.on_duty(team.pk, at=MONDAY + n * WEEK) for n in range(3)] == [[ben], [cora], [ben]]


def test_people_in_one_place_are_on_call_together(team, ada, ben, cora):
    make_schedule(team, [cora, ben], ada)

    assert queries.on_duty(team.pk, at=MONDAY) == [ben, cora]


def test_a_rotation_needs_somebody(team, cora):
    schedule = make_schedule(team)

    with pytest.raises(NobodyNamed):
        rotate(schedule, actor=cora, at=MONDAY)


def test_a_new_rotation_leaves_the_past_as_it_was(team, ada, ben, cora):
    schedule = make_schedule(team, ben)
    changed = MONDAY + timedelta(days=2)

    rotate(schedule, ada, actor=cora, at=changed)

    assert queries.on_duty(team.pk, at=changed - timedelta(seconds=1)) == [ben]
    assert queries.on_duty(team.pk, at=changed) == [ada]


def test_moving_to_another_zone_leaves_the_past_as_it_was(team, ben, cora):
    schedule = make_schedule(team, ben, cora)
    hand_off = MONDAY + WEEK

    rotate(schedule, ben, cora, actor=cora, at=MONDAY + 3 * WEEK, zone="Asia/Tokyo")

    assert queries.on_duty(team.pk, at=hand_off - timedelta(seconds=1)) == [ben]
    assert queries.on_duty(team.pk, at=hand_off) == [cora]


def test_until_its_first_hand_off_the_rotation_before_goes_on(team, ada, ben, cora):
    schedule = make_schedule(team, ben)

    rotate(schedule, ada, actor=cora, at=MONDAY, start=date(2027, 5, 17))

    assert queries.on_duty(team.pk, at=MONDAY + timedelta(days=13)) == [ben]
    assert queries.on_duty(team.pk, at=MONDAY + 2 * WEEK) == [ada]


def test_a_rotation_that_had_not_begun_is_replaced(team, ada, ben, cora):
    schedule = make_schedule(team, ben)
    rotate(schedule, ada, actor=cora, at=MONDAY, start=date(2027, 5, 17))

    rotate(schedule, cora, actor=cora, at=MONDAY, start=date(2027, 5, 10))

    assert [queries.on_duty(team.pk, at=MONDAY + n * WEEK) for n in range(4)] == [[ben], [cora], [cora], [cora]]


def test_both_verbs_are_logged_with_who_did_them(team, cora):
    schedule = actions.create_schedule(team, zone="UTC", actor=cora)
    rotate(schedule, cora, actor=cora, at=MONDAY)

    assert [(each.action, each.object, each.actor) for each in AuditEvent.objects.order_by("id")] == [
        ("oncall.schedule_created", f"schedule:{schedule.pk}", cora.actor),
        ("oncall.rotation_set", f"schedule:{schedule.pk}", cora.actor),
    ]


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("a_shift_lasts_at_least_one_unit", {"length": 0}),
        ("a_rotation_unit_is_known", {"unit": "yearly"}),
        ("a_layer_ends_after_it_begins", {"valid_to": datetime(2027, 5, 3, 9, tzinfo=UTC)}),
    ],
)
def test_the_database_refuses_a_layer_that_cannot_be(constraint, changes, team, ben):
    make_schedule(team, ben)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Layer.objects.update(**changes)


def test_the_database_refuses_a_second_open_layer_and_a_person_twice_in_a_place(team, ben):
    make_schedule(team, ben)
    layer = Layer.objects.get()

    with pytest.raises(IntegrityError, match="a_person_is_once_in_a_position"), transaction.atomic():
        Position.objects.create(layer=layer, position=0, user=ben)
    layer.pk = None
    with pytest.raises(IntegrityError, match="one_open_layer_per_priority"), transaction.atomic():
        layer.save(force_insert=True)
