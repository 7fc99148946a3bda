from celery import shared_task
from django.db import transaction

from apps.audit.locks import try_xact_lock
from apps.slo import actions


@shared_task(name="slo.collect", soft_time_limit=50)
def collect() -> None:
    """Count what committed since the last time. A second collector does nothing."""
    with transaction.atomic(), try_xact_lock("slo.collect") as got:
        if got:
            actions.collect()


@shared_task(name="slo.evaluate", soft_time_limit=50)
def evaluate() -> None:
    """Report the state of every budget to the agents floor."""
    with transaction.atomic(), try_xact_lock("slo.evaluate") as got:
        if got:
            actions.evaluate()
