"""The verbs of the registry, and the only ones that change an autonomy level or a kill switch."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.accounts.models import Team, User
from apps.agents.domain import ladder
from apps.agents.domain.schema import SchemaRefused, checked_compensation, checked_definition
from apps.agents.errors import AlreadyDefined, OnlyLowers, ReasonMissing, SlugTaken, SwitchMissing
from apps.agents.models import (
    ActionType,
    Agent,
    AgentVersion,
    AutonomyLevel,
    KillSwitch,
    Level,
    LevelChange,
    Stage,
    StageEvent,
    Standing,
)
from apps.agents.signals import level_changed
from apps.agents.workflows import Workflow
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.domain.hashing import digest_of

# A person, or the name of what acts without one: `timer`, `system`, `policy:key@3`.
Actor = User | str


@transaction.atomic
def register_agent(
    *,
    slug: str,
    name: str,
    purpose: str,
    team: Team,
    owner: User,
    workflow: str,
    connector_key: str,
    actor: Actor,
    stage: str = Stage.DEMO,
    model: str = "",
    is_demo: bool = False,
    max_open: int = 200,
    max_new_per_minute: int = 60,
    stages: Sequence[tuple[str, datetime]] = (),
    at: datetime | None = None,
) -> Agent:
    """
    Add an agent to the registry, with its kill switches and its first stage. It does nothing until a version is published.

    `stages` tells an agent's earlier history, oldest first and ending with its stage now; a demo's history is synthetic.
    """
    stage = stages[-1][0] if stages else stage
    try:
        with transaction.atomic():
            agent = Agent.objects.create(
                slug=slug,
                name=name,
                purpose=purpose,
                team=team,
                owner=owner,
                workflow=workflow,
                connector_key=connector_key,
                stage=stage,
                model=model,
                is_demo=is_demo,
                max_open=max_open,
                max_new_per_minute=max_new_per_minute,
            )
    except IntegrityError as error:
        raise SlugTaken(f"Another agent is already called {slug}. Choose another short name.") from error
    ensure_switch(KillSwitch.Scope.ALL)
    ensure_switch(KillSwitch.Scope.TEAM, team.pk, name=team.name, team=team)
    ensure_switch(KillSwitch.Scope.AGENT, agent.pk, name=agent.name, team=team)
    audit.record(
        "agent.registered",
        subject=f"agent:{agent.pk}",
        actor=_named(actor),
        team_id=team.pk,
        payload={"slug": slug, "owner": owner.actor, "workflow": workflow, "connector": connector_key, "model": model},
    )
    if stages:
        _record_history(agent, stages, actor=actor)
    else:
        record_stage(agent, stage=stage, reason="Registered", actor=actor, at=at)
    return agent


@transaction.atomic
def open_agent(
    workflow: Workflow,
    *,
    settings: Mapping[str, Any],
    owner: User,
    actor: User,
    instructions: str = "",
    at: datetime | None = None,
    **fields: Any,
) -> Agent:
    """Register an agent on a workflow together with what it may propose and its first version: it can work at once."""
    agent = register_agent(workflow=workflow.name, owner=owner, actor=actor, at=at, **fields)
    for definition in workflow.action_types(settings):
        define_action_type(agent, actor=actor, **definition)
    publish_version(agent, settings=settings, instructions=instructions, author=actor, actor=actor)
    return agent


@transaction.atomic
def change_agent(
    agent: Agent, *, workflow: Workflow, settings: Mapping[str, Any], actor: User, instructions: str = ""
) -> AgentVersion:
    """
    Publish the next version and let its action types follow its settings.

    What acted alone before asks people again: what was earned was earned by another version (rule R3).
    """
    version = publish_version(agent, settings=settings, instructions=instructions, author=actor, actor=actor)
    known = {each.key: each for each in agent.action_types.all()}
    for definition in workflow.action_types(settings):
        if definition["key"] in known:
            revise_action_type(
                known[definition["key"]],
                args_schema=definition["args_schema"],
                compensated_by=definition.get("compensated_by"),
                compensation_args=definition.get("compensation_args"),
                actor=actor,
            )
        else:
            define_action_type(agent, actor=actor, **definition)
    for cell in agent.levels.all():
        key = f"version:{version.pk}:{cell.pk}"
        cap_level(cell, level=Level.APPROVE, cause="version_changed", key=key, actor=actor)
    return version


@transaction.atomic
def publish_version(
    agent: Agent, *, settings: Mapping[str, Any], instructions: str = "", author: User, actor: Actor
) -> AgentVersion:
    """Freeze what runs from now on under the next number and one fingerprint. Runs under way keep their version."""
    row = Agent.objects.select_for_update().get(pk=agent.pk)
    last = row.versions.aggregate(last=Max("number"))["last"] or 0
    row.versions.filter(is_current=True).update(is_current=False)
    version = AgentVersion.objects.create(
        agent=row,
        number=last + 1,
        author=author,
        instructions=instructions,
        settings=dict(settings),
        fingerprint=_fingerprint(row, settings=settings, instructions=instructions),
        is_current=True,
    )
    audit.record(
        "agent.version_published",
        subject=f"agent:{row.pk}",
        actor=_named(actor),
        team_id=row.team_id,
        agent_version=version.fingerprint,
        payload={"number": version.number, "author": author.actor},
    )
    return version


@transaction.atomic
def define_action_type(
    agent: Agent,
    *,
    key: str,
    name: str,
    args_schema: Mapping[str, Any],
    editable_fields: Sequence[str],
    materiality: Mapping[str, float],
    watch_fields: Sequence[str],
    consequence: str,
    risk_class: str,
    reversibility: str,
    actor: Actor,
    level: str = Level.APPROVE,
    allow_respond: bool = False,
    regulated: bool = False,
    compensated_by: str = "",
    compensation_args: Mapping[str, str] | None = None,
) -> ActionType:
    """
    Say what an agent may propose, and how far it may go alone.

    `compensated_by` names the action type of the same agent, defined before, whose call undoes this one; its arguments
    come from `compensation_args`. Raises SchemaRefused when schema, fields, sentence and compensation do not fit
    together, AlreadyDefined for a second definition.
    """
    shape = checked_definition(
        args_schema, editable_fields=editable_fields, materiality=materiality, consequence=consequence
    )
    undone_from = _compensation(agent, key, shape, compensated_by, compensation_args or {})
    try:
        with transaction.atomic():
            action_type = ActionType.objects.create(
                agent=agent,
                key=key,
                name=name,
                args_schema=shape,
                editable_fields=list(editable_fields),
                materiality=dict(materiality),
                watch_fields=list(watch_fields),
                consequence=consequence,
                risk_class=risk_class,
                reversibility=reversibility,
                allow_respond=allow_respond,
                regulated=regulated,
                compensated_by=compensated_by,
                compensation_args=undone_from,
            )
    except IntegrityError as error:
        raise AlreadyDefined(f"{agent.name} already has an action type {key}.") from error
    by_risk = ladder.ceiling(
        risk_class=risk_class, reversibility=reversibility, regulated=regulated, stage=Stage.SCALED
    )
    AutonomyLevel.objects.create(agent=agent, action_type=action_type, level=ladder.lowest(level, by_risk.level))
    ensure_switch(
        KillSwitch.Scope.ACTION_TYPE, action_type.pk, name=f"{agent.name}: {action_type.name}", team=agent.team
    )
    audit.record(
        "action_type.defined",
        subject=f"action_type:{action_type.pk}",
        actor=_named(actor),
        team_id=agent.team_id,
        payload={"agent": agent.pk, "key": key, "risk": risk_class, "level": level, "schema": digest_of(shape)},
    )
    return action_type


@transaction.atomic
def revise_action_type(
    action_type: ActionType,
    *,
    args_schema: Mapping[str, Any],
    actor: Actor,
    compensated_by: str | None = None,
    compensation_args: Mapping[str, str] | None = None,
) -> ActionType:
    """
    Change the shape of the arguments under the next schema version, or what undoes the action; the same again changes nothing.

    Without `compensated_by` what undoes it stays. Raises SchemaRefused.
    """
    row = ActionType.objects.select_for_update().select_related("agent").get(pk=action_type.pk)
    shape = checked_definition(
        args_schema,
        editable_fields=row.editable_fields,
        materiality=row.materiality,
        consequence=row.consequence,
    )
    undone_by = row.compensated_by if compensated_by is None else compensated_by
    given = row.compensation_args if compensated_by is None else compensation_args or {}
    undone_from = _compensation(row.agent, row.key, shape, undone_by, given)
    before = (row.args_schema, row.compensated_by, row.compensation_args)
    if before == (shape, undone_by, undone_from):
        return row
    row.schema_version += shape != row.args_schema
    row.args_schema, row.compensated_by, row.compensation_args = shape, undone_by, undone_from
    row.save(update_fields=["args_schema", "schema_version", "compensated_by", "compensation_args"])
    audit.record(
        "action_type.revised",
        subject=f"action_type:{row.pk}",
        actor=_named(actor),
        team_id=row.agent.team_id,
        payload={
            "key": row.key,
            "schema_version": row.schema_version,
            "schema": digest_of(shape),
            "compensated_by": row.compensated_by,
        },
    )
    return row


@transaction.atomic
def cap_level(
    cell: AutonomyLevel, *, level: str, cause: str, key: str, actor: Actor, reason: str = "", at: datetime | None = None
) -> LevelChange | None:
    """
    Lower a level at once. The same key counts once; nothing happens where the level is already as low.

    Never raises a level: that takes evidence and a signature (rule R2).
    """
    row = AutonomyLevel.objects.select_for_update().select_related("agent").get(pk=cell.pk)
    known = LevelChange.objects.filter(key=key).first()
    if known is not None:
        return known
    if ladder.rank(level) >= ladder.rank(row.level):
        return None
    change = LevelChange.objects.create(
        cell=row,
        from_level=row.level,
        to_level=level,
        cause=cause,
        key=key,
        actor=_named(actor),
        reason=reason,
        at=at or clock(),
    )
    row.level, row.since = level, change.at
    row.save(update_fields=["level", "since"])
    audit.record(
        "level.lowered",
        subject=f"cell:{row.pk}",
        actor=change.actor,
        team_id=row.agent.team_id,
        payload={"from": change.from_level, "to": level, "cause": cause, "key": key, "reason": reason},
    )
    transaction.on_commit(partial(level_changed.send_robust, sender=AutonomyLevel, cell_id=row.pk))
    return change


def lower_level(
    cell: AutonomyLevel, *, level: str, actor: User, reason: str, at: datetime | None = None
) -> LevelChange:
    """Lower a level by hand, with a reason. Raises OnlyLowers where it would not go down, ReasonMissing without one."""
    if not reason.strip():
        raise ReasonMissing("Say why, for those who read the log later. The level is unchanged.")
    now = at or clock()
    key = f"hand:{cell.pk}:{now:%Y%m%dT%H%M%S.%f}"
    change = cap_level(cell, level=level, cause="by_hand", key=key, actor=actor, reason=reason, at=now)
    if change is None:
        raise OnlyLowers("Levels go up one step, with evidence and a signature. The level is unchanged.")
    return change


@transaction.atomic
def report_standing(
    agent: Agent, *, kind: str, value: str, as_of: datetime, action_type: ActionType | None = None
) -> Standing:
    """Say how the budget or the gates stand. An older report never replaces a newer one; a new value is logged."""
    row, is_new = Standing.objects.select_for_update().get_or_create(
        agent=agent, action_type=action_type, kind=kind, defaults={"value": value, "as_of": as_of}
    )
    before = None if is_new else row.value
    if not is_new:
        if as_of <= row.as_of:
            return row
        row.value, row.as_of = value, as_of
        row.save(update_fields=["value", "as_of"])
    if value != before:
        audit.record(
            "standing.changed",
            subject=f"agent:{agent.pk}",
            actor="system",
            team_id=agent.team_id,
            payload={"kind": kind, "from": before, "to": value, "action_type": action_type and action_type.pk},
        )
    return row


def ensure_switch(scope: str, scope_id: int = 0, *, name: str = "", team: Team | None = None) -> KillSwitch:
    """Make the switch of a scope object, off, unless it has one. A name or team given later is taken over."""
    switch, is_new = KillSwitch.objects.get_or_create(
        scope=scope, scope_id=scope_id, defaults={"name": name, "team": team}
    )
    if not is_new and ((name and name != switch.name) or (team is not None and team.pk != switch.team_id)):
        switch.name, switch.team = name or switch.name, team or switch.team
        switch.save(update_fields=["name", "team"])
    return switch


@transaction.atomic
def engage_switch(
    scope: str, scope_id: int = 0, *, actor: Actor, reason: str = "", at: datetime | None = None
) -> KillSwitch:
    """
    Stop everything below a scope object. When this commits, no action below it starts any more (rule R20).

    Engaging twice changes nothing but the reason, which may come afterwards.
    """
    switch = _locked_switch(scope, scope_id)
    if switch.engaged:
        return _explained(switch, actor=actor, reason=reason)
    switch.engaged, switch.by, switch.reason, switch.at = True, _named(actor), reason.strip(), at or clock()
    switch.save(update_fields=["engaged", "by", "reason", "at"])
    _record_switch("kill.engaged", switch, actor=actor, reason=switch.reason)
    return switch


@transaction.atomic
def release_switch(
    scope: str, scope_id: int = 0, *, actor: Actor, reason: str, at: datetime | None = None
) -> KillSwitch:
    """Let work go on below a scope object. Raises ReasonMissing without a reason; releasing twice changes nothing."""
    if not reason.strip():
        raise ReasonMissing("Say why it may go on. The switch stays engaged.")
    switch = _locked_switch(scope, scope_id)
    if not switch.engaged:
        return switch
    switch.engaged, switch.by, switch.reason, switch.at = False, _named(actor), reason.strip(), at or clock()
    switch.save(update_fields=["engaged", "by", "reason", "at"])
    _record_switch("kill.released", switch, actor=actor, reason=switch.reason)
    return switch


@transaction.atomic
def record_stage(
    agent: Agent,
    *,
    stage: str,
    reason: str,
    actor: Actor,
    program_id: int | None = None,
    at: datetime | None = None,
) -> StageEvent:
    """Write that an agent entered a stage. Forward moves are asked for by programs only, after its gates."""
    row = Agent.objects.select_for_update().get(pk=agent.pk)
    event = StageEvent.objects.create(
        agent=row, stage=stage, at=at or clock(), reason=reason, program_id_value=program_id, actor=_named(actor)
    )
    audit.record(
        "agent.stage_entered",
        subject=f"agent:{row.pk}",
        actor=event.actor,
        team_id=row.team_id,
        payload={"from": row.stage, "to": stage, "reason": reason, "program": program_id},
    )
    row.stage = agent.stage = stage
    row.save(update_fields=["stage"])
    return event


def _record_history(agent: Agent, stages: Sequence[tuple[str, datetime]], *, actor: Actor) -> None:
    """Write the stages an agent had before it came here; the log says when each began and that it is told now."""
    by = _named(actor)
    reason = "Demo data" if agent.is_demo else "Told at registration"
    StageEvent.objects.bulk_create(
        StageEvent(agent=agent, stage=stage, at=at, reason=reason, actor=by, synthetic=agent.is_demo)
        for stage, at in stages
    )
    before = [None, *(stage for stage, _ in stages)]
    audit.record_many(
        audit.Event(
            action="agent.stage_entered",
            subject=f"agent:{agent.pk}",
            actor=by,
            team_id=agent.team_id,
            payload={"from": earlier, "to": stage, "reason": reason, "happened_at": at},
        )
        for earlier, (stage, at) in zip(before, stages, strict=False)
    )


def _compensation(
    agent: Agent, key: str, shape: Mapping[str, Any], undone_by: str, sources: Mapping[str, str]
) -> dict[str, str]:
    """Check what undoes an action against the action type that does it. Raises SchemaRefused."""
    if not undone_by:
        if sources:
            raise SchemaRefused(["Compensation: arguments are given, but no action type that takes them."])
        return {}
    undoing = agent.action_types.filter(key=undone_by).exclude(key=key).first()
    if undoing is None:
        raise SchemaRefused([f"Compensation: {agent.name} has no other action type {undone_by}."])
    return checked_compensation(sources, args_schema=shape, undoing_schema=undoing.args_schema)


def _named(actor: Actor) -> str:
    return actor if isinstance(actor, str) else actor.actor


def _fingerprint(agent: Agent, *, settings: Mapping[str, Any], instructions: str) -> str:
    return digest_of(
        {
            "v": 1,
            "workflow": agent.workflow,
            "model": agent.model,
            "connector": agent.connector_key,
            "instructions": instructions,
            "settings": dict(settings),
        }
    )


def _locked_switch(scope: str, scope_id: int) -> KillSwitch:
    switch = KillSwitch.objects.select_for_update().filter(scope=scope, scope_id=scope_id).first()
    if switch is None:
        raise SwitchMissing("This has no switch, which counts as engaged: nothing below it runs.")
    return switch


def _explained(switch: KillSwitch, *, actor: Actor, reason: str) -> KillSwitch:
    if reason.strip() and reason.strip() != switch.reason:
        switch.reason = reason.strip()
        switch.save(update_fields=["reason"])
        _record_switch("kill.explained", switch, actor=actor, reason=switch.reason)
    return switch


def _record_switch(action: str, switch: KillSwitch, *, actor: Actor, reason: str) -> None:
    audit.record(
        action,
        subject=f"switch:{switch.scope}:{switch.scope_id}",
        actor=_named(actor),
        team_id=switch.team_id,
        payload={"reason": reason},
    )
