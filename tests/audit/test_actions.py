import datetime as dt
import json
import uuid
from decimal import Decimal

import pytest
import structlog
from django.db import connection, transaction

from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain import hashing
from apps.audit.domain.canonical import CanonicalError, canonical
from apps.audit.domain.headers import KEYS
from apps.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


def only_event():
    return AuditEvent.objects.get()


def test_it_writes_one_event_with_every_header_key():
    audit.record(
        "proposal.decided",
        subject="proposal:4711",
        actor="user:81",
        team_id=3,
        payload={"amount": "42.50"},
        on_behalf_of="user:7",
        agent_version="sha256:ab",
        policy="route@3",
        proposal_id=4711,
        digest="sha256:cd",
        outcome="approved",
        trace_id="4bf92f35",
    )

    header = json.loads(only_event().header)
    moment = header.pop("ts")
    uuid.UUID(header.pop("id"))
    assert abs(dt.datetime.fromisoformat(moment) - clock()) < dt.timedelta(seconds=5)
    assert header == {
        "v": 1,
        "team": "team:3",
        "actor": "user:81",
        "on_behalf_of": "user:7",
        "action": "proposal.decided",
        "object": "proposal:4711",
        "agent_version": "sha256:ab",
        "policy": "route@3",
        "proposal": "4711",
        "digest": "sha256:cd",
        "outcome": "approved",
        "request_id": None,
        "trace_id": "4bf92f35",
    }


def test_the_stored_header_is_its_own_canonical_text():
    audit.record("x.told", subject="thing:1", actor="system")

    header = json.loads(only_event().header)
    assert canonical(header) == only_event().header
    assert header.keys() == KEYS


def test_the_database_computes_the_same_hashes_as_the_rules():
    audit.record("x.told", subject="thing:1", actor="system", payload={"note": "café, \x00 and \U0001f600"})

    event = only_event()
    assert len(event.salt) == 16
    assert event.pc == hashing.payload_commitment(event.salt, event.payload)
    assert event.leaf == hashing.leaf(event.pc, event.header)


def test_the_database_fills_the_columns_for_searching():
    audit.record("x.told", subject="thing:1", actor="timer", team_id=3, proposal_id=9)

    event = only_event()
    header = json.loads(event.header)
    assert (event.team, event.actor, event.action, event.object, event.proposal) == (
        "team:3",
        "timer",
        "x.told",
        "thing:1",
        "9",
    )
    assert str(event.event_id) == header["id"]
    assert (event.epoch, event.recorded_at.tzinfo) == (1, dt.UTC)


def test_the_event_carries_the_number_of_its_transaction():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text")
        (running,) = cursor.fetchone()

    audit.record("x.told", subject="thing:1", actor="timer")

    assert only_event().xid == int(running)


def test_it_takes_the_request_from_the_log_context():
    with structlog.contextvars.bound_contextvars(request_id="req-1", trace_id="4bf9"):
        audit.record("x.told", subject="thing:1", actor="timer")

    header = json.loads(only_event().header)
    assert (header["request_id"], header["trace_id"]) == ("req-1", "4bf9")


def test_a_request_id_that_is_no_pseudonym_stays_out_of_the_header():
    with structlog.contextvars.bound_contextvars(request_id="Ada Lovelace <ada@example.com>"):
        audit.record("x.told", subject="thing:1", actor="timer")

    assert json.loads(only_event().header)["request_id"] is None


def test_the_event_vanishes_with_the_change_that_it_tells():
    with transaction.atomic():
        audit.record("x.told", subject="thing:1", actor="timer")
        assert AuditEvent.objects.exists()
        transaction.set_rollback(True)

    assert not AuditEvent.objects.exists()


def test_a_payload_spells_moments_amounts_and_ids():
    audit.record(
        "x.told",
        subject="thing:1",
        actor="timer",
        payload={
            "happened_at": dt.datetime(2026, 3, 1, 11, 15, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "amounts": (Decimal("42.50"), 0.5),
            "day": dt.date(2026, 3, 1),
            "id": uuid.UUID(int=1),
        },
    )

    assert only_event().payload == (
        '{"amounts":["42.50",0.5],"day":"2026-03-01","happened_at":"2026-03-01T10:15:00.000000Z",'
        '"id":"00000000-0000-0000-0000-000000000001"}'
    )


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"a": [float("nan")]}, "/a/0"),
        ({"a": {"b/c": 2**53}}, "/a/b~1c"),
        ({"a": object()}, "/a"),
        ({"at": dt.datetime(2026, 3, 1)}, "/at"),  # noqa: DTZ001  # the missing zone is the point
        ({"a": "\ud800"}, "/a"),
    ],
)
def test_it_refuses_a_payload_without_a_canonical_text(payload, pointer):
    with pytest.raises(CanonicalError) as refused:
        audit.record("x.told", subject="thing:1", actor="timer", payload=payload)

    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"actor": ""}, "/actor"),
        ({"subject": 4711}, "/object"),
        ({"outcome": 0.5}, "/outcome"),
        ({"outcome": "a\x00b"}, "/outcome"),
    ],
)
def test_it_refuses_a_header_value_that_is_not_text(fields, pointer):
    with pytest.raises(CanonicalError) as refused:
        audit.record("x.told", **{"subject": "thing:1", "actor": "timer", **fields})

    assert refused.value.pointer == pointer


def test_a_payload_too_large_stays_with_its_object_and_leaves_its_hash():
    audit.record("x.told", subject="thing:1", actor="timer", payload={"text": "é" * 40_000})

    kept = json.loads(only_event().payload)
    assert kept.keys() == {"bytes", "kept_with", "sha256"}
    assert (kept["bytes"], kept["kept_with"]) == (80_011, "thing:1")


def test_a_batch_keeps_its_order_in_one_round_trip(django_assert_num_queries):
    with django_assert_num_queries(1):
        audit.record_many(
            audit.Event(action="x.told", subject=f"thing:{n}", actor="timer", payload={"n": n}) for n in range(300)
        )

    told = list(AuditEvent.objects.order_by("id"))
    assert [event.object for event in told] == [f"thing:{n}" for n in range(300)]
    assert [event.payload for event in told] == [f'{{"n":{n}}}' for n in range(300)]


def test_one_event_is_one_round_trip(django_assert_num_queries):
    with django_assert_num_queries(1):
        audit.record("x.told", subject="thing:1", actor="timer")


def test_an_empty_batch_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        audit.record_many([])


def test_partitions_are_made_ahead_once():
    made = audit.make_partitions(months_ahead=5)

    assert len(made) == 2
    assert audit.make_partitions(months_ahead=5) == []
