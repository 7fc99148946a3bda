"""Take work in from a file: all of its rows, or none; a case that is known already is not taken twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from celery import current_app
from django.db import transaction

from apps.accounts.access import ensure
from apps.accounts.models import User
from apps.agents.models import Agent
from apps.audit import actions as audit
from apps.runs.actions.ends import cancel
from apps.runs.domain.files import WorkRow
from apps.runs.errors import NotEnded
from apps.runs.models import ImportJob, Run, WorkItem
from apps.runs.queries import END, OPEN

# Rows of one INSERT.
BATCH = 2_000
# Of the cases that an import refused the log names so many.
TOLD = 100
# What an import may lift an agent's limits to, so that a large file is not throttled for hours.
UNLIMITED = 1_000_000

# Told after each batch: how many rows are stored, in a dry run looked up, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """
    What an import did, or in a dry run would do. Known cases whose row has changed since are told apart.

    `renewed` had not begun and took the new row in; `restarted` had their questions taken back and begin anew; `refused`
    are in work, and stay as they are: a question that is before people must keep its ground (R16).
    """

    job: ImportJob | None
    created: int
    known: int
    renewed: int = 0
    restarted: int = 0
    refused: tuple[str, ...] = ()


@transaction.atomic
def import_work(
    agent: Agent,
    rows: Sequence[WorkRow],
    *,
    name: str,
    sha256: str,
    actor: str,
    open_tickets: bool = False,
    withdraw_as: User | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """
    Store cases for an agent and let their runs begin; the same file twice creates nothing twice.

    `open_tickets` lets each run open its case in the system of record, should that not know it. It is off unless asked
    for: a wrong id would make a ticket in somebody else's system, and nothing here can take it back.

    A changed row of a case in work is refused, unless `withdraw_as` takes its questions back in their name first; that
    takes the right runs.repair, else Forbidden. What an agent reads is the system of record, never the file.
    """
    # The agent's row orders imports, so that two of the same file do not both find its cases new. A full lock would
    # also stop every new run and proposal of the agent, as their foreign keys look at that row.
    locked = Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
    if withdraw_as is not None:
        ensure(withdraw_as, END, locked.team_id)
    known = _known(locked, [row.external_id for row in rows], progress if dry_run else None)
    fresh = [row for row in rows if row.external_id not in known]
    changed = [row for row in rows if row.external_id in known and known[row.external_id].payload != row.payload]
    if dry_run:
        waiting = tuple(row.external_id for row in changed if known[row.external_id].state == WorkItem.State.IN_WORK)
        new = sum(known[row.external_id].state == WorkItem.State.NEW for row in changed)
        return Imported(None, len(fresh), len(known), renewed=new, refused=() if withdraw_as else waiting)
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
    taken = _take_changed(locked, changed, name=job.name, withdraw_as=withdraw_as)
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
            "renewed": taken.renewed,
            "restarted": taken.restarted,
            "refused": list(taken.refused[:TOLD]),
        },
    )
    # The broker only makes it quick; the sweep would find the cases by itself.
    transaction.on_commit(partial(current_app.send_task, "runs.sweep", retry=False), robust=True)
    return Imported(
        job, len(fresh), len(known), renewed=taken.renewed, restarted=taken.restarted, refused=tuple(taken.refused)
    )


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


@dataclass(slots=True)
class _Changed:
    renewed: int = 0
    restarted: int = 0
    refused: list[str] = field(default_factory=list)


def _take_changed(agent: Agent, rows: Sequence[WorkRow], *, name: str, withdraw_as: User | None) -> _Changed:
    """Take a changed row in where no thread has begun on it; a case that is closed or with a person stays as it is."""
    done = _Changed()
    found = {row.external_id: row for row in rows}
    # Not locked here: a run and then its case is the order of everybody else, and nothing begins while we hold the agent.
    items = WorkItem.objects.filter(agent=agent, external_id__in=found)
    for item in items.filter(state__in=[WorkItem.State.NEW, WorkItem.State.IN_WORK]).order_by("pk"):
        row = found[item.external_id]
        if item.state == WorkItem.State.NEW:
            _renew(item, row)
            done.renewed += 1
        elif withdraw_as is not None and _withdrawn(item, name=name, actor=withdraw_as):
            _renew(item, row)
            done.restarted += 1
        else:
            done.refused.append(item.external_id)
    return done


def _renew(item: WorkItem, row: WorkRow) -> None:
    item.payload, item.sla_due, item.state = row.payload, row.due or item.sla_due, WorkItem.State.NEW
    item.closed_at = item.closed_by = None
    item.save(update_fields=["payload", "sla_due", "state", "closed_at", "closed_by"])


def _withdrawn(item: WorkItem, *, name: str, actor: User) -> bool:
    """Take the questions of a case back and end its run. False where that is not safe: its change is under way or was made."""
    run = (
        Run.objects.select_related("agent", "agent_version", "work_item").filter(work_item=item, state__in=OPEN).first()
    )
    if run is None:
        return False
    try:
        cancel(run, reason=f"Its row came anew in {name}.", actor=actor)
    except NotEnded:
        return False
    return True


def _known(agent: Agent, ids: Sequence[str], progress: Progress | None) -> dict[str, WorkItem]:
    known: dict[str, WorkItem] = {}
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        items = WorkItem.objects.filter(agent=agent, external_id__in=part).only("external_id", "payload", "state")
        known.update((item.external_id, item) for item in items)
        if progress:
            progress(start + len(part), len(ids))
    return known
