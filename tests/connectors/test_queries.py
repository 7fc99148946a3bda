from datetime import UTC, datetime, timedelta

import pytest

from apps.connectors import queries
from apps.connectors.errors import UnknownSystem
from tests.factories.connectors import make_connector, make_execution

NOW = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


@pytest.fixture
def connector(team):
    return make_connector(team)


def test_a_connector_comes_with_team_and_credential_in_one_query(connector, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = queries.connector(connector.key)
        assert (found.team.name, found.has_credential) == ("Support", False)


def test_an_unknown_key_is_refused(db):
    with pytest.raises(UnknownSystem):
        queries.connector("nowhere")


def test_a_person_sees_the_systems_of_their_teams_only(ivo, eve, team, other_team):
    make_connector(team, name="Ours")
    make_connector(other_team, name="Theirs")

    assert [row.connector.name for row in queries.systems(ivo)] == ["Ours"]
    assert [row.connector.name for row in queries.systems(eve)] == ["Theirs"]


def test_executions_are_found_by_their_proposals(connector, django_assert_num_queries):
    first = make_execution(connector, proposal_id_value=1, started_at=NOW)
    second = make_execution(connector, proposal_id_value=2, started_at=NOW)
    make_execution(connector, proposal_id_value=3, started_at=NOW)

    with django_assert_num_queries(1):
        found = queries.executions_for([1, 2, 99])

    assert found == {1: [first], 2: [second]}


def test_a_row_started_long_ago_has_lost_its_worker(connector):
    lost = make_execution(connector, started_at=NOW - timedelta(seconds=61))
    make_execution(connector, started_at=NOW - timedelta(seconds=60))
    make_execution(connector, started_at=NOW - timedelta(hours=1), state="done")
    make_execution(connector, started_at=NOW - timedelta(hours=1), state="unknown")

    assert list(queries.stuck_executions(NOW)) == [lost]


def test_unknown_outcomes_come_oldest_first(ivo, connector):
    newer = make_execution(connector, state="unknown", started_at=NOW)
    older = make_execution(connector, state="unknown", started_at=NOW - timedelta(days=1))

    page = queries.system_page(ivo, connector.key)

    assert [write.execution for write in page.unknown] == [older, newer]
    assert len(page.recent) == 2
