from celery import shared_task
from django.db.models.functions import Now

from config.models import Heartbeat


@shared_task(name="config.heartbeat", ignore_result=True, soft_time_limit=10)
def heartbeat() -> None:
    """Show that beat sends, the broker carries and a worker works."""
    Heartbeat.objects.update_or_create(name="beat", defaults={"at": Now()})
