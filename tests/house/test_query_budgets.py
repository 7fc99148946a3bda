"""How many questions each hot path may ask the database. Raising a number in query_budgets.json is a reviewed diff."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Role
from apps.approvals.actions import claims, outbox, undoing
from apps.approvals.actions.delegating import delegate
from apps.approvals.actions.drills import plant_drill
from apps.approvals.actions.execution import consume, record_outcome
from apps.approvals.actions.intake import propose
from apps.approvals.actions.viewing import record_view
from apps.approvals.models import ResumeOutbox
from apps.approvals.queries import (
    cards,
    delegations,
    drills,
    dry_runs,
    history,
    inbox,
    policies,
    reviewers,
    views,
    vigilance,
)
from apps.approvals.queries.answered import answered_in_time
from apps.audit.clock import clock
from apps.connectors import client as connectors
from tests.factories.accounts import make_member
from tests.factories.approvals import (
    decide,
    make_action_type,
    make_agent,
    make_policy,
    make_proposal,
    make_request,
    make_version,
)
from tests.factories.attention import make_case, make_refund_agent, make_vigilance

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
    # A system that was read a moment ago is not looked up again: that may not depend on what ran before.
    connectors.forget()
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


def _drills_page(world: World) -> Job:
    agent = make_refund_agent(world.team, world.owner)
    for number in range(3):
        make_case(agent, world.reviewer, at=clock() - timedelta(hours=1, minutes=number))
        decide(plant_drill(agent, mutation="amount", seed=1, actor="timer").proposal, world.reviewer, at=None)
    person = world.person()
    return lambda: drills.drills_page(person)


def _vigilance_page(world: World) -> Job:
    for days in range(3):
        make_vigilance(world.reviewer, "none", at=clock() - timedelta(days=days))
    person = world.person()
    return lambda: vigilance.vigilance_page(person, at=clock())


def _changed_since(world: World) -> Job:
    shown, person = {world.card().pk: 1 for _ in range(12)}, world.person()
    return lambda: inbox.changed_since(person, shown, as_of=clock())


def _policy_page(world: World) -> Job:
    key, person = world.card().policy.key, world.person()
    return lambda: policies.policy_page(person, key)


def _dry_run(world: World) -> Job:
    row, person, now = world.card(), world.person(), clock()
    page = policies.policy_page(person, row.policy.key)
    return lambda: dry_runs.dry_run(person, page.action_type, page.in_force.terms, None, at=now)


def _more(world: World) -> Job:
    cards_, person, now = [world.card() for _ in range(12)], world.person(), clock()
    return lambda: inbox.more(person, after=cards_[0].pk, as_of=now, limit=5)


def _delegations_page(world: World) -> Job:
    row, now = world.card(), clock()
    for _ in range(3):
        to, until = make_member(world.team, Role.REVIEWER), now + timedelta(days=1)
        kinds = [row.action_type_id]
        delegate(world.team, to=to, starts=now, ends=until, action_types=kinds, actor=world.reviewer)
    person = world.person()
    return lambda: delegations.delegations_page(person)


def _colleagues(world: World) -> Job:
    row, now = world.card(), clock()
    return lambda: reviewers.colleagues_for(row.pk, at=now, but=world.reviewer)


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
    "approvals.more": _more,
    "approvals.views_of": _of_twelve(views.views_of),
    "approvals.delegations_page": _delegations_page,
    "approvals.answered_in_time": _of_twelve(answered_in_time),
    "approvals.colleagues": _colleagues,
    "approvals.drills_page": _drills_page,
    "approvals.vigilance_page": _vigilance_page,
    "approvals.history_rows": _of_twelve(history.history_rows),
    "approvals.recent_decisions": _of_twelve(history.recent_decisions),
    "approvals.policy_rows": _of_twelve(policies.policy_rows),
    "approvals.policy_page": _policy_page,
    "approvals.dry_run": _dry_run,
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
