"""The client against the real ticket desk over loopback."""

import os
import socket
import threading
import time

import pytest

from apps.connectors import client
from apps.connectors.actions import store_credential
from apps.connectors.errors import (
    AlreadyThere,
    Changed,
    CredentialMissing,
    NoAnswer,
    NotFound,
    NotSent,
    Refused,
    Unclear,
    UnknownSystem,
    Unsafe,
)
from apps.connectors.models import Connector
from tests.factories.connectors import LOOPBACK, make_connector

pytestmark = [pytest.mark.django_db, pytest.mark.processes]

TICKET = {"id": "T-1001", "text": "My virtual desktop is black", "customer": "C-77"}
TARGET = "desk:tickets/T-1001"


def write(target=TARGET, *, etag='"1"', key="thread-1:call-1", **changes):
    return client.write(
        target, changes=changes or {"queue": "display"}, etag=etag, idempotency_key=key, actor="agent:7"
    )


@pytest.fixture
def connected(desk, desk_connector):
    desk.load(tickets=[TICKET], customers=[{"id": "C-77", "name": "Adler Clinic", "plan": "gold"}])
    return desk_connector


def test_it_reads_a_record_with_its_version(connected):
    record = client.read(TARGET)

    assert record.target == TARGET
    assert record.etag == '"1"'
    assert record.fields["text"] == "My virtual desktop is black"
    assert record.fields["queue"] is None


def test_it_finds_records_by_a_field(connected, desk):
    desk.load(tickets=[{"id": "T-2", "text": "Another", "customer": "C-1"}])

    found = client.search("desk", "tickets", {"customer": "C-77"})

    assert [(record.target, record.etag) for record in found] == [(TARGET, '"1"')]


def test_it_writes_once_under_the_actors_name(connected, desk):
    written = write(queue="display", priority="high")

    assert (written.ref, written.etag, written.replayed) == ("tickets/T-1001@2", '"2"', False)
    assert [(row["key"], row["actor"], row["after"]) for row in desk.journal()] == [
        ("thread-1:call-1", "agent:7", {"queue": "display", "priority": "high"})
    ]


def test_it_hears_that_a_repeated_write_had_already_happened(connected, desk):
    write()

    again = write()

    assert again.replayed
    assert len(desk.journal()) == 1


def test_it_says_that_a_record_changed_in_between(connected, desk):
    desk.edit("T-1001", priority="low")

    with pytest.raises(Changed, match=r"Nothing was written\. Read it again"):
        write(etag='"1"')

    assert [row["actor"] for row in desk.journal()] == ["hand"]


def test_it_says_that_a_record_does_not_exist(connected):
    with pytest.raises(NotFound):
        client.read("desk:tickets/T-404")
    with pytest.raises(NotFound):
        write("desk:tickets/T-404")


def test_it_passes_on_why_the_system_refused(connected, desk):
    with pytest.raises(Refused, match="no field 'evil'") as refused:
        write(evil=1)

    assert refused.value.status == 422
    assert desk.journal() == []


def test_a_write_without_a_version_is_refused_by_a_system_that_wants_one(connected):
    with pytest.raises(Refused, match="If-Match") as refused:
        write(etag=None)

    assert refused.value.status == 428


@pytest.mark.parametrize(
    "target", ["desk", "desk:tickets", "desk:tickets/..", "desk:tickets/a/b", "desk:../T-1?x=1", ""]
)
def test_it_sends_nothing_for_a_text_that_names_no_record(connected, target):
    with pytest.raises(Refused, match="names no record"):
        client.read(target)


def test_it_knows_no_system_that_was_not_connected(db):
    with pytest.raises(UnknownSystem, match="There is no system called 'nowhere'"):
        client.read("nowhere:tickets/1")


def test_it_says_that_nothing_was_sent_when_the_system_is_down(connected, desk):
    desk.kill()

    with pytest.raises(NotSent, match="Nothing was sent"):
        client.read(TARGET)
    with pytest.raises(NotSent, match="Nothing was sent"):
        write()


def test_a_kept_connection_survives_a_restart_of_the_system(connected, desk):
    client.read(TARGET)
    desk.kill()
    desk.start()

    assert write().etag == '"2"'


