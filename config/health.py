"""Whether this process lives, and whether the house can do its work. Both doors are open to anybody, so they say only names."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache

from celery import current_app
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError

from config.models import Heartbeat

# Beat sends its sign of life every 15 seconds; three may be lost before somebody should look.
BEAT_SILENCE = timedelta(seconds=60)
BROKER_PATIENCE = 2


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer while the process lives, with the id of the start it belongs to."""
    return JsonResponse({"status": "ok", "start": settings.START_ID})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when every part is there, else 503; the reasons are in the log, not in the answer."""
    parts = {name: "ok" if is_ok() else "not ok" for name, is_ok in PARTS.items()}
    ready = set(parts.values()) == {"ok"}
    return JsonResponse({"status": "ok" if ready else "not ok", **parts}, status=200 if ready else 503)


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def migrations_are_applied() -> bool:
    try:
        return _all_applied()
    except (Error, _Pending):
        return False


def broker_answers(url: str | None = None) -> bool:
    try:
        with current_app.connection_for_write(url, connect_timeout=BROKER_PATIENCE) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_PATIENCE)
    except (OperationalError, OSError):
        return False
    return True


def beat_is_heard() -> bool:
    try:
        return Heartbeat.objects.filter(name="beat", at__gt=Now() - BEAT_SILENCE).exists()
    except Error:
        return False


PARTS: dict[str, Callable[[], bool]] = {
    "database": database_answers,
    "migrations": migrations_are_applied,
    "broker": broker_answers,
    "beat": beat_is_heard,
}


class _Pending(Exception):
    """An answer that must not be remembered; not a failure."""


@lru_cache(maxsize=1)
def _all_applied() -> bool:
    """Remember only yes: this code's migrations cannot become unapplied while it runs, except by hand."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise _Pending
    return True
