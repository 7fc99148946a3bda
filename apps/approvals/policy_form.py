"""The form of a policy: plain fields, and rules as rows that come and go by buttons that post. Nothing typed is lost."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from apps.agents.models import ActionType
from apps.approvals.domain import policy
from apps.approvals.domain.edit import schema_problems
from apps.approvals.domain.explained import THENS_IN_WORDS
from apps.approvals.domain.fields import Field
from apps.approvals.domain.rules import MAX_CLAUSES, MAX_WHY, Facts, Rule
from apps.approvals.domain.terms import Terms
from apps.approvals.policy_rows import ClauseRow, RuleRow, clause_of, rows_of, rows_posted
from apps.approvals.policy_terms import STARTING, TermsForm, initial_of
from apps.audit.domain.canonical import canonical, parse


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
        initial = {**(initial_of(shown, fields) if shown else STARTING), "based_on": based_on}
        self.plain = TermsForm(posted, initial=initial, fields=fields, reviewers=reviewers)
        self.rules = rows_posted(posted) if posted is not None else rows_of(shown)
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
        clauses = [clause_of(each) for each in row.clauses]
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
