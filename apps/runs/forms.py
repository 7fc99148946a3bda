from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from apps.runs.domain.limits import MAX_REASON, MAX_REPLY, MIN_REASON


class CloseForm(forms.Form):
    """Where a handed-over case goes, chosen by a person."""

    queue = forms.ChoiceField()
    priority = forms.ChoiceField()
    reply = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6}),
        max_length=MAX_REPLY,
        required=False,
        help_text="Stored with the ticket as the drafted reply.",
    )
    etag = forms.CharField(widget=forms.HiddenInput, required=False, max_length=200)

    def __init__(
        self, *args: Any, queues: Sequence[Mapping[str, Any]], priorities: Sequence[str], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        queue, priority = self.fields["queue"], self.fields["priority"]
        queue.choices = [("", "Choose a queue"), *((each["key"], each.get("name") or each["key"]) for each in queues)]  # type: ignore[attr-defined]
        priority.choices = [("", "Choose a priority"), *((each, each.capitalize()) for each in priorities)]  # type: ignore[attr-defined]
        queue.widget.attrs["autofocus"] = True


class KeepForm(forms.Form):
    """Why no queue is right for a handed-over case and a person keeps it."""

    reason = forms.CharField(
        label="Why does a person keep it?",
        min_length=MIN_REASON,
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class CompensateForm(forms.Form):
    """Why a person asks to roll an executed action back."""

    reason = forms.CharField(
        label="Why should it be rolled back?",
        min_length=MIN_REASON,
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class EndForm(forms.Form):
    """Why a person ends a run by hand."""

    reason = forms.CharField(
        label="Why?",
        min_length=MIN_REASON,
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True}),
    )
