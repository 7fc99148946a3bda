"""Rolling back: a second action puts a target back as it was; a person asks for it, another decides it, and it runs once."""

from datetime import timedelta

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.access import Forbidden
from apps.agents.workflows import OUTSIDE
from apps.approvals import errors
from apps.approvals.actions import execution
from apps.approvals.actions.closing import expire_unexecuted
from apps.approvals.actions.policies import publish_policy
from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.models import Proposal
from apps.audit.clock import clock
from apps.audit.models import AuditEvent
from apps.connectors.models import ActionExecution
from apps.runs import direct, tasks
from apps.runs.actions import compensations
from apps.runs.actions.compensations import propose_compensation
from apps.runs.domain.compensation import NotPlanned, plan, put_back
from apps.runs.errors import BadReason, NotCompensated
from tests.factories.accounts import make_member
from tests.factories.runs import make_run
from tests.runs.conftest import READ, ROUTE, decided

WHY = "It belongs to another team."
HTMX = {"HTTP_HX_REQUEST": "true"}
SOURCES = {"ticket": "args.ticket", "queue": "before.queue"}

real = pytest.mark.django_db(transaction=True)


def test_each_argument_comes_from_what_was_done_or_from_what_was_before():
    made = plan(SOURCES, args={"ticket": "T-1", "queue": "login"}, before={"queue": None, "status": "new"})

    assert made == {"ticket": "T-1", "queue": None}


def test_a_secret_among_the_arguments_was_kept_to_the_letter():
    made = plan(SOURCES, args={"ticket": "T-1"}, before={"queue": "login"}, redacted=["/args/ticket", "/title"])

    assert made == {"ticket": "T-1", "queue": "login"}


def test_a_secret_under_a_name_that_a_pointer_escapes_is_not_put_back_either():
    for field, place in (("a/b", "a~1b"), ("a~b", "a~0b")):
        with pytest.raises(NotPlanned, match="held a secret"):
            plan(
                {"x": f"before.{field}"},
                args={},
                before={field: "[redacted:0a1b2c3d]"},
                redacted=[f"/state_proposed/{place}"],
            )


@pytest.mark.parametrize(
    ("args", "before", "redacted", "missing"),
    [
        ({"ticket": "T-1"}, {}, [], "what queue was before"),
        ({}, {"queue": "login"}, [], "what ticket was before"),
        ({"ticket": "T-1"}, {"queue": "[redacted]"}, ["/state_proposed/queue"], "queue held a secret"),
        ({"ticket": "T-1"}, {"queue": {"x": "[redacted]"}}, ["/state_proposed/queue/x"], "queue held a secret"),
    ],
)
def test_what_is_not_known_for_certain_is_not_put_back(args, before, redacted, missing):
    with pytest.raises(NotPlanned, match=missing):
        plan(SOURCES, args=args, before=before, redacted=redacted)


values = st.dictionaries(
    st.sampled_from(["queue", "status", "reply"]), st.sampled_from([None, "", "login", 0, "0", "new"])
)


@given(before=values, done=values)
def test_putting_back_restores_exactly_what_was_there(before, done):
    changes = plan({field: f"before.{field}" for field in before}, args=done, before=before)

    assert {**before, **done, **changes} == {**done, **before}
    assert {line.field: line.back for line in put_back(changes, now=done)} == before


def test_what_would_really_change_stands_first():
    lines = put_back({"queue": "a", "status": "new"}, now={"queue": "a", "status": "routed"})

    assert [(line.field, line.is_changed) for line in lines] == [("status", True), ("queue", False)]


@pytest.fixture
def kim(team):
    return make_member(team, "reviewer", name="Kim")


@pytest.fixture
def done(agent, worker, desk, ben):
    """A route that Ben approved and that was written."""
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    hands.resume(decided(run, ben))
    return Proposal.objects.get(run_id_value=run.pk, state="succeeded")


def undo_s(agent, seconds):
    publish_policy(agent.action_types.get(key="tickets.route_back"), actor="system", undo_s=seconds)


def approve(row, person):
    row.refresh_from_db()
    return decide_proposal(row.pk, verdict="approve", version=row.version, digest=row.digest, actor=person)


def execute(row):
    tasks.execute(row.pk)
    row.refresh_from_db()
    return row


@real
def test_it_is_proposed_with_what_would_be_put_back_and_waits_for_somebody_else(done, desk, ben):
    made = propose_compensation(done.pk, reason=WHY, actor=ben)

    assert (made.state, made.interrupt_id, made.source) == ("pending", "", "compensation")
    assert (made.requested_by, made.compensates) == (ben, done)
    assert made.args == {"ticket": "T-1", "queue": None, "priority": None, "status": "new", "reply": None}
    assert made.body.state_proposed["queue"] == "printing"
    assert [each["label"] for each in made.body.evidence] == ["Why Ben asks for it", "What is rolled back"]
    assert len(desk.journal()) == 1


