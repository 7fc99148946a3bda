"""The sentence that says why an agent cannot launch: the longest chain of open gates, from the launch to its root."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apps.programs.domain.graph import Edge, in_order

# Gates named in the sentence; the page shows the whole chain.
LONGEST_TOLD = 4


@dataclass(frozen=True, slots=True)
class Node:
    """An open gate: `days` is its most likely duration, `state` in words."""

    key: str
    name: str
    team: str
    days: float
    state: str


def longest_chain(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> list[str]:
    """Return the chain of open gates with most days of work, the launch's end first and the root last; ties by key."""
    inside = [edge for edge in edges if edge.gate in nodes and edge.needs in nodes]
    length: dict[str, float] = {}
    through: dict[str, str] = {}
    for key in in_order(nodes, inside):
        needs = sorted(
            (edge for edge in inside if edge.gate == key),
            key=lambda edge: (-length[edge.needs] - edge.lag_days, edge.needs),
        )
        length[key] = nodes[key].days
        if needs:
            through[key] = needs[0].needs
            length[key] += length[needs[0].needs] + needs[0].lag_days
    if not length:
        return []
    chain = [min(length, key=lambda key: (-length[key], key))]
    while chain[-1] in through:
        chain.append(through[chain[-1]])
    return chain


def blocked_sentence(agent: str, enters: str, nodes: Mapping[str, Node], chain: Sequence[str]) -> str:
    """Say what stops the launch: "X cannot enter pilot: A (Security) waits on B (Platform: not started). 11 more gates are open."."""
    told = list(chain) if len(chain) <= LONGEST_TOLD else [*chain[: LONGEST_TOLD - 1], chain[-1]]
    root = nodes[told[-1]]
    links = [f"{nodes[key].name} ({nodes[key].team})" for key in told[:-1]]
    if len(told) < len(chain):
        links.append(f"{len(chain) - len(told)} further gates")
    links.append(f"{root.name} ({root.team}: {root.state})")
    others = len(nodes) - len(chain)
    rest = f" {others} more {'gate is' if others == 1 else 'gates are'} open." if others else ""
    return f"{agent} cannot enter {enters}: " + ", which waits on ".join(links) + "." + rest


def ready_sentence(agent: str, enters: str, gates: int) -> str:
    return f"{agent} may enter {enters}: all {gates} gates are satisfied."
