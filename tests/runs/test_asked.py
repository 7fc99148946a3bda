"""R17: the trace behind a planted card ends where the card was asked, as that of any card that waits does."""

from datetime import timedelta

import pytest

from apps.approvals.actions.drills import plant_drill
from apps.audit.clock import clock
from apps.runs.models import Run, Step
from apps.runs.queries import run_page
from tests.factories.approvals import decide
from tests.factories.attention import make_case, make_refund_agent
from tests.factories.runs import make_work_item

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(team, ada, ben):
    """Make a finished run of a case that a person approved two hours ago."""
    agent = make_refund_agent(team, ada)
    at = clock() - timedelta(hours=2)
    run = Run.objects.create(
        work_item=make_work_item(agent),
        agent=agent,
        agent_version=agent.versions.get(),
        thread_id="run-of-the-case",
        state="done",
        started_at=at - timedelta(seconds=9),
        ended_at=at + timedelta(minutes=4),
    )
    case = make_case(agent, ben, at=at, thread_id=run.thread_id, run_id=run.pk)
    told = [
        ("read", "ticket", {"text": "I paid 40.0 for A1"}, -8),
        ("model", "turn", {"calls": [{"name": "refund", "args": case.args}]}, -5),
        ("propose", "refund", {"args": case.args, "proposal": case.pk}, 1),
        ("write", "refund", {"text": "refunded 40.0"}, 150),
    ]
    Step.objects.bulk_create(
        Step(run=run, position=n, kind=kind, name=name, detail=detail, at=at + timedelta(seconds=after))
        for n, (kind, name, detail, after) in enumerate(told, start=1)
    )
    return run


@pytest.fixture
def drill(run):
    return plant_drill(run.agent, mutation="amount", seed=1, actor="timer", at=clock() - timedelta(minutes=5))


def test_it_waits_and_shows_nothing_of_what_came_after(run, drill, ben):
    page = run_page(ben, run.pk, card_id=drill.proposal_id)

    assert (page.row.state, page.run.ended_at) == ("waiting", None)
    assert [step.kind for step in page.steps] == ["read", "model", "propose"]
    assert [each.pk for each in page.proposals] == [drill.proposal_id]


def test_what_the_agent_said_carries_the_fault_and_what_it_read_does_not(run, drill, ben):
    read, turn, asked = run_page(ben, run.pk, card_id=drill.proposal_id).steps

    assert read.text == "I paid 40.0 for A1"
    assert "amount 400.0" in turn.lines[0][1]
    assert "amount 400.0" in asked.lines[0][1]
    assert asked.proposal_id == drill.proposal_id


def test_its_times_are_those_of_the_card(run, drill, ben):
    page = run_page(ben, run.pk, card_id=drill.proposal_id)

    assert drill.proposal.created_at - page.run.started_at == timedelta(seconds=9)
    assert page.took == timedelta(seconds=9)


def test_the_card_leads_there(client, run, drill, ben):
    client.force_login(ben)

    page = client.get(f"/inbox/{drill.proposal_id}/").content.decode()
    trace = client.get(f"/runs/{run.pk}/?card={drill.proposal_id}").content.decode()

    assert f'href="/runs/{run.pk}/?card={drill.proposal_id}"' in page
    assert "Refund 400.0 to C-77" in trace
    assert "refunded 40.0" not in trace
    assert "Done" not in trace


def test_once_it_was_told_the_whole_run_is_there(run, drill, ben):
    decide(drill.proposal, ben, "reject", at=None)

    assert len(run_page(ben, run.pk, card_id=drill.proposal_id).steps) == 4


def test_a_card_of_another_run_changes_nothing(run, drill, ben):
    assert len(run_page(ben, run.pk, card_id=drill.proposal_id + 1).steps) == 4
    assert len(run_page(ben, run.pk).steps) == 4
