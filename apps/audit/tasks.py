import logging

from celery import shared_task
from django.db import transaction

from apps.audit.actions import make_partitions
from apps.audit.locks import try_xact_lock
from apps.audit.queries import stray_events

logger = logging.getLogger(__name__)


@shared_task(name="audit.partitions", soft_time_limit=50)
def partitions() -> None:
    """Keep three months of partitions ahead; rows in the default one mean that this task was down for as long."""
    with transaction.atomic(), try_xact_lock("audit.partitions") as got:
        if not got:
            return
        strays = stray_events()
        if strays:
            logger.error("audit events outside their month's partition", extra={"events": strays})
            return
        made = make_partitions()
    if made:
        logger.info("audit partitions made", extra={"partitions": made})
