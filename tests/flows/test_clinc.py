"""Three hundred real queries through the real house, with workers killed, the broker emptied and verdicts sent twice."""

import os
import time

import pytest

from apps.agents.models import Agent
from apps.approvals.models import Proposal
from apps.runs.models import Run
from tests.flows import checks, clinc, harness

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("flow"),
    pytest.mark.skipif(not clinc.is_there(), reason=clinc.WHY_NOT),
]

IN_SCOPE, OUT_OF_SCOPE = 245, 55
KILLS_AT = (0.05, 0.2, 0.4)
EMPTIED_AT = 0.3
"""Shares of the runs that had ended when it happened."""
PATIENCE = 150


@pytest.fixture
def flow(tmp_path):
    """Start the house with its agent, taught and with nothing to do yet."""
    made = harness.Flow(tmp_path, broker_url=os.environ["CELERY_BROKER_URL"])
    made.processes.manage("migrate_checkpoints")
    with made.standing():
        made.make_house()
        made.teach()
        made.start()
        yield made


def test_no_query_is_lost_and_none_is_written_twice_while_workers_die_and_the_broker_forgets(flow):
    flow.give(clinc.shuffled(clinc.cases(in_scope=IN_SCOPE, out_of_scope=OUT_OF_SCOPE)))
    flow.start_deciding()

    settled = flow.watch(_torture(flow), until=harness.Progress.is_settled.fget, deadline=time.monotonic() + PATIENCE)

    report = flow.stop_deciding()
    told = checks.broken(flow.cases, journal=flow.desk.journal(), report=report, mishaps=flow.mishaps)
    assert settled, flow.progress()
    assert not told, "\n".join(told)
    assert (flow.mishaps.kills, len(flow.mishaps.lost_messages)) == (len(KILLS_AT), 1)
    assert Run.objects.count() == IN_SCOPE + OUT_OF_SCOPE
    # Enough of either kind that the rules above had something to hold for.
    assert Proposal.objects.filter(state="succeeded").count() > IN_SCOPE / 2
    assert Run.objects.filter(reason__in=["out_of_scope", "not_sure"]).count() > OUT_OF_SCOPE / 2
    assert sum(report["twice"].values()) >= len(report["decided"]) // 20
    assert Agent.objects.get(slug=harness.AGENT).versions.get(is_current=True).settings["queues"]


def _torture(flow):
    def step(now):
        if flow.mishaps.kills < len(KILLS_AT) and now.share_ended >= KILLS_AT[flow.mishaps.kills]:
            flow.kill_worker()
        if not flow.mishaps.lost_messages and now.share_ended >= EMPTIED_AT:
            flow.empty_broker()
        harness.look_early()

    return step
