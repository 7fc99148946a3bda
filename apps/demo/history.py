"""Thirty days that never happened, made in bulk under the rules that real rows obey, and marked `synthetic` in each of them."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from apps.accounts.models import User
from apps.agents.models import ActionType, Agent, AgentVersion, StageEvent
from apps.approvals.domain.digest import Action
from apps.approvals.models import ApprovalPolicy, Decision, Proposal, ProposalBody, State
from apps.audit import actions as audit
from apps.connectors.models import ActionExecution, Connector
from apps.demo.company import Past
from apps.programs.models import Evidence, GateEvent, SignOff
from apps.runs.models import Run, WorkItem
from apps.slo import actions as slo
from apps.slo.actions import Told

DAYS: Final = 30
SEED: Final = 20_261_123
# Cases of the past arrive in these hours, UTC.
OPENS, CLOSES = 7, 17
SATURDAY: Final = 5

PRECEDENTS: Final = Path(__file__).resolve().parent.parent / "runs" / "workflows" / "ticket_desk" / "precedents.jsonl"


@dataclass(frozen=True, slots=True)
class World:
    """What a generated month needs of the real rows."""

    agent: Agent
    version: AgentVersion
    action_type: ActionType
    policy: ApprovalPolicy
    connector: Connector
    reviewers: Sequence[User]
    since: datetime
    """When its first real case could arrive: a demo works on none."""


@dataclass(frozen=True, slots=True)
class _Case:
    number: int
    at: datetime
    outcome: str
    args: dict[str, Any]
    edited: dict[str, Any]
    text: str
    minutes_to_decision: float
    confidence: Decimal
    reviewer: User


def import_history(world: World, past: Past, *, now: datetime) -> dict[str, int]:
    """Write one agent's past, from its pilot on at most. Made twice, it is refused by unique cases."""
    cases = list(_cases(world, past, now=now))
    items = WorkItem.objects.bulk_create((_work_item(world, case) for case in cases), batch_size=2_000)
    runs = Run.objects.bulk_create(
        (_run(world, case, item) for case, item in zip(cases, items, strict=True)), batch_size=2_000
    )
    asked = [
        (case, item, run) for case, item, run in zip(cases, items, runs, strict=True) if case.outcome != "handed_over"
    ]
    proposals = Proposal.objects.bulk_create((_proposal(world, *each) for each in asked), batch_size=1_000)
    ProposalBody.objects.bulk_create(
        (_body(world, case, row) for (case, _, _), row in zip(asked, proposals, strict=True)), batch_size=1_000
    )
    decided = [(case, row) for (case, _, _), row in zip(asked, proposals, strict=True) if case.outcome != "expired"]
    decisions = Decision.objects.bulk_create(
        [_decision(world, case, row) for case, row in decided]
        + [
            _expiry(world, case, row)
            for (case, _, _), row in zip(asked, proposals, strict=True)
            if case.outcome == "expired"
        ],
        batch_size=2_000,
    )
    executions = ActionExecution.objects.bulk_create(
        (_execution(world, case, row) for case, row in decided if case.outcome in {"approve", "edit"}), batch_size=2_000
    )
    slo.ensure_objectives(world.agent)
    slo.tell(_told(world, decisions, executions), at=now)
    return {
        "cases": len(cases),
        "proposals": len(proposals),
        "decisions": len(decisions),
        "executions": len(executions),
    }


def tell_import(agent: Agent) -> None:
    """Write the one audit event that stands for an agent's generated rows, of every table: how many, from when, and their digest."""
    digest, counts, times = sha256(), {}, []
    for model, path, at in _GENERATED:
        fields = [field.attname for field in model._meta.concrete_fields if field.attname not in _NOT_HASHED]
        rows = model._default_manager.filter(**{path: agent.pk, "synthetic": True}).order_by("pk")
        counts[model._meta.model_name] = 0
        for row in rows.values(*fields).iterator():
            digest.update(json.dumps(row, cls=DjangoJSONEncoder, sort_keys=True).encode() + b"\n")
            counts[model._meta.model_name] += 1
            times.append(row[at])
    audit.record(
        "demo.history_imported",
        subject=f"agent:{agent.pk}",
        actor="system",
        team_id=agent.team_id,
        payload={
            "rows": counts,
            "digest": f"sha256:{digest.hexdigest()}",
            "happened_from": min(times).isoformat(),
            "happened_until": max(times).isoformat(),
        },
    )


