"""What happens to proposals by the clock. Each task takes a lock of its own, so that a second beat changes nothing."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from celery import current_app, shared_task
from django.db import transaction

from apps.approvals.actions import (
    claims,
    closing,
    drills,
    escalating,
    execution,
    notices,
    outbox,
    second_looks,
    viewing,
    vigilance,
)
from apps.audit.locks import try_advisory_lock, try_xact_lock

logger = logging.getLogger(__name__)

# A worker leaves a channel with many messages after this long, so that other work gets its turn; the sweep goes on with it.
NOTIFY_FOR_S: Final = 30.0


@shared_task(name="approvals.sweep_expiry", soft_time_limit=50)
def sweep_expiry() -> None:
    """Close what nobody answered in time, and what was approved but could not run in time."""
    _alone("approvals.sweep_expiry", closing.expire_overdue, closing.expire_unexecuted)


@shared_task(name="approvals.sweep_escalations", soft_time_limit=50)
def sweep_escalations() -> None:
    """Call the next people on cards that wait too long."""
    _alone("approvals.sweep_escalations", escalating.escalate_due)


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


@shared_task(name="approvals.partitions", soft_time_limit=50)
def partitions() -> None:
    """Keep three months of looks at cards ahead and thirteen behind."""
    with transaction.atomic(), try_xact_lock("approvals.partitions") as is_mine:
        if not is_mine:
            return
        made, dropped = viewing.make_partitions(), viewing.drop_old_partitions()
    if made or dropped:
        logger.info("partitions of looks at cards", extra={"made": made, "dropped": dropped})


@shared_task(name=vigilance.WATCH_TASK, soft_time_limit=50)
def watch_run(decision_id: int) -> None:
    """Act on a run of approvals that the team's own rate makes unlikely, a moment after the last of them."""
    vigilance.watch_run(decision_id)


@shared_task(name="approvals.plant_drills", soft_time_limit=50)
def plant_drills() -> None:
    """Reveal planted cards that nobody decided, and plant what keeps drills and second looks at their share."""
    _alone(
        "approvals.plant_drills",
        drills.settle_undecided,
        second_looks.settle_undecided,
        drills.plant_due,
        second_looks.plant_due,
    )


@shared_task(name="approvals.roll_vigilance", soft_time_limit=600)
def roll_vigilance() -> None:
    """Measure once a day how attentively each reviewer decided; asked every hour, as a beat may restart at any time."""
    _alone("approvals.roll_vigilance", vigilance.roll_due)


# Longer than any one message may take; the loop stops early enough for one more.
@shared_task(name="approvals.notify", soft_time_limit=50)
def notify(channel_id: int) -> None:
    """Send what is due in one channel, one message after the other."""
    until = monotonic() + NOTIFY_FOR_S
    while monotonic() < until and notices.deliver(channel_id):
        pass


@shared_task(name="approvals.sweep_notices", soft_time_limit=50)
def sweep_notices() -> None:
    """Wake a worker again for each channel whose messages were lost on the way, or whose pause is over."""
    _alone("approvals.sweep_notices", _wake_due)


@shared_task(name="approvals.prune_notices", soft_time_limit=600)
def prune_notices() -> None:
    """Forget messages about cards after 30 days."""
    _alone("approvals.prune_notices", notices.prune)


def _wake_due() -> None:
    for channel_id in notices.channels_due():
        current_app.send_task(notices.NOTIFY_TASK, [channel_id], retry=False)


def _resend() -> None:
    while late := outbox.resend_due():
        for answer_id in late:
            current_app.send_task(outbox.RESUME_TASK, [answer_id], retry=False)


def _alone(name: str, *jobs: Callable[[], object]) -> None:
    with try_advisory_lock(name) as is_mine:
        if is_mine:
            for job in jobs:
                job()
