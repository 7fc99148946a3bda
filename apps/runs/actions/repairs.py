"""R16: an operator asks to plan a stuck thread's last turn anew; a worker, which alone can read threads, does it."""

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from celery import current_app
from django.db import transaction

from apps.accounts.access import ensure
from apps.accounts.models import User
from apps.audit.clock import clock
from apps.runs.actions.runs import lock, tell
from apps.runs.errors import NotRepaired
from apps.runs.models import Run
from apps.runs.queries import END

REPAIR_TASK: Final = "runs.repair"
RESEND_AFTER: Final = timedelta(seconds=30)
"""A repair that no worker took for so long is sent again: the broker may have lost it."""


@transaction.atomic
def ask_repair(run: Run, *, actor: User, at: datetime | None = None) -> Run:
    """
    Have a waiting run's last turn planned anew. Its questions return with the same proposals; nothing runs twice.

    Asked twice it is done once. Raises Forbidden, and NotRepaired for a run that does not wait.
    """
    ensure(actor, END, run.agent.team_id)
    row = lock(run)
    if row.state != Run.State.WAITING:
        raise NotRepaired(
            f"This run is {row.get_state_display().lower()}; only a waiting one can be repaired. Nothing was changed."
        )
    if row.repair_asked_at is None:
        row.repair_asked_at, row.repair_asked_by = at or clock(), actor
        row.save(update_fields=["repair_asked_at", "repair_asked_by"])
        tell(row, "thread.repair_asked", {"thread": row.thread_id}, actor=actor.actor)
        _send(row.pk)
    return row


@transaction.atomic
def settle(run: Run, *, problem: str = "") -> None:
    """Note that a repair that somebody asked for was done, or why it could not be."""
    row = lock(run)
    by = row.repair_asked_by
    row.repair_asked_at = row.repair_asked_by = None
    if problem:
        row.last_error = f"The repair failed. {problem}"[:500]
        tell(row, "thread.not_repaired", {"thread": row.thread_id, "why": problem[:500]}, actor=by.actor if by else "")
    row.save(update_fields=["repair_asked_at", "repair_asked_by", "last_error"])


def send_due(*, at: datetime | None = None) -> list[int]:  # 1 query
    """Send workers to repairs that none has taken yet."""
    late = (at or clock()) - RESEND_AFTER
    ids = list(Run.objects.filter(repair_asked_at__lte=late).order_by("repair_asked_at").values_list("pk", flat=True))
    for run_id in ids:
        _send(run_id)
    return ids


def _send(run_id: int) -> None:
    tell_worker = partial(current_app.send_task, REPAIR_TASK, [run_id], retry=False, expires=60)
    transaction.on_commit(tell_worker, robust=True)
