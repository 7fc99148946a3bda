from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

MAX_REPLY = 4000


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
