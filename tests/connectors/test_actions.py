import threading
from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from apps.agents.models import KillSwitch
from apps.audit.models import AuditEvent
from apps.connectors import actions
from apps.connectors.domain.addresses import BadNetwork
from apps.connectors.errors import AlreadyExecuted, KeyTaken, OutcomeKnown, UnknownSystem, Unsafe
from apps.connectors.models import ActionExecution, Connector
from apps.connectors.sealing import NoSealingKey
from tests.factories.connectors import DIGEST, make_connector

AT = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


def start(connector, *, call="call-1", **fields):
    return actions.start_execution(
        **{
            "thread_id": "thread-1",
            "tool_call_id": call,
            "proposal_id": 4711,
            "agent_id": 7,
            "connector_key": connector.key,
            "digest": DIGEST,
            "actor": "agent:7",
            "worker": "worker-1",
            "at": AT,
            **fields,
        }
    )


def events():
    return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


@pytest.fixture
def connector(team):
    return make_connector(team)


def test_connecting_a_system_makes_its_kill_switch_and_an_event(connector, team):
    switch = KillSwitch.objects.get(scope="connector", scope_id=connector.pk)

    assert (switch.engaged, switch.team) == (False, team)
    event = AuditEvent.objects.get(action="connector.connected")
    assert event.object == f"connector:{connector.pk}"


@pytest.mark.parametrize("url", ["http://tickets.example.com", "https://10.0.0.1", "https://127.0.0.1:8010"])
def test_a_system_at_an_unsafe_address_is_not_connected(team, url):
    with pytest.raises(Unsafe, match="was not connected"):
        make_connector(team, base_url=url)

    assert not Connector.objects.exists()
    assert events() == []


def test_a_system_is_not_connected_with_a_network_that_nobody_may_grant(team):
    with pytest.raises(BadNetwork):
        make_connector(team, allowed_cidrs=["0.0.0.0/0"])


def test_a_short_name_belongs_to_one_system(connector, team):
    with pytest.raises(KeyTaken):
        make_connector(team, key=connector.key)


def test_a_credential_is_replaced_and_only_its_key_is_recorded(connector):
    actions.store_credential(connector, secret="first-secret", actor="user:1")
    actions.store_credential(connector, secret="second-secret", actor="user:1")

    stored = AuditEvent.objects.filter(action="connector.credential_stored").order_by("id")
    assert ['"replaced":false' in stored[0].payload, '"replaced":true' in stored[1].payload] == [True, True]
    assert not AuditEvent.objects.filter(payload__contains="-secret").exists()
    assert Connector.objects.get(pk=connector.pk).credential.pk


def test_without_a_sealing_key_no_credential_is_stored(connector, settings):
    settings.CREDENTIAL_KEY = ""

    with pytest.raises(NoSealingKey, match="CREDENTIAL_KEY is not set"):
        actions.store_credential(connector, secret="first-secret", actor="user:1")

    assert not Connector.objects.get(pk=connector.pk).has_credential


@pytest.mark.parametrize(
    ("url", "keeps"),
    [
        ("https://tickets.example.com/api", True),
        ("https://tickets.example.com:443/", True),
        ("https://tickets.example.com:8443", False),
        ("https://other.example.com", False),
    ],
)
def test_a_moved_system_keeps_its_credential_only_at_the_same_origin(connector, url, keeps):
    actions.store_credential(connector, secret="first-secret", actor="user:1")
    actions.record_check(connector, is_reachable=True, note="It answered.", actor="user:1")

    actions.move_system(connector, base_url=url, actor="user:1")

    moved = Connector.objects.get(pk=connector.pk)
    assert (moved.base_url, moved.has_credential, moved.is_reachable) == (url.rstrip("/"), keeps, None)
    assert events()[-1] == "connector.moved"


def test_a_system_is_not_moved_to_an_unsafe_address(connector):
    with pytest.raises(Unsafe, match="was not moved"):
        actions.move_system(connector, base_url="https://169.254.169.254", actor="user:1")

    actions.move_system(connector, base_url=connector.base_url, actor="user:1")
    assert "connector.moved" not in events()


def test_a_network_is_granted_once_and_recorded_with_its_reason(connector):
    for _ in range(2):
        actions.grant_network(connector, cidr="10.20.0.0/16", reason="Data centre", actor="user:1")

    connector.refresh_from_db()
    assert connector.allowed_cidrs == ["10.20.0.0/16"]
    assert events().count("connector.network_granted") == 1


