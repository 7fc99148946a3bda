"""What happens by the clock, and what an inspection finds."""

from datetime import timedelta
from io import StringIO

import pgtrigger
import psycopg
import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connection

from apps.approvals import checking, tasks
from apps.approvals.actions import claims, undoing
from apps.approvals.actions.execution import consume, reconcile, record_outcome
from apps.approvals.models import Proposal, ResumeOutbox
from apps.audit.clock import clock
from apps.connectors.models import ActionExecution
from tests.factories.approvals import ROUTE_ARGS, TEN, decide, make_agent, make_proposal

# How often each comes, in seconds (§5.5). Vigilance is rolled once a day: the hourly beat skips whom it has measured.
SWEEPS = {
    "approvals.sweep_expiry": 15,
    "approvals.sweep_outbox": 15,
    "approvals.sweep_claims": 30,
    "approvals.sweep_executions": 60,
    "runs.sweep_threads": 300,
    "approvals.plant_drills": 600,
    "runs.prune_checkpoints": 3600,
    "approvals.roll_vigilance": 3600,
}


@pytest.fixture
def sent(monkeypatch):
    """Catch what goes to the broker: the network's edge."""
    messages = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **options: messages.append((name, args)))
    return messages


@pytest.mark.parametrize(("name", "every"), SWEEPS.items())
def test_every_sweep_is_in_the_periodic_table_as_often_as_it_must_come(name, every):
    assert [each["schedule"] for each in current_app.conf.beat_schedule.values() if each["task"] == name] == [every]


@pytest.mark.parametrize("name", [name for name in SWEEPS if name.startswith("approvals.")])
def test_every_sweep_is_registered(name):
    # Those of runs are known to the processes that import LangChain.
    assert name in current_app.tasks


def test_the_expiry_sweep_closes_what_is_over(team, ada):
    row = make_proposal(team, ada, at=TEN)

    tasks.sweep_expiry()

    row.refresh_from_db()
    assert row.state == "expired"


def test_the_claim_sweep_gives_back_what_was_forgotten(team, ada, ben):
    now = clock()
    row = make_proposal(team, ada, at=now - timedelta(minutes=10))
    claims.claim(row.pk, actor=ben, at=now - timedelta(minutes=6))

    tasks.sweep_claims()

    row.refresh_from_db()
    assert row.state == "pending"


def test_the_outbox_sweep_sends_late_answers_by_name(team, ada, ben, sent):
    now = clock()
    row = make_proposal(team, ada, at=now - timedelta(minutes=5))
    decide(row, ben, "reject", at=now - timedelta(minutes=1))

    tasks.sweep_outbox()
    tasks.sweep_outbox()

    assert sent == [("runs.resume", [ResumeOutbox.objects.get().pk])]


def test_the_execution_sweep_marks_what_lost_its_worker(team, ada, ben):
    row = _running(team, ada, ben)

    tasks.sweep_executions()

    row.refresh_from_db()
    assert row.state == "unknown"


@pytest.mark.django_db(transaction=True)
def test_a_second_beat_changes_nothing(team, ada):
    row = make_proposal(team, ada, at=TEN)
    other = psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": None}, autocommit=True)
    other.execute("SELECT pg_advisory_lock(hashtextextended('approvals.sweep_expiry', 0))")

    tasks.sweep_expiry()

    other.execute("SELECT pg_advisory_unlock_all()")
    other.close()
    row.refresh_from_db()
    assert row.state == "pending"


def test_an_answer_is_sent_on_commit(team, ada, ben, sent, django_capture_on_commit_callbacks):
    row = make_proposal(team, ada)

    with django_capture_on_commit_callbacks(execute=True):
        decide(row, ben, "reject")

    assert sent == [("runs.resume", [ResumeOutbox.objects.get().pk])]


