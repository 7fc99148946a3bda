"""Take work in from a file: all of its rows, or none; a case that is known already is not taken twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from celery import current_app
from django.db import transaction

from apps.agents.models import Agent
from apps.audit import actions as audit
from apps.runs.domain.files import WorkRow
from apps.runs.models import ImportJob, WorkItem

# Rows of one INSERT.
BATCH = 2_000
# What an import may lift an agent's limits to, so that a large file is not throttled for hours.
UNLIMITED = 1_000_000

# Told after each batch: how many rows are stored, in a dry run looked up, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or in a dry run would do."""

    job: ImportJob | None
    created: int
    known: int


@transaction.atomic
def import_work(
    agent: Agent,
    rows: Sequence[WorkRow],
    *,
    name: str,
    sha256: str,
    actor: str,
    open_tickets: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """
    Store cases for an agent and let their runs begin; the same file twice creates nothing twice.

    `open_tickets` lets each run open its case in the system of record, should that not know it. It is off unless asked
    for: a wrong id would make a ticket in somebody else's system, and nothing here can take it back.
    """
    # The agent's row orders imports, so that two of the same file do not both find its cases new. A full lock would
    # also stop every new run and proposal of the agent, as their foreign keys look at that row.
    locked = Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
    known = _known(locked, [row.external_id for row in rows], progress if dry_run else None)
    fresh = [row for row in rows if row.external_id not in known]
    if dry_run:
        return Imported(None, len(fresh), len(known))
    job = ImportJob.objects.create(
        agent=locked, name=name[:200], sha256=sha256, rows=len(rows), created=len(fresh), known=len(known), actor=actor
    )
    for start in range(0, len(fresh), BATCH):
        part = fresh[start : start + BATCH]
        WorkItem.objects.bulk_create(
            WorkItem(
                agent=locked,
                external_id=row.external_id,
                payload=row.payload,
                label=row.label,
                sla_due=row.due,
                may_open=open_tickets,
                import_job=job,
            )
            for row in part
        )
        if progress:
            progress(start + len(part), len(fresh))
    audit.record(
        "work.imported",
        subject=f"import:{job.pk}",
        actor=actor,
        team_id=locked.team_id,
        payload={
            "agent": locked.slug,
            "file": job.name,
            "sha256": sha256,
            "created": len(fresh),
            "known": len(known),
            "may_open": open_tickets,
        },
    )
    # The broker only makes it quick; the sweep would find the cases by itself.
    transaction.on_commit(partial(current_app.send_task, "runs.sweep", retry=False), robust=True)
    return Imported(job, len(fresh), len(known))


@transaction.atomic
def lift_limits(agent: Agent, *, actor: str) -> Agent:
    """Let an agent have any number of open questions, and start runs at any pace. Audited."""
    locked = Agent.objects.select_for_update().get(pk=agent.pk)
    before = {"max_open": locked.max_open, "max_new_per_minute": locked.max_new_per_minute}
    locked.max_open = locked.max_new_per_minute = UNLIMITED
    locked.save(update_fields=["max_open", "max_new_per_minute"])
    audit.record(
        "agent.limits_lifted",
        subject=f"agent:{locked.pk}",
        actor=actor,
        team_id=locked.team_id,
        payload={"before": before, "after": UNLIMITED},
    )
    return locked


def _known(agent: Agent, ids: Sequence[str], progress: Progress | None) -> set[str]:
    known: set[str] = set()
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        known.update(WorkItem.objects.filter(agent=agent, external_id__in=part).values_list("external_id", flat=True))
        if progress:
            progress(start + len(part), len(ids))
    return known
