"""Tests that commit are cleaned by TRUNCATE, which the audit log refuses. The flush alone may switch its guard off."""

import pytest


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Let Django's flush, and nothing else, run as a replica, where triggers sleep."""
    from django.db import connection

    execute = connection.ops.execute_sql_flush

    def execute_as_replica(sql_list):
        execute(["SET LOCAL session_replication_role = replica", *sql_list])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.ops, "execute_sql_flush", execute_as_replica)
        yield
