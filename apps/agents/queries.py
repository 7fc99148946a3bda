"""What the guards and the pages read of the registry."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet

from apps.accounts.access import Forbidden, ensure, object_or_404, scoped
from apps.accounts.domain.rights import holds_over_agent
from apps.accounts.models import User
from apps.accounts.speakers import Speaker
from apps.agents.domain import ladder
from apps.agents.domain.ladder import Advice, Autonomy, Ceiling, Report
from apps.agents.first_steps import Step, steps
from apps.agents.models import ActionType, Agent, AgentVersion, AutonomyLevel, KillSwitch, StageEvent, Standing
from apps.agents.workflows import OUTSIDE
from apps.audit.names import names_of

# The order of locking is the order of this list, everywhere: two executors never wait for each other.
_SWITCHES = """
SELECT * FROM agents_killswitch
WHERE (scope = 'all' AND scope_id = 0) OR (scope = 'team' AND scope_id = %(team)s)
   OR (scope = 'connector' AND scope_id = %(connector)s) OR (scope = 'agent' AND scope_id = %(agent)s)
   OR (scope = 'action_type' AND scope_id = %(action_type)s)
ORDER BY array_position(ARRAY['all', 'team', 'connector', 'agent', 'action_type'], scope::text)
"""

_STOPPED = {
    "all": "Everything is stopped",
    "team": "This team's agents are stopped",
    "connector": "Work on this system is stopped",
    "agent": "This agent is stopped",
    "action_type": "This kind of action is stopped",
}


def blocking_switch(
    *,
    team_id: int,
    connector_id: int | None,
    agent_id: int,
    action_type_id: int,
    lock: bool,
    is_elsewhere: bool = False,
) -> str | None:  # 1 query
    """
    Say in words why nothing may run, or None if it may. A missing switch counts as engaged.

    `is_elsewhere`: the target lies in a system that is not connected here, so it has no switch of its own to ask.

    With lock=True the rows are held FOR SHARE until the transaction ends: whoever engages waits for it, and once
    that has committed, this answers it. Take it before any other lock of the same transaction but the proposal's own.
    """
    ids = {"team": team_id, "connector": connector_id, "agent": agent_id, "action_type": action_type_id}
    scopes = [scope for scope in _STOPPED if not (is_elsewhere and scope == KillSwitch.Scope.CONNECTOR)]
    return _first_engaged(ids, scopes, lock=lock)


def blocking_switch_for_people(*, connector_id: int, lock: bool) -> str | None:  # 1 query
    """
    Say in words why not even a person may write to a system from here, or None. `lock` as in `blocking_switch`.

    The switches of teams, agents and action types stop agents; while those stand, people have to do the work.
    """
    ids = {"team": None, "connector": connector_id, "agent": None, "action_type": None}
    return _first_engaged(ids, ("all", "connector"), lock=lock)


def _first_engaged(ids: Mapping[str, int | None], scopes: Iterable[str], *, lock: bool) -> str | None:
    statement = f"{_SWITCHES} FOR SHARE" if lock else _SWITCHES
    switches = {row.scope: row for row in KillSwitch.objects.raw(statement, ids)}
    for scope in scopes:
        switch, words = switches.get(scope), _STOPPED[scope]
        if switch is None:
            return f"{words}: its kill switch is missing, which counts as engaged."
        if switch.engaged:
            return f"{words}: {switch.reason}" if switch.reason else f"{words}."
    return None


def autonomy(agent: Agent, action_type: ActionType, *, at: datetime, lock: bool = False) -> Autonomy:  # 2 queries
    """
    Return the level in force and every reason to ask a person.

    With lock=True the cell's row is held FOR UPDATE, so that a demotion cannot slip in before the caller commits.
    """
    cells = AutonomyLevel.objects.filter(agent=agent, action_type=action_type, segment="all")
    cell = (cells.select_for_update() if lock else cells).first()
    rows = Standing.objects.filter(Q(action_type=None) | Q(action_type=action_type), agent=agent)
    return ladder.autonomy(
        level=cell.level if cell else None,
        frozen_reason=cell.frozen_reason if cell else "",
        top=ceiling(agent, action_type),
        reports=[Report(kind=each.kind, value=each.value, as_of=each.as_of) for each in rows],
        at=at,
    )


def advice(agent: Agent, action_type: ActionType) -> Advice | None:  # 1 query
    """Return why what an agent proposes may only be recorded now, or None if it may be executed once it is allowed."""
    cells = AutonomyLevel.objects.filter(agent=agent, action_type=action_type, segment="all")
    return ladder.advice(level=cells.values_list("level", flat=True).first(), top=ceiling(agent, action_type))


def ceiling(agent: Agent, action_type: ActionType) -> Ceiling:  # no query
    """Return the highest level that risk and stage allow."""
    return ladder.ceiling(
        risk_class=action_type.risk_class,
        reversibility=action_type.reversibility,
        regulated=action_type.regulated,
        stage=agent.stage,
    )


@dataclass(frozen=True, slots=True)
class Power:
    """One kind of action that an agent may take, and how far it goes alone just now."""

    action_type: ActionType
    autonomy: Autonomy
    # What the row of the cell says; `autonomy.level` may be lower.
    held: str
    switch: KillSwitch | None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One line of the list of agents. `stopped_by` is the widest engaged switch over it."""

    agent: Agent
    version: AgentVersion | None
    powers: list[Power]
    stopped_by: KillSwitch | None


