from datetime import timedelta

import pytest

from apps.oncall import queries
from tests.factories.accounts import make_team
from tests.factories.oncall import MONDAY, make_schedule

pytestmark = pytest.mark.django_db
WEEK = timedelta(weeks=1)


def test_the_shift_under_way_names_its_people_its_end_and_its_schedule(team, ben, cora, django_assert_num_queries):
    schedule = make_schedule(team, ben, cora)

    with django_assert_num_queries(3):
        shift = queries.shift_now(team.pk, at=MONDAY + timedelta(days=1))

    assert (shift.user, shift.until, shift.schedule) == (ben, MONDAY + WEEK, schedule)


def test_a_team_without_a_schedule_has_nobody_on_call(team):
    assert queries.shift_now(team.pk, at=MONDAY) is None
    assert queries.on_duty(team.pk, at=MONDAY) == []


def test_before_its_first_hand_off_nobody_is_on_call(team, ben):
    make_schedule(team, ben, at=MONDAY - WEEK)

    assert queries.on_duty(team.pk, at=MONDAY - timedelta(seconds=1)) == []
    assert queries.on_duty(team.pk, at=MONDAY) == [ben]


def test_whoever_left_is_not_on_call_and_nobody_elses_turn_moves(team, ben, cora):
    make_schedule(team, ben, cora)
    ben.is_active = False
    ben.save()

    assert [queries.on_duty(team.pk, at=MONDAY + n * WEEK) for n in range(3)] == [[], [cora], []]


def test_another_teams_schedule_does_not_answer(team, other_team, ben, eve):
    make_schedule(team, ben)
    make_schedule(other_team, eve)

    assert queries.on_duty(team.pk, at=MONDAY) == [ben]
    assert queries.on_duty(other_team.pk, at=MONDAY) == [eve]


def test_duties_cost_the_same_for_any_number_of_teams(team, ben, cora, django_assert_num_queries):
    teams = [team, *(make_team() for _ in range(4))]
    for each in teams[:4]:
        make_schedule(each, ben, cora)

    with django_assert_num_queries(3):
        duties = queries.duties(teams, at=MONDAY)

    assert [duty.now.user if duty.now else None for duty in duties] == [ben, ben, ben, ben, None]
    assert [[shift.user for shift in duty.next] for duty in duties[:1]] == [[cora, ben, cora]]


def test_the_positions_of_the_newest_layer_come_in_order(team, ada, ben, cora):
    schedule = make_schedule(team, cora, [ada, ben])

    assert queries.people_in_order(schedule) == [[cora], [ada, ben]]


def test_the_teams_lead_stands_in_before_those_who_can_add_a_rotation(team, cora, dev):
    assert queries.stand_ins(team) == queries.StandIns([cora], is_lead=False)

    team.lead = dev

    assert queries.stand_ins(team) == queries.StandIns([dev], is_lead=True)


def test_a_lead_who_left_stands_in_for_nobody(team, dev):
    dev.is_active = False
    team.lead = dev

    assert queries.stand_ins(team).people == []


def test_a_rotation_is_known_once_somebody_was_put_on_call(team, ben):
    make_schedule(team)
    assert not queries.has_rotation()

    queries_after = make_schedule(make_team(), ben)

    assert queries_after.layers.exists()
    assert queries.has_rotation()
