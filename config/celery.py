"""The Celery application: queues by kind, and the periodic table in one place."""

import os
from typing import Final

from celery import Celery
from django.conf import settings
from kombu import Queue

# `celery -A config` starts here, before Django.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Seconds between two turns of each periodic task.
PERIODIC: Final = {
    "config.heartbeat": 15.0,
    "slo.collect": 5.0,
    "slo.evaluate": 60.0,
    "programs.evaluate_gates": 300.0,
    "approvals.sweep_expiry": 15.0,
    "approvals.sweep_outbox": 15.0,
    "approvals.sweep_escalations": 15.0,
    "approvals.sweep_claims": 30.0,
    "approvals.sweep_executions": 60.0,
    "approvals.sweep_notices": 15.0,
    "runs.sweep": 5.0,
    "runs.sweep_threads": 300.0,
    "runs.prune_checkpoints": 3_600.0,
    "audit.partitions": 3_600.0,
    "approvals.partitions": 3_600.0,
    "approvals.prune_notices": 3_600.0,
    "approvals.plant_drills": 600.0,
    "approvals.roll_vigilance": 3_600.0,
}

# A worker needs a while to start; what beat sent meanwhile is still worth doing.
KEPT_FOR: Final = 60.0

_IS_RABBITMQ: Final = settings.CELERY_BROKER_URL.startswith("amqp")
# Replicated and never lost with one node; a message for later waits in queues of RabbitMQ's own, which needs a topic exchange.
_ON_RABBITMQ: Final = {"task_default_exchange_type": "topic", "broker_native_delayed_delivery_queue_type": "quorum"}
_QUORUM: Final = {"x-queue-type": "quorum"}

app = Celery("pastpilot")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True} if _IS_RABBITMQ else {"visibility_timeout": 120},
    **(_ON_RABBITMQ if _IS_RABBITMQ else {}),
    # S10: JSON only, no results. Arguments are row ids: a forged message does nothing, or what was due anyway.
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    task_default_queue="default",
    # Each queue by its own key: under the shared default key every message would reach all of them.
    task_queues=[
        Queue(name, routing_key=name, queue_arguments=_QUORUM if _IS_RABBITMQ else None)
        for name in ("runs", "resume", "rollup", "notify", "default")
    ],
    task_routes={
        "runs.start": {"queue": "runs"},
        "runs.project_run": {"queue": "runs"},
        "runs.resume": {"queue": "resume"},
        "runs.execute": {"queue": "resume"},
        "runs.repair": {"queue": "resume"},
        "approvals.notify": {"queue": "notify"},
        "slo.*": {"queue": "rollup"},
    },
    timezone="UTC",
    # Every task is safe to run twice and takes an advisory lock, so a second beat changes nothing. One that nobody took
    # for a while is worth nothing: without an end they would pile up while no worker runs.
    beat_schedule={
        name: {"task": name, "schedule": every, "options": {"expires": max(every, KEPT_FOR)}}
        for name, every in PERIODIC.items()
    },
)
app.autodiscover_tasks(
    lambda: ["config"] + [f"apps.{name}" for name in ("audit", "approvals", "runs", "slo", "programs")]
)
app.set_default()
