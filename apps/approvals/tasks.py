"""What happens to proposals by the clock. Each task takes a lock of its own, so that a second beat changes nothing."""

from collections.abc import Callable

from celery import current_app, shared_task

from apps.approvals.actions import claims, closing, execution, outbox
from apps.audit.locks import try_advisory_lock


@shared_task(name="approvals.sweep_expiry", soft_time_limit=50)
def sweep_expiry() -> None:
    """Close what nobody answered in time, and what was approved but could not run in time."""
    _alone("approvals.sweep_expiry", closing.expire_overdue, closing.expire_unexecuted)


@shared_task(name="approvals.sweep_claims", soft_time_limit=50)
def sweep_claims() -> None:
    """Give back cards whose holder went away."""
    _alone("approvals.sweep_claims", claims.release_stale_claims)


@shared_task(name="approvals.sweep_executions", soft_time_limit=50)
def sweep_executions() -> None:
    """Mark executions whose worker died as unknown."""
    _alone("approvals.sweep_executions", execution.mark_stuck_executions)


@shared_task(name="approvals.sweep_outbox", soft_time_limit=50)
def sweep_outbox() -> None:
    """Send answers again that their threads have not heard for 30 s: the broker may have lost them."""
    _alone("approvals.sweep_outbox", _resend)


def _resend() -> None:
    while late := outbox.resend_due():
        for answer_id in late:
            current_app.send_task(outbox.RESUME_TASK, [answer_id], retry=False)


def _alone(name: str, *jobs: Callable[[], object]) -> None:
    with try_advisory_lock(name) as is_mine:
        if is_mine:
            for job in jobs:
                job()
