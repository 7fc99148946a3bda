"""A5 and A6: the database fills the row and refuses every change, to the owner of the tables and a superuser too."""

import datetime as dt
import json

import pytest
from django.db import DatabaseError, connection, transaction

from apps.audit import actions as audit
from apps.audit.models import AuditEvent
from tests.audit.test_domain import HEADER

REFUSED = "audit events are append-only"
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_auditevent'::regclass ORDER BY 1"
)


@pytest.fixture
def event(db):
    audit.record("x.told", subject="thing:1", actor="timer", payload={"amount": "42.50"})
    return AuditEvent.objects.get()


def run(sql, *values):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def insert(*, header=None, salt=bytes(16), payload="{}", **columns):
    moment = run("SELECT clock_timestamp()")[0][0]
    text = json.dumps(HEADER | {"ts": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}) if header is None else header
    names = ["header", "salt", "payload", *columns]
    run(
        f"INSERT INTO audit_auditevent ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})",  # noqa: S608  # names of this file
        text,
        salt,
        payload,
        *columns.values(),
    )


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_auditevent SET payload = '{}'",
        "UPDATE audit_auditevent SET payload = NULL, salt = NULL",
        "UPDATE audit_auditevent SET actor = 'user:2'",
        "UPDATE audit_auditevent SET recorded_at = recorded_at + interval '40 days'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
    ],
)
def test_no_row_changes_or_goes(event, sql):
    with pytest.raises(DatabaseError, match=REFUSED):
        run(sql)

    assert AuditEvent.objects.get().leaf == event.leaf


def test_django_itself_cannot_change_an_event(event):
    with pytest.raises(DatabaseError, match=REFUSED), transaction.atomic():
        AuditEvent.objects.update(action="x.else")
    with pytest.raises(DatabaseError, match=REFUSED), transaction.atomic():
        event.delete()


def test_every_partition_is_guarded_by_itself(event):
    audit.make_partitions(months_ahead=4)
    partitions = [name for (name,) in run(PARTITIONS)]

    assert len(partitions) >= 6
    for name in partitions:
        with pytest.raises(DatabaseError, match=REFUSED):
            run(f"TRUNCATE {name}")


def test_a_row_in_a_partition_cannot_be_changed_through_the_partition(event):
    (partition,) = run("SELECT tableoid::regclass::text FROM audit_auditevent")[0]

    for sql in ("UPDATE {} SET payload = '{{}}'", "DELETE FROM {}"):
        with pytest.raises(DatabaseError, match=REFUSED):
            run(sql.format(partition))


def test_events_go_to_the_partition_of_their_month(event):
    (partition,) = run("SELECT tableoid::regclass::text FROM audit_auditevent")[0]

    assert partition == event.recorded_at.astimezone(dt.UTC).strftime("audit_auditevent_%Y_%m")


def test_the_guard_is_on_in_the_running_session(db):
    assert run("SHOW session_replication_role") == [("origin",)]


def test_a_well_formed_row_by_hand_is_taken(db):
    insert()

    assert AuditEvent.objects.get().object == "proposal:4711"


@pytest.mark.parametrize("salt", [None, b"", bytes(15), bytes(17)])
def test_a_salt_of_another_length_is_refused(db, salt):
    with pytest.raises(DatabaseError, match="salt of 16 bytes"):
        insert(salt=salt)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_header_with_another_time_is_refused(db, minutes):
    moment = run("SELECT clock_timestamp()")[0][0] + dt.timedelta(minutes=minutes)

    with pytest.raises(DatabaseError, match="more than 5 min off"):
        insert(header=json.dumps(HEADER | {"ts": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}))


@pytest.mark.parametrize("key", ["ts", "id", "actor", "action", "object"])
def test_a_header_without_what_the_columns_need_is_refused(db, key):
    moment = run("SELECT clock_timestamp()")[0][0]
    header = HEADER | {"ts": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")} | {key: None}

    with pytest.raises(DatabaseError):
        insert(header=json.dumps(header))


def test_a_payload_missing_or_over_64_kib_is_refused(db):
    for payload in (None, "x" * 65_537):
        with pytest.raises(DatabaseError, match="64 KiB"):
            insert(payload=payload)


def test_a_hash_told_by_the_caller_is_overwritten(db):
    insert(pc=bytes(32), leaf=bytes(32), actor="user:2", xid="1")

    event = AuditEvent.objects.get()
    assert event.leaf != bytes(32)
    assert event.actor == "user:81"
    assert event.xid != 1


def test_a_time_of_recording_told_by_the_caller_is_refused(db):
    moment = run("SELECT clock_timestamp() - interval '1 day'")[0][0]

    with pytest.raises(DatabaseError, match="recorded_at"):
        insert(recorded_at=moment)


def test_an_id_told_by_the_caller_is_refused(db):
    with pytest.raises(DatabaseError, match="GENERATED ALWAYS"):
        insert(id=1)


@pytest.mark.django_db(transaction=True)
def test_a_test_that_commits_is_cleaned_and_leaves_the_guard_on():
    audit.record("x.told", subject="thing:1", actor="timer")

    with pytest.raises(DatabaseError, match=REFUSED):
        run("TRUNCATE audit_auditevent")


@pytest.mark.django_db(transaction=True)
def test_after_a_flush_the_log_of_the_next_test_is_empty():
    assert not AuditEvent.objects.exists()
    assert run("SHOW session_replication_role") == [("origin",)]