# Every table that holds generated rows of an agent, the way from a row to its agent, and the column that says when it happened.
_GENERATED: Final[tuple[tuple[type[Model], str, str], ...]] = (
    (StageEvent, "agent", "at"),
    (WorkItem, "agent", "created_at"),
    (Run, "agent", "created_at"),
    (Proposal, "agent_version__agent", "created_at"),
    (Decision, "proposal__agent_version__agent", "decided_at"),
    (ActionExecution, "agent_id_value", "started_at"),
    (Evidence, "gate__program__agent", "at"),
    (GateEvent, "gate__program__agent", "at"),
    (SignOff, "gate__program__agent", "requested_at"),
)
# The database stamps it anew at each change.
_NOT_HASHED: Final = frozenset({"xid"})


def _cases(world: World, past: Past, *, now: datetime) -> Iterator[_Case]:
    # One stream of chance per agent: another agent's change leaves this one's month alone.
    chance = random.Random(f"{SEED}:{world.agent.slug}")  # noqa: S311  # a story, not a secret
    precedents = [json.loads(line) for line in PRECEDENTS.read_text().splitlines()]
    routable = [each for each in precedents if each["queue"]]
    queues = [each["key"] for each in world.version.settings["queues"]]
    priorities = world.version.settings["priorities"]
    number = 0
    for days_ago in range(DAYS, 0, -1):
        day = (now - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)
        if day < world.since:
            continue
        share = 0.25 if day.weekday() >= SATURDAY else 1.0
        for _ in range(round(past.cases_a_day * share * chance.uniform(0.8, 1.2))):
            number += 1
            at = day + timedelta(hours=chance.uniform(OPENS, CLOSES))
            told = chance.choice(routable)
            approved = past.approved - past.worsens * (DAYS - days_ago) / DAYS
            draw = chance.random()
            outcome = "approve" if draw < approved else "edit" if draw < approved + past.edited else "reject"
            if chance.random() < past.handed_over:
                outcome = "handed_over"
            elif chance.random() < 0.006:  # noqa: PLR2004  # about one question in 170 found nobody
                outcome = "expired"
            args = {
                "ticket": f"H-{world.agent.pk}-{number:05}",
                "queue": told["queue"] if told["queue"] in queues else chance.choice(queues),
                "priority": told["priority"] if told["priority"] in priorities else priorities[0],
                "reply": (told.get("reply") or "Hello, we are looking into it.").replace("{name}", "there"),
            }
            other = chance.choice([queue for queue in queues if queue != args["queue"]])
            yield _Case(
                number=number,
                at=at,
                outcome=outcome,
                args=args,
                edited={**args, "queue": other},
                text=told["text"],
                minutes_to_decision=min(235.0, chance.lognormvariate(2.6, 0.9)),
                confidence=Decimal(str(round(chance.uniform(0.75, 0.99), 3))),
                reviewer=chance.choice(world.reviewers),
            )


def _times(case: _Case) -> tuple[datetime, datetime]:
    decided = case.at + timedelta(seconds=4, minutes=case.minutes_to_decision)
    return decided, decided + timedelta(seconds=7)


def _thread(world: World, case: _Case) -> str:
    return f"history-{world.agent.pk}-{case.number}"


def _work_item(world: World, case: _Case) -> WorkItem:
    state = WorkItem.State.DONE if case.outcome in {"approve", "edit"} else WorkItem.State.CANCELLED
    return WorkItem(
        agent=world.agent,
        external_id=case.args["ticket"],
        payload={"text": case.text},
        state=state,
        origin="history",
        created_at=case.at,
        closed_at=_times(case)[1],
        synthetic=True,
    )


def _run(world: World, case: _Case, item: WorkItem) -> Run:
    is_done = case.outcome in {"approve", "edit"}
    reason = {"reject": Run.Reason.REFUSED, "expired": Run.Reason.EXPIRED, "handed_over": Run.Reason.NOT_SURE}.get(
        case.outcome, ""
    )
    return Run(
        work_item=item,
        agent=world.agent,
        agent_version=world.version,
        thread_id=_thread(world, case),
        state=Run.State.DONE if is_done else Run.State.HANDED_OVER,
        model="precedent",
        reason=reason,
        reason_text="" if is_done else "Part of the generated past; a person settled it.",
        attempts=1,
        created_at=case.at,
        started_at=case.at + timedelta(seconds=1),
        ended_at=case.at + timedelta(seconds=3) if case.outcome == "handed_over" else _times(case)[1],
        synthetic=True,
    )


