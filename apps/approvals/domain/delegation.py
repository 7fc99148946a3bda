"""R2 and R6: who may decide a proposal by hand, by their own role or in a colleague's place."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# A right that is lent for longer is a role: an administrator gives it.
LONGEST: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Lent:
    """One running delegation to a person. No kinds: every kind of action of the team.

    `has_right`: the lender still holds the role, without which there is nothing to lend.
    """

    team: int
    lender: int
    kinds: frozenset[int]
    has_right: bool

    def covers(self, team: int, kind: int) -> bool:
        return team == self.team and (not self.kinds or kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Case:
    """What a proposal says about who decides it. No people: every reviewer of the team."""

    team: int
    kind: int
    people: frozenset[int]
    barred: frozenset[int]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a person stands to one proposal; `may` is true of a barred person too, who then is told that they are."""

    may: bool
    is_barred: bool = False
    on_behalf_of: int | None = None

    @property
    def decides(self) -> bool:
        return self.may and not self.is_barred


def standing(person: int, *, has_role: bool, lent: Iterable[Lent], case: Case) -> Standing:
    """Say whether a person decides a case: by their role, else by what a colleague lent them.

    Whom a barred person made their delegate is barred with them. What was lent is not lent on: the lender's own role
    counts, never what somebody lent to the lender.
    """
    lenders = [each for each in lent if each.covers(case.team, case.kind)]
    is_barred = person in case.barred or any(each.lender in case.barred for each in lenders)
    if has_role and _is_named(person, case.people):
        return Standing(may=True, is_barred=is_barred)
    giving = [each.lender for each in lenders if each.has_right and _is_named(each.lender, case.people)]
    if giving:
        return Standing(may=True, is_barred=is_barred, on_behalf_of=min(giving))
    return Standing(may=False, is_barred=is_barred)


def _is_named(person: int, people: Collection[int]) -> bool:
    return not people or person in people