class TestCheck:
    def test_a_whole_life_agrees(self, team, ada, ben):
        edited = make_proposal(team, ada)
        decide(edited, ben, "edit", args={**ROUTE_ARGS, "queue": "network"})
        undoing.undo(edited.pk, actor=ben, at=TEN)
        for verdict in ("approve", "reject", "ask"):
            decide(make_proposal(team, ada), ben, verdict)
        make_proposal(team, ada, args={"evil": 1})
        row = _running(team, ada, ben)
        record_outcome(row.pk, state="succeeded", execution=ActionExecution.objects.get(), at=TEN)
        out = StringIO()

        call_command("check_approvals", stdout=out)

        assert "agree" in out.getvalue()

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"args": {"queue": "network"}}, "its digest is not that of its arguments"),
            ({"state": "succeeded"}, "the ledger does not know it"),
            ({"state": "rejected"}, "without such a decision"),
            ({"state": "pending"}, "has a final decision"),
            ({"approvals_given": 2}, "not those that people gave"),
            ({"digest": "sha256:" + "0" * 64}, "what was decided is not what it says now"),
        ],
    )
    def test_it_finds_what_was_tampered_with(self, team, ada, ben, change, says):
        row = decide(make_proposal(team, ada), ben).proposal
        with pgtrigger.ignore("approvals.Proposal:only_known_moves"):
            Proposal.objects.filter(pk=row.pk).update(**change)
        err = StringIO()

        with pytest.raises(CommandError) as failed:
            call_command("check_approvals", stderr=err)

        assert failed.value.returncode == 1
        assert says in err.getvalue()

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"digest": "sha256:" + "0" * 64}, "the ledger holds another digest"),
            ({"state": "started", "proposal_id_value": None}, "it ran, but the ledger does not know it"),
        ],
    )
    def test_it_finds_a_ledger_that_names_something_else(self, team, ada, ben, change, says):
        row = _running(team, ada, ben)
        ActionExecution.objects.update(**change)

        assert (row.pk, says) in {(each.proposal_id, each.what) for each in checking.mismatches()}

    def test_it_finds_a_ledger_that_ran_what_did_not_run(self, team, ada, ben):
        row = _running(team, ada, ben)
        with pgtrigger.ignore("approvals.Proposal:only_known_moves"):
            Proposal.objects.filter(pk=row.pk).update(state="queued")

        assert (row.pk, "the ledger says that it ran, and it does not") in {
            (each.proposal_id, each.what) for each in checking.mismatches()
        }

    def test_it_finds_an_answer_to_a_thread_whose_card_is_open(self, team, ada, ben):
        row = decide(make_proposal(team, ada), ben).proposal
        undoing.undo(row.pk, actor=ben, at=TEN)
        ResumeOutbox.objects.update(state="handed")

        assert [(each.proposal_id, each.what) for each in checking.mismatches()] == [
            (row.pk, "it is open, and its thread has an answer")
        ]

    @pytest.mark.parametrize("state", ["approved", "edited", "auto"])
    def test_it_finds_consent_that_nobody_gave(self, team, ada, state):
        row = make_proposal(team, ada)
        with pgtrigger.ignore("approvals.Proposal:only_known_moves"):
            Proposal.objects.filter(pk=row.pk).update(state=state)

        assert [(each.proposal_id, each.what) for each in checking.mismatches()] == [
            (row.pk, f"it is {state} without such a decision")
        ]

    def test_it_finds_an_action_that_went_on_with_one_approval_of_two(self, team, ada, ben):
        row = decide(make_proposal(team, ada), ben).proposal
        Proposal.objects.filter(pk=row.pk).update(approvals_needed=2)

        assert [(each.proposal_id, each.what) for each in checking.mismatches()] == [
            (row.pk, "it went on with fewer approvals than it needs")
        ]

    @pytest.mark.parametrize("state", ["done", "failed", "unknown"])
    def test_it_finds_a_ledger_that_says_otherwise(self, team, ada, ben, state):
        row = _running(team, ada, ben)
        ActionExecution.objects.update(state=state)

        assert [(each.proposal_id, each.what) for each in checking.mismatches()] == [
            (row.pk, f"the ledger says {state}, and it says otherwise"),
            (row.pk, f"the audit log does not know that its execution is {state}"),
        ]

    @pytest.mark.parametrize(
        ("gone", "says"),
        [
            ("proposal.pending", "the audit log does not know that it was proposed"),
            ("proposal.decided", "the audit log does not know every verdict on it"),
            ("proposal.succeeded", "the audit log does not know that its execution is done"),
        ],
    )
    def test_it_finds_what_the_audit_log_was_not_told(self, team, ada, ben, gone, says):
        row = _running(team, ada, ben)
        record_outcome(row.pk, state="succeeded", execution=ActionExecution.objects.get(), at=TEN)
        _forget(row, gone)

        assert [(each.proposal_id, each.what) for each in checking.mismatches()] == [(row.pk, says)]

    def test_an_undone_verdict_hides_no_hole_of_the_next_one(self, team, ada, ben):
        row = decide(make_proposal(team, ada), ben).proposal
        decide(undoing.undo(row.pk, actor=ben, at=TEN), ben)
        assert list(checking.mismatches()) == []

        _forget(row, "proposal.decided", keep=1)

        assert [each.what for each in checking.mismatches()] == ["the audit log does not know every verdict on it"]

    def test_generated_rows_have_one_event_for_all_of_them(self, team, ada, ben):
        row = decide(make_proposal(team, ada), ben).proposal
        Proposal.objects.update(synthetic=True)
        _forget(row, "proposal.pending")

        assert list(checking.mismatches()) == []

    def test_a_reconciled_outcome_and_advice_are_told(self, team, ada, ben, cora):
        row = _running(team, ada, ben)
        record_outcome(row.pk, state="unknown", execution=ActionExecution.objects.get(), at=TEN)
        reconcile(row.pk, happened=True, note="Looked it up.", actor=cora, at=TEN)
        make_proposal(team, ada, agent=make_agent(team, ada, stage="demo"))

        assert list(checking.mismatches()) == []

    def test_a_hole_beyond_the_first_chunk_is_found(self, team, ada, monkeypatch):
        monkeypatch.setattr(checking, "CHUNK", 2)
        rows = [make_proposal(team, ada) for _ in range(5)]
        _forget(rows[-1], "proposal.pending")

        assert [each.proposal_id for each in checking.mismatches()] == [rows[-1].pk]

    def test_it_finds_a_write_that_nobody_proposed(self, team, ada, ben):
        _running(team, ada, ben)
        ActionExecution.objects.update(proposal_id_value=4711)

        assert (4711, "the ledger names it, and there is no such proposal") in {
            (each.proposal_id, each.what) for each in checking.mismatches()
        }


def _forget(row, action, *, keep=0):
    """Cut events of a proposal out of the log, as nobody can while its guard stands."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "DELETE FROM audit_auditevent WHERE id IN"
            " (SELECT id FROM audit_auditevent WHERE object = %s AND action = %s ORDER BY id OFFSET %s)",
            [f"proposal:{row.pk}", action, keep],
        )
        assert cursor.rowcount
        cursor.execute("SET LOCAL session_replication_role = origin")


def _running(team, ada, ben):
    row = decide(make_proposal(team, ada, policy={"undo_s": 0}), ben).proposal
    facts = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": {"status": "open"}}
    consume(row.pk, worker="w", at=TEN, **facts)
    return row
