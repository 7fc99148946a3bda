"""Files of work and of decided cases: all rows or none, every fault told, nothing twice."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper

from apps.audit.models import AuditEvent
from apps.runs.management.progress import bar
from apps.runs.models import ImportJob, Precedent, WorkItem
from tests.factories.agents import make_agent, make_version

pytestmark = pytest.mark.django_db
CLINC = Path(__file__).resolve().parents[3] / "shared" / "data" / "clinc150"
GOOD = "id,text,customer\nT-1,Screen is black,C-1\nT-2,Printer is gone,C-2\n"
FAULTY = "id,text,customer\nT-1,Screen is black,C-1\nT-1,Again,C-2\n,No number,C-3\nT-4,,C-4\n"


@pytest.fixture
def agent(team, ada):
    return make_agent(team=team, owner=ada, slug="ticket-desk")


@pytest.fixture
def file(tmp_path):
    def write(text, name="work.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(command, *args, **options):
    out = io.StringIO()
    call_command(command, *map(str, args), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_a_file_becomes_cases_with_its_columns(agent, file):
    said = run("import_work", file(GOOD), agent=agent.slug)

    assert "2 cases new, 0 known already" in said
    assert WorkItem.objects.get(external_id="T-1").payload == {"text": "Screen is black", "customer": "C-1"}


def test_the_same_file_twice_creates_nothing_twice(agent, file):
    run("import_work", file(GOOD), agent=agent.slug)

    said = run("import_work", file(GOOD), agent=agent.slug)

    assert "0 cases new, 2 known already" in said
    assert WorkItem.objects.count() == 2


def test_a_dry_run_stores_nothing(agent, file):
    said = run("import_work", file(GOOD), agent=agent.slug, dry_run=True)

    assert "2 cases would be new" in said
    assert not WorkItem.objects.exists()
    assert not ImportJob.objects.exists()


def test_one_faulty_row_keeps_the_whole_file_out_and_every_fault_is_told(agent, file):
    errors = io.StringIO()

    with pytest.raises(CommandError, match="so nothing was imported"):
        call_command("import_work", str(file(FAULTY)), agent=agent.slug, stdout=io.StringIO(), stderr=errors)

    assert not WorkItem.objects.exists()
    assert [line.split(":")[0] for line in errors.getvalue().splitlines()] == ["row 3, id", "row 4, id", "row 5, text"]


def test_an_unknown_agent_is_named_beside_those_that_exist(agent, file):
    with pytest.raises(CommandError, match="there are: ticket-desk"):
        run("import_work", file(GOOD), agent="nobody")


@pytest.mark.parametrize(("text", "words"), [("", "empty"), ("[1, 2", "JSON"), ('{"a": 1}', "2 faults")])
def test_a_file_that_is_no_list_of_cases_is_refused_as_a_whole(agent, file, text, words):
    with pytest.raises(CommandError, match=words):
        run("import_work", file(text, "work.json"), agent=agent.slug)

    assert not WorkItem.objects.exists()


def test_json_lines_keep_the_label_apart_from_what_the_agent_reads(agent, file):
    line = json.dumps({"id": "T-9", "text": "Screen", "label": {"queue": "login"}})

    run("import_work", file(line, "work.jsonl"), agent=agent.slug)

    item = WorkItem.objects.get()
    assert (item.payload, item.label) == ({"text": "Screen"}, {"queue": "login"})


@pytest.mark.skipif(not CLINC.exists(), reason="the CLINC150 data are not on this machine")
def test_the_5500_queries_of_clinc_are_imported_by_path(agent):
    said = run("import_work", CLINC / "data_oos_plus.json", agent=agent.slug, part=["test", "oos_test"])

    assert "5,500 cases new" in said


@pytest.mark.skipif(not CLINC.exists(), reason="the CLINC150 data are not on this machine")
def test_the_train_part_teaches_ten_queues_and_twice_teaches_nothing(team, ada):
    from apps.agents import actions
    from apps.agents.workflows import workflow

    runs_on = workflow("ticket_desk")
    desk = make_agent(team=team, owner=ada, slug="clinc-desk", version=False)
    actions.publish_version(desk, settings=runs_on.default_settings, author=ada, actor=ada)
    for definition in runs_on.action_types(runs_on.default_settings):
        actions.define_action_type(desk, **definition, actor=ada)
    options = {"agent": "clinc-desk", "part": ["train"], "labels": CLINC / "domains.json", "make_queues": True}

    first = run("learn", CLINC / "data_oos_plus.json", **options)
    second = run("learn", CLINC / "data_oos_plus.json", **options)

    assert "cases learned, " in first
    assert ": 0 cases learned" in second
    version = desk.versions.get(is_current=True)
    assert len(version.settings["queues"]) == 10
    assert Precedent.objects.filter(agent_version=version).count() > 14_900


def test_a_queue_that_the_agent_does_not_have_is_refused(agent, file):
    path = file('{"text": "Screen", "queue": "cellar"}', "cases.jsonl")

    with pytest.raises(CommandError, match="so nothing was learned"):
        run("learn", path, agent=agent.slug)


def test_a_version_is_published_together_with_what_it_learns_or_not_at_all(agent, file):
    path = file('{"text": "Screen", "queue": "cellar"}\n{"text": "", "queue": "cellar"}', "cases.jsonl")

    with pytest.raises(CommandError, match="so nothing was learned"):
        run("learn", path, agent=agent.slug, make_queues=True)

    assert agent.versions.count() == 1


def test_queues_are_made_from_the_cases_when_no_label_file_names_them(agent, file):
    path = file('{"text": "Screen", "queue": "cellar"}\n{"text": "Lunch", "queue": null}', "cases.jsonl")

    said = run("learn", path, agent=agent.slug, make_queues=True)

    assert ": 2 cases learned" in said
    assert [queue["key"] for queue in agent.versions.get(is_current=True).settings["queues"]] == ["cellar"]


def test_a_new_version_is_not_taught_again_what_the_old_one_knows(agent, file):
    path = file('{"text": "Screen", "queue": "login"}', "cases.jsonl")
    run("learn", path, agent=agent.slug)
    make_version(agent)

    assert ": 0 cases learned, 1 known already" in run("learn", path, agent=agent.slug)


def test_a_part_of_outside_cases_is_learned_as_work_for_people(agent, file):
    path = file('{"train": [["Screen", "login"]], "oos": [["Lunch", "login"]]}', "cases.json")

    run("learn", path, agent=agent.slug, part=["train"], out_of_scope_part=["oos"])

    assert list(Precedent.objects.order_by("id").values_list("text", "queue")) == [("Screen", "login"), ("Lunch", "")]


def test_an_import_may_lift_the_agents_limits_and_the_log_says_so(agent, file):
    run("import_work", file(GOOD), agent=agent.slug, unlimited=True)

    agent.refresh_from_db()
    assert agent.max_open == agent.max_new_per_minute == 1_000_000
    assert AuditEvent.objects.filter(action="agent.limits_lifted", actor="system").count() == 1


def test_every_import_and_every_lesson_is_in_the_log(agent, file):
    run("import_work", file(GOOD), agent=agent.slug)
    run("learn", file('{"text": "Screen", "queue": "login"}', "cases.jsonl"), agent=agent.slug)

    assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"work.imported", "precedents.learned"}


def test_work_begins_at_once_after_the_commit(agent, file, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as told:
        run("import_work", file(GOOD), agent=agent.slug)

    assert [(each.func.__name__, each.args) for each in told] == [("send_task", ("runs.sweep",))]


def test_a_terminal_sees_how_far_the_import_is():
    terminal = Terminal()
    draw = bar(OutputWrapper(terminal), "Importing")

    draw(2_000, 5_500)
    draw(5_500, 5_500)

    assert terminal.getvalue() == (
        "\rImporting [##########....................] 2,000 of 5,500"
        "\rImporting [##############################] 5,500 of 5,500\n"
    )


def test_a_log_file_gets_no_pictures():
    out = io.StringIO()

    bar(OutputWrapper(out), "Importing")(1, 1)

    assert out.getvalue() == ""


def upload(text):
    return SimpleUploadedFile("work.csv", text.encode(), content_type="text/csv")


def test_the_page_checks_first_and_then_imports(client, ada, agent):
    client.force_login(ada)

    checked = client.post("/runs/import/", {"agent": agent.pk, "file": upload(GOOD), "want": "check"})
    stored_by_check = WorkItem.objects.count()
    imported = client.post("/runs/import/", {"agent": agent.pk, "file": upload(GOOD), "want": "import"})

    assert b"2 cases would be new" in checked.content
    assert stored_by_check == 0
    assert b"2 cases imported." in imported.content
    assert WorkItem.objects.count() == 2


def test_the_page_lists_faults_and_gives_the_file_back_with_them(client, ada, agent):
    client.force_login(ada)

    refused = client.post("/runs/import/", {"agent": agent.pk, "file": upload(FAULTY), "want": "import"})
    back = client.post("/runs/import/", {"agent": agent.pk, "file": upload(FAULTY), "want": "errors"})

    assert refused.status_code == 422
    assert b"row 4, id" in refused.content
    assert back["Content-Disposition"] == 'attachment; filename="with-errors.csv"'
    assert back.content.decode().splitlines()[0] == "id,text,customer,error"


def test_formulas_come_back_as_text(client, ada, agent):
    client.force_login(ada)

    back = client.post(
        "/runs/import/", {"agent": agent.pk, "file": upload("id,text\nT-1,=cmd()\n,x\n"), "want": "errors"}
    )

    assert "'=cmd()" in back.content.decode()


def test_a_reviewer_may_not_import(client, ben, agent):
    client.force_login(ben)

    assert client.get("/runs/import/").status_code == 403


def test_nobody_imports_for_an_agent_of_another_team(client, eve, agent):
    client.force_login(eve)

    response = client.post("/runs/import/", {"agent": agent.pk, "file": upload(GOOD), "want": "import"})

    assert response.status_code == 422
    assert not WorkItem.objects.exists()


def test_a_file_too_large_for_the_page_is_sent_to_the_command(client, ada, agent):
    client.force_login(ada)
    large = SimpleUploadedFile("work.csv", b"id,text\n" + b"x" * (5 * 1024 * 1024))

    response = client.post("/runs/import/", {"agent": agent.pk, "file": large, "want": "check"})

    assert response.status_code == 422
    assert b"larger than 5 MB" in response.content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        ("id,text\nT-1,\xe9".encode("latin-1"), "not a text in UTF-8"),
        (b"id,words\nT-1,x\n", "text: is missing"),
    ],
)
def test_the_page_says_why_it_refuses_a_file(client, ada, agent, content, words):
    client.force_login(ada)

    response = client.post(
        "/runs/import/", {"agent": agent.pk, "file": SimpleUploadedFile("work.csv", content), "want": "import"}
    )

    assert response.status_code == 422
    assert words in response.content.decode()
    assert not WorkItem.objects.exists()


def test_the_history_shows_imports_of_ones_own_teams_only(client, ada, eve, agent, file):
    run("import_work", file(GOOD, "week-46.csv"), agent=agent.slug)

    client.force_login(ada)
    hers = client.get("/runs/import/")
    client.force_login(eve)
    outside = client.get("/runs/import/")

    assert b"week-46.csv" in hers.content
    assert b"week-46.csv" not in outside.content


def test_no_ticket_is_opened_unless_somebody_asks_for_it(agent, file):
    run("import_work", file(GOOD), agent=agent.slug)

    assert not WorkItem.objects.filter(may_open=True).exists()


def test_a_command_may_ask_that_unknown_tickets_are_opened_and_the_log_says_so(agent, file):
    run("import_work", file(GOOD), agent=agent.slug, open_tickets=True)

    assert WorkItem.objects.filter(may_open=True).count() == 2
    assert json.loads(AuditEvent.objects.get(action="work.imported").payload)["may_open"] is True


def test_the_page_asks_whether_unknown_tickets_are_to_be_opened_and_says_what_follows(client, ada, agent):
    client.force_login(ada)

    form = client.get("/runs/import/").content.decode()
    imported = client.post(
        "/runs/import/", {"agent": agent.pk, "file": upload(GOOD), "want": "import", "open_tickets": "on"}
    )

    assert "Open tickets that the system does not know yet" in form
    assert "checked" not in form
    assert b"Tickets that its system does not know are opened in your name." in imported.content
    assert WorkItem.objects.filter(may_open=True).count() == 2


def test_cases_that_are_known_already_keep_what_was_asked_for_them_first(agent, file):
    run("import_work", file(GOOD), agent=agent.slug)

    run("import_work", file(GOOD), agent=agent.slug, open_tickets=True)

    assert not WorkItem.objects.filter(may_open=True).exists()


def test_a_promise_to_the_customer_is_stored_with_the_case(agent, file):
    run("import_work", file("id,text,due\nT-1,Screen,2027-05-04T16:00+02:00\nT-2,Printer,\n"), agent=agent.slug)

    assert list(WorkItem.objects.order_by("pk").values_list("sla_due", flat=True)) == [
        datetime(2027, 5, 4, 14, tzinfo=UTC),
        None,
    ]
    assert "due" not in WorkItem.objects.get(external_id="T-1").payload


def test_a_promise_without_a_time_zone_keeps_the_file_out(agent, file):
    errors = io.StringIO()
    path = file("id,text,due\nT-1,Screen,2027-05-04 16:00\n")

    with pytest.raises(CommandError, match="nothing was imported"):
        call_command("import_work", str(path), agent=agent.slug, stdout=io.StringIO(), stderr=errors)

    assert errors.getvalue().startswith("row 2, due: “2027-05-04 16:00” names no time zone.")


@pytest.mark.parametrize(("dry_run", "what"), [(True, "Checking"), (False, "Importing")])
def test_a_terminal_sees_how_far_a_check_and_an_import_are(agent, file, dry_run, what):
    terminal = Terminal()

    call_command(
        "import_work", str(file(GOOD)), agent=agent.slug, dry_run=dry_run, stdout=io.StringIO(), stderr=terminal
    )

    assert terminal.getvalue() == f"\r{what} [##############################] 2 of 2\n"
