"""What a finished run tells: pace, agreement, hand-overs and waiting times, read back from the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import F, Max, Min

from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.connectors.models import ActionExecution
from apps.runs.models import Run
from tests.flows.clinc import Case


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds: the middle one, and the one that 5 of 100 exceed."""

    p50: float
    p95: float

    def __str__(self) -> str:
        return f"{self.p50:.0f} / {self.p95:.0f} ms"


@dataclass(frozen=True, slots=True)
class Routing:
    """What the agent made of the queries, before anybody decided."""

    in_scope: int
    out_of_scope: int
    handed_over_in_scope: int
    handed_over_out_of_scope: int
    agreed: int
    """Proposals of queries in scope whose queue is the right one."""

    @property
    def proposed_in_scope(self) -> int:
        return self.in_scope - self.handed_over_in_scope

    @property
    def proposed(self) -> int:
        return self.proposed_in_scope + self.out_of_scope - self.handed_over_out_of_scope


def spread(seconds: Sequence[float]) -> Spread:
    """Nearest rank; nothing measured is nan."""
    if not seconds:
        return Spread(float("nan"), float("nan"))
    ranked = sorted(seconds)
    return Spread(*(ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1000 for share in (0.5, 0.95)))


def pace() -> float:
    """Runs per second from the first start to the last question or hand-over, over all runs there are."""
    began: datetime | None = Run.objects.aggregate(at=Min("started_at"))["at"]
    ends = [Proposal.objects.aggregate(at=Max("created_at"))["at"], Run.objects.aggregate(at=Max("ended_at"))["at"]]
    last = max((each for each in ends if each is not None), default=None)
    if began is None or last is None or last <= began:
        return 0.0
    return Run.objects.count() / (last - began).total_seconds()


def start_to_question() -> Spread:
    asked = dict(Proposal.objects.values_list("run_id_value", "created_at"))
    runs = Run.objects.filter(pk__in=asked, attempts=1).values_list("pk", "started_at")
    return spread([(asked[pk] - started).total_seconds() for pk, started in runs])


def decision_to_execution() -> Spread:
    decided = dict(Decision.objects.filter(final=True, voided_at=None).values_list("proposal_id", "decided_at"))
    ended = ActionExecution.objects.filter(state="done", suppressed=0).values_list("proposal_id_value", "ended_at")
    return spread([(at - decided[pk]).total_seconds() for pk, at in ended if at and pk in decided])


_CHECKPOINTS: Final = """
WITH kept AS (
    SELECT thread_id, pg_column_size(each.*) AS size FROM checkpoints AS each
    UNION ALL SELECT thread_id, pg_column_size(each.*) FROM checkpoint_blobs AS each
    UNION ALL SELECT thread_id, pg_column_size(each.*) FROM checkpoint_writes AS each
)
SELECT count(DISTINCT thread_id), count(*), sum(size) FROM kept
"""


def resume_to_end() -> Spread:
    """From the moment a thread is handed its answer to the end of its run, with the write between them."""
    handed = dict(ResumeOutbox.objects.filter(handed_at__isnull=False).values_list("thread_id", "handed_at"))
    ended = Run.objects.filter(thread_id__in=handed, ended_at__isnull=False).values_list("thread_id", "ended_at")
    return spread([(at - handed[thread]).total_seconds() for thread, at in ended])


def checkpoints_per_run() -> str:
    """What one run leaves in the tables of LangGraph: rows, and their size as stored."""
    with connection.cursor() as cursor:
        cursor.execute(_CHECKPOINTS)
        threads, rows, size = cursor.fetchone()
    return f"{rows / threads:.0f} rows, {size / threads / 1000:.0f} kB" if threads else "none"


def routing(cases: Mapping[str, Case]) -> Routing:
    proposed = {
        target.rpartition("/")[2]: args["queue"]
        for target, args in Proposal.objects.values_list("target", "args_original")
    }
    inside = [each for each in cases.values() if each.queue is not None]
    outside = [each for each in cases.values() if each.queue is None]
    return Routing(
        in_scope=len(inside),
        out_of_scope=len(outside),
        handed_over_in_scope=sum(each.id not in proposed for each in inside),
        handed_over_out_of_scope=sum(each.id not in proposed for each in outside),
        agreed=sum(proposed.get(each.id) == each.queue for each in inside),
    )


def restarts() -> int:
    """How often a run was started again because its worker had gone."""
    total: dict[str, Any] = {"again": sum(Run.objects.annotate(n=F("attempts") - 1).values_list("n", flat=True))}
    return int(total["again"])