def _proposal(world: World, case: _Case, item: WorkItem, run: Run) -> Proposal:
    target = f"{world.connector.key}:tickets/{case.args['ticket']}"
    args = case.edited if case.outcome == "edit" else case.args
    decided, ran = _times(case)
    is_consent = case.outcome in {"approve", "edit"}
    state = {"reject": State.REJECTED, "expired": State.EXPIRED}.get(case.outcome, State.SUCCEEDED)
    action = Action(
        action_type=world.action_type.key,
        schema_version=world.action_type.schema_version,
        args=args,
        target=target,
        subject="",
        agent_fingerprint=world.version.fingerprint,
        policy_version=world.policy.version,
    )
    deadline = case.at + timedelta(seconds=world.policy.window_s)
    return Proposal(
        team=world.agent.team,
        agent_version=world.version,
        action_type=world.action_type,
        policy=world.policy,
        run_id_value=run.pk,
        work_item_id_value=item.pk,
        source="history",
        external_id=run.thread_id,
        thread_id=run.thread_id,
        tool_call_id="call-1",
        interrupt_id="0" * 32,
        title=f"Route {case.args['ticket']} to {case.args['queue']}, priority {case.args['priority']}",
        args=args,
        args_original=case.args,
        schema_version=world.action_type.schema_version,
        target=target,
        digest=action.digest,
        risk_class=world.action_type.risk_class,
        reversibility=world.action_type.reversibility,
        state=state,
        version=6 if is_consent else 3,
        approvals_given=int(is_consent),
        confidence=case.confidence,
        created_at=case.at + timedelta(seconds=3),
        deadline=deadline,
        execute_after=decided + timedelta(seconds=world.policy.undo_s) if is_consent else None,
        valid_until=decided + timedelta(seconds=world.policy.undo_s, minutes=15) if is_consent else None,
        consumed_at=ran if is_consent else None,
        closed_at=ran if is_consent else deadline if case.outcome == "expired" else decided,
        synthetic=True,
    )


def _body(world: World, case: _Case, row: Proposal) -> ProposalBody:
    proposed = {"queue": "inbox", "priority": "normal", "status": "new"}
    return ProposalBody(
        proposal=row,
        state_proposed=proposed,
        state_if_approved={"queue": row.args["queue"], "priority": row.args["priority"], "status": "routed"},
        evidence=[{"label": "Ticket", "text": case.text, "source": row.target}],
        consequence=f"Approving moves {case.args['ticket']} to {case.args['queue']} with priority {case.args['priority']}.",
        review_reason="Demo data: generated, nobody was asked.",
    )


def _decision(world: World, case: _Case, row: Proposal) -> Decision:
    return Decision(
        proposal=row,
        verdict=case.outcome,
        by_kind=Decision.By.PERSON,
        actor=case.reviewer,
        digest=row.digest,
        policy_version=world.policy.version,
        reason="Wrong queue for this ticket." if case.outcome == "reject" else "",
        args_edited=case.edited if case.outcome == "edit" else None,
        materiality=Decimal(1) if case.outcome == "edit" else None,
        decided_at=_times(case)[0],
        synthetic=True,
    )


def _expiry(world: World, case: _Case, row: Proposal) -> Decision:
    return Decision(
        proposal=row,
        verdict=Decision.Verdict.EXPIRE,
        by_kind=Decision.By.TIMER,
        digest=row.digest,
        policy_version=world.policy.version,
        decided_at=row.deadline or case.at,
        synthetic=True,
    )


def _execution(world: World, case: _Case, row: Proposal) -> ActionExecution:
    _, ran = _times(case)
    return ActionExecution(
        thread_id=row.thread_id,
        tool_call_id=row.tool_call_id,
        proposal_id_value=row.pk,
        agent_id_value=world.agent.pk,
        connector=world.connector,
        digest=row.digest,
        idempotency_key=f"{row.thread_id}:{row.tool_call_id}",
        state=ActionExecution.State.DONE,
        external_ref=f"{row.target}@2",
        actor=f"agent:{world.agent.pk}",
        worker="history",
        started_at=ran,
        ended_at=ran + timedelta(milliseconds=40),
        synthetic=True,
    )


def _told(world: World, decisions: Sequence[Decision], executions: Sequence[ActionExecution]) -> Iterator[Told]:
    for each in decisions:
        if each.by_kind == Decision.By.PERSON:
            yield Told(
                world.agent.pk, "agreement", f"decision:{each.pk}", each.decided_at, int(each.verdict == "approve"), 1
            )
    for write in executions:
        yield Told(world.agent.pk, "write_back", f"execution:{write.pk}", write.started_at, 1, 1)
