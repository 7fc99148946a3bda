"""R16: new input for a case that people are asked about is refused, or its questions are taken back first."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse

from apps.approvals.models import Proposal, ResumeOutbox
from apps.runs import threads
from apps.runs.actions import runs
from apps.runs.models import Run, WorkItem
from tests.factories.accounts import make_member
from tests.runs.conftest import READ, ROUTE, decided

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = "id,text,customer\nT-1,My printer does not print,C-77\n"
CHANGED = "id,text,customer\nT-1,My password is refused,C-77\n"


def bring(agent, tmp_path, text, **options):
    """Import a file by the command; return what it said, and what it complained of."""
    path = tmp_path / "work.csv"
    path.write_text(text)
    out, err = io.StringIO(), io.StringIO()
    call_command("import_work", str(path), agent=agent.slug, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue().rpartition("\r")[2]


@pytest.fixture
def asked(agent, worker, tmp_path):
    """A case of a file whose question waits for a person."""
    bring(agent, tmp_path, FIRST)
    runs.open_runs_of(agent)
    return worker(READ, ROUTE).start(Run.objects.get())


def payload():
    return WorkItem.objects.get().payload["text"]


def test_a_changed_row_of_a_case_that_has_not_begun_is_taken_in(agent, tmp_path):
    bring(agent, tmp_path, FIRST)

    said, complaint = bring(agent, tmp_path, CHANGED)

    assert "1 took their new row in before they began" in said
    assert (payload(), complaint) == ("My password is refused", "")


def test_a_changed_row_of_a_case_that_people_are_asked_about_is_refused_and_told(agent, asked, tmp_path):
    said, complaint = bring(agent, tmp_path, CHANGED)

    assert "0 cases new, 1 known already" in said
    assert complaint.startswith("1 changed rows were refused, as their cases are in work: T-1.")
    assert payload() == "My printer does not print"
    assert Proposal.objects.get().state == "pending"


def test_the_same_row_again_is_no_new_input(agent, asked, tmp_path):
    assert bring(agent, tmp_path, FIRST)[1] == ""


def test_a_check_says_what_would_be_refused(agent, asked, tmp_path):
    assert "would be refused" in bring(agent, tmp_path, CHANGED, dry_run=True)[1]


def test_an_operator_may_take_the_questions_back_and_the_case_begins_anew(agent, asked, worker, tmp_path, cora):
    said, complaint = bring(agent, tmp_path, CHANGED, withdraw_as=cora.email)

    asked.refresh_from_db()
    assert ("1 begin anew" in said, complaint) == (True, "")
    assert (asked.state, Proposal.objects.get().state) == ("cancelled", "withdrawn")
    assert not ResumeOutbox.objects.undelivered().exists()
    assert (payload(), WorkItem.objects.get().state) == ("My password is refused", "new")
    assert runs.open_runs_of(agent) == 1
    again = worker(READ, ROUTE).start(Run.objects.get(state="queued"))
    assert again.state == Run.State.WAITING


def test_only_an_operator_takes_questions_back(agent, asked, tmp_path, ben):
    with pytest.raises(CommandError, match="may not take questions back"):
        bring(agent, tmp_path, CHANGED, withdraw_as=ben.email)

    assert Proposal.objects.get().state == "pending"


def test_a_case_that_a_worker_has_in_hand_is_refused_all_the_same(agent, asked, tmp_path, cora):
    with threads.checkpoints.thread_lock(asked.thread_id):
        _, complaint = bring(agent, tmp_path, CHANGED, withdraw_as=cora.email)

    assert "refused" in complaint
    assert Proposal.objects.get().state == "pending"


def test_a_case_that_is_done_stays_as_it_is(agent, asked, worker, tmp_path, ben, desk):
    worker(READ, ROUTE).resume(decided(asked, ben))

    said, complaint = bring(agent, tmp_path, CHANGED)

    assert ("0 cases new, 1 known already" in said, complaint) == (True, "")
    assert (payload(), WorkItem.objects.get().state) == ("My printer does not print", "done")


def upload(client, agent, **fields):
    file = SimpleUploadedFile("work.csv", CHANGED.encode())
    return client.post(reverse("runs:import_work"), {"agent": agent.pk, "file": file, "want": "import", **fields})


def test_the_page_refuses_with_409_and_says_what_to_do(client, agent, asked, ada):
    client.force_login(ada)

    answer = upload(client, agent)

    page = answer.content.decode()
    assert answer.status_code == 409
    assert "1 changed row was refused: T-1." in page
    assert "Decide those questions first, or import again and choose to take them back." in page


def test_the_page_takes_them_back_for_an_operator_only(client, agent, asked, ada, team):
    client.force_login(ada)
    assert upload(client, agent, withdraw="on").status_code == 403
    both = make_member(team, "agent_owner", "operator", name="Both")
    client.force_login(both)

    answer = upload(client, agent, withdraw="on")

    assert answer.status_code == 200
    assert "1 begins anew: what they asked is taken back" in answer.content.decode()
    assert Proposal.objects.get().state == "withdrawn"
