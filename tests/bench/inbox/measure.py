"""The inbox under load: queue page, card and verdict at four connections, beside the bare baseline of the same run."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import call_command
from django.db import connection

from apps.accounts.models import Role, User
from apps.agents import actions as agents
from apps.agents.models import ActionType
from apps.approvals.actions.policies import publish_policy
from apps.approvals.models import Proposal
from apps.audit.clock import clock
from config.stack import children
from config.stack.terminal import say, step
from tests.bench.figures import Spread, spread
from tests.bench.inbox.rows import House, Rows, Size, fill
from tests.factories.accounts import make_member, make_team
from tests.factories.approvals import make_connector
from tests.flows.clinc import ROOT
from tests.flows.person import sign_in
from tests.flows.processes import Processes

TOTAL: Final = 1_000_000
OPEN: Final = 10_000
CONNECTIONS: Final = 4
# One for each core of the machine that the figures are named for; the baseline gets as many.
WEB_PROCESSES: Final = 2
WARM_UP: Final = 10
PAGES: Final = 150
VERDICTS: Final = 150
AGENTS: Final = 10
PASSWORD: Final = "a person of this run"
FILL_GOAL: Final = 120
QUEUE_GOAL: Final = 30
DECIDE_GOAL: Final = 15
CARD_GOAL: Final = 150
ADVANCE_GOAL: Final = 150
"""Milliseconds at p95."""


@dataclass(slots=True)
class Found:
    """What one kind of request took, at so many connections."""

    took: Spread
    rate: float
    size: int
    faults: list[str] = field(default_factory=list)


def measure(folder: Path, *, total: int, opened: int) -> int:
    """Fill the database, ask the baseline and the product, print the table; return 1 if an answer was wrong."""
    with step("Make the database"):
        call_command("migrate", verbosity=0)
    house, people = _house()
    with step(f"Write {total:,} proposals, {opened:,} of them open, with COPY") as told:
        began = time.monotonic()
        fill(_url(), Rows(house, Size(total, opened), clock()))
        filled = time.monotonic() - began
        told.append(f"{filled:.0f} s")
    low = _open_ids()
    bare = _bare(folder / "bare", low, house)
    own = _own(folder / "own", low, people)
    _tell(total, opened, filled, bare, own)
    faults = [f"{name}: {each}" for found in (bare, own) for name, one in found.items() for each in one.faults]
    for each in faults:
        say(f"  wrong answer: {each}")
    return 1 if faults else 0


def _house() -> tuple[House, Sequence[User]]:
    """Make a team, four reviewers, and ten agents with three kinds of action each, by the verbs that people use."""
    team = make_team("Bench", slug="bench")
    make_connector(team)
    owner = make_member(team, Role.AGENT_OWNER, name="Ada", email="ada@example.com")
    people = [
        make_member(team, Role.REVIEWER, name=f"Ben {n}", email=f"ben{n}@example.com") for n in range(CONNECTIONS)
    ]
    for each in people:
        # The hash is made to be slow to guess; here it is only in the way.
        each.password = PBKDF2PasswordHasher().encode(PASSWORD, "bench", 1)
        each.save(update_fields=["password"])
    versions, kinds, policies = [], [], []
    for n in range(AGENTS):
        agent = agents.register_agent(
            slug=f"desk-{n}",
            name=f"Desk {n}",
            purpose="Routes tickets.",
            team=team,
            owner=owner,
            workflow="ticket_desk",
            connector_key="desk",
            stage="pilot",
            actor=owner,
        )
        versions.append(agents.publish_version(agent, settings={"queues": []}, author=owner, actor=owner))
        made = [_kind(agent, risk, owner) for risk in ("low", "medium", "high")]
        kinds += made
        policies.append(publish_policy(made[0], actor=owner.actor).pk)
        for each in made[1:]:
            publish_policy(each, actor=owner.actor)
    return (
        House(
            team_id=team.pk,
            version_ids=[each.pk for each in versions],
            fingerprints=[each.fingerprint for each in versions],
            kind_ids=[each.pk for each in kinds],
            policy_ids=policies,
            reviewer_ids=[each.pk for each in people],
        ),
        people,
    )


def _kind(agent: Any, risk: str, owner: User) -> ActionType:
    text = {"type": "string"}
    return agents.define_action_type(
        agent,
        key=f"tickets.route-{risk}",
        name=f"Route a ticket ({risk})",
        args_schema={
            "type": "object",
            "properties": {"ticket": text, "queue": text, "priority": text, "reply": text},
            "required": ["ticket", "queue", "priority", "reply"],
        },
        editable_fields=["queue", "priority", "reply"],
        materiality={"ticket": 1.0, "queue": 1.0, "priority": 0.5, "reply": 0.1},
        # Without a look at the target: §7 measures the card and the verdict without the re-read.
        watch_fields=[],
        consequence="Approving moves {ticket} to {queue}.",
        risk_class=risk,
        reversibility="reversible",
        actor=owner,
    )


def _open_ids() -> list[tuple[int, str]]:
    """Return low-risk open cards, the least urgent first, so that nobody has them open while they are decided."""
    rows = Proposal.objects.waiting().filter(risk_class="low").order_by("-deadline")
    return list(rows.values_list("pk", "digest")[: 5 * CONNECTIONS * (WARM_UP + VERDICTS)])


def _bare(folder: Path, low: list[tuple[int, str]], house: House) -> dict[str, Found]:
    processes = _processes(folder, DJANGO_SETTINGS_MODULE="tests.bench.inbox.bare_settings")
    try:
        with step("Ask the bare baseline"):
            _serve(processes, "tests.bench.inbox.bare_web:application")
            _wait(processes)
            headers: list[Mapping[str, str]] = [{}] * CONNECTIONS
            queue = _ask(processes, headers, [[("GET", "/rows/", None)] * (WARM_UP + PAGES)] * CONNECTIONS)
            taken = _taken(low)
            verdicts = [
                [("POST", f"/decide/{pk}/{user}/", {}) for pk, _ in part]
                for user, part in zip(house.reviewer_ids, taken, strict=True)
            ]
            decide = _ask(processes, headers, verdicts)
    finally:
        processes.kill_all()
    return {"queue": queue, "decide": decide}


def _own(folder: Path, low: list[tuple[int, str]], people: Sequence[User]) -> dict[str, Found]:
    processes = _processes(folder)
    try:
        with step("Ask the inbox"):
            processes.start_web(processes=WEB_PROCESSES)
            processes.wait_for_web()
            headers = [_session(processes.url, each.email) for each in people]
            queue = _ask(processes, headers, [[("GET", "/inbox/queue/", None)] * (WARM_UP + PAGES)] * CONNECTIONS)
            page = _ask(processes, headers, [[("GET", "/inbox/", None)] * (WARM_UP + PAGES)] * CONNECTIONS)
            cards = [[("GET", f"/inbox/{pk}/", None) for pk, _ in part] for part in _taken(low)]
            card = _ask(processes, [{**each, "HX-Request": "true"} for each in headers], cards)
            htmx = [{**each, "HX-Request": "true"} for each in headers]
            decide = _ask(processes, htmx, [_verdicts(part, is_ahead=True) for part in _taken(low)])
            advance = _ask(processes, htmx, [_verdicts(part, is_ahead=False) for part in _taken(low)])
    finally:
        processes.kill_all()
    return {"queue": queue, "page": page, "card": card, "decide": decide, "advance": advance}


def _verdicts(part: Sequence[tuple[int, str]], *, is_ahead: bool) -> list[Any]:
    """Approve each of these, as a page does that has drawn the next card already, or as one that has not."""
    following = [pk for pk, _ in part[1:]] + [part[0][0]]
    return [
        (
            "POST",
            f"/inbox/{pk}/decide/",
            {"verdict": "approve", "version": "1", "digest": digest} | ({"ahead": str(after)} if is_ahead else {}),
        )
        for (pk, digest), after in zip(part, following, strict=True)
    ]


def _taken(low: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    """Take the next cards from the list, a part for each connection."""
    each = WARM_UP + VERDICTS
    parts = [low[n * each : (n + 1) * each] for n in range(CONNECTIONS)]
    del low[: CONNECTIONS * each]
    return parts


def _processes(folder: Path, **environment: str) -> Processes:
    folder.mkdir(parents=True)
    defaults = {
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "CELERY_BROKER_URL": os.environ["CELERY_BROKER_URL"],
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    return Processes(defaults | environment, folder)


def _serve(processes: Processes, application: str) -> None:
    options = ["--interface", "asginl", "--host", "127.0.0.1", "--port", str(processes.port)]
    options += ["--workers", str(WEB_PROCESSES), "--no-ws", "--log-level", "warning", application]
    processes.start("web", Path(sys.executable).parent / "granian", *options, DATABASE_POOL="1")


def _wait(processes: Processes) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if httpx.get(f"{processes.url}/healthz", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(f"The baseline did not start:\n{children.tail(processes.log('web'))}")


def _session(url: str, email: str) -> dict[str, str]:
    with contextlib.closing(sign_in(url, email=email, password=PASSWORD)) as client:
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        return {"Cookie": cookies, "X-CSRFToken": client.headers["X-CSRFToken"]}


def _ask(processes: Processes, headers: Sequence[Mapping[str, str]], requests: Sequence[Sequence[Any]]) -> Found:
    order = {
        "host": "127.0.0.1",
        "port": processes.port,
        "expected": 200,
        "warm_up": WARM_UP,
        "headers": headers,
        "requests": requests,
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.inbox.load"],
        input=json.dumps(order),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    took = time.monotonic() - began
    told = json.loads(done.stdout)
    sent = sum(len(each) for each in requests)
    return Found(spread(told["took"]), sent / took, told["bytes"], told["faults"])


def _url() -> str:
    found = connection.get_connection_params()
    keys = ("host", "port", "user", "password", "dbname")
    return " ".join(f"{key}={found[key]}" for key in keys if found.get(key) not in (None, ""))


def _tell(total: int, opened: int, filled: float, bare: Mapping[str, Found], own: Mapping[str, Found]) -> None:
    def ratio(name: str, of: str) -> str:
        return f"{own[name].took.p95 / bare[of].took.p95:.1f} times the bare one"

    rows = [
        (f"{total:,} proposals, {opened:,} open, written", f"{filled:.0f} s", f"at most {FILL_GOAL} s"),
        ("Queue of 50 rows, p50 / p95", str(own["queue"].took), f"{QUEUE_GOAL} ms at p95; {ratio('queue', 'queue')}"),
        ("  bare partial of 50 rows", str(bare["queue"].took), ""),
        ("Inbox page with its card", str(own["page"].took), f"150 ms at p95; {own['page'].size:,} bytes"),
        ("Card without re-read", str(own["card"].took), f"{CARD_GOAL} ms at p95"),
        (
            "Verdict, the next card being drawn already",
            str(own["decide"].took),
            f"{DECIDE_GOAL} ms at p95; {ratio('decide', 'decide')}",
        ),
        ("Verdict, answered with the next card and the queue", str(own["advance"].took), f"{ADVANCE_GOAL} ms at p95"),
        ("  bare verdict", str(bare["decide"].took), f"{bare['decide'].rate:.0f} /s"),
    ]
    say()
    say(f"The inbox at {CONNECTIONS} connections, {WEB_PROCESSES} web processes, milliseconds")
    for name, value, goal in rows:
        say(f"{name:<52}{value:>18}   {goal}".rstrip())
    say()
