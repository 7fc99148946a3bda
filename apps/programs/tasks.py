import logging

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from apps.audit.locks import try_advisory_lock
from apps.programs.actions import readings
from apps.programs.models import Program

logger = logging.getLogger(__name__)


@shared_task(name="programs.evaluate_gates", soft_time_limit=240)
def evaluate_gates() -> None:
    """Read the numbers of every active program's gates, and tell the agents floor how they stand.

    Each program is a transaction of its own: one that cannot be read leaves the others as they would be without it.
    """
    with try_advisory_lock("programs.evaluate_gates") as got:
        if got:
            for program in Program.objects.filter(state=Program.Status.ACTIVE).order_by("pk"):
                _evaluate(program)


def _evaluate(program: Program) -> None:
    try:
        readings.evaluate_gates(program)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("program not evaluated", extra={"program": program.pk})
