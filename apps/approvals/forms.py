"""What a card posts, parsed. Types are kept: 25 stays a number, and what cannot be read is named by its field."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from apps.accounts.models import Team, User
from apps.agents.models import ActionType
from apps.approvals.card import ArgField, Card
from apps.approvals.domain.edit import Problem
from apps.approvals.errors import BadArgs
from apps.approvals.models import Drill

# No id of ours is as long; a longer number is nobody's, and no number for the database either.
DIGITS = 19
_NUMBERS = {"integer": int, "number": float}


class VerdictForm(forms.Form):
    """The card's buttons post the version and digest of that very card."""

    verdict = forms.ChoiceField(choices=[(each, each) for each in ("approve", "edit", "reject", "respond", "ask")])
    version = forms.IntegerField()
    digest = forms.CharField(max_length=71)
    reason = forms.CharField(max_length=2000, required=False)
    confirm = forms.CharField(max_length=200, required=False)

    def clean_confirm(self) -> str | None:
        return self.cleaned_data["confirm"] or None


class PlantForm(forms.Form):
    """Which agent's people get a planted card; without a mutation any that fits."""

    agent = forms.SlugField()
    mutation = forms.ChoiceField(choices=[("", "Any that fits"), *Drill.Mutation.choices], required=False)


class StampForm(forms.Form):
    """Which card a button was on."""

    version = forms.IntegerField()
    digest = forms.CharField(max_length=71)


class ReconcileForm(forms.Form):
    happened = forms.TypedChoiceField(
        choices=[("yes", "It happened"), ("no", "It did not happen")], coerce=lambda value: value == "yes"
    )
    note = forms.CharField(max_length=2000, min_length=3, widget=forms.Textarea(attrs={"rows": 2}))


class SnoozeForm(forms.Form):
    """For how many minutes; the window itself sets the end."""

    minutes = forms.IntegerField(min_value=1, max_value=30 * 24 * 60)


class HandOverForm(forms.Form):
    to = forms.ModelChoiceField(
        User.objects.none(), label="To whom", empty_label=None, widget=forms.Select(attrs={"autofocus": True})
    )
    reason = forms.CharField(label="Why", max_length=300, required=False)

    def __init__(self, *args: Any, people: Sequence[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = User.objects.filter(pk__in=[each.pk for each in people]).order_by("name", "pk")
        cast("forms.ModelChoiceField[User]", self.fields["to"]).queryset = rows


class KindsField(forms.ModelMultipleChoiceField):
    """Kinds of action, each with the agent that it belongs to."""

    def label_from_instance(self, kind: ActionType) -> str:
        return f"{kind.name} · {kind.agent.name}"


class DelegationForm(forms.Form):
    """Whole days in the person's own time: from the morning of the first to the end of the last."""

    to = forms.ModelChoiceField(User.objects.none(), label="Who decides for you", empty_label=None)
    first_day = forms.DateField(label="First day", widget=forms.DateInput(attrs={"type": "date"}))
    last_day = forms.DateField(label="Last day", widget=forms.DateInput(attrs={"type": "date"}))
    action_types = KindsField(
        ActionType.objects.none(),
        label="Kinds of action",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: all kinds of this team.",
    )
    reason = forms.CharField(label="Why", max_length=300, required=False)

    def __init__(self, *args: Any, people: QuerySet[User], kinds: QuerySet[ActionType], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast("forms.ModelChoiceField[User]", self.fields["to"]).queryset = people
        cast("KindsField", self.fields["action_types"]).queryset = kinds

    def clean_last_day(self) -> date:
        """The day after must still be in the calendar."""
        day: date = self.cleaned_data["last_day"]
        if day >= date.max - timedelta(days=1):
            raise forms.ValidationError("This day is too far away.")
        return day

    def lending(self, zone: ZoneInfo) -> dict[str, Any]:
        """Return what the verb needs; the day after the last one begins when the delegation ends."""
        said = self.cleaned_data
        return {
            "to": said["to"],
            "starts": datetime.combine(said["first_day"], time(), tzinfo=zone),
            "ends": datetime.combine(said["last_day"] + timedelta(days=1), time(), tzinfo=zone),
            "action_types": [each.pk for each in said["action_types"]],
            "reason": said["reason"],
        }


class ViewForm(forms.Form):
    """A search under a name."""

    name = forms.CharField(label="Name", max_length=60)
    query = forms.CharField(label="Search", max_length=300)
    team = forms.ModelChoiceField(
        Team.objects.none(), label="For whom", required=False, empty_label="Only me", help_text="A team sees it too."
    )

    def __init__(self, *args: Any, teams: QuerySet[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast("forms.ModelChoiceField[Team]", self.fields["team"]).queryset = teams


def edited_args(card: Card, posted: QueryDict) -> dict[str, Any]:
    """Return the card's arguments with what the person changed. Raises BadArgs naming each field that cannot be read."""
    args = dict(card.args_typed)
    problems = []
    for field in card.args:
        name = f"arg-{field.name}"
        if not field.is_editable or (name not in posted and field.kind != "boolean"):
            continue
        try:
            value = _typed(field, posted, name)
        except ValueError:
            problems.append(Problem("bad_args", f"/{field.name}", f"{field.label} must be {_kind_words(field.kind)}."))
            continue
        if value is None and not field.is_required:
            args.pop(field.name, None)
        else:
            args[field.name] = value
    if problems:
        raise BadArgs(problems)
    return args


def typed_back(card: Card, posted: QueryDict) -> Card:
    """Return the card with its edit form as the person left it, so that a refusal loses nothing of it."""
    return replace(card, args=tuple(_typed_back(field, posted) for field in card.args))


def shown_versions(posted: QueryDict) -> Mapping[int, int]:
    """Return the ids and versions that a page says it shows; what is not two numbers is left out."""
    pairs = (each.partition(":") for each in posted.getlist("shown"))
    return {int(pk): int(version) for pk, _, version in pairs if pk.isdecimal() and version.isdecimal()}


def shown_stamp(posted: QueryDict) -> tuple[int, str] | None:
    """Return the version and digest of a card that a page drew ahead and shows by now; None if it drew none."""
    version, digest = posted.get("version", ""), posted.get("digest", "")
    return (int(version), digest) if "ahead" in posted and version.isdecimal() else None


def numbers(posted: QueryDict, name: str) -> list[int]:
    """Return the numbers that were sent under a name, in their order; what is none is left out."""
    return [int(each) for each in posted.getlist(name) if each.isascii() and each.isdecimal() and len(each) < DIGITS]


def time_of(text: str | None) -> datetime | None:
    """Read a moment that a page sent back; None for what is none."""
    return parse_datetime(text or "")


def _typed_back(field: ArgField, posted: QueryDict) -> ArgField:
    name = f"arg-{field.name}"
    if not field.is_editable:
        return field
    if field.kind == "boolean":
        return replace(field, exact=json.dumps(name in posted))
    return replace(field, exact=str(posted[name])) if name in posted else field


def _typed(field: ArgField, posted: QueryDict, name: str) -> Any:
    if field.kind == "boolean":
        return name in posted
    # Browsers send line breaks as CR LF; the agent wrote LF.
    text = str(posted[name]).replace("\r\n", "\n")
    if not text and not field.is_required:
        return None
    if field.kind in _NUMBERS:
        return _NUMBERS[field.kind](text)
    return json.loads(text) if field.kind == "json" else text


def _kind_words(kind: str) -> str:
    return {"integer": "a whole number", "number": "a number", "json": "valid JSON"}.get(kind, kind)