@real
def test_asked_for_twice_it_is_one(done, ben, kim):
    first = propose_compensation(done.pk, reason=WHY, actor=ben)

    second = propose_compensation(done.pk, reason="Me too.", actor=kim)

    assert first == second
    assert Proposal.objects.filter(compensates=done).count() == 1
    assert AuditEvent.objects.filter(action="proposal.compensation_proposed").count() == 1


@real
def test_who_asked_for_it_does_not_decide_it(done, ben):
    made = propose_compensation(done.pk, reason=WHY, actor=ben)

    with pytest.raises(errors.SelfApproval):
        approve(made, ben)


@real
def test_decided_by_another_it_is_written_once_and_the_first_is_rolled_back(done, agent, desk, ben, kim):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    done.refresh_from_db()
    assert (made.state, done.state) == ("pending", "succeeded")

    execute(made)
    execute(made)

    done.refresh_from_db()
    assert (made.state, done.state) == ("succeeded", "rolled_back")
    assert [row["after"]["queue"] for row in desk.journal()] == ["printing", None]
    ticket = desk.ticket("T-1")
    assert (ticket["queue"], ticket["priority"], ticket["status"], ticket["reply"]) == (None, None, "new", None)
    assert ActionExecution.objects.get(proposal_id_value=made.pk).state == "done"


@real
def test_the_card_and_the_history_of_the_first_say_that_it_was_rolled_back(client, done, agent, desk, ben, kim):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    execute(made)
    client.force_login(kim)

    card = client.get(reverse("approvals:card", args=[done.pk])).content.decode()
    panel = client.get(reverse("runs:compensation", args=[done.pk]), **HTMX).content.decode()
    history = client.get(reverse("approvals:history")).content.decode()

    assert "Rolled back" in card
    assert made.title in panel
    assert "Rolled back" in history


@real
def test_a_decision_wakes_a_worker_and_the_sweep_wakes_one_that_was_lost(done, agent, broker, ben, kim):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)

    approve(made, kim)

    assert compensations.send_due() == [made.pk]
    execute(made)
    assert compensations.send_due() == []


@real
def test_it_does_not_run_while_it_may_still_be_taken_back(done, agent, desk, broker, ben, kim):
    undo_s(agent, 60)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)

    assert compensations.send_due() == []
    assert execute(made).state == "queued"
    assert len(desk.journal()) == 1


@real
def test_a_target_that_moved_since_is_left_alone(done, agent, desk, ben, kim):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    desk.edit("T-1", queue="login")

    execute(made)

    done.refresh_from_db()
    assert (made.state, done.state) == ("stale", "succeeded")
    assert [row["actor"] for row in desk.journal()][1:] == ["hand"]


@real
def test_after_one_that_missed_another_may_be_proposed(done, desk, ben, kim):
    first = propose_compensation(done.pk, reason=WHY, actor=ben)
    decide_proposal(first.pk, verdict="reject", version=first.version, digest=first.digest, reason="Not so.", actor=kim)

    second = propose_compensation(done.pk, reason="It is, look again.", actor=ben)

    assert second.pk != first.pk
    assert (second.state, second.thread_id, second.tool_call_id) == ("pending", first.thread_id, "try-2")


@real
@pytest.mark.parametrize("fault", ["drop_after_write:1", "error_after_write:1"])
def test_an_unclear_answer_is_repeated_under_one_key_and_written_once(done, agent, desk, ben, kim, fault):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    desk.stop()
    desk.start(faults=fault)

    execute(made)

    assert made.state == "succeeded"
    assert len(desk.journal()) == 2


@real
def test_an_outcome_nobody_knows_is_never_sent_again_and_an_operator_says_what_happened(
    done, agent, desk, desk_connector, ben, kim, cora
):
    undo_s(agent, 0)
    desk_connector.is_idempotent = False
    desk_connector.save(update_fields=["is_idempotent"])
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    desk.stop()
    desk.start(faults="drop_after_write:1")

    execute(made)
    execute(made)
    assert made.state == "unknown"
    execution.reconcile(made.pk, happened=True, note="I saw it on the desk.", actor=cora)

    done.refresh_from_db()
    assert done.state == "rolled_back"
    assert len(desk.journal()) == 2


@real
def test_a_system_that_is_away_leaves_it_due(done, agent, desk, ben, kim):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    desk.kill()

    assert execute(made).state == "queued"
    desk.start()
    assert execute(made).state == "succeeded"


