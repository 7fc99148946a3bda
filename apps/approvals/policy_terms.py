"""What one version of a policy says besides its rules, as fields of its form."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from django import forms

from apps.approvals.actions.policies import LONGEST_NOTE, LONGEST_UNDO_S, LONGEST_WINDOW_S, SHORTEST_WINDOW_S
from apps.approvals.domain import policy
from apps.approvals.domain.fields import Field
from apps.approvals.domain.terms import Terms
from apps.approvals.models import ApprovalPolicy
from apps.approvals.policy_values import text_of, values_of

UNITS: Final = {"s": (1, "seconds"), "min": (60, "minutes"), "h": (3600, "hours"), "d": (86400, "days")}
_CALLED: Final = [("on_duty", "Whoever is on call"), ("lead", "The team's lead"), ("deputy", "The deputy")]
# What a form begins with where the version in force cannot be read.
STARTING: Final[Mapping[str, Any]] = {
    "approvals_needed": 2,
    "window": 4,
    "window_unit": "h",
    "on_expiry": "expire",
    "undo_s": 30,
}


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
                values = values_of(each, given.get(name) or "")
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


def initial_of(shown: Terms, fields: Sequence[Field]) -> dict[str, Any]:
    """Return what the fields show of a version."""
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
            initial[f"deny.{_top(each)}"] = list(values) if each.kind == "choice" else text_of(values)
    return initial


def _top(each: Field) -> str:
    """Return the name of an argument that is no part of another one, else the empty text."""
    start, _, name = each.name.partition(".")
    return name if start == "args" and "." not in name else ""


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
