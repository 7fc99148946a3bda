"""The ledger counted anew: it agrees with the roll-ups whatever happened, and finds what somebody planted."""

from collections import Counter
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.audit.clock import clock
from apps.slo import actions
from apps.slo.actions import Told
from apps.slo.checking import recount
from apps.slo.domain.budget import Counts
from apps.slo.domain.windows import EPOCH, minute_key
from apps.slo.models import Indicator, Objective, SliEvent, SliHour, SliMinute
from apps.slo.queries import counts_for
from tests.factories.approvals import TEN, make_agent

pytestmark = pytest.mark.django_db

SECOND = 1_000_000
NOW = TEN + timedelta(days=1)


@pytest.fixture
def agent(team, ada):
    agent = make_agent(team, ada)
    actions.ensure_objectives(agent)
    return agent


@pytest.fixture
def agreement(agent):
    return Indicator.objects.get(agent=agent, kind="agreement")


@pytest.fixture
def told(agent):
    """Four verdicts: two in the minute to 10:00, one in the next, one in the hour after."""
    places = [timedelta(0), timedelta(seconds=-1), timedelta(microseconds=1), timedelta(minutes=61)]
    actions.tell(
        [Told(agent.pk, "agreement", f"decision:{n}", TEN + place, n % 2, 1) for n, place in enumerate(places)], at=NOW
    )


def test_untouched_roll_ups_agree_with_the_ledger(told):
    assert recount(at=NOW) == []


def test_a_wrong_hour_row_is_found_with_what_both_say(told, agreement):
    SliHour.objects.filter(h=minute_key(TEN)).update(good=2)

    [found] = recount(at=NOW)

    assert (found.indicator, found.roll_up, found.hour) == (agreement, "hour", TEN)
    assert (found.ledger, found.counted) == (Counts(1, 2), Counts(2, 2))


def test_a_wrong_minute_row_is_found_although_its_hour_is_right(told):
    SliMinute.objects.filter(m=minute_key(TEN)).update(total=3)

    [found] = recount(at=NOW)

    assert (found.roll_up, found.hour, found.ledger, found.counted) == ("minute", TEN, Counts(1, 2), Counts(1, 3))


def test_a_row_without_events_is_found(told, agreement):
    stray = minute_key(TEN + timedelta(hours=5))
    SliHour.objects.create(indicator=agreement, h=stray, good=1, total=1)
    SliMinute.objects.create(indicator=agreement, m=stray, good=1, total=1)

    assert [(each.roll_up, each.key, each.ledger) for each in recount(at=NOW)] == [
        ("hour", stray, Counts()),
        ("minute", stray, Counts()),
    ]


def test_events_without_a_row_are_found(told):
    SliHour.objects.filter(h=minute_key(TEN)).delete()
    SliMinute.objects.filter(m=minute_key(TEN) + 60).delete()

    assert [(each.roll_up, each.hour, each.counted) for each in recount(at=NOW)] == [
        ("hour", TEN, Counts()),
        ("minute", TEN + timedelta(hours=1), Counts()),
    ]


def test_minutes_that_were_let_go_are_no_difference(told):
    SliMinute.objects.filter(m__lte=minute_key(TEN)).delete()

    assert recount(at=NOW) == []


def test_only_the_days_asked_for_are_counted(told):
    SliHour.objects.filter(h=minute_key(TEN)).update(good=2)

    assert recount(days=1, at=NOW) == []
    assert len(recount(days=2, at=NOW)) == 1


def test_it_asks_twice_however_much_differs(told, django_assert_num_queries):
    SliHour.objects.update(good=0)
    SliMinute.objects.update(good=0)

    with django_assert_num_queries(2):
        assert len(recount(at=NOW)) > 2