def test_a_network_is_taken_back(connector):
    actions.grant_network(connector, cidr="10.20.0.0/16", actor="user:1")
    actions.withdraw_network(connector, cidr="10.20.0.0/16", actor="user:1")

    connector.refresh_from_db()
    assert connector.allowed_cidrs == []
    assert events()[-1] == "connector.network_withdrawn"


def test_a_started_execution_is_in_the_ledger_before_anything_is_sent(connector):
    execution = start(connector)

    row = ActionExecution.objects.get()
    assert (row.pk, row.state, row.idempotency_key) == (execution.pk, "started", "thread-1:call-1")
    assert (row.started_at, row.ended_at) == (AT, None)
    event = AuditEvent.objects.get(action="execution.started")
    assert (event.object, event.proposal) == (f"execution:{row.pk}", "4711")


def test_a_second_start_of_the_same_call_is_refused_with_the_first_row(connector):
    first = start(connector)

    with pytest.raises(AlreadyExecuted) as refused:
        start(connector, worker="worker-2")

    assert refused.value.execution == first
    assert events().count("execution.started") == 1


def test_a_refused_start_leaves_the_callers_transaction_usable(connector):
    start(connector)

    with transaction.atomic():
        with pytest.raises(AlreadyExecuted):
            start(connector)
        start(connector, call="call-2")

    assert ActionExecution.objects.count() == 2


def test_a_rolled_back_caller_leaves_no_row_and_no_event(connector):
    with transaction.atomic():
        start(connector)
        transaction.set_rollback(True)

    assert not ActionExecution.objects.exists()
    assert "execution.started" not in events()


def test_nothing_starts_in_a_system_that_is_not_connected(connector):
    with pytest.raises(UnknownSystem):
        start(connector, connector_key="nowhere")


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_at_once_exactly_one_starts(team):
    connector = make_connector(team)
    barrier, outcomes = threading.Barrier(8), []

    def try_to_start(number):
        try:
            barrier.wait()
            start(connector, worker=f"worker-{number}")
            outcomes.append("started")
        except AlreadyExecuted:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=try_to_start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused"] * 7 + ["started"]
    assert ActionExecution.objects.count() == 1


def test_an_execution_ends_once_with_its_result(connector):
    execution = start(connector)

    ended = actions.finish_execution(execution, state="done", result={"etag": '"2"'}, external_ref="tickets/1@2", at=AT)
    again = actions.finish_execution(execution, state="done", result={"etag": "other"})

    assert (ended.state, ended.external_ref, ended.ended_at) == ("done", "tickets/1@2", AT)
    assert again.result == {"etag": '"2"'}
    assert events().count("execution.finished") == 1


@pytest.mark.parametrize(("first", "second"), [("done", "failed"), ("failed", "done"), ("done", "unknown")])
def test_a_known_outcome_stays(connector, first, second):
    execution = start(connector)
    actions.finish_execution(execution, state=first)

    with pytest.raises(OutcomeKnown, match=f"already ended as {first}"):
        actions.finish_execution(execution, state=second)

    execution.refresh_from_db()
    assert execution.state == first


def test_an_unknown_outcome_is_settled_by_a_person(connector):
    execution = start(connector)
    actions.finish_execution(execution, state="unknown")

    settled = actions.finish_execution(execution, state="done", actor="user:3")

    assert settled.state == "done"
    assert AuditEvent.objects.filter(action="execution.finished").latest("id").actor == "user:3"


def test_a_repeat_that_was_held_back_is_counted(connector):
    execution = start(connector)

    actions.suppress(execution)
    row = actions.suppress(execution)

    assert row.suppressed == 2
    assert events().count("execution.suppressed") == 2


@pytest.mark.processes
def test_the_command_connects_a_system_of_this_machine(desk, team, monkeypatch, capsys):
    monkeypatch.setenv("CONNECTOR_SECRET", desk.api_key)

    call_command(
        "connect_system", "own", desk.base_url, team="support", network=["127.0.0.0/8"], probe_path="/tickets?limit=1"
    )

    assert "own is connected. It answered 200" in capsys.readouterr().out


def test_the_command_says_why_it_connected_nothing(team):
    with pytest.raises(CommandError, match="Plain http is only for a loopback address"):
        call_command("connect_system", "own", "http://tickets.example.com", team="support", no_auth=True)
    with pytest.raises(CommandError, match="There is no team nobody"):
        call_command("connect_system", "own", "https://tickets.example.com", team="nobody")

    assert not Connector.objects.exists()
