"""Which of an agent's changes re-open gates, in the words that the catalogue's `re_attest_on` uses (readiness.md, rule 10)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """A re-attest event and the sentence that says what changed."""

    word: str
    reason: str


# Words that stand for no fact of ours (new_region, data_change, memory_added, agent_to_agent_added) re-open nothing yet.
_OF_A_FACT: Mapping[str, Change] = {
    "scope": Change("scope_change", "What the agent is for has changed."),
    "owner": Change("owner_change", "The agent has another owner."),
    "prompt": Change("prompt_change", "Another version of its instructions and settings is current."),
    "model": Change("model_change", "The agent runs on another model."),
    "provider": Change("model_provider_change", "Its model comes from another provider."),
    "system": Change("integration_change", "It works in another system, or reaches it in another way."),
    "interface": Change("api_version_change", "The system answers under another path."),
}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return what changed about an agent between two looks at it.

    A look maps the facts above to texts, and `actions` to one text for each kind of action that holds its shape, its risk
    and its policy, `deciders` to one that holds who decides it and who is called when nobody does. What the earlier look
    did not know is no change: the first look of all finds none.
    """
    found = [change for fact, change in _OF_A_FACT.items() if fact in before and before[fact] != now[fact]]
    if "actions" in before:
        found += _of_actions(before, now)
    return tuple(found)


def _of_actions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    added = sorted(now["actions"].keys() - before["actions"].keys())
    changed = _changed(before["actions"], now["actions"])
    decided_by_others = _changed(before.get("deciders", {}), now.get("deciders", {}))
    found = []
    if added:
        # A kind of action is a tool that writes: both words mean it.
        reason = f"The agent may now also do {', '.join(added)}."
        found += [Change("tool_added", reason), Change("action_added", reason)]
    reasons = []
    if changed:
        reasons.append(f"Shape, risk or policy of {', '.join(changed)} has changed.")
    if decided_by_others:
        reasons.append(f"Who decides {', '.join(decided_by_others)}, or is called when nobody does, has changed.")
    if reasons:
        found.append(Change("limit_change", " ".join(reasons)))
    return found


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(key for key in now.keys() & before.keys() if now[key] != before[key])
