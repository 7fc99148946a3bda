"""Counting decisions and executions into their minute, exactly once, whatever comes late or twice."""

from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.agents.models import Standing
from apps.approvals.actions.undoing import undo
from apps.slo import actions
from apps.slo.actions import Told
from apps.slo.domain.budget import Counts
from apps.slo.domain.windows import hour_key, minute_key
from apps.slo.models import Cursor, Indicator, Objective, SliEvent, SliHour, SliMinute
from apps.slo.queries import budgets_by_agent, counts_for
from tests.factories.approvals import TEN, decide, make_agent, make_connector, make_proposal
from tests.factories.connectors import make_execution
from tests.slo.collecting import collect, collect_up_to, counted, indicator_of

# The collector reads what has committed, so these tests commit.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def agent(team, ada):
    return make_agent(team, ada)


def agreement(agent):
    return indicator_of(agent, Indicator.Kind.AGREEMENT)


def write_back(agent):
    return indicator_of(agent, Indicator.Kind.WRITE_BACK)


def test_every_agent_gets_two_objectives_once(agent):
    actions.ensure_objectives(agent)
    actions.ensure_objectives(agent)

    assert sorted(Objective.objects.filter(indicator__agent=agent).values_list("indicator__kind", flat=True)) == [
        "agreement",
        "write_back",
    ]


def test_an_unedited_approval_is_good_and_a_rejection_is_bad_in_their_own_minute(team, ada, ben, agent):
    decide(make_proposal(team, ada, agent=agent), ben)
    decide(
        make_proposal(team, ada, agent=agent, target="desk:tickets/T-2"), ben, "reject", at=TEN + timedelta(minutes=5)
    )

    collect()

    rows = SliMinute.objects.filter(indicator=agreement(agent)).order_by("m").values_list("m", "good", "total")
    assert list(rows) == [(minute_key(TEN), 1, 1), (minute_key(TEN + timedelta(minutes=5)), 0, 1)]


def test_an_edit_is_a_decision_that_did_not_agree(team, ada, ben, agent):
    proposal = make_proposal(team, ada, agent=agent)
    decide(proposal, ben, "edit", args={**proposal.args, "queue": "network"})

    collect()

    assert counted(agreement(agent)) == (0, 1)


def test_collecting_twice_counts_once(team, ada, ben, agent):
    decide(make_proposal(team, ada, agent=agent), ben)

    collect()
    SliEvent.objects.count()
    collect()

    assert counted(agreement(agent)) == (1, 1)


def test_an_undone_decision_leaves_the_count(team, ada, ben, agent):
    proposal = make_proposal(team, ada, agent=agent, policy={"undo_s": 60})
    decide(proposal, ben)
    collect()

    undo(proposal.pk, actor=ben, at=TEN + timedelta(seconds=10))
    collect()

    assert counted(agreement(agent)) == (0, 0)


def test_an_expiry_is_no_decision(team, ada, agent):
    from apps.approvals.actions.closing import expire_overdue

    make_proposal(team, ada, agent=agent)

    expire_overdue(at=TEN + timedelta(days=2))
    collect()

    assert counted(agreement(agent)) == (0, 0)


def test_a_write_counts_as_good_only_when_the_system_confirmed_it(team, ada, agent):
    connector = make_connector(team)
    for state, reference in (("done", "v2"), ("done", ""), ("failed", "")):
        make_execution(
            connector, agent_id_value=agent.pk, state=state, external_ref=reference, started_at=TEN, ended_at=TEN
        )

    collect()

    assert counted(write_back(agent)) == (1, 2)


@pytest.mark.parametrize(("minutes", "expected"), [(14, (0, 0)), (15, (0, 1))])
def test_an_unknown_outcome_counts_as_bad_once_the_wait_is_over(team, agent, minutes, expected):
    make_execution(make_connector(team), agent_id_value=agent.pk, state="unknown", started_at=TEN)

    actions.collect(at=TEN + timedelta(minutes=minutes))

    assert counted(write_back(agent)) == expected


