import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from apps.approvals.actions.verdicts import decide_proposal
from apps.approvals.models import Proposal, ResumeOutbox
from apps.audit.models import AuditEvent
from apps.runs import checkpoints, threads
from apps.runs.graph import build_graph
from apps.runs.precedent import forget_indexes
from tests.factories.runs import CUSTOMER, TICKET, make_desk_agent

ROOT = Path(__file__).resolve().parents[2]


class ScriptedModel(BaseChatModel):
    """Says the next line of a script. A line is a message, or an exception to raise."""

    script: Sequence[Any]
    heard: list[Any] = []

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, messages: list[BaseMessage], stop=None, run_manager=None, **_) -> ChatResult:
        self.heard.append(messages[-1])
        line = self.script[sum(isinstance(each, AIMessage) for each in messages)]
        if isinstance(line, Exception):
            raise line
        return ChatResult(generations=[ChatGeneration(message=line.model_copy(deep=True))])


def calls(*named: tuple[str, dict], words: str = "", again: int = 0) -> AIMessage:
    """One turn of a model that calls tools; the ids are read off the names, and off how often it comes `again`."""
    more = f"-{again}" if again else ""
    return AIMessage(
        words,
        tool_calls=[
            {"name": name, "args": args, "id": f"call-{name}-{at}{more}"} for at, (name, args) in enumerate(named)
        ],
    )


READ = calls(("read_ticket", {"ticket": "T-1"}))
LOOK_UP = calls(("look_up_customer", {"customer": "C-77"}))
ROUTE_ARGS = {"ticket": "T-1", "queue": "printing", "priority": "low", "reply": "We are on it.", "confidence": 0.8}
ROUTE = calls(("route_ticket", ROUTE_ARGS))
READ_AGAIN = calls(("read_ticket", {"ticket": "T-1"}), again=1)
ROUTE_AGAIN = calls(
    ("route_ticket", {**ROUTE_ARGS, "queue": "login"}), words="It speaks of a password, so it is for Login.", again=1
)
HAND_OVER = calls(("hand_over", {"reason": "out_of_scope", "explanation": "This is about a refund."}))


@pytest.fixture(scope="session")
def checkpoint_tables(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        checkpoints.migrate()
        yield
        checkpoints.close()


@pytest.fixture
def agent(transactional_db, checkpoint_tables, desk, desk_connector, team, ada):
    """An agent on the running desk, with one ticket and its customer there."""
    desk.load(tickets=[TICKET], customers=[CUSTOMER])
    forget_indexes()
    return make_desk_agent(team, ada)


class Worker:
    """The worker's own code in this process, with a model of the test's choice."""

    def __init__(self, script):
        self.model = ScriptedModel(script=script)
        self.doors = {"graph_for": partial(self._graph), "worker": "test:1"}

    def _graph(self, version, action_types):
        return build_graph(version, action_types, model=self.model)

    def start(self, run):
        threads.start(run.pk, **self.doors)
        run.refresh_from_db()
        return run

    def resume(self, answer):
        threads.resume(answer.pk, **self.doors)
        answer.refresh_from_db()
        return answer

    def project(self, run):
        threads.project(run.pk, **self.doors)
        run.refresh_from_db()
        return run


@pytest.fixture
def worker():
    """Make a worker that runs in this process: `worker(READ, ROUTE)`."""
    return lambda *script: Worker(script)


def decided(run, ben, verdict="approve", **fields):
    """Let Ben decide the run's open proposal and return the answer that waits for the thread."""
    proposal = Proposal.objects.waiting().get(run_id_value=run.pk)
    facts = {"version": proposal.version, "digest": proposal.digest, **fields}
    decide_proposal(proposal.pk, verdict=verdict, actor=ben, **facts)
    return ResumeOutbox.objects.get(proposal=proposal)


def forget_checkpoints_after(run, *, step):
    """Bring a thread back to a step whose writes are saved while the next checkpoint is not, as a kill would leave it."""
    with checkpoints.saver()._cursor() as cursor:
        later = "SELECT checkpoint_id FROM checkpoints WHERE thread_id = %s AND (metadata->>'step')::int > %s"
        cursor.execute(
            f"DELETE FROM checkpoint_writes WHERE thread_id = %s AND checkpoint_id IN ({later})",  # noqa: S608  # constant
            [run.thread_id, run.thread_id, step],
        )
        cursor.execute(
            "DELETE FROM checkpoints WHERE thread_id = %s AND (metadata->>'step')::int > %s", [run.thread_id, step]
        )


def told_of(run):
    """Return who did what to a run, as the audit log has it."""
    return list(AuditEvent.objects.filter(object=f"run:{run.pk}").order_by("id").values_list("action", "actor"))


@contextmanager
def fault(table, check):
    """Let the database refuse, for a while, every row that does not pass `check`: a failure that no second try mends."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT fault_of_a_test CHECK ({check}) NOT VALID")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT fault_of_a_test")


def another_session(**options):
    """Open a connection of somebody else to the same database."""
    return psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": None, **options})


class Workers:
    """Real Celery worker processes with a broker database of their own. Each is a process group, so that it dies as a whole."""

    def __init__(self, database: str, broker: str) -> None:
        self.environment = {**os.environ, "DATABASE_URL": database, "CELERY_BROKER_URL": broker, "LOG_LEVEL": "ERROR"}
        self.running: list[subprocess.Popen] = []

    def start(self, *, processes: int = 2) -> subprocess.Popen:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "celery", "-A", "config", "worker"),
                *("-c", str(processes), "-P", "prefork", "-Q", "runs,resume,default", "-l", "ERROR"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            cwd=ROOT,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.running.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen) -> None:
        """Kill -9 of the worker and all of its children at once."""
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)
        self.running.remove(worker)

    def kill_all(self) -> None:
        for worker in list(self.running):
            self.kill(worker)


@pytest.fixture
def broker(monkeypatch):
    """Point this process and its workers at a database of the broker that no other test uses."""
    from config.celery import app

    url = _own_database(app.conf.broker_url)
    # Celery asks the environment before its own settings.
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    _reconnect(app)
    empty_broker(app)
    yield url
    empty_broker(app)
    monkeypatch.undo()
    _reconnect(app)


@pytest.fixture
def workers(transactional_db, checkpoint_tables, broker):
    at = connection.settings_dict
    user = at["USER"] + (f":{at['PASSWORD']}" if at["PASSWORD"] else "")
    database = f"postgresql://{user}@/{at['NAME']}?host={at['HOST']}"
    if at["PORT"]:
        database += f"&port={at['PORT']}"
    running = Workers(database, broker)
    yield running
    running.kill_all()


def empty_broker(app) -> None:
    with app.connection_for_write() as connection:
        connection.default_channel.client.flushdb()


def eventually(happened, *, within: float = 45, every: float = 0.05):
    """Wait until something is true of the outside world; return it, or fail."""
    end = time.monotonic() + within
    while not (found := happened()):
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(every)
    return found


def _own_database(url: str) -> str:
    number = 9 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0) % 6
    parts = urlsplit(url)
    if parts.scheme.startswith("redis+socket"):
        # Not urlunsplit: it drops the two slashes of a scheme that it does not know.
        return f"{url.partition('?')[0]}?virtual_host={number}"
    return urlunsplit(parts._replace(path=f"/{number}"))


def _reconnect(app) -> None:
    app._pool = None
    app.amqp._producer_pool = None