def test_a_write_whose_answer_is_cut_is_unclear_and_settled_by_the_same_key(connected, desk):
    desk.stop()
    desk.start(faults="drop_after_write:1")

    with pytest.raises(NoAnswer, match="may or may not have been written"):
        write()
    desk.stop()
    desk.start()

    assert write().replayed
    assert len(desk.journal()) == 1


def test_a_write_that_never_arrived_is_unclear_too(connected, desk):
    desk.stop()
    desk.start(faults="drop_before_write:1")

    with pytest.raises(Unclear):
        write()

    assert desk.journal() == []


def test_a_failure_of_the_system_after_a_write_is_unclear(connected, desk):
    desk.stop()
    desk.start(faults="error_after_write:1")

    with pytest.raises(Unclear, match="answered 500"):
        write()


def test_a_slow_system_is_left_after_the_time_that_was_given(connected, desk):
    desk.stop()
    desk.start(faults="latency:3")
    began = time.monotonic()

    with pytest.raises(NoAnswer, match=r"within 0\.4 s"):
        client.read(TARGET, timeout=0.4)

    assert time.monotonic() - began < 1.5


def test_a_wrong_credential_is_refused_and_a_new_one_counts(connected, desk):
    store_credential(connected, secret="wrong", actor="system")
    client.forget()
    with pytest.raises(Refused, match="401"):
        client.read(TARGET)

    store_credential(connected, secret=desk.api_key, actor="system")
    client.forget()

    assert client.read(TARGET).etag == '"1"'


def test_a_system_without_its_credential_is_not_called(connected):
    connected.credential.delete()
    client.forget()

    with pytest.raises(CredentialMissing, match="not stored yet"):
        client.read(TARGET)


def test_a_credential_sealed_with_another_key_is_not_used(connected, settings):
    settings.CREDENTIAL_KEY = "AAAA" * 10 + "AAA="
    client.forget()

    with pytest.raises(CredentialMissing, match="sealed with key"):
        client.read(TARGET)


def test_an_address_whose_grant_was_taken_back_is_not_called(connected):
    Connector.objects.filter(pk=connected.pk).update(allowed_cidrs=[])
    client.forget()

    with pytest.raises(Unsafe, match="Nothing was sent"):
        client.read(TARGET)


def test_a_probe_says_in_a_sentence_what_it_found(connected, desk):
    assert client.probe("desk").note.startswith("It answered 200 in")

    store_credential(connected, secret="wrong", actor="system")
    assert "does not accept the credential" in client.probe("desk").note

    desk.kill()
    down = client.probe("desk")
    assert not down.is_reachable
    assert "could not be reached" in down.note


def test_a_forked_process_uses_connections_of_its_own(connected, desk):
    client.read(TARGET)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # The database connection stays with the parent: the child only looks at what it inherited.
        os.write(writer, b"none" if not client._links else b"some")
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reader, 4) == b"none"
    assert client.read(TARGET).etag == '"1"'
    os.close(reader)
    os.close(writer)


def test_a_client_is_replaced_only_when_no_call_runs_on_it(connected):
    with client._using("desk") as link:
        client.forget()
        assert link.client.is_closed is False

    assert link.client.is_closed


class Scripted(threading.Thread):
    """A server on loopback that answers every connection with the same bytes, piece by piece."""

    def __init__(self, *pieces, pause=0.0):
        super().__init__(daemon=True)
        self.pieces, self.pause = pieces, pause
        self.requests = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65536))
                try:
                    for piece in self.pieces:
                        connection.sendall(piece)
                        time.sleep(self.pause)
                except OSError:
                    continue


@pytest.fixture
def scripted(team):
    servers = []

    def start(*pieces, pause=0.0):
        server = Scripted(*pieces, pause=pause)
        servers.append(server)
        server.start()
        make_connector(team, key="odd", base_url=server.base_url, auth="none", allowed_cidrs=[LOOPBACK])
        return server

    client.forget()
    yield start
    client.forget()
    for server in servers:
        server.listener.close()


