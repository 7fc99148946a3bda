"""A case that stands only in an imported file becomes a ticket of its system before its run reads it there."""

from datetime import timedelta

import pytest

from apps.agents import actions as agents
from apps.agents.models import KillSwitch
from apps.approvals.models import Proposal
from apps.approvals.queries.cards import card
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.connectors import client
from apps.connectors.actions import start_execution, store_credential
from apps.connectors.errors import NotSent, Refused
from apps.connectors.models import ActionExecution
from apps.runs.actions import runs
from apps.runs.actions.imports import import_work
from apps.runs.actions.openings import open_case
from apps.runs.domain.files import WorkRow
from apps.runs.domain.lease import MAX_ATTEMPTS
from apps.runs.errors import HandOver
from apps.runs.models import Run, Step, WorkItem
from apps.runs.workflows.ticket_desk import cards
from tests.runs.conftest import LOOK_UP, READ, ROUTE, calls, decided

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = "My printer does not print in the virtual desktop\nIt worked yesterday."


def imported(agent, external_id="T-9", *, actor="user:81", open_tickets=True, due=None, **payload):
    """Import one case and open its run, as the sweep does."""
    row = WorkRow(external_id, {"text": TEXT, "customer": "C-77", **payload}, None, due=due)
    import_work(agent, [row], name="work.csv", sha256="0" * 64, actor=actor, open_tickets=open_tickets)
    runs.open_runs_of(agent)
    return Run.objects.select_related("agent", "work_item").get(work_item__external_id=external_id)


def of_case(*script, external_id="T-9"):
    """Let a script speak of another case than T-1."""
    copies = [message.model_copy(deep=True) for message in script]
    named = [call["args"] for message in copies for call in message.tool_calls if "ticket" in call["args"]]
    for args in named:
        args["ticket"] = external_id
    return copies


def script():
    return of_case(READ, LOOK_UP, ROUTE)


def ledger(run):
    rows = ActionExecution.objects.filter(thread_id=f"open:{run.work_item_id}").order_by("pk")
    return [(row.tool_call_id, row.state) for row in rows]


def again(hands, run):
    """Start a run again whose pause is over."""
    Run.objects.filter(pk=run.pk).update(lease_until=clock())
    return hands.start(run)


def test_an_imported_case_is_opened_in_the_importers_name_read_and_proposed(agent, worker, desk):
    run = worker(*script()).start(imported(agent))

    (created,) = desk.journal()
    proposal = Proposal.objects.get(run_id_value=run.pk)
    assert run.state == Run.State.WAITING
    assert (created["kind"], created["actor"], created["id"]) == ("create", "user:81", "T-9")
    assert created["after"] == {
        "subject": "My printer does not print in the virtual desktop",
        "text": TEXT,
        "customer": "C-77",
    }
    assert (proposal.target, proposal.title) == ("desk:tickets/T-9", "Route T-9 to Printing, priority low")


def test_an_opening_has_its_row_in_the_ledger_in_the_log_and_in_the_runs_steps(agent, worker):
    run = worker(*script()).start(imported(agent))

    row = ActionExecution.objects.get(thread_id=f"open:{run.work_item_id}")
    assert (row.tool_call_id, row.state, row.actor) == ("open-1", "done", "user:81")
    assert (row.proposal_id_value, row.agent_id_value, row.external_ref) == (None, agent.pk, "tickets/T-9@1")
    assert AuditEvent.objects.filter(action="work.opened", object=f"work_item:{run.work_item_id}").count() == 1
    assert run.steps.order_by("position").first().detail == {"text": "Opened as tickets/T-9@1."}


def test_an_approved_case_has_one_creation_and_one_change_in_the_systems_journal(agent, worker, desk, ben):
    hands = worker(*script())
    run = hands.start(imported(agent))

    hands.resume(decided(run, ben))

    run.refresh_from_db()
    assert run.state == Run.State.DONE
    assert [row["kind"] for row in desk.journal()] == ["create", "change"]


def test_a_promise_in_the_file_stands_on_the_card_as_the_cost_of_delay(agent, worker, ben):
    run = worker(*script()).start(imported(agent, due=clock() + timedelta(hours=3, minutes=1)))

    proposal = Proposal.objects.get(run_id_value=run.pk)
    told = card(ben, proposal.pk)
    assert proposal.sla_due == run.work_item.sla_due
    assert told.cost_of_delay == "The promise to the customer breaks in 3 h 0 min."


def test_a_case_that_its_system_knows_is_left_as_it_is(agent, worker, desk):
    run = worker(READ, LOOK_UP, ROUTE).start(imported(agent, "T-1"))

    assert run.state == Run.State.WAITING
    assert desk.journal() == []
    assert ledger(run) == []


def test_without_the_option_an_unknown_case_ends_with_a_person(agent, worker, desk):
    run = worker(*script()).start(imported(agent, open_tickets=False))

    assert (run.state, run.reason) == ("handed_over", "not_found")
    assert desk.journal() == []


def test_a_system_that_is_away_is_tried_again_and_the_case_is_opened_once(agent, worker, desk):
    desk.kill()
    hands = worker(*script())
    run = hands.start(imported(agent))
    assert (run.state, run.attempts) == ("queued", 1)
    assert "NotSent" in run.last_error

    desk.start()
    again(hands, run)

    assert run.state == Run.State.WAITING
    assert len(desk.journal()) == 1


