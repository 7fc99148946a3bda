"""Teach an agent's version from decided cases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.agents.models import AgentVersion
from apps.audit import actions as audit
from apps.runs.domain.files import TaughtRow
from apps.runs.lineage import lineage_of
from apps.runs.models import Precedent

# Rows of one INSERT.
BATCH = 2_000

# Told after each batch: how many cases are stored, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Learned:
    created: int
    known: int


@transaction.atomic
def learn(
    version: AgentVersion, rows: Sequence[TaughtRow], *, actor: str, name: str = "", progress: Progress | None = None
) -> Learned:
    """Store decided cases as precedents of a version; the same text with the same queue is learned once.

    What an earlier version of the agent learned counts too: the new one knows it already.
    """
    locked = AgentVersion.objects.select_for_update(of=("self",)).select_related("agent").get(pk=version.pk)
    seen = set(Precedent.objects.filter(agent_version__in=lineage_of(locked.pk)).values_list("text", "queue"))
    fresh = []
    for row in rows:
        if (row.text, row.queue) not in seen:
            seen.add((row.text, row.queue))
            fresh.append(row)
    for start in range(0, len(fresh), BATCH):
        part = fresh[start : start + BATCH]
        Precedent.objects.bulk_create(
            Precedent(
                agent_version=locked,
                text=row.text,
                queue=row.queue,
                priority=row.priority,
                reply=row.reply,
                source=Precedent.Source.LEARNED,
            )
            for row in part
        )
        if progress:
            progress(start + len(part), len(fresh))
    audit.record(
        "precedents.learned",
        subject=f"agent:{locked.agent_id}",
        actor=actor,
        team_id=locked.agent.team_id,
        agent_version=locked.fingerprint,
        payload={"file": name, "created": len(fresh), "known": len(rows) - len(fresh)},
    )
    return Learned(len(fresh), len(rows) - len(fresh))