@real
def test_an_executor_leaves_alone_what_a_thread_waits_for(agent, worker, desk, ben):
    run = worker(READ, ROUTE).start(make_run(agent))
    decided(run, ben)
    waiting = Proposal.objects.get()

    direct.execute(waiting.pk, worker="test:1")

    waiting.refresh_from_db()
    assert waiting.state == "queued"
    assert desk.journal() == []


@real
def test_what_was_not_done_cannot_be_rolled_back(agent, worker, desk, ben):
    worker(READ, ROUTE).start(make_run(agent))

    with pytest.raises(NotCompensated, match="only what was done can be put back"):
        propose_compensation(Proposal.objects.get().pk, reason=WHY, actor=ben)


@real
def test_what_nothing_undoes_cannot_be_rolled_back(done, agent, ben):
    agent.action_types.filter(key="tickets.route").update(compensated_by="", compensation_args={})

    with pytest.raises(NotCompensated, match="Nothing undoes this kind of action"):
        propose_compensation(done.pk, reason=WHY, actor=ben)


@real
def test_while_the_system_cannot_be_read_nothing_is_proposed(done, desk, ben):
    desk.kill()

    with pytest.raises(NotCompensated, match="Nothing was proposed"):
        propose_compensation(done.pk, reason=WHY, actor=ben)

    assert not Proposal.objects.filter(compensates=done).exists()


@real
def test_it_takes_the_right_and_a_reason(done, ben, dev):
    with pytest.raises(Forbidden):
        propose_compensation(done.pk, reason=WHY, actor=dev)
    with pytest.raises(BadReason):
        propose_compensation(done.pk, reason=" a ", actor=ben)


@real
def test_the_panel_shows_what_would_be_put_back_and_proposes_it(client, done, desk, ben):
    client.force_login(ben)
    url = reverse("runs:compensation", args=[done.pk])

    panel = client.get(url, **HTMX).content.decode()
    answer = client.post(url, {"reason": WHY}, **HTMX)

    assert '<td class="wrap">printing</td>' in panel
    assert "Propose to roll back" in panel
    assert answer["HX-Redirect"] == reverse("approvals:card", args=[done.pk])
    assert Proposal.objects.filter(compensates=done).count() == 1
    assert "Putting it back is proposed already." in client.get(url, **HTMX).content.decode()


@real
def test_the_panel_warns_of_what_somebody_changed_since(client, done, desk, ben):
    desk.edit("T-1", queue="login")
    client.force_login(ben)

    assert "Somebody changed queue since." in client.get(reverse("runs:compensation", args=[done.pk])).content.decode()


@real
def test_the_panel_goes_away_where_there_is_nothing_to_roll_back(client, agent, worker, ben):
    worker(READ, ROUTE).start(make_run(agent))
    client.force_login(ben)

    answer = client.get(reverse("runs:compensation", args=[Proposal.objects.get().pk]), **HTMX)

    assert (answer["HX-Retarget"], answer["HX-Reswap"]) == ("closest section", "delete")


@real
def test_what_an_agent_elsewhere_did_is_not_proposed_and_the_page_says_what_to_do(client, done, agent, desk, ben):
    type(agent).objects.filter(pk=agent.pk).update(workflow=OUTSIDE)
    url = reverse("runs:compensation", args=[done.pk])
    told = "let that agent ask for tickets.route_back, or put it right in desk itself."
    client.force_login(ben)

    page = client.get(url).content.decode()
    desk.stop()
    refused = client.post(url, {"reason": WHY})

    assert told in page
    assert "Propose to roll back" not in page
    assert (refused.status_code, told in refused.content.decode()) == (409, True)
    assert not Proposal.objects.filter(compensates=done).exists()


@real
def test_the_page_says_no_in_words(client, done, desk, ben, eve):
    url = reverse("runs:compensation", args=[done.pk])
    client.force_login(ben)
    assert client.post(url, {"reason": ""}).status_code == 422
    desk.kill()
    refused = client.post(url, {"reason": WHY})
    assert (refused.status_code, b"Nothing was proposed" in refused.content) == (409, True)
    client.force_login(eve)
    assert client.post(url, {"reason": WHY}).status_code == 404


@real
def test_a_time_that_passed_before_it_could_run_is_told(done, agent, desk, ben, kim):
    undo_s(agent, 0)
    made = propose_compensation(done.pk, reason=WHY, actor=ben)
    approve(made, kim)
    assert expire_unexecuted(at=clock() + timedelta(hours=1)) == 1

    assert execute(made).state == "expired"
    assert len(desk.journal()) == 1
