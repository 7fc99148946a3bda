"""The form of a policy: plain fields, and rules as rows that come and go by buttons that post. Nothing typed is lost."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final

from django import forms
from django.http import QueryDict

from apps.agents.models import ActionType
from apps.approvals.actions.policies import LONGEST_NOTE, LONGEST_UNDO_S, LONGEST_WINDOW_S, SHORTEST_WINDOW_S
from apps.approvals.domain import policy
from apps.approvals.domain.edit import schema_problems
from apps.approvals.domain.explained import OPS_IN_WORDS, THENS_IN_WORDS
from apps.approvals.domain.fields import Field
from apps.approvals.domain.rules import (
    LISTED,
    MAX_CLAUSES,
    MAX_VALUES,
    MAX_WHY,
    OPS,
    WITHOUT_VALUE,
    Clause,
    Facts,
    Rule,
    exact,
)
from apps.approvals.domain.terms import Terms
from apps.approvals.models import ApprovalPolicy
from apps.audit.domain.canonical import canonical, parse

UNITS: Final = {"s": (1, "seconds"), "min": (60, "minutes"), "h": (3600, "hours"), "d": (86400, "days")}
_CALLED: Final = [("on_duty", "Whoever is on call"), ("lead", "The team's lead"), ("deputy", "The deputy")]
_TRUTH: Final = (("yes", True), ("no", False))


class TermsForm(forms.Form):
    """What one version says besides its rules."""

    approvals_needed = forms.IntegerField(
        label="People who must agree",
        min_value=1,
        max_value=policy.MOST_APPROVALS,
        help_text="High risk and what cannot be taken back always need two.",
    )
    auto_from_confidence = forms.DecimalField(
        label="May run alone from a confidence of",
        required=False,
        min_value=0,
        max_value=1,
        max_digits=4,
        decimal_places=3,
        help_text="From 0 to 1. Empty: a person decides every time. It must also have earned to act alone.",
    )
    window = forms.IntegerField(label="Time to decide", min_value=1)
    window_unit = forms.ChoiceField(label="Unit", choices=[(key, word) for key, (_, word) in UNITS.items()])
    on_expiry = forms.ChoiceField(
        label="If nobody decides in time",
        choices=[
            (ApprovalPolicy.OnExpiry.EXPIRE, "It expires; nothing is executed"),
            (ApprovalPolicy.OnExpiry.EXTEND_ONCE, "The window is extended once, then it expires"),
        ],
        widget=forms.RadioSelect,
    )
    undo_s = forms.IntegerField(
        label="Seconds to undo",
        min_value=0,
        max_value=LONGEST_UNDO_S,
        help_text="An approval waits this long before it runs.",
    )
    approvers = forms.TypedMultipleChoiceField(
        label="Who may decide",
        required=False,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        help_text="Nobody ticked: every reviewer of the team.",
    )
    note = forms.CharField(
        label="Why this change",
        min_length=3,
        max_length=LONGEST_NOTE,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Stays with this version for everybody who reads it later.",
    )
    based_on = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(
        self, *args: Any, fields: Sequence[Field], reviewers: Sequence[tuple[int, str]], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        people = self.fields["approvers"]
        if isinstance(people, forms.TypedMultipleChoiceField):
            people.choices = list(reviewers)
        for place in range(policy.MAX_TIERS):
            self.fields[f"tier_at_{place}"] = forms.DecimalField(
                label=f"Call {place + 1}, after % of the time",
                required=False,
                min_value=1,
                max_value=99,
                max_digits=4,
                decimal_places=2,
            )
            self.fields[f"tier_to_{place}"] = forms.ChoiceField(label=f"Call {place + 1}, whom", choices=_CALLED)
        # Named by the argument, not by its place: the schema may change while somebody writes.
        self.refused = {f"deny.{_top(each)}": each for each in fields if _top(each)}
        for place, (name, each) in enumerate(self.refused.items()):
            self.fields[name] = _refusal_field(each)
            self.fields[name].widget.attrs["id"] = f"id_deny_{place}"

    @property
    def tiers(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        return [(self[f"tier_at_{place}"], self[f"tier_to_{place}"]) for place in range(policy.MAX_TIERS)]

    @property
    def refusals(self) -> list[forms.BoundField]:
        return [self[name] for name in self.refused]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        self._clean_window(given)
        self._clean_tiers(given)
        given["deny"] = {}
        for name, each in self.refused.items():
            try:
                values = _values(each, given.get(name) or "")
            except ValueError as error:
                self.add_error(name, str(error))
            else:
                if values:
                    given["deny"][_top(each)] = values
        return given

    def _clean_window(self, given: dict[str, Any]) -> None:
        if "window" not in given or "window_unit" not in given:
            return
        given["window_s"] = given["window"] * UNITS[given["window_unit"]][0]
        if not SHORTEST_WINDOW_S <= given["window_s"] <= LONGEST_WINDOW_S:
            self.add_error("window", "People get from 60 seconds to 30 days.")

    def _clean_tiers(self, given: dict[str, Any]) -> None:
        shares = [(place, given.get(f"tier_at_{place}")) for place in range(policy.MAX_TIERS)]
        kept = [(place, share) for place, share in shares if share is not None]
        for (_, earlier), (place, later) in pairwise(kept):
            if later <= earlier:
                self.add_error(f"tier_at_{place}", "Each call comes later than the one before.")
        given["escalation"] = [{"at": float(share / 100), "to": given.get(f"tier_to_{place}")} for place, share in kept]


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


class PolicyForm:
    """The whole draft: `plain` fields and `rules` rows. `terms` is what it says once it `is_valid`."""

    def __init__(
        self,
        *,
        fields: Sequence[Field],
        reviewers: Sequence[tuple[int, str]],
        posted: QueryDict | None = None,
        shown: Terms | None = None,
        based_on: int = 0,
    ) -> None:
        self.fields = {each.name: each for each in fields}
        initial = {**(_initial(shown, fields) if shown else _STARTING), "based_on": based_on}
        self.plain = TermsForm(posted, initial=initial, fields=fields, reviewers=reviewers)
        self.rules = _rows_posted(posted) if posted is not None else _rows_of(shown)
        for each in self._clauses():
            each.known = self.fields.get(each.field)
        # What the form cannot show stays as it was: a field that the schema no longer has, or that a rule cannot name.
        refused = shown.conditions.deny if shown else {}
        self._beyond = {name: list(values) for name, values in refused.items() if f"args.{name}" not in self.fields}
        # Where the person goes on after a row came or went: the id of a control.
        self.fresh = ""
        self.error = ""
        self.terms: Terms | None = None

    @property
    def groups(self) -> list[tuple[str, list[Field]]]:
        every = list(self.fields.values())
        return [
            ("Arguments", [each for each in every if each.name.startswith("args.")]),
            ("The action", [each for each in every if not each.name.startswith("args.")]),
        ]

    @property
    def has_tiers(self) -> bool:
        """Say whether anybody is called, or something about that is wrong."""
        return any(at.value() or at.errors for at, _ in self.plain.tiers)

    def change_rows(self, do: str) -> bool:
        """Add or remove a row, if the button that was pressed says so."""
        verb, *places = do.split(":")
        numbers = [int(each) for each in places if each.isdecimal() and len(each) < 4]  # noqa: PLR2004  # a place, not a huge number
        self.fresh = "add-rule"
        match verb, numbers:
            case "add-rule", []:
                self.rules.append(RuleRow(clauses=[ClauseRow()]))
                self.fresh = f"rule-{len(self.rules) - 1}-0-field"
            case "remove-rule", [number] if number < len(self.rules):
                del self.rules[number]
            case "add-clause", [number] if number < len(self.rules):
                self.rules[number].clauses.append(ClauseRow())
                self.fresh = f"rule-{number}-{len(self.rules[number].clauses) - 1}-field"
            case "remove-clause", [number, place] if number < len(self.rules):
                del self.rules[number].clauses[place : place + 1]
            case _:
                self.fresh = ""
                return False
        return True

    def settle(self) -> None:
        """Give each condition a comparison that its field knows; what was chosen for another field makes no sense here."""
        for each in self._clauses():
            if each.known and each.op not in each.known.ops:
                each.op = each.known.ops[0]

    def is_valid(self) -> bool:
        """Read everything; each problem stays beside what caused it."""
        rules = [self._rule(row) for row in self.rules]
        if len(rules) > policy.MAX_RULES:
            self.error = f"A policy has at most {policy.MAX_RULES} rules."
        good = [each for each in rules if each is not None]
        if not self.plain.is_valid() or len(good) < len(rules) or self.error:
            return False
        given = self.plain.cleaned_data
        stored: dict[str, Any] = {"deny": {**self._beyond, **given["deny"]}, "rules": [each.stored() for each in good]}
        if given["auto_from_confidence"] is not None:
            stored["auto_from_confidence"] = float(given["auto_from_confidence"])
        try:
            self.terms = Terms(
                conditions=policy.Conditions.parse(stored),
                approvals_needed=given["approvals_needed"],
                window_s=given["window_s"],
                on_expiry=given["on_expiry"],
                undo_s=given["undo_s"],
                approvers=frozenset(given["approvers"]),
                escalation=policy.escalation_tiers(given["escalation"]),
            )
        except policy.Unevaluable as problem:
            self.error = f"This policy cannot be stored: {problem}."
        return self.terms is not None

    def refuse(self, pointer: str, message: str) -> None:
        """Show what the action refused beside the field that it is about."""
        name = pointer.removeprefix("/").replace("window_s", "window")
        if name in self.plain.fields:
            self.plain.add_error(name, message)
        else:
            self.error = message

    @property
    def draft(self) -> Terms:
        """What the form says. Raises ValueError before it was found valid."""
        if self.terms is None:
            raise ValueError("Only a valid draft says something.")
        return self.terms

    @property
    def based_on(self) -> int:
        """The version that the author read when they began; unreadable counts as none."""
        value = self.plain["based_on"].value()
        return int(value) if str(value).isascii() and str(value).isdigit() else 0

    def fingerprint(self, based_on: int) -> str:
        """Name this very draft against a version, so that only what was reviewed is published."""
        return hashlib.sha256(canonical([self.draft.stored(), based_on]).encode()).hexdigest()

    def _clauses(self) -> Iterable[ClauseRow]:
        return (clause for row in self.rules for clause in row.clauses)

    def _rule(self, row: RuleRow) -> Rule | None:
        clauses = [_clause(each) for each in row.clauses]
        if not 1 <= len(clauses) <= MAX_CLAUSES:
            row.error = f"A rule has 1 to {MAX_CLAUSES} conditions."
        elif row.then not in THENS_IN_WORDS:
            row.error = "Choose what happens where it holds."
        elif len(row.why) > MAX_WHY:
            row.error = f"The reason has at most {MAX_WHY} characters."
        good = tuple(each for each in clauses if each is not None)
        return None if row.error or len(good) < len(clauses) else Rule(good, row.then, row.why)


class TryOutForm(forms.Form):
    """A case that somebody writes down, to see how it fares under a policy."""

    args = forms.CharField(
        label="Arguments",
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "class": "mono"}),
        help_text="A JSON object, as the agent would send it.",
    )
    target = forms.CharField(max_length=200, required=False)
    subject = forms.CharField(max_length=200, required=False)
    confidence = forms.DecimalField(
        required=False, min_value=0, max_value=1, max_digits=4, decimal_places=3, help_text="Empty: not stated."
    )

    def __init__(self, *args: Any, kind: ActionType, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kind = kind

    def clean_args(self) -> dict[str, Any]:
        try:
            found = parse(self.cleaned_data["args"])
        except ValueError as error:
            raise forms.ValidationError("This is no JSON that can be stored exactly.") from error
        if not isinstance(found, dict):
            raise forms.ValidationError("Write a JSON object: { … }.")
        problems = schema_problems(self.kind.args_schema, found)
        if problems:
            told = [f"{each.pointer or '/'}: {each.message}" for each in problems[:5]]
            raise forms.ValidationError(["It would be refused at once, as its arguments do not fit.", *told])
        return found

    def facts(self) -> Facts:
        given = self.cleaned_data
        return Facts(
            args=given["args"],
            target=given["target"],
            subject=given["subject"],
            risk=self.kind.risk_class,
            reversibility=self.kind.reversibility,
            confidence=given["confidence"],
        )


# What a form begins with where the version in force cannot be read.
_STARTING: Final[Mapping[str, Any]] = {
    "approvals_needed": 2,
    "window": 4,
    "window_unit": "h",
    "on_expiry": "expire",
    "undo_s": 30,
}


def _refusal_field(each: Field) -> forms.Field:
    if each.kind == "choice":
        return forms.MultipleChoiceField(
            label=each.label,
            required=False,
            choices=[(one, one) for one in each.choices],
            widget=forms.CheckboxSelectMultiple,
        )
    hint = "A JSON list." if each.kind in ("other", "list") else "Values with commas between; or a JSON list."
    return forms.CharField(label=each.label, required=False, max_length=4000, help_text=hint)


def _top(each: Field) -> str:
    """Return the name of an argument that is no part of another one, else the empty text."""
    start, _, name = each.name.partition(".")
    return name if start == "args" and "." not in name else ""


def _initial(shown: Terms, fields: Sequence[Field]) -> dict[str, Any]:
    unit = next(key for key in reversed(UNITS) if shown.window_s % UNITS[key][0] == 0)
    initial: dict[str, Any] = {
        "approvals_needed": shown.approvals_needed,
        "auto_from_confidence": shown.conditions.auto_from_confidence,
        "window": shown.window_s // UNITS[unit][0],
        "window_unit": unit,
        "on_expiry": shown.on_expiry,
        "undo_s": shown.undo_s,
        "approvers": sorted(shown.approvers),
    }
    for place, tier in enumerate(shown.escalation):
        initial |= {f"tier_at_{place}": f"{(tier.at * 100).normalize():f}", f"tier_to_{place}": tier.to}
    for each in fields:
        values = shown.conditions.deny.get(_top(each), ())
        if values:
            initial[f"deny.{_top(each)}"] = list(values) if each.kind == "choice" else _text_of(values)
    return initial


def _rows_of(shown: Terms | None) -> list[RuleRow]:
    rules = shown.conditions.rules if shown else ()
    return [RuleRow(each.then, each.why, [_row(one) for one in each.when]) for each in rules]


def _row(clause: Clause) -> ClauseRow:
    if clause.op in LISTED:
        return ClauseRow(clause.field, clause.op, _text_of(clause.value), [str(each) for each in clause.value])
    if isinstance(clause.value, bool):
        return ClauseRow(clause.field, clause.op, "yes" if clause.value else "no")
    return ClauseRow(clause.field, clause.op, "" if clause.value is None else f"{clause.value}")


def _rows_posted(posted: QueryDict) -> list[RuleRow]:
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


def _clause(row: ClauseRow) -> Clause | None:
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
                stored["value"] = _values(known, row.values if row.widget == "choices" else row.value)
            elif row.op not in WITHOUT_VALUE:
                stored["value"] = _typed(known.value_kind, row.value, known.choices)
            return Clause.parse(stored)
        except (ValueError, policy.Unevaluable) as error:
            row.error = str(error)[:1].upper() + str(error)[1:]
    return None


def _values(known: Field, given: str | Sequence[str]) -> list[Any]:
    """Read several values: ticked ones, a JSON list, or text with commas. Raises ValueError saying what is wrong."""
    if not isinstance(given, str):
        return [_typed(known.value_kind, each, known.choices) for each in given]
    text = given.strip()
    if text.startswith("["):
        return _json_list(known, text)
    if known.kind in ("other", "list") and text:
        raise ValueError("Write a JSON list, for example [1, 2].")
    values = [_typed(known.value_kind, each.strip(), known.choices) for each in text.split(",") if each.strip()]
    if len(values) > MAX_VALUES:
        raise ValueError(f"At most {MAX_VALUES} values.")
    return values


def _json_list(known: Field, text: str) -> list[Any]:
    try:
        found = json.loads(text)
        canonical(found)
    except (ValueError, RecursionError) as error:
        raise ValueError("This is no JSON list that can be stored exactly.") from error
    fits = {
        "text": lambda each: isinstance(each, str),
        "choice": lambda each: each in known.choices,
        "number": lambda each: exact(each) is not None,
        "integer": lambda each: isinstance(each, int) and not isinstance(each, bool),
        "boolean": lambda each: isinstance(each, bool),
    }.get(known.kind)
    if not isinstance(found, list) or len(found) > MAX_VALUES or (fits and not all(map(fits, found))):
        raise ValueError(f"Each value must be {_WANTED.get(known.kind, 'JSON')}, at most {MAX_VALUES} of them.")
    return found


_WANTED: Final = {
    "text": "text",
    "choice": "one of the choices",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _typed(kind: str, text: str, choices: Sequence[Any]) -> Any:
    """Read one value as the schema has it. Raises ValueError saying what is wanted."""
    if kind in ("number", "integer"):
        return _number(kind, text.strip())
    if kind == "boolean":
        truth = dict(_TRUTH)
        if text not in truth:
            raise ValueError("Choose yes or no.")
        return truth[text]
    if kind == "choice" and text not in choices:
        raise ValueError(f"Choose one of: {', '.join(map(str, choices))}.")
    if not text:
        raise ValueError("Write a value; “is empty” looks for none.")
    return text.replace("\r\n", "\n")


def _number(kind: str, text: str) -> int | float:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or (kind == "integer" and number % 1):
        raise ValueError(f"This must be {_WANTED[kind]}.")
    if not number % 1 and abs(number) < 2**53:
        return int(number)
    if exact(float(number)) != number:
        raise ValueError("This number has more digits than can be kept exactly.")
    return float(number)


def _text_of(values: Sequence[Any]) -> str:
    """Write values so that `_values` reads the same again."""
    plain = all(
        isinstance(each, str) and each == each.strip() and each and "," not in each and not each.startswith("[")
        for each in values
    )
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    return ", ".join(map(str, values)) if plain or numbers else json.dumps(list(values), ensure_ascii=False)