@dataclass(frozen=True, slots=True)
class AgentPage(AgentRow):
    """Everything the page of one agent shows. `switch` is None if it is missing, which counts as engaged."""

    switch: KillSwitch | None
    stages: list[StageEvent]


def agent_for(user: User, slug: str, *, right: str = "agents.view") -> Agent:  # 2 queries
    """Return an agent by its short name. Outsiders get a 404, members without the right are told whom to ask."""
    pk = Agent.objects.filter(slug=slug).values_list("pk", flat=True).first()
    return object_or_404(Agent.objects.select_related("team", "owner"), user, right, pk)


def may(user: User, right: str, agent: Agent) -> bool:  # no query besides the person's rights
    """Say whether a person holds a right over an agent; some rights of agent owners reach their own agents only."""
    roles = user.roles_by_team.get(agent.team_id, frozenset())
    return holds_over_agent(right, roles, owns=agent.owner_id == user.pk)


def ensure_may(user: User, right: str, agent: Agent) -> None:
    """Raise Forbidden unless the person holds the right over this very agent; say so if only its owner does."""
    ensure(user, right, agent.team_id)
    if not may(user, right, agent):
        why = f"{agent} belongs to {agent.owner}, and only its owner may do this. Nothing was changed."
        raise Forbidden(right, agent.team_id, why=why, ask=f"Ask {agent.owner}.")


def agent_rows(user: User, *, at: datetime) -> list[AgentRow]:  # 6 queries, any length
    """Return the agents of a person's teams, by name."""
    agents = list(_with_powers(scoped(Agent.objects.order_by("name", "pk"), user, "agents.view")))
    switches = _switches(agents)
    return [
        AgentRow(
            agent=agent,
            version=_current(agent),
            powers=_powers(agent, switches, at=at),
            stopped_by=_stopped_by(agent, switches),
        )
        for agent in agents
    ]


def agent_page(user: User, slug: str, *, at: datetime) -> AgentPage:  # 10 queries
    """Return the page of one agent."""
    agent = _with_powers(Agent.objects.filter(pk=agent_for(user, slug).pk)).get()
    switches = _switches([agent])
    named(switches.values())
    return AgentPage(
        agent=agent,
        version=_current(agent),
        powers=_powers(agent, switches, at=at),
        stopped_by=_stopped_by(agent, switches),
        switch=switches.get((KillSwitch.Scope.AGENT, agent.pk)),
        stages=list(agent.stage_events.order_by("-at", "-pk")),
    )


def versions(agent: Agent) -> list[AgentVersion]:  # 1 query
    """Return all versions of an agent, newest first."""
    return list(agent.versions.select_related("author").order_by("-number"))


def action_types_of(agent: Agent) -> list[ActionType]:  # 1 query
    """Return what an agent may propose, by name."""
    return list(agent.action_types.order_by("name", "pk"))


def switches_for(user: User) -> list[KillSwitch]:  # 2 queries
    """Return the switches a person may see, the widest first: the one of everything and those of their teams."""
    mine = scoped(KillSwitch.objects.filter(team__isnull=False), user, "kill.engage").values("pk")
    rows = KillSwitch.objects.filter(Q(scope=KillSwitch.Scope.ALL) | Q(pk__in=mine)).select_related("team")
    order = {scope: place for place, scope in enumerate(KillSwitch.Scope.values)}
    return sorted(named(rows), key=lambda each: (order[each.scope], each.name, each.pk))


def switch_for(user: User, pk: int, *, right: str) -> KillSwitch:  # 1 query
    """Return a switch that a person may use. The one of everything belongs to no team: the right in any team is enough."""
    if KillSwitch.objects.filter(pk=pk, team=None).exists():
        ensure(user, right)
        return KillSwitch.objects.get(pk=pk)
    return object_or_404(KillSwitch.objects.select_related("team"), user, right, pk)


def named(switches: Iterable[KillSwitch]) -> list[KillSwitch]:  # 1 query
    """Say on each switch who used it last; what acts without a person keeps its own name."""
    rows = list(switches)
    names = names_of([each.by for each in rows])
    for each in rows:
        each.by_name = names.get(each.by, each.by)
    return rows


