"""The doors of the workers. Each takes an id, is safe to run twice and calls one thing."""

import os
import socket
from typing import Any, Final

from celery import current_app, shared_task
from celery.signals import worker_process_init, worker_process_shutdown

from apps.audit.locks import try_advisory_lock
from apps.runs import checkpoints, direct, heartbeat, pooling, queries, threads
from apps.runs.actions import compensations, repairs, runs
from apps.runs.graph import graph_for

# A provider may be slow; a run that takes longer than this has lost its way and is tried again.
SOFT_LIMIT_S: Final = 240
HARD_LIMIT_S: Final = 270


@worker_process_init.connect
def open_process(**_: Any) -> None:
    """After the fork, never before: nothing of the parent's connections may be shared."""
    pooling.pool_this_process()
    checkpoints.saver()
    heartbeat.start()


@worker_process_shutdown.connect
def close_process(**_: Any) -> None:
    heartbeat.stop()
    checkpoints.close()
    pooling.close_pool()


@shared_task(name="runs.start", acks_late=True, soft_time_limit=SOFT_LIMIT_S, time_limit=HARD_LIMIT_S)
def start(run_id: int) -> None:
    threads.start(run_id, graph_for=graph_for, worker=worker_name())


@shared_task(name="runs.resume", acks_late=True, soft_time_limit=SOFT_LIMIT_S, time_limit=HARD_LIMIT_S)
def resume(outbox_id: int) -> None:
    threads.resume(outbox_id, graph_for=graph_for, worker=worker_name())


@shared_task(name="runs.execute", acks_late=True, soft_time_limit=SOFT_LIMIT_S, time_limit=HARD_LIMIT_S)
def execute(proposal_id: int) -> None:
    """Do what was decided and nobody waits for on a thread."""
    direct.execute(proposal_id, worker=worker_name())


@shared_task(name="runs.repair", acks_late=True, soft_time_limit=SOFT_LIMIT_S, time_limit=HARD_LIMIT_S)
def repair_asked(run_id: int) -> None:
    """Plan a thread's last turn anew, if somebody asked for it on the page."""
    threads.repair_asked(run_id, graph_for=graph_for, worker=worker_name())


@shared_task(name="runs.project_run", acks_late=True, soft_time_limit=SOFT_LIMIT_S, time_limit=HARD_LIMIT_S)
def project_run(run_id: int) -> None:
    threads.project(run_id, graph_for=graph_for, worker=worker_name())


@shared_task(name="runs.sweep", soft_time_limit=50, time_limit=60)
def sweep() -> None:
    """Send again what the broker or a worker lost, and open runs for new work: no agent waits for another's transaction."""
    with try_advisory_lock("runs.sweep") as got:
        if got:
            runs.resend_due()
            repairs.send_due()
            compensations.send_due()
            runs.open_runs()


@shared_task(name="runs.sweep_threads", soft_time_limit=110, time_limit=120)
def sweep_threads() -> None:
    """Look for waiting runs that nobody will wake, and let a worker compare each with its thread."""
    with try_advisory_lock("runs.sweep_threads") as got:
        if got:
            for run_id in queries.unasked_run_ids():
                current_app.send_task("runs.project_run", [run_id], retry=False)


@shared_task(name="runs.prune_checkpoints", soft_time_limit=580, time_limit=600)
def prune_checkpoints() -> None:
    """Keep the last checkpoint of finished threads only."""
    with try_advisory_lock("runs.prune_checkpoints") as got:
        if got:
            threads.prune(queries.prunable_thread_ids())


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"[:120]


def repair(thread_id: str, *, actor: str) -> list[str]:
    """For the command: LangChain stays on this side of the door."""
    return threads.repair(thread_id, graph_for=graph_for, worker=worker_name(), actor=actor)