def test_what_is_told_as_far_in_the_future_is_counted_when_it_was_learned(agent):
    actions.ensure_objectives(agent)

    actions.tell([Told(agent.pk, "agreement", "decision:1", TEN + timedelta(hours=3), 1, 1)], at=TEN)

    event = SliEvent.objects.get()
    assert event.is_skewed
    assert event.occurred_at == TEN


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 8), st.integers(0, 600), st.booleans(), st.booleans()),
        max_size=30,
    )
)
def test_the_roll_ups_equal_a_direct_count_whatever_is_told_late_or_corrected(agent, told):
    SliEvent.objects.all().delete()
    SliMinute.objects.all().delete()
    SliHour.objects.all().delete()
    actions.ensure_objectives(agent)
    truth: dict[str, tuple] = {}
    for subject, minutes, is_good, counts in told:
        at = TEN + timedelta(minutes=minutes)
        actions.tell(
            [Told(agent.pk, "agreement", f"decision:{subject}", at, int(is_good and counts), int(counts))],
            at=TEN + timedelta(days=1),
        )
        first = truth.get(f"decision:{subject}", (at,))[0]
        truth[f"decision:{subject}"] = (first, int(is_good and counts), int(counts))

    for model, name, key in ((SliMinute, "m", lambda m: m), (SliHour, "h", hour_key)):
        good, total = Counter(), Counter()
        for at, good_count, total_count in truth.values():
            good[key(minute_key(at))] += good_count
            total[key(minute_key(at))] += total_count
        for row in model.objects.filter(indicator=agreement(agent)):
            at = getattr(row, name)
            assert (row.good, row.total) == (good.pop(at, 0), total.pop(at, 0))
        assert not any(total.values())


def test_the_window_reads_hours_and_edge_minutes_as_one_count(agent):
    actions.ensure_objectives(agent)
    actions.tell(
        [
            Told(agent.pk, "agreement", f"decision:{number}", TEN - timedelta(minutes=37 * number), number % 2, 1)
            for number in range(200)
        ],
        at=TEN + timedelta(hours=1),
    )
    objective = Objective.objects.get(indicator=agreement(agent))
    objective.period_s = 86_400
    t = minute_key(TEN) + 600

    counts = counts_for([objective], t)[objective.pk]

    inside = [number for number in range(200) if t - 86_400 < minute_key(TEN - timedelta(minutes=37 * number)) <= t]
    assert counts == Counts(sum(number % 2 for number in inside), len(inside))


def test_the_worst_budget_is_reported_to_the_agent(agent):
    actions.ensure_objectives(agent)
    actions.tell([Told(agent.pk, "agreement", f"decision:{n}", TEN, int(n > 5), 1) for n in range(10)], at=TEN)

    actions.collect()

    actions.evaluate(at=TEN + timedelta(minutes=5))

    standing = Standing.objects.get(agent=agent, kind=Standing.Kind.BUDGET)
    assert standing.value == "frozen"
    assert standing.as_of == TEN + timedelta(minutes=5)


def test_an_agent_nobody_judged_yet_has_spent_nothing(agent):
    actions.ensure_objectives(agent)
    actions.collect()

    actions.evaluate(at=TEN)

    assert Standing.objects.get(agent=agent, kind=Standing.Kind.BUDGET).value == "ok"


def test_before_the_first_collection_no_budget_is_reported(agent):
    actions.ensure_objectives(agent)

    assert actions.evaluate(at=TEN) == 0
    assert not Standing.objects.filter(agent=agent).exists()


def test_a_source_that_was_never_collected_keeps_budgets_from_being_reported(agent):
    actions.collect(at=TEN)
    Cursor.objects.filter(source="connectors.execution").update(collected_at=None)

    assert actions.evaluate(at=TEN) == 0


def test_a_report_is_as_old_as_the_source_collected_least_recently(agent):
    actions.collect(at=TEN)
    Cursor.objects.filter(source="connectors.execution").update(collected_at=TEN - timedelta(hours=1))

    actions.evaluate(at=TEN + timedelta(hours=2))

    assert Standing.objects.get(agent=agent).as_of == TEN - timedelta(hours=1)


def test_a_report_ages_while_nothing_is_collected_and_its_failures_stay_in_it(agent):
    actions.ensure_objectives(agent)
    actions.tell([Told(agent.pk, "agreement", f"decision:{n}", TEN, 0, 1) for n in range(10)], at=TEN)
    actions.collect(at=TEN + timedelta(hours=1))

    for days in range(1, 60):
        actions.evaluate(at=TEN + timedelta(days=days))

    standing = Standing.objects.get(agent=agent)
    assert (standing.value, standing.as_of) == ("frozen", TEN + timedelta(hours=1))


def test_time_stands_still_while_an_open_transaction_holds_the_collector_back(agent):
    other = psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": None})
    (held,) = other.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    collect_up_to(held, at=TEN)

    actions.collect(at=TEN + timedelta(hours=1))
    while_it_is_open = set(Cursor.objects.values_list("collected_at", flat=True))
    other.close()
    collect_up_to(held + 1, at=TEN + timedelta(hours=2))

    assert while_it_is_open == {TEN}
    assert set(Cursor.objects.values_list("collected_at", flat=True)) == {TEN + timedelta(hours=2)}


def test_the_fleet_reads_any_number_of_agents_in_three_queries(team, ada, django_assert_num_queries):
    for _ in range(3):
        actions.ensure_objectives(make_agent(team, ada))

    with django_assert_num_queries(3):
        assert len(budgets_by_agent(at=TEN)) == 3