def speakers_of(team_ids: Collection[int]) -> list[Speaker]:  # 1 query
    """Return the agents of teams that may be given a token: those that run elsewhere."""
    rows = Agent.objects.filter(team__in=team_ids, workflow=OUTSIDE)
    return [Speaker(pk, name, team_id) for pk, name, team_id in rows.values_list("pk", "name", "team_id")]


def names_of_agents(ids: Collection[int]) -> Mapping[int, str]:  # 1 query
    """Name agents for pages that know their ids only."""
    return dict(Agent.objects.filter(pk__in=ids).values_list("pk", "name"))


def names_of_action_types(ids: Collection[int]) -> Mapping[int, str]:  # 1 query
    """Name action types for pages that know their ids only."""
    return dict(ActionType.objects.filter(pk__in=ids).values_list("pk", "name"))


@dataclass(frozen=True, slots=True)
class FirstRun:
    """How far an empty house has come: a person, a system, an agent, and what other apps add with whether it is done."""

    has_person: bool
    has_system: bool
    has_agent: bool
    more: tuple[tuple[Step, bool], ...]

    @property
    def is_done(self) -> bool:
        return all([self.has_person, self.has_system, self.has_agent, *(done for _, done in self.more)])


def first_run() -> FirstRun:  # 3 queries and those of the registered steps
    """Say which of the first steps are done. A connected system is known here by its kill switch."""
    return FirstRun(
        has_person=User.objects.exists(),
        has_system=KillSwitch.objects.filter(scope=KillSwitch.Scope.CONNECTOR).exists(),
        has_agent=Agent.objects.exists(),
        more=tuple((step, step.is_done()) for step in steps()),
    )


def is_empty(user: User) -> bool:  # at most 1 query a request
    """Say whether there is no agent yet; remembered with the person, whom one request loads once."""
    known: bool | None = getattr(user, "_house_is_empty", None)
    if known is None:
        known = not Agent.objects.exists()
        setattr(user, "_house_is_empty", known)  # noqa: B010  # a note on the row, not a field of its type
    return known


def _with_powers(agents: QuerySet[Agent]) -> QuerySet[Agent]:
    current = AgentVersion.objects.filter(is_current=True).select_related("author")
    levels = AutonomyLevel.objects.filter(segment="all")
    return agents.select_related("team", "owner").prefetch_related(
        Prefetch("versions", queryset=current, to_attr="current_versions"),
        Prefetch("action_types", queryset=ActionType.objects.order_by("name", "pk")),
        Prefetch("levels", queryset=levels),
        "standings",
    )


def _current(agent: Agent) -> AgentVersion | None:
    found: list[AgentVersion] = getattr(agent, "current_versions", [])
    return found[0] if found else None


def _powers(agent: Agent, switches: dict[tuple[str, int], KillSwitch], *, at: datetime) -> list[Power]:
    cells = {cell.action_type_id: cell for cell in agent.levels.all()}
    powers = []
    for action_type in agent.action_types.all():
        cell = cells.get(action_type.pk)
        reports = [
            Report(kind=each.kind, value=each.value, as_of=each.as_of)
            for each in agent.standings.all()
            if each.action_type_id in {None, action_type.pk}
        ]
        verdict = ladder.autonomy(
            level=cell.level if cell else None,
            frozen_reason=cell.frozen_reason if cell else "",
            top=ceiling(agent, action_type),
            reports=reports,
            at=at,
        )
        switch = switches.get((KillSwitch.Scope.ACTION_TYPE, action_type.pk))
        powers.append(Power(action_type=action_type, autonomy=verdict, held=cell.level if cell else "", switch=switch))
    return powers


def _switches(agents: Iterable[Agent]) -> dict[tuple[str, int], KillSwitch]:
    rows = list(agents)
    kinds = [each.pk for agent in rows for each in agent.action_types.all()]
    scope = KillSwitch.Scope
    found = KillSwitch.objects.filter(
        Q(scope=scope.ALL)
        | Q(scope=scope.TEAM, scope_id__in=[agent.team_id for agent in rows])
        | Q(scope=scope.AGENT, scope_id__in=[agent.pk for agent in rows])
        | Q(scope=scope.ACTION_TYPE, scope_id__in=kinds)
    )
    return {(each.scope, each.scope_id): each for each in found}


def _stopped_by(agent: Agent, switches: dict[tuple[str, int], KillSwitch]) -> KillSwitch | None:
    scope = KillSwitch.Scope
    places = [(scope.ALL, 0), (scope.TEAM, agent.team_id), (scope.AGENT, agent.pk)]
    return next((switch for place in places if (switch := switches.get(place)) and switch.engaged), None)
