"""The whole way of the work with real processes, and everything that may go wrong on it: killed workers, a lost broker, verdicts sent twice.

The suite runs it short (test_clinc.py), `make bench` with all 5,500 queries. Whoever uses it has set Django up on a migrated database.
"""

import contextlib
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection
from django.db.models import Count, Q

from apps.accounts.models import Role, User
from apps.agents import actions as agents
from apps.agents.models import Agent
from apps.approvals.actions import execution
from apps.approvals.actions.policies import publish_policy
from apps.approvals.models import Proposal, ResumeOutbox
from apps.approvals.models import State as Proposed
from apps.audit.clock import clock
from apps.runs.models import Run, WorkItem
from apps.runs.workflows.ticket_desk import cards, scope
from tests.factories.accounts import make_member, make_team
from tests.factories.connectors import connect_desk
from tests.flows import broker, clinc
from tests.flows.clinc import Case
from tests.flows.person import sign_in
from tests.flows.processes import Processes
from tests.plugins_desk import RunningDesk

AGENT: Final = "clinc-desk"
PASSWORD: Final = "a person of this run"
REVIEWER: Final = "ben@example.com"
OPERATOR: Final = "cora@example.com"
WORKERS: Final = ("worker-1", "worker-2")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work has come."""

    cases: int
    opened: int
    asked: int
    """Runs that reached a proposal or a hand-over."""
    decided: int
    ended: int
    undelivered: int
    """Answers that a thread has not heard for certain, and executions without an outcome."""

    @property
    def is_settled(self) -> bool:
        return self.ended == self.cases and self.undelivered == 0

    @property
    def share_ended(self) -> float:
        return self.ended / self.cases if self.cases else 0.0


@dataclass(slots=True)
class Mishaps:
    """What was done to the house, and what an operator had to find out afterwards."""

    kills: int = 0
    lost_messages: list[int] = field(default_factory=list)
    happened: list[int] = field(default_factory=list)
    did_not_happen: list[int] = field(default_factory=list)

    @property
    def reconciled(self) -> int:
        return len(self.happened) + len(self.did_not_happen)


class Flow:
    """One agent with its desk, its people and its processes."""

    def __init__(self, folder: Path, *, broker_url: str) -> None:
        self.folder = folder
        self.broker_url = broker.own(broker_url)
        self.desk = RunningDesk(folder / "desk")
        self.processes = Processes(
            {
                "DATABASE_URL": database_url(),
                "CELERY_BROKER_URL": self.broker_url,
                "DJANGO_SETTINGS_MODULE": "config.settings",
            },
            folder,
        )
        self.cases: dict[str, Case] = {}
        self.mishaps = Mishaps()
        self.decider_report = folder / "decider.json"
        self._reports: list[dict[str, Any]] = []
        self._operator: httpx.Client | None = None

    @contextlib.contextmanager
    def standing(self) -> Iterator["Flow"]:
        """Start the desk and the house, and leave nothing of them behind."""
        broker.empty(self.broker_url)
        try:
            self.desk.start()
            yield self
        finally:
            if self._operator is not None:
                self._operator.close()
            self.processes.kill_all()
            self.desk.close()
            broker.empty(self.broker_url)

    def make_house(self) -> None:
        """Make the team, its people and the agent with its desk, by the verbs that people use."""
        team = make_team("Clinc", slug="clinc")
        ada = _person(team, Role.AGENT_OWNER, name="Ada", email="ada@example.com")
        _person(team, Role.REVIEWER, name="Ben", email=REVIEWER)
        _person(team, Role.OPERATOR, name="Cora", email=OPERATOR)
        connect_desk(self.desk, team)
        agent = agents.register_agent(
            slug=AGENT,
            name="Clinc desk",
            purpose="Routes the queries of CLINC-150.",
            team=team,
            owner=ada,
            workflow="ticket_desk",
            connector_key="desk",
            stage="pilot",
            actor=ada,
        )
        settings = dict(scope.DEFAULT_SETTINGS)
        agents.publish_version(agent, settings=settings, author=ada, actor=ada)
        for definition in cards.action_types(settings):
            publish_policy(agents.define_action_type(agent, **definition, actor=ada), actor=ada.actor, undo_s=0)

    def teach(self) -> str:
        """Give the agent the ten queues and teach it, as an owner does: by the command."""
        return self.processes.manage(
            *("learn", clinc.QUERIES, "--agent", AGENT, "--part", clinc.TAUGHT_FROM),
            *("--labels", clinc.DOMAINS, "--make-queues"),
        )

    def start(self) -> None:
        self.processes.start_web()
        for name in WORKERS:
            self.processes.start_worker(name)
        self.processes.start_beat()
        self.processes.wait_for_web()
        self._operator = sign_in(self.processes.url, email=OPERATOR, password=PASSWORD)

    def give(self, cases: Sequence[Case]) -> str:
        """Import them as work, which opens their tickets at the desk; known ones are not taken twice."""
        self.cases.update({each.id: each for each in cases})
        path = clinc.write_lines(cases, self.folder / "work.jsonl")
        options = ("--labels", clinc.DOMAINS, "--open-tickets", "--unlimited")
        return self.processes.manage("import_work", path, "--agent", AGENT, *options)

    def start_deciding(self) -> None:
        order = self.folder / "order.json"
        order.write_text(
            json.dumps(
                {
                    "url": self.processes.url,
                    "email": REVIEWER,
                    "password": PASSWORD,
                    "queues": {each.id: each.queue for each in self.cases.values()},
                    "report": str(self.decider_report),
                }
            )
        )
        self.processes.start("decider", sys.executable, "-m", "tests.flows.decider", order)

    def stop_deciding(self) -> dict[str, Any]:
        """End the decider and return what it reports, together with those that were ended before."""
        process = self.processes.running["decider"]
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        self.processes.kill("decider")
        self._reports.append(json.loads(self.decider_report.read_text()))
        return {
            "decided": {pk: verdict for each in self._reports for pk, verdict in each["decided"].items()},
            "twice": sum((Counter(each["twice"]) for each in self._reports), Counter()),
            "took": [took for each in self._reports for took in each["took"]],
            "faults": [fault for each in self._reports for fault in each["faults"]],
        }

    def kill_worker(self) -> None:
        """Kill -9 of one worker with its children, and start it again, as a supervisor would."""
        name = WORKERS[self.mishaps.kills % len(WORKERS)]
        self.processes.kill(name)
        self.processes.start_worker(name)
        self.mishaps.kills += 1

    def empty_broker(self) -> None:
        self.mishaps.lost_messages.append(broker.waiting(self.broker_url))
        broker.empty(self.broker_url)

    def reconcile(self) -> int:
        """Do what an operator does about unknown outcomes: look at the desk, then say on the page what was found."""
        unknown = list(Proposal.objects.filter(state=Proposed.UNKNOWN).order_by("pk"))
        if not unknown:
            return 0
        written = {row["key"] for row in self.desk.journal()}
        for row in unknown:
            happened = f"{row.thread_id}:{row.tool_call_id}" in written
            note = "The desk's journal shows the write." if happened else "The desk's journal has no such write."
            form = {"happened": "yes" if happened else "no", "note": note}
            assert self._operator is not None
            answer = self._operator.post(f"/inbox/{row.pk}/reconcile/", data=form)
            if answer.status_code != httpx.codes.FOUND:
                raise RuntimeError(f"Proposal {row.pk} could not be reconciled: {answer.status_code}.")
            (self.mishaps.happened if happened else self.mishaps.did_not_happen).append(row.pk)
        return len(unknown)

    def progress(self) -> Progress:
        return progress(len(self.cases))

    def watch(self, steps: Callable[[Progress], None], *, until: Callable[[Progress], bool], deadline: float) -> bool:
        """Look every half second, do what `steps` says, reconcile; return whether it came to its end before the deadline."""
        while True:
            now = self.progress()
            if until(now):
                return True
            if time.monotonic() > deadline:
                return False
            self.ensure_alive()
            steps(now)
            self.reconcile()
            time.sleep(0.5)

    def ensure_alive(self) -> None:
        for name, process in self.processes.running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended by itself ({process.returncode}); see {self.processes.log(name)}.")


def progress(cases: int) -> Progress:
    """Read how far the work has come: 4 queries."""
    runs = Run.objects.aggregate(
        opened=Count("pk"),
        asked=Count("pk", filter=~Q(state__in=["queued", "running"])),
        ended=Count("pk", filter=Q(state__in=["done", "handed_over", "failed", "cancelled"])),
    )
    decided = Proposal.objects.exclude(state__in=[Proposed.PENDING, Proposed.CLAIMED]).count()
    undelivered = ResumeOutbox.objects.undelivered().count()
    unsettled = Proposal.objects.filter(state__in=[Proposed.EXECUTING, Proposed.UNKNOWN, Proposed.QUEUED]).count()
    return Progress(cases, runs["opened"], runs["asked"], decided, runs["ended"], undelivered + unsettled)


def look_early() -> int:
    """Do at once what the beat does within two minutes: find executions whose worker is gone. Those under way hold their lock."""
    return execution.mark_stuck_executions(at=clock() + execution.STUCK_AFTER)


def database_url() -> str:
    """Name the database of this process for others."""
    at = connection.settings_dict
    user = quote(at["USER"], safe="") + (f":{quote(at['PASSWORD'], safe='')}" if at["PASSWORD"] else "")
    url = f"postgresql://{user}@/{quote(at['NAME'])}?host={quote(at['HOST'], safe='/')}"
    return f"{url}&port={at['PORT']}" if at["PORT"] else url


def agent() -> Agent:
    return Agent.objects.get(slug=AGENT)


def work_items() -> int:
    return WorkItem.objects.count()


def _person(team: Any, role: str, *, name: str, email: str) -> User:
    person = make_member(team, role, name=name, email=email)
    # The web process knows the hashers of production only.
    person.password = PBKDF2PasswordHasher().encode(PASSWORD, PBKDF2PasswordHasher().salt())
    person.save(update_fields=["password"])
    return person
