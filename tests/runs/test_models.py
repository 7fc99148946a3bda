import pytest
from django.db import IntegrityError

from apps.runs.checks import checkpoints_build_no_objects
from apps.runs.models import Run, WorkItem
from tests.factories.connectors import make_connector
from tests.factories.runs import make_desk_agent, make_run, make_work_item


@pytest.fixture
def agent(db, team, ada):
    make_connector(team, key="desk")
    return make_desk_agent(team, ada, taught=False)


def test_a_case_has_one_open_run(agent):
    run = make_run(agent)

    with pytest.raises(IntegrityError, match="one_open_run_per_work_item"):
        Run.objects.create(
            work_item=run.work_item, agent=agent, agent_version=run.agent_version, thread_id="another-thread"
        )


def test_a_case_arrives_once(agent):
    make_work_item(agent, "T-1")

    with pytest.raises(IntegrityError, match="one_work_item_per_case"):
        make_work_item(agent, "T-1")


def test_a_hand_over_has_a_reason(agent):
    run = make_run(agent)

    with pytest.raises(IntegrityError, match="a_hand_over_has_a_reason"):
        Run.objects.filter(pk=run.pk).update(state=Run.State.HANDED_OVER)


def test_new_work_waits_for_a_run(agent):
    assert make_work_item(agent, "T-9").state == WorkItem.State.NEW


@pytest.mark.parametrize(("value", "problems"), [("true", 0), ("1", 0), ("false", 1), ("", 1)])
def test_checkpoints_that_could_run_code_are_refused_at_start(monkeypatch, value, problems):
    monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", value)

    assert len(checkpoints_build_no_objects(None)) == problems
