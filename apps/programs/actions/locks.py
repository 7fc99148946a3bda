from django.db import connection

# One opening at a time: two at once would take the same rank, or the same agent.
OPENING = "programs.opening"
# One new catalogue at a time: two at once would take the same version.
CATALOGUES = "programs.catalogues"
# All writers of edges take the same lock, as edges may come to cross programs: else two opposite edges could both pass.
EDGES = "programs.edges"


def wait_for(name: str) -> None:
    """Wait until no other transaction holds the named lock; it is given back when this one ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
