"""The simulated ticket desk over real HTTP: what a record system owes its writers."""

import json
import os
import sqlite3
import subprocess
import sys
import threading

import httpx
import pytest

from apps.demo.desk.store import Store
from tests.plugins_desk import ROOT, RunningDesk

pytestmark = pytest.mark.processes

TICKET = {"id": "T-1", "text": "My screen is black", "customer": "C-1"}


@pytest.fixture
def http(desk):
    with httpx.Client(base_url=desk.base_url, headers={"authorization": f"Bearer {desk.api_key}"}) as opened:
        desk.load(tickets=[TICKET], customers=[{"id": "C-1", "name": "Adler Clinic", "devices": ["Laptop 7"]}])
        yield opened


def patch(http, path="/tickets/T-1", *, version=1, key="key-1", actor="agent:7", **changes):
    headers = {"if-match": f'"{version}"', "idempotency-key": key, "x-actor": actor}
    return http.patch(
        path, json=changes or {"queue": "display"}, headers={name: value for name, value in headers.items() if value}
    )


def command(*arguments, store, **environment):
    return subprocess.run(
        [sys.executable, "-m", "apps.demo.desk", "--store", str(store), *arguments],
        cwd=ROOT,
        env={**os.environ, "DESK_API_KEY": "key", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_record_has_all_its_fields_and_a_version(http):
    answer = http.get("/tickets/T-1")

    assert answer.headers["etag"] == '"1"'
    assert answer.json() | TICKET == answer.json()
    assert (answer.json()["status"], answer.json()["queue"], answer.json()["version"]) == ("new", None, 1)


def test_a_missing_record_is_404(http):
    assert http.get("/tickets/T-2").status_code == 404
    assert http.get("/invoices/1").status_code == 404
    assert patch(http, "/tickets/T-2").status_code == 404


@pytest.mark.parametrize("path", ["/tickets/T-1", "/tickets", "/journal"])
@pytest.mark.parametrize("key", ["", "Bearer wrong", "Basic ZGVzazpr"])
def test_nothing_is_told_without_the_key(desk, http, path, key):
    assert httpx.get(desk.base_url + path, headers={"authorization": key}).status_code == 401


def test_a_write_raises_the_version_and_is_entered_in_the_journal(desk, http):
    answer = patch(http, queue="display", priority="high")

    assert (answer.status_code, answer.headers["etag"], answer.json()["queue"]) == (200, '"2"', "display")
    (row,) = desk.journal()
    assert (
        row | {"seq": 1, "key": "key-1", "actor": "agent:7", "collection": "tickets", "id": "T-1", "version": 2} == row
    )
    assert (row["before"], row["after"]) == (
        {"queue": None, "priority": None},
        {"queue": "display", "priority": "high"},
    )


def test_the_same_write_again_gets_the_first_answer_even_after_others(desk, http):
    first = patch(http)
    patch(http, version=2, key="key-2", queue="network")

    again = patch(http)

    assert again.headers["idempotency-replayed"] == "true"
    assert (again.content, again.headers["etag"]) == (first.content, '"2"')
    assert "idempotency-replayed" not in first.headers
    assert len(desk.journal()) == 2


@pytest.mark.parametrize(("path", "changes"), [("/tickets/T-1", {"queue": "x"}), ("/customers/C-1", {"name": "x"})])
def test_a_key_cannot_be_used_for_another_write(desk, http, path, changes):
    patch(http)

    answer = patch(http, path, **changes)

    assert (answer.status_code, answer.json()["error"]) == (422, "key_reused")
    assert len(desk.journal()) == 1


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_write_from_another_version_is_refused_with_the_current_one(desk, http, version):
    answer = patch(http, version=version)

    assert (answer.status_code, answer.headers["etag"]) == (412, '"1"')
    assert desk.journal() == []


def test_a_write_names_version_key_and_actor(desk, http):
    body = {"queue": "display"}
    named = {"if-match": '"1"', "idempotency-key": "key-1", "x-actor": "agent:7"}

    codes = {
        left_out: http.patch(
            "/tickets/T-1", json=body, headers={name: value for name, value in named.items() if name != left_out}
        ).status_code
        for left_out in named
    }

    assert codes == {"if-match": 428, "idempotency-key": 400, "x-actor": 400}
    assert desk.journal() == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"evil": 1}, "/evil"),
        ({"queue": "display", "evil": 1}, "/evil"),
        ({"version": 7}, "/version"),
        ({"id": "T-2"}, "/id"),
        ({"queue": 25}, "/queue"),
        ({"queue": True}, "/queue"),
        ({"queue": "x" * 81}, "/queue"),
        ({"text": None}, "/text"),
        ({"status": "exploded"}, "/status"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({}, ""),
        ([], ""),
        ("text", ""),
    ],
)
def test_a_write_off_the_schema_is_refused_with_a_pointer(desk, http, body, pointer):
    answer = http.patch(
        "/tickets/T-1",
        content=json.dumps(body),
        headers={"if-match": '"1"', "idempotency-key": "key-1", "x-actor": "agent:7"},
    )

    assert answer.status_code == 422
    assert [problem["pointer"] for problem in answer.json()["problems"]] == [pointer]
    assert desk.journal() == []
    assert desk.ticket("T-1")["version"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"queue": "\\ud800"}', b"[" * 100_000])