def test_a_system_that_stays_away_ends_with_a_person_as_any_technical_failure(agent, worker, desk):
    desk.kill()
    hands = worker(*script())
    run = hands.start(imported(agent))

    for _ in range(MAX_ATTEMPTS - 1):
        again(hands, run)

    assert (run.state, run.reason) == ("handed_over", "technical")


@pytest.mark.parametrize("fault", ["drop_after_write:1", "error_after_write:1"])
def test_an_opening_without_a_clear_answer_is_settled_by_looking(agent, worker, desk, fault):
    desk.stop()
    desk.start(faults=fault)
    hands = worker(*script())
    run = hands.start(imported(agent))
    assert ledger(run) == [("open-1", "unknown")]

    again(hands, run)

    assert run.state == Run.State.WAITING
    assert ledger(run) == [("open-1", "done")]
    assert len(desk.journal()) == 1


def test_an_opening_that_never_arrived_is_sent_again_under_its_own_key(agent, worker, desk):
    desk.stop()
    desk.start(faults="drop_before_write:1")
    hands = worker(*script())
    run = hands.start(imported(agent))
    desk.stop()
    desk.start()

    again(hands, run)

    (created,) = desk.journal()
    assert created["key"] == f"open:{run.work_item_id}:open-1"
    assert ledger(run) == [("open-1", "done")]


def test_a_worker_that_died_between_ledger_and_answer_leaves_it_to_the_next(agent, worker, desk):
    run = imported(agent)
    start_execution(
        thread_id=f"open:{run.work_item_id}",
        tool_call_id="open-1",
        proposal_id=None,
        agent_id=agent.pk,
        connector_key="desk",
        digest="sha256:" + "00" * 32,
        actor="user:81",
        worker="dead:1",
    )

    worker(*script()).start(run)

    assert run.state == Run.State.WAITING
    assert ledger(run) == [("open-1", "done")]
    assert len(desk.journal()) == 1


def test_opening_twice_opens_once(agent, desk):
    run = imported(agent)

    open_case(run, worker="test:1")
    open_case(run, worker="test:2")

    assert len(desk.journal()) == 1
    assert Step.objects.filter(run=run).count() == 1


def test_a_ticket_that_was_opened_and_then_deleted_is_not_opened_again(agent, desk):
    run = imported(agent)
    open_case(run, worker="test:1")
    WorkItem.objects.filter(pk=run.work_item_id).update(external_id="T-10")
    run.work_item.refresh_from_db()

    open_case(run, worker="test:1")

    assert [row["id"] for row in desk.journal()] == ["T-9"]


def test_a_record_that_the_system_refuses_goes_to_a_person_at_once_with_its_words(agent, worker, desk):
    run = worker(*script()).start(imported(agent, customer="C" * 121))

    assert (run.state, run.reason, run.attempts) == ("handed_over", "technical", 1)
    assert "customer may have 120 characters" in run.reason_text
    assert ledger(run) == [("open-1", "failed")]


def test_nothing_is_opened_while_a_kill_switch_stands(agent, desk, ivo):
    run = imported(agent)
    agents.engage_switch(KillSwitch.Scope.ALL, 0, actor=ivo, reason="Look into it")

    with pytest.raises(NotSent, match=r"Look into it\. Nothing was sent"):
        open_case(run, worker="test:1")

    assert desk.journal() == []
    assert ledger(run) == []


def test_a_case_imported_by_the_command_is_opened_in_the_systems_name(agent, desk):
    open_case(imported(agent, actor="system"), worker="test:1")

    assert desk.journal()[0]["actor"] == "system"


def test_a_refused_key_of_ours_is_worth_another_try(agent, desk, desk_connector):
    run = imported(agent)
    store_credential(desk_connector, secret="wrong", actor="system")
    client.forget()

    with pytest.raises(Refused, match="401"):
        open_case(run, worker="test:1")


def test_a_customer_whose_id_no_target_can_name_stops_no_run(agent, worker):
    named = calls(("look_up_customer", {"customer": "Acme Ltd"}))

    run = worker(*of_case(READ, named, ROUTE)).start(imported(agent, customer="Acme Ltd"))

    assert run.state == Run.State.WAITING


@pytest.mark.parametrize(
    ("payload", "record"),
    [
        ({"text": " \nSlow\ntoday "}, {"subject": "Slow", "text": " \nSlow\ntoday "}),
        ({"text": "x" * 500}, {"subject": "x" * 120, "text": "x" * 500}),
        ({"text": "Slow", "subject": "A  subject\n"}, {"subject": "A subject", "text": "Slow"}),
        ({"text": "Slow", "customer": 77}, {"subject": "Slow", "text": "Slow", "customer": "77"}),
        ({"text": "Slow", "queue": "login", "note": "x"}, {"subject": "Slow", "text": "Slow"}),
    ],
)
def test_a_ticket_is_made_of_a_rows_words_and_leaves_the_answer_to_the_agent(payload, record):
    assert cards.new_record(payload) == record


def test_a_hand_over_says_which_record_was_refused(agent, desk):
    with pytest.raises(HandOver, match="could not be opened in its system"):
        open_case(imported(agent, customer="C" * 121), worker="test:1")
