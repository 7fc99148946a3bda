from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.accounts.access import object_or_404, scoped
from apps.accounts.models import User
from apps.audit.names import names_of
from apps.connectors.domain.ledger import STUCK_AFTER
from apps.connectors.errors import UnknownSystem
from apps.connectors.models import ActionExecution, Connector

VIEW = "connectors.view"
RECENT = 50


def connector(key: str) -> Connector:
    """Return a connector with its team and sealed credential. Raises UnknownSystem. 1 query."""
    found = Connector.objects.select_related("team", "credential").filter(key=key).first()
    if found is None:
        raise UnknownSystem(f"There is no system called {key[:50]!r}. Nothing was sent.", target=key[:50])
    return found


@dataclass(frozen=True, slots=True)
class SystemRow:
    """One line of the list of systems, with how many of its writes have no known outcome."""

    connector: Connector
    unknown: int


def systems(user: User) -> list[SystemRow]:
    """Return the systems this person may see, by name. 1 query, any length; the person's teams are read once a request."""
    unknown = ActionExecution.objects.unknown().filter(connector=OuterRef("pk")).order_by().values("connector")
    rows = (
        scoped(Connector.objects.select_related("team", "credential"), user, VIEW)
        .annotate(unknown=Coalesce(Subquery(unknown.annotate(rows=Count("pk")).values("rows")), 0))
        .order_by("name", "pk")
    )
    return [SystemRow(row, row.unknown) for row in rows]


@dataclass(frozen=True, slots=True)
class Write:
    """One ledger row, and who is named as its actor."""

    execution: ActionExecution
    by: str


@dataclass(frozen=True, slots=True)
class SystemPage:
    """One system with its newest writes and those without a known outcome."""

    connector: Connector
    recent: list[Write]
    unknown: list[Write]


def system(user: User, key: str, *, right: str = VIEW) -> Connector:
    """Return one system, or raise 404 to outsiders and Forbidden to members without the right. 2 queries."""
    known = Connector.objects.filter(key=key).values_list("pk", flat=True).first()
    return object_or_404(Connector.objects.select_related("team", "credential"), user, right, known)


def system_page(user: User, key: str) -> SystemPage:
    """Return one system with its newest executions and the unknown ones, oldest first. 4 queries, and 1 per kind of actor."""
    found = system(user, key)
    executions = ActionExecution.objects.of(found)
    recent = list(executions.order_by("-id")[:RECENT])
    unknown = list(executions.unknown().order_by("started_at")[:RECENT])
    names = names_of(row.actor for row in (*recent, *unknown))
    return SystemPage(
        connector=found,
        recent=[Write(row, names.get(row.actor, row.actor)) for row in recent],
        unknown=[Write(row, names.get(row.actor, row.actor)) for row in unknown],
    )


def systems_for_agents(user: User) -> list[tuple[str, str]]:
    """Return key and name of the systems that this person may give to an agent: those of the teams they register in. 1 query."""
    return list(scoped(Connector.objects.order_by("name"), user, "agents.register").values_list("key", "name"))


def is_connected(key: str) -> bool:
    """Say whether there is a system of this key, whoever's it is. 1 query."""
    return Connector.objects.filter(key=key).exists()


def names_of_systems(ids: Collection[int]) -> Mapping[int, str]:
    """Name systems for pages that know their ids only. 1 query."""
    return dict(Connector.objects.filter(pk__in=ids).values_list("pk", "name"))


def executions_for(proposal_ids: Collection[int]) -> dict[int, list[ActionExecution]]:
    """Return the ledger rows of some proposals, oldest first; a proposal without one is absent. 1 query."""
    found: dict[int, list[ActionExecution]] = defaultdict(list)
    for row in ActionExecution.objects.filter(proposal_id_value__in=proposal_ids).order_by("id"):
        if row.proposal_id_value is not None:
            found[row.proposal_id_value].append(row)
    return dict(found)


def stuck_executions(at: datetime, *, older_than: timedelta = STUCK_AFTER) -> QuerySet[ActionExecution]:
    """Return rows that were started so long ago that their worker must have died. Their outcome is unknown."""
    return ActionExecution.objects.started_before(at - older_than).order_by("started_at")