def test_a_body_that_is_no_json_text_is_refused(http, body):
    headers = {"if-match": '"1"', "idempotency-key": "key-1", "x-actor": "agent:7"}

    assert http.patch("/tickets/T-1", content=body, headers=headers).status_code == 422


def test_a_refused_key_may_be_used_for_the_corrected_write(http):
    assert patch(http, version=7).status_code == 412

    assert patch(http, version=1).status_code == 200


def test_of_parallel_writers_with_one_key_all_hear_the_same_and_one_write_happens(desk, http):
    answers = []

    def write():
        with httpx.Client(base_url=desk.base_url, headers=http.headers) as own:
            answers.append(patch(own))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in answers] == [200] * 8
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    assert len(desk.journal()) == 1


def test_loading_the_same_records_again_changes_nothing(desk, http):
    patch(http)

    answer = http.post("/tickets", json=[TICKET, {"id": "T-2", "text": "Another"}])

    assert (answer.status_code, answer.json()) == (201, {"created": 1, "existing": 1})
    assert desk.ticket("T-1")["queue"] == "display"


def test_one_bad_record_loads_nothing(http):
    answer = http.post("/tickets", json=[{"id": "T-2", "text": "Fine"}, {"id": "../T-3", "text": "Not"}, {"id": "T-4"}])

    assert answer.status_code == 422
    assert [problem["pointer"] for problem in answer.json()["problems"]] == ["/1/id", "/2/text"]
    assert http.get("/tickets/T-2").status_code == 404


def test_records_are_found_by_field_and_by_text(http):
    http.post("/tickets", json=[{"id": "T-2", "text": "100% slow_network", "customer": "C-2"}])

    assert [item["id"] for item in http.get("/tickets", params={"customer": "C-1"}).json()["items"]] == ["T-1"]
    assert [item["id"] for item in http.get("/tickets", params={"q": "100%"}).json()["items"]] == ["T-2"]
    assert [item["id"] for item in http.get("/tickets", params={"q": "w_n"}).json()["items"]] == ["T-2"]
    assert http.get("/tickets", params={"q": "___"}).json()["total"] == 0
    assert http.get("/tickets", params={"evil": "1"}).status_code == 422


def test_the_journal_is_read_in_pages(desk, http):
    for version in range(1, 6):
        patch(http, version=version, key=f"key-{version}", queue=f"queue-{version}")

    page = http.get("/journal", params={"after": 2, "limit": 2}).json()

    assert [row["seq"] for row in page["rows"]] == [3, 4]
    assert page["next"] == 4
    assert http.get("/journal", params={"after": 5}).json() == {"rows": [], "next": 5}


