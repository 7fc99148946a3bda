"""How the call that undoes an executed action is made from what was done and from how its target stood before."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

ARGS: Final = "args"
BEFORE: Final = "before"


class NotPlanned(ValueError):
    """The undoing call cannot be made: what it would put back is not known."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """One field of the target: as it stands now, and as it would be again."""

    field: str
    now: Any
    back: Any

    @property
    def is_changed(self) -> bool:
        return bool(self.now != self.back)


def plan(
    sources: Mapping[str, str],
    *,
    args: Mapping[str, Any],
    before: Mapping[str, Any],
    redacted: Collection[str] = (),
) -> dict[str, Any]:
    """
    Return the arguments of the undoing call: each field from `args.<field>` or `before.<field>`, null where the target had none.

    `redacted` are the JSON pointers of what held a secret, such as `/state_proposed/reply`: arguments are kept to the letter,
    what was read before is not. Raises NotPlanned for a field that was not read before the action, or not kept: what is put
    back is what was there, never a guess.
    """
    places = {ARGS: args, BEFORE: before}
    made = {}
    for name, source in sources.items():
        place, _, field = source.partition(".")
        known = places.get(place)
        if known is None or field not in known:
            raise NotPlanned(f"It is not known what {field or source} was before.")
        if place == BEFORE and _is_lost(field, redacted):
            raise NotPlanned(f"{field} held a secret that was not kept, so it cannot be put back.")
        made[name] = known[field]
    return made


def _is_lost(field: str, redacted: Collection[str]) -> bool:
    # A field's name is escaped in a pointer (RFC 6901), or a secret under such a name would pass unseen.
    place = f"/state_proposed/{field.replace('~', '~0').replace('/', '~1')}"
    return any(each == place or each.startswith(f"{place}/") for each in redacted)


def put_back(changes: Mapping[str, Any], *, now: Mapping[str, Any]) -> tuple[PutBack, ...]:
    """Say field by field what the undoing call would change; what would really differ comes first."""
    lines = [PutBack(field, now.get(field), value) for field, value in changes.items()]
    return tuple(sorted(lines, key=lambda each: not each.is_changed))