def test_a_redirect_is_never_followed(scripted):
    server = scripted(b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n")

    with pytest.raises(Unsafe, match="redirect, which is never followed"):
        client.read("odd:tickets/1")

    assert len(server.requests) == 1


def test_a_redirected_write_is_unclear_as_it_may_have_been_done(scripted):
    scripted(b"HTTP/1.1 303 See Other\r\nlocation: /done\r\ncontent-length: 0\r\n\r\n")

    with pytest.raises(Unclear, match="answered 303"):
        write("odd:tickets/1")


def test_an_answer_beyond_one_mebibyte_is_not_read(scripted):
    scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n", b"x" * 1_100_000)

    with pytest.raises(Refused, match="more than 1 MiB"):
        client.read("odd:tickets/1")


def test_a_write_that_was_confirmed_counts_even_when_its_answer_is_cut(scripted):
    scripted(b'HTTP/1.1 200 OK\r\netag: "5"\r\ncontent-length: 3000\r\n\r\n{')

    assert write("odd:tickets/1").ref == "tickets/1@5"


def test_a_server_that_trickles_its_headers_is_left_at_the_deadline(scripted):
    scripted(b"HTTP/1.1 200 OK\r\n", *[b"x-more: 1\r\n"] * 60, pause=0.1)
    began = time.monotonic()

    with pytest.raises(NoAnswer):
        client.read("odd:tickets/1", timeout=0.5)

    assert time.monotonic() - began < 2


def test_a_compressed_answer_is_not_unpacked(scripted):
    scripted(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc")

    with pytest.raises(Refused, match="compressed"):
        client.read("odd:tickets/1")


@pytest.mark.parametrize("body", [b"[]", b"nonsense", b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_no_record_is_refused(scripted, body):
    scripted(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body)

    with pytest.raises(Refused, match="no JSON record"):
        client.read("odd:tickets/1")


def test_a_read_is_tried_again_when_the_connection_is_cut(scripted):
    server = scripted()

    with pytest.raises(NoAnswer, match="only read; nothing was written"):
        client.read("odd:tickets/1")

    assert len(server.requests) == 3


def test_a_write_is_never_tried_again(scripted):
    server = scripted()

    with pytest.raises(NoAnswer):
        write("odd:tickets/1")

    assert len(server.requests) == 1


def test_no_proxy_of_the_environment_is_used(scripted, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    assert client.read("odd:tickets/1").fields == {}


def test_the_credential_is_in_no_error_and_no_repr(connected, desk):
    desk.kill()
    with pytest.raises(NotSent) as error:
        client.read(TARGET)

    with client._using("desk") as link:
        shown = f"{error.value!r} {error.value} {link.facts!r} {link.client!r}"

    assert desk.api_key not in shown


def create(target="desk:tickets/T-9", *, key="open:9:open-1", **record):
    return client.create(target, record=record or {"text": "Screen"}, idempotency_key=key, actor="user:7")


def test_it_creates_a_record_once_under_the_actors_name(connected, desk):
    written = create(text="Screen is black", customer="C-77")

    assert (written.ref, written.etag, written.replayed) == ("tickets/T-9@1", '"1"', False)
    assert desk.ticket("T-9")["text"] == "Screen is black"
    assert [(row["kind"], row["key"], row["actor"]) for row in desk.journal()] == [
        ("create", "open:9:open-1", "user:7")
    ]


def test_it_leaves_a_record_that_exists_as_it_is(connected, desk):
    with pytest.raises(AlreadyThere, match="exists already"):
        create(TARGET)

    assert desk.ticket("T-1001")["text"] == TICKET["text"]
    assert desk.journal() == []


def test_it_hears_that_a_repeated_creation_had_already_happened(connected, desk):
    create()

    assert create().replayed
    assert len(desk.journal()) == 1


def test_a_creation_whose_answer_is_cut_is_unclear_and_settled_by_the_same_key(connected, desk):
    desk.stop()
    desk.start(faults="drop_after_write:1")

    with pytest.raises(NoAnswer, match="may or may not have been written"):
        create()
    desk.stop()
    desk.start()

    assert create().replayed
    assert len(desk.journal()) == 1


def test_it_passes_on_why_the_system_refused_a_new_record(connected, desk):
    with pytest.raises(Refused, match="no field 'evil'"):
        create(text="x", evil=1)

    assert desk.journal() == []


def test_it_says_that_nothing_was_created_when_the_system_is_down(connected, desk):
    desk.kill()

    with pytest.raises(NotSent, match="Nothing was sent"):
        create()
