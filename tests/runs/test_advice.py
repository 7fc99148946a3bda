"""R12: a run of an agent that only advises ends with a person, at once and with nothing written."""

import pytest
from django.urls import reverse

from apps.agents import actions as agents
from apps.agents.models import AutonomyLevel
from apps.approvals.models import Proposal, ResumeOutbox
from apps.connectors.models import ActionExecution
from apps.runs.models import Run
from tests.factories.approvals import decide
from tests.factories.runs import make_run
from tests.runs.conftest import READ, ROUTE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def advise(agent, worker, ada):
    """Let a demo propose; return its run after its thread heard what became of that."""

    def advise(stage="demo"):
        agents.record_stage(agent, stage=stage, reason="Not yet", actor=ada)
        hands = worker(READ, ROUTE)
        run = hands.start(make_run(agent))
        hands.resume(ResumeOutbox.objects.get())
        run.refresh_from_db()
        return run

    return advise


def test_the_thread_does_not_wait_and_a_person_takes_over(advise, desk):
    run = advise()

    proposal = Proposal.objects.get(run_id_value=run.pk)
    assert (proposal.kind, proposal.state) == ("advice", "withdrawn")
    assert (run.state, run.reason, run.work_item.state) == ("handed_over", "advised", "handed_over")
    assert run.reason_text == "Recorded, not executed: At stage demo the ceiling is “recommend”."
    assert desk.journal() == []
    assert not ActionExecution.objects.exists()


def test_the_person_sees_the_advice_in_the_form(advise, client, ben):
    run = advise()
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[run.work_item_id])).content.decode()

    assert "It only advises, a person acts" in page
    assert '<option value="printing" selected' in page
    assert "We are on it." in page


def test_a_shadows_advice_is_shown_to_nobody(advise, client, ben):
    run = advise()
    AutonomyLevel.objects.update(level="shadow")
    client.force_login(ben)

    page = client.get(reverse("runs:hand_over", args=[run.work_item_id])).content.decode()

    assert "We are on it." not in page
    assert '<option value="printing" selected' not in page


def test_an_approval_given_before_the_agent_was_set_back_writes_nothing(agent, worker, desk, ada, ben):
    hands = worker(READ, ROUTE)
    run = hands.start(make_run(agent))
    proposal = decide(Proposal.objects.get(run_id_value=run.pk), ben, at=None).proposal
    agents.record_stage(agent, stage="retired", reason="Replaced", actor=ada)

    hands.resume(proposal.outbox.get())

    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.HANDED_OVER, "refused")
    assert run.reason_text == "Recorded, not executed: At stage retired the ceiling is “shadow”."
    assert desk.journal() == []
