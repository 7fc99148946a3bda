from celery import shared_task
from django.db import transaction

from apps.audit.locks import try_xact_lock
from apps.programs import actions
from apps.programs.models import Program


@shared_task(name="programs.evaluate_gates", soft_time_limit=240)
def evaluate_gates() -> None:
    """Read the numbers of every active program's gates, and tell the agents floor how they stand."""
    with transaction.atomic(), try_xact_lock("programs.evaluate_gates") as got:
        if got:
            for program in Program.objects.filter(state=Program.Status.ACTIVE).select_related("agent"):
                actions.evaluate_gates(program)