def test_journal_rows_can_be_neither_changed_nor_removed(desk, http):
    patch(http)
    store = sqlite3.connect(desk.store / "desk.sqlite3")

    for statement in ("UPDATE journal SET actor = 'nobody'", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store.execute(statement)
    store.close()


def test_no_acknowledged_write_is_lost_when_the_desk_is_killed(desk, http):
    acknowledged = 0
    killer = threading.Timer(0.4, desk.kill)
    killer.start()

    with pytest.raises(httpx.TransportError):  # noqa: PT012  # writes go on until the desk is gone
        while True:
            acknowledged += patch(http, version=acknowledged + 1, key=f"key-{acknowledged}").status_code == 200
    killer.join()
    desk.start()

    assert acknowledged > 0
    # One write may have been applied without its answer arriving; none that was answered is missing.
    assert len(desk.journal()) in {acknowledged, acknowledged + 1}
    assert desk.ticket("T-1")["version"] == len(desk.journal()) + 1


def test_it_ends_politely_when_asked_to(desk, http):
    assert desk.stop() == 0


def test_a_file_is_loaded_into_a_running_desk_and_again_without_effect(desk, http, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text(
        '{"collection": "customers", "id": "C-9", "name": "Birke Labs"}\n\n'
        '{"collection": "tickets", "id": "T-9", "text": "Printer", "customer": "C-9"}\n'
    )

    first = command("load", str(file), store=desk.store)
    again = command("load", str(file), store=desk.store)

    assert first.stdout == "Loaded 2 records; 0 were there already.\n"
    assert again.stdout == "Loaded 0 records; 2 were there already.\n"
    assert desk.ticket("T-9")["customer"] == "C-9"


def test_a_file_with_a_bad_line_loads_nothing_and_names_the_line(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text('{"id": "T-1", "text": "Fine"}\nnonsense\n{"id": "T-2"}\n')

    done = command("load", str(file), "--collection", "tickets", store=tmp_path / "desk")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "line 2: is not JSON.",
        "line 3: text is missing.",
        "Nothing was loaded: 2 problems.",
    ]
    assert not (tmp_path / "desk").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ((), {"DESK_API_KEY": ""}, "DESK_API_KEY is not set"),
        (("--host", "192.0.2.1"), {}, "192.0.2.1 is not a loopback address"),
        (("--faults", "fire:1"), {}, "names 'fire'"),
        (("--faults", "drop_after_write:2"), {}, "out of range"),
        (("--faults", "latency:soon"), {}, "needs a number"),
        ((), {"DESK_FAULTS": "drop_after_write"}, "needs a number"),
        (("load", "/no/such/file"), {}, "No such file"),
    ],
)
def test_it_refuses_to_start_with_one_clear_sentence(tmp_path, arguments, environment, sentence):
    done = command(*arguments, store=tmp_path / "desk", **environment)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_refuses_a_taken_port(desk, tmp_path):
    done = command("--port", str(desk.port), store=tmp_path / "other")

    assert done.returncode == 1
    assert f"port {desk.port} on 127.0.0.1 is taken" in done.stderr


def test_a_cut_after_the_write_leaves_the_write(tmp_path):
    desk = RunningDesk(tmp_path / "desk").start(faults="drop_after_write:1")
    desk.load(tickets=[TICKET])

    with pytest.raises(httpx.RemoteProtocolError):
        desk.edit("T-1", queue="display")

    assert desk.ticket("T-1")["queue"] == "display"
    desk.close()


