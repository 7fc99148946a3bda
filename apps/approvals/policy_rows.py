"""The rules of a policy as rows of its form: as they are typed, posted, read and shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from apps.approvals.domain import policy
from apps.approvals.domain.explained import OPS_IN_WORDS, THENS_IN_WORDS
from apps.approvals.domain.fields import Field
from apps.approvals.domain.rules import LISTED, MAX_CLAUSES, OPS, WITHOUT_VALUE, Clause
from apps.approvals.domain.terms import Terms
from apps.approvals.policy_values import text_of, typed, values_of


@dataclass
class ClauseRow:
    """One condition as it is typed; `error` says what cannot be read."""

    field: str = ""
    op: str = ""
    value: str = ""
    values: Sequence[str] = ()
    known: Field | None = None
    error: str = ""

    @property
    def ops(self) -> list[tuple[str, str]]:
        offered = self.known.ops if self.known else OPS
        return [(op, OPS_IN_WORDS[op]) for op in OPS if op in offered or op == self.op]

    @property
    def widget(self) -> str:
        """Name the control: none, choice, choices (ticked), truth, number, or text."""
        if self.op in WITHOUT_VALUE:
            return "none"
        kind = self.known.value_kind if self.known else "text"
        if kind == "choice":
            return "choices" if self.op in LISTED else "choice"
        if kind == "boolean":
            return "truth"
        return "number" if kind in ("number", "integer") and self.op not in LISTED else "text"

    @property
    def has_strange_value(self) -> bool:
        """Say whether what is typed is none of the choices; then it is still shown."""
        return self.known is None or self.value not in self.known.choices

    @property
    def choices(self) -> list[tuple[str, bool]]:
        chosen = set(self.values) or {self.value}
        offered = [str(each) for each in self.known.choices] if self.known else []
        return [(each, each in chosen) for each in offered]


@dataclass
class RuleRow:
    """One rule as it is typed."""

    then: str = policy.TWO
    why: str = ""
    clauses: list[ClauseRow] = field(default_factory=list)
    error: str = ""

    @property
    def thens(self) -> list[tuple[str, str]]:
        return list(THENS_IN_WORDS.items())


def rows_of(shown: Terms | None) -> list[RuleRow]:
    """Return the rules of a version as rows; none without one."""
    rules = shown.conditions.rules if shown else ()
    return [RuleRow(each.then, each.why, [_row(one) for one in each.when]) for each in rules]


def rows_posted(posted: QueryDict) -> list[RuleRow]:
    """Return the rules as somebody typed them, readable or not."""
    rows = []
    # One more than may be kept, so that the last one is refused and not silently left out.
    for number in range(policy.MAX_RULES + 1):
        start = f"rule-{number}"
        if f"{start}-then" not in posted:
            break
        clauses = []
        for place in range(MAX_CLAUSES + 1):
            name = f"{start}-{place}"
            if f"{name}-field" not in posted:
                break
            values = [str(each) for each in posted.getlist(f"{name}-value")]
            clauses.append(
                ClauseRow(
                    str(posted[f"{name}-field"]),
                    str(posted.get(f"{name}-op", "")),
                    values[-1] if values else "",
                    values,
                )
            )
        rows.append(RuleRow(str(posted[f"{start}-then"]), str(posted.get(f"{start}-why", "")).strip(), clauses))
    return rows


def clause_of(row: ClauseRow) -> Clause | None:
    """Read one condition; what cannot be read is said in its row."""
    known = row.known
    if known is None:
        row.error = "Choose what it is about."
    elif row.op not in known.ops:
        row.error = f"{known.label} cannot be compared like this. Choose another comparison."
    elif row.op in LISTED and not (row.values if row.widget == "choices" else row.value.strip()):
        row.error = "Give at least one value."
    else:
        try:
            stored: dict[str, Any] = {"field": known.name, "op": row.op}
            if row.op in LISTED:
                stored["value"] = values_of(known, row.values if row.widget == "choices" else row.value)
            elif row.op not in WITHOUT_VALUE:
                stored["value"] = typed(known.value_kind, row.value, known.choices)
            return Clause.parse(stored)
        except (ValueError, policy.Unevaluable) as error:
            row.error = str(error)[:1].upper() + str(error)[1:]
    return None


def _row(clause: Clause) -> ClauseRow:
    if clause.op in LISTED:
        return ClauseRow(clause.field, clause.op, text_of(clause.value), [str(each) for each in clause.value])
    if isinstance(clause.value, bool):
        return ClauseRow(clause.field, clause.op, "yes" if clause.value else "no")
    return ClauseRow(clause.field, clause.op, "" if clause.value is None else f"{clause.value}")