class TestTheCommand:
    @pytest.fixture
    def lately(self, agent):
        """One verdict an hour ago, by the database's clock."""
        now = clock()
        actions.tell([Told(agent.pk, "agreement", "decision:1", now - timedelta(hours=1), 1, 1)], at=now)

    def test_it_says_that_everything_agrees(self, lately):
        out = StringIO()

        call_command("slo_recount", stdout=out)

        assert "The roll-ups of the last 40 days agree with the ledger." in out.getvalue()

    def test_it_tells_every_difference_fails_and_repairs_nothing(self, lately):
        SliHour.objects.update(good=0)
        SliMinute.objects.update(good=0)
        err = StringIO()

        with pytest.raises(CommandError, match=r"2 rows differ from the ledger\. Nothing was changed\.") as failed:
            call_command("slo_recount", stderr=err)

        assert failed.value.returncode == 1
        assert "Agreement, hour to " in err.getvalue()
        assert "1 good of 1 in the ledger, 0 good of 1 in the hour row" in err.getvalue()
        assert "1 good of 1 in the ledger, 0 good of 1 in the minute row" in err.getvalue()
        assert set(SliHour.objects.values_list("good", flat=True)) == {0}

    def test_it_counts_as_many_days_as_it_is_asked_for(self, lately):
        out = StringIO()

        call_command("slo_recount", days=7, stdout=out)

        assert "the last 7 days" in out.getvalue()


# Where an event may lie, in microseconds after TEN: anywhere in three hours, and close to the edges of minutes and hours.
places = st.one_of(
    st.integers(0, 3 * 3600 * SECOND),
    st.builds(lambda minute, off: minute * 60 * SECOND + off, st.integers(1, 179), st.integers(-1, 1)),
)
verdicts = st.sampled_from([(1, 1), (0, 1), (0, 0)])
# Batches of (subject, place, verdict): the same subject again is a redelivery or a correction, in whatever order.
batches = st.lists(st.lists(st.tuples(st.integers(1, 12), places, verdicts), max_size=12), max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches, st.integers(0, 200), st.integers(1, 300))
def test_roll_ups_ledger_and_windows_equal_a_count_by_hand(agent, agreement, told, t_minute, length):
    for model in (SliEvent, SliMinute, SliHour):
        model.objects.all().delete()
    objective = Objective.objects.get(indicator=agreement)
    objective.period_s, t = length * 60, minute_key(TEN) + t_minute * 60
    first: dict[int, int] = {}
    last: dict[int, tuple[int, int]] = {}

    for batch in told:
        newest = {subject: (place, verdict) for subject, place, verdict in batch}
        actions.tell(
            [
                Told(agent.pk, "agreement", f"decision:{subject}", TEN + timedelta(microseconds=place), *verdict)
                for subject, place, verdict in batch
            ],
            at=NOW,
        )
        for subject, (place, verdict) in newest.items():
            first.setdefault(subject, place)
            last[subject] = verdict

    start = (TEN - EPOCH) // timedelta(microseconds=1)
    by_hand = {
        seconds: _sums({subject: start + place for subject, place in first.items()}, last, seconds)
        for seconds in (60, 3600)
    }
    assert _stored(SliMinute, "m") == by_hand[60]
    assert _stored(SliHour, "h") == by_hand[3600]
    assert recount(at=NOW) == []
    inside = [counts for key, counts in by_hand[60].items() if t - objective.period_s < key <= t]
    assert counts_for([objective], t)[objective.pk] == sum(inside, Counts())


def _sums(places_of, verdict_of, seconds):
    """Sum verdicts into (key − seconds, key] by comparing with the key itself; rows that count nothing are left out."""
    good, total = Counter(), Counter()
    for subject, place in places_of.items():
        key = place // (seconds * SECOND) * seconds
        if place > key * SECOND:
            key += seconds
        good[key] += verdict_of[subject][0]
        total[key] += verdict_of[subject][1]
    return {key: Counts(good[key], count) for key, count in total.items() if count}


def _stored(model, key):
    rows = model.objects.exclude(total=0).values_list(key, "good", "total")
    return {at: Counts(good, total) for at, good, total in rows}