def test_it_is_one_small_process(desk, http):
    for _ in range(200):
        http.get("/tickets/T-1")
    memory = dict(
        line.split(":") for line in (ROOT / f"/proc/{desk.process.pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    children = (ROOT / f"/proc/{desk.process.pid}/task/{desk.process.pid}/children").read_text()

    assert int(memory["Pss"].split()[0]) < 60_000
    assert children == ""


def test_django_is_not_imported():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, apps.demo.desk.__main__; print('django' in sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "False\n"


def put(http, path="/tickets/T-9", *, key="open-1", actor="user:7", condition="*", **record):
    headers = {"if-none-match": condition, "idempotency-key": key, "x-actor": actor}
    return http.put(
        path, json=record or {"text": "Screen"}, headers={name: value for name, value in headers.items() if value}
    )


def test_a_new_record_is_stored_under_its_writers_name_and_entered_as_a_creation(desk, http):
    answer = put(http, subject="Screen", text="It is black", customer="C-1")

    assert (answer.status_code, answer.headers["etag"], answer.json()["status"]) == (201, '"1"', "new")
    assert desk.ticket("T-9")["text"] == "It is black"
    (row,) = desk.journal()
    assert (row["kind"], row["actor"], row["key"], row["version"]) == ("create", "user:7", "open-1", 1)
    assert (row["before"], row["after"]) == ({}, {"subject": "Screen", "text": "It is black", "customer": "C-1"})


def test_creations_and_changes_can_be_told_apart_in_the_journal(desk, http):
    put(http)
    patch(http, "/tickets/T-9")

    assert [(row["kind"], row["version"]) for row in desk.journal()] == [("create", 1), ("change", 2)]


def test_a_record_that_exists_is_not_created_again_and_stays_as_it_is(desk, http):
    patch(http)

    answer = put(http, "/tickets/T-1", text="Other words")

    assert (answer.status_code, answer.json()["error"], answer.headers["etag"]) == (412, "exists", '"2"')
    assert desk.ticket("T-1")["text"] == TICKET["text"]
    assert len(desk.journal()) == 1


def test_the_same_creation_again_gets_the_first_answer_even_after_changes(desk, http):
    first = put(http)
    patch(http, "/tickets/T-9")

    again = put(http)

    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.content == first.content
    assert len(desk.journal()) == 2


@pytest.mark.parametrize(("path", "record"), [("/tickets/T-10", {}), ("/tickets/T-9", {"text": "Other"})])
def test_a_key_of_a_creation_cannot_be_used_for_another(desk, http, path, record):
    put(http)

    answer = put(http, path, **record)

    assert (answer.status_code, answer.json()["error"]) == (422, "key_reused")
    assert len(desk.journal()) == 1


def test_a_key_of_a_change_cannot_be_used_for_a_creation(desk, http):
    patch(http, key="key-1", text="Screen")

    assert put(http, "/tickets/T-1", key="key-1").status_code == 422


def test_a_creation_names_its_condition_key_and_actor(desk, http):
    assert put(http, condition="").status_code == 428
    assert put(http, condition='"1"').status_code == 428
    assert put(http, key="").status_code == 400
    assert put(http, actor="").status_code == 400
    assert desk.journal() == []


@pytest.mark.parametrize(
    ("path", "record", "pointer"),
    [
        ("/tickets/T-9", {"subject": "no text"}, "/text"),
        ("/tickets/T-9", {"text": "x", "evil": 1}, "/evil"),
        ("/tickets/T-9", {"text": "x", "id": "T-10"}, "/id"),
        ("/tickets/T%209", {"text": "x"}, "/id"),
    ],
)
def test_a_creation_off_the_schema_is_refused_with_a_pointer(desk, http, path, record, pointer):
    answer = put(http, path, **record)

    assert (answer.status_code, [each["pointer"] for each in answer.json()["problems"]]) == (422, [pointer])
    assert desk.journal() == []


def test_of_parallel_creations_one_wins_and_the_others_hear_that_it_exists(desk, http):
    answers = []

    def write(number):
        with httpx.Client(base_url=desk.base_url, headers=http.headers) as own:
            answers.append(put(own, key=f"open-{number}", text=f"Words {number}").status_code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [201] + [412] * 7
    assert len(desk.journal()) == 1


def test_a_store_of_an_earlier_version_learns_to_tell_kinds_apart(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "desk.sqlite3") as old:
        old.execute("ALTER TABLE journal DROP COLUMN kind")
        old.execute(
            "INSERT INTO journal (key, request, actor, collection, id, version, before, after, answer, at)"
            " VALUES ('k', 'r', 'a', 'tickets', 'T-1', 2, '{}', '{}', '{}', '2026-01-01')"
        )

    store = Store(tmp_path)

    assert [row.kind for row in store.journal()] == ["change"]
    store.close()
