import logging

import pytest
from django.db import connection

from apps.audit.models import AuditEvent
from apps.audit.queries import stray_events
from apps.audit.tasks import partitions

pytestmark = pytest.mark.django_db


def test_the_daily_task_makes_what_is_missing_and_may_run_twice():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(inhrelid::regclass::text) FILTER (WHERE inhrelid::regclass::text ~ '[0-9]') FROM pg_inherits WHERE inhparent = 'audit_auditevent'::regclass"
        )
        (last,) = cursor.fetchone()
        cursor.execute(f"DROP TABLE {last}")

    partitions()
    partitions()

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [last])
        assert cursor.fetchone() == (True,)


def test_events_in_the_default_partition_raise_an_alarm(caplog):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_auditevent'::regclass"
        )
        for (name,) in cursor.fetchall():
            if name != "audit_auditevent_default":
                cursor.execute(f"DROP TABLE {name}")
    from apps.audit import actions as audit

    audit.record("x.told", subject="thing:1", actor="timer")

    with caplog.at_level(logging.ERROR, logger="apps.audit.tasks"):
        partitions()

    assert AuditEvent.objects.count() == stray_events() == 1
    assert "outside their month's partition" in caplog.text
