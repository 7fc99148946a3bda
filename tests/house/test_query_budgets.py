"""How many questions each hot path may ask the database. Raising a number in query_budgets.json is a reviewed diff."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.approvals.actions import claims, outbox, undoing
from apps.approvals.actions.execution import consume, record_outcome
from apps.approvals.actions.intake import propose
from apps.approvals.actions.viewing import record_view
from apps.approvals.models import ResumeOutbox
from apps.approvals.queries import cards, history, inbox
from apps.audit.clock import clock
from tests.factories.approvals import (
    decide,
    make_action_type,
    make_agent,
    make_policy,
    make_proposal,
    make_request,
    make_version,
)

BUDGETS = json.loads((Path(__file__).parent / "query_budgets.json").read_text())
Job = Callable[[], Any]


@dataclass
class World:
    """One agent with its policy, and people whose rights are read anew, as in each request."""

    team: Any
    owner: Any
    reviewer: Any
    agent: Any

    def person(self):
        return type(self.reviewer).objects.get(pk=self.reviewer.pk)

    def card(self):
        return make_proposal(self.team, self.owner, agent=self.agent, at=clock())

    def approved(self):
        return decide(self.card(), self.reviewer, at=None).proposal

    def answer(self):
        return ResumeOutbox.objects.get(proposal=self.approved()).pk

    def consuming(self) -> Job:
        row = self.approved()
        outbox.mark_handed(ResumeOutbox.objects.get(proposal=row).pk)
        given = {"args": row.args, "fingerprint": row.agent_version.fingerprint, "state_now": {"status": "open"}}
        return lambda: consume(row.pk, worker="w", **given)


def _propose(world: World) -> Job:
    version = world.agent.versions.select_related("agent").get()
    request = make_request(version, world.agent.action_types.get())
    return lambda: propose(request)


def _decide(world: World) -> Job:
    row, person = world.card(), world.person()
    return lambda: decide(row, person, at=None)


def _claim(world: World) -> Job:
    row, person = world.card(), world.person()
    return lambda: claims.claim(row.pk, actor=person)


def _undo(world: World) -> Job:
    row, person = world.approved(), world.person()
    return lambda: undoing.undo(row.pk, actor=person)


def _mark_handed(world: World) -> Job:
    answer = world.answer()
    return lambda: outbox.mark_handed(answer)


def _record_outcome(world: World) -> Job:
    execution = world.consuming()()
    return lambda: record_outcome(execution.proposal_id_value, state="succeeded", execution=execution)


def _card(world: World) -> Job:
    row, person = world.card(), world.person()
    return lambda: cards.card(person, row.pk)


def _record_view(world: World) -> Job:
    person = world.person()
    card = cards.card(person, world.card().pk)
    return lambda: record_view(card, reader=person)


def _changed_since(world: World) -> Job:
    shown, person = {world.card().pk: 1 for _ in range(12)}, world.person()
    return lambda: inbox.changed_since(person, shown, as_of=clock())


def _of_twelve(read: Callable[[Any], Any]) -> Callable[[World], Job]:
    def job(world: World) -> Job:
        for _ in range(12):
            world.card()
        person = world.person()
        return lambda: read(person)

    return job


JOBS: dict[str, Callable[[World], Job]] = {
    "approvals.propose": _propose,
    "approvals.decide": _decide,
    "approvals.claim": _claim,
    "approvals.undo": _undo,
    "approvals.mark_handed": _mark_handed,
    "approvals.consume": World.consuming,
    "approvals.record_outcome": _record_outcome,
    "approvals.card": _card,
    "approvals.record_view": _record_view,
    "approvals.changed_since": _changed_since,
    "approvals.inbox_rows": _of_twelve(inbox.inbox_rows),
    "approvals.queue": _of_twelve(inbox.queue),
    "approvals.waiting_count": _of_twelve(inbox.waiting_count),
    "approvals.history_rows": _of_twelve(history.history_rows),
    "approvals.recent_decisions": _of_twelve(history.recent_decisions),
}


@pytest.fixture
def world(team, ada, ben):
    agent = make_agent(team, ada, max_open=1000)
    make_version(agent)
    make_policy(make_action_type(agent), undo_s=0)
    return World(team, ada, ben, agent)


def spent(job: Job) -> int:
    """Count the statements of one piece of work; the savepoints of the test's own transaction are not its cost."""
    with CaptureQueriesContext(connection) as captured:
        job()
    return sum("SAVEPOINT" not in query["sql"] for query in captured.captured_queries)


def test_every_job_has_its_budget():
    assert set(BUDGETS) == set(JOBS)


@pytest.mark.parametrize("name", sorted(JOBS))
def test_it_asks_the_database_as_often_as_agreed(world, name):
    """Neither more nor less: a budget with slack hides the next query that somebody adds."""
    job = JOBS[name](world)

    assert spent(job) == BUDGETS[name]


def test_the_queue_costs_the_same_at_any_length(world):
    short = spent(_of_twelve(inbox.queue)(world))
    long = spent(_of_twelve(inbox.queue)(world))

    assert short == long
