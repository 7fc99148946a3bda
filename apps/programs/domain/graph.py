"""What waits on what: contraction of gates that do not apply, loops, and an order in which work can be done."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """`gate` waits on `needs`, finish to start, with a lag of calendar days."""

    gate: str
    needs: str
    lag_days: int = 0


def contract(edges: Iterable[Edge], removed: Iterable[str]) -> list[Edge]:
    """Remove gates so that their dependants inherit their prerequisites, recursively.

    Lags along a removed chain add up; of two ways to the same prerequisite the larger sum is kept. Dropping the gates
    with their edges instead would cut chains: what waited on a removed gate would seem free to start.
    """
    needs: dict[str, dict[str, int]] = {}
    for edge in edges:
        known = needs.setdefault(edge.gate, {})
        known[edge.needs] = max(edge.lag_days, known.get(edge.needs, 0))
    for gone in sorted(set(removed)):
        inherited = needs.pop(gone, {})
        for prerequisites in needs.values():
            if gone in prerequisites:
                lag = prerequisites.pop(gone)
                for key, further in inherited.items():
                    prerequisites[key] = max(prerequisites.get(key, 0), lag + further)
    return sorted(Edge(gate, key, lag) for gate, prerequisites in needs.items() for key, lag in prerequisites.items())


def loop_through(edges: Iterable[Edge], new: Edge) -> list[str] | None:
    """Return the shortest loop that `new` would close, as "waits on" keys ending where they began, or None.

    Searches breadth first from what the new edge needs to the gate that would wait, neighbours by key.
    """
    if new.gate == new.needs:
        return [new.gate, new.gate]
    waits_on: dict[str, list[str]] = {}
    for edge in sorted(edges):
        waits_on.setdefault(edge.gate, []).append(edge.needs)
    came_from: dict[str, str] = {new.needs: new.gate}
    queue = deque([new.needs])
    while queue:
        here = queue.popleft()
        for following in waits_on.get(here, []):
            if following in came_from:
                continue
            came_from[following] = here
            if following == new.gate:
                return _walk_back(came_from, new.gate)
            queue.append(following)
    return None


def _walk_back(came_from: Mapping[str, str], gate: str) -> list[str]:
    path = [gate]
    while len(path) == 1 or path[-1] != gate:
        path.append(came_from[path[-1]])
    return path[::-1]


def any_loop(edges: Iterable[Edge]) -> list[str] | None:
    """Return one loop among the edges, or None."""
    seen: list[Edge] = []
    for edge in sorted(edges):
        found = loop_through(seen, edge)
        if found:
            return found
        seen.append(edge)
    return None


def in_order(keys: Iterable[str], edges: Iterable[Edge]) -> list[str]:
    """Return the keys so that each comes after all it needs; equals by key. Raises ValueError naming a loop."""
    waiting: dict[str, set[str]] = {key: set() for key in keys}
    for edge in edges:
        waiting[edge.gate].add(edge.needs)
    ordered: list[str] = []
    while waiting:
        free = sorted(key for key, needs in waiting.items() if not needs)
        if not free:
            raise ValueError("loop among " + ", ".join(sorted(waiting)))
        ordered += free
        for key in free:
            del waiting[key]
        for needs in waiting.values():
            needs.difference_update(free)
    return ordered
