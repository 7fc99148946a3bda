from apps.agents.models import AgentVersion


def lineage_of(version_id: int) -> tuple[int, ...]:
    """Return the ids of a version and of those before it: a new version knows what people taught the old ones. 1 query."""
    version = AgentVersion.objects.filter(pk=version_id)
    return tuple(
        AgentVersion.objects.filter(
            agent__in=version.values("agent"), number__lte=version.values("number")
        ).values_list("pk", flat=True)
    )
