"""R13: how threads are kept behind a pooler that hands out another server's session at each transaction."""

import pytest
from django.db import connection

from apps.runs import checkpoints
from tests.runs.conftest import another_session

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def options(transactional_db, checkpoint_tables):
    """The database's options, free to be changed; what is open is opened anew before and after."""
    kept = dict(connection.settings_dict["OPTIONS"])
    checkpoints.close()
    yield connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = kept
    checkpoints.close()


@pytest.fixture
def direct(options, settings):
    """A way around the pooler, told apart by its name."""
    at = connection.settings_dict
    settings.DIRECT_DATABASE = {**at, "OPTIONS": {"application_name": "the direct way"}}


def told_by(pool, name):
    with pool.connection() as conn:
        return conn.execute("SELECT current_setting(%s) AS told", [name]).fetchone()["told"]


@pytest.mark.parametrize(
    ("given", "kept"), [({}, 5), ({"prepare_threshold": None}, None), ({"prepare_threshold": 0}, 0)]
)
def test_a_prepare_threshold_of_the_database_counts_for_checkpoints(options, given, kept):
    options.update(given)

    with checkpoints._opened().pool.connection() as conn:
        assert conn.prepare_threshold == kept


def test_without_a_pooler_locks_and_checkpoints_share_their_connections(options):
    store = checkpoints._opened()

    assert store.locks is store.pool
    assert told_by(store.pool, "synchronous_commit") == "off"


def test_a_lock_goes_around_the_pooler_and_checkpoints_through_it(direct):
    store = checkpoints._opened()

    assert told_by(store.locks, "application_name") == "the direct way"
    assert told_by(store.pool, "application_name") == "pastpilot checkpoints"


def test_behind_a_pooler_nothing_is_prepared_and_nothing_set_for_a_session(direct):
    store = checkpoints._opened()

    with store.pool.connection() as conn:
        assert conn.prepare_threshold is None
    assert "synchronous_commit" not in store.pool.conninfo


def test_a_lock_held_over_the_direct_way_counts_for_everybody(direct):
    with checkpoints.thread_lock("a-thread") as is_ours, another_session(autocommit=True) as other:
        (free,) = other.execute("SELECT pg_try_advisory_lock(hashtextextended('a-thread', 0))").fetchone()

    assert is_ours
    assert not free


def test_connections_that_the_database_closed_are_replaced(options):
    store = checkpoints._opened()
    with checkpoints.thread_lock("a-thread") as is_ours, another_session(autocommit=True) as other:
        assert is_ours
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'pastpilot checkpoints'"
        )
    # It looked at them a moment ago; after a restart nobody comes so soon.
    checkpoints._looked_at.clear()

    assert told_by(store.pool, "application_name") == "pastpilot checkpoints"
    with checkpoints.thread_lock("a-thread") as is_free:
        assert is_free


def test_a_connection_commits_each_statement_and_belongs_to_one_process(options):
    store = checkpoints._opened()

    with store.pool.connection() as conn:
        assert conn.autocommit
    assert checkpoints.saver() is store.saver
    store.pid -= 1
    assert checkpoints.saver() is not store.saver
    store.pool.close()


def test_migrations_go_around_the_pooler(direct):
    assert checkpoints.migrate() >= 0


def test_a_name_given_in_the_databases_url_is_kept(options):
    options["application_name"] = "ours"

    assert told_by(checkpoints._opened().pool, "application_name") == "ours"
