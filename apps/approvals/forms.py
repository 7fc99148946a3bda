"""What a card posts, parsed. Types are kept: 25 stays a number, and what cannot be read is named by its field."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from apps.approvals.card import ArgField, Card
from apps.approvals.domain.edit import Problem
from apps.approvals.errors import BadArgs

_NUMBERS = {"integer": int, "number": float}


class VerdictForm(forms.Form):
    """The card's buttons post the version and digest of that very card."""

    verdict = forms.ChoiceField(choices=[(each, each) for each in ("approve", "edit", "reject", "respond", "ask")])
    version = forms.IntegerField()
    digest = forms.CharField(max_length=71)
    reason = forms.CharField(max_length=2000, required=False)
    opened_at = forms.CharField(max_length=40, required=False)

    def clean_opened_at(self) -> datetime | None:
        return parse_datetime(self.cleaned_data["opened_at"] or "")


class ReconcileForm(forms.Form):
    happened = forms.TypedChoiceField(
        choices=[("yes", "It happened"), ("no", "It did not happen")], coerce=lambda value: value == "yes"
    )
    note = forms.CharField(max_length=2000, min_length=3, widget=forms.Textarea(attrs={"rows": 2}))


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


def shown_versions(posted: QueryDict) -> Mapping[int, int]:
    """Return the ids and versions that a page says it shows; what is not two numbers is left out."""
    pairs = (each.partition(":") for each in posted.getlist("shown"))
    return {int(pk): int(version) for pk, _, version in pairs if pk.isdecimal() and version.isdecimal()}


def time_of(text: str | None) -> datetime | None:
    """Read a moment that a page sent back; None for what is none."""
    return parse_datetime(text or "")


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
