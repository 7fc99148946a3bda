"""Agents with work for tests, made by the real verbs."""

from itertools import count

from django.utils import timezone

from apps.agents import actions as agents
from apps.agents.models import Agent
from apps.approvals.actions.policies import publish_policy
from apps.runs.actions import runs
from apps.runs.models import Precedent, Run, WorkItem
from apps.runs.workflows.ticket_desk import cards

SETTINGS = {
    "queues": [
        {"key": "login", "name": "Login", "hint": "passwords"},
        {"key": "printing", "name": "Printing", "hint": "printers"},
    ],
    "priorities": ["low", "high"],
    "sure_at": 0.3,
}
TICKET = {
    "id": "T-1",
    "subject": "Printer",
    "text": "My printer does not print in the virtual desktop",
    "customer": "C-77",
}
CUSTOMER = {"id": "C-77", "name": "Acme", "plan": "gold"}

_numbers = count(1)


def make_desk_agent(team, owner, *, undo_s=0, taught=True, settings=None, **fields) -> Agent:
    """Make an agent that routes tickets of the connector `desk`, with a version, an action type and a few precedents."""
    number = next(_numbers)
    fields = {"slug": f"desk-{number}", "name": "Ticket desk", "purpose": "Routes tickets.", "stage": "pilot", **fields}
    agent = agents.register_agent(
        team=team, owner=owner, workflow="ticket_desk", connector_key="desk", actor=owner, **fields
    )
    version = agents.publish_version(agent, settings=settings or SETTINGS, author=owner, actor=owner)
    for definition in cards.action_types(version.settings):
        publish_policy(agents.define_action_type(agent, **definition, actor=owner), actor="system", undo_s=undo_s)
    if taught:
        teach(version)
    return agent


def teach(version) -> None:
    rows = [("printer does not print in the virtual desktop", "printing", "low")] * 12
    rows += [("I cannot log in, my password is refused", "login", "high")] * 12
    Precedent.objects.bulk_create(
        Precedent(
            agent_version=version, text=text, queue=queue, priority=priority, reply="", source=Precedent.Source.LEARNED
        )
        for text, queue, priority in rows
    )


def make_work_item(agent, external_id="T-1", **fields) -> WorkItem:
    return WorkItem.objects.create(agent=agent, external_id=external_id, **fields)


def make_run(agent, external_id="T-1", **fields) -> Run:
    """Open a run of a new case as the sweep does."""
    item = make_work_item(agent, external_id, **fields)
    runs.open_runs_of(agent)
    return Run.objects.get(work_item=item)


def make_handed_over(
    agent, external_id="T-1", *, reason="not_sure", text="No decided case is near this one.", **fields
):
    """Write a case that its run handed over."""
    item = make_work_item(agent, external_id, state=WorkItem.State.HANDED_OVER, **fields)
    run = Run.objects.create(
        work_item=item,
        agent=agent,
        agent_version=agent.versions.get(is_current=True),
        thread_id=f"thread-{next(_numbers)}",
        state=Run.State.HANDED_OVER,
        reason=reason,
        reason_text=text,
        ended_at=timezone.now(),
    )
    return item, run
