"""What an owner says of an agent that runs elsewhere: who it is, which release runs, and what it may propose."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms
from django.core.validators import RegexValidator

from apps.accounts.models import User
from apps.agents.domain.schema import BEFORE
from apps.agents.forms import RegisterForm
from apps.agents.models import ActionType, Reversibility, RiskClass
from apps.agents.systems import is_connected, systems

_KEY: Final = RegexValidator(r"^[A-Za-z][A-Za-z0-9_.-]{0,59}\Z", "Letters, digits, dots, hyphens and underscores.")
FIRST_SCHEMA: Final = """{
  "type": "object",
  "required": ["order_id", "amount"],
  "properties": {
    "order_id": {"type": "string"},
    "amount": {"type": "number", "minimum": 0}
  }
}"""


class ReleaseForm(forms.Form):
    """What runs from now on. Another release is another agent to those who trusted the last one."""

    release = forms.CharField(
        label="What runs",
        max_length=200,
        help_text="A commit, an image digest or a version number: what tells two releases apart.",
    )
    instructions = forms.CharField(
        label="Notes",
        required=False,
        max_length=8000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="For example its prompt, or what changed. Part of the version's fingerprint.",
    )

    def version_settings(self) -> dict[str, Any]:
        return {"release": self.cleaned_data["release"]}

    @staticmethod
    def initial_of(settings: Mapping[str, Any], instructions: str = "") -> dict[str, Any]:
        return {"release": settings.get("release", ""), "instructions": instructions}


class OutsideForm(RegisterForm):
    """A new agent that runs elsewhere: the facts of any agent, and the system that it writes to by itself."""

    workflow = None  # type: ignore[assignment]  # Django's way to leave out a field of the form above
    connector_key = forms.SlugField(  # type: ignore[assignment]  # text in the place of a choice
        label="System of record",
        max_length=50,
        help_text="Short name of the system it works in. A connected one of the same team is read here too; others are not.",
    )

    def __init__(self, *args: Any, user: User, **options: Any) -> None:
        self._user = user
        super().__init__(*args, user=user, **options)
        self.fields["connector_key"].widget.attrs["list"] = "systems"

    @property
    def systems(self) -> list[tuple[str, str]]:
        return systems(self._user)

    def clean_connector_key(self) -> str:
        # An agent must not borrow the reading eyes of another team's credential.
        key: str = self.cleaned_data["connector_key"]
        if key not in dict(self.systems) and is_connected(key):
            raise forms.ValidationError(f"{key} is the short name of another team's system. Choose another.")
        return key


class ActionTypeForm(forms.Form):
    """What the agent may propose: the shape of the arguments, what people may change, and what it means."""

    key = forms.CharField(
        max_length=60, validators=[_KEY], help_text="As the agent calls the tool, for example refund or orders.refund."
    )
    name = forms.CharField(max_length=120, help_text="In words for people, for example: Refund an order.")
    args_schema = forms.CharField(
        label="Arguments",
        max_length=60_000,
        initial=FIRST_SCHEMA,
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false"}),
        help_text="JSON Schema 2020-12. An argument that it does not name is refused.",
    )
    consequence = forms.CharField(
        max_length=300,
        help_text="One sentence with {argument} and {target}, for example: Approving sends {amount} for {order_id}.",
    )
    editable_fields = forms.CharField(
        required=False, max_length=500, help_text="Arguments that people may change, with commas between."
    )
    materiality = forms.CharField(
        required=False,
        max_length=500,
        help_text="How much a change of each matters, from 0 for wording to 1 for amounts and recipients: amount=1, note=0.",
    )
    watch_fields = forms.CharField(
        required=False,
        max_length=500,
        help_text="Fields of the target whose change makes a proposal stale, with commas between.",
    )
    risk_class = forms.ChoiceField(label="Risk", choices=RiskClass.choices, initial=RiskClass.MEDIUM)
    reversibility = forms.ChoiceField(choices=Reversibility.choices, initial=Reversibility.COMPENSABLE)
    compensated_by = forms.ChoiceField(
        label="Undone by", required=False, help_text="Another action type of this agent; define that one first."
    )
    compensation_args = forms.CharField(
        label="Its arguments come from",
        required=False,
        max_length=1000,
        help_text=(
            "Each from an argument of this action or from a watched field as it stood before, for example: "
            "order_id=args.order_id, status=before.status."
        ),
    )
    allow_respond = forms.BooleanField(label="People may answer in the tool's place", required=False)

    def __init__(self, *args: Any, kinds: Sequence[ActionType], **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["compensated_by"]
        if isinstance(field, forms.ChoiceField):
            field.choices = [("", "Nothing"), *((kind.key, f"{kind} ({kind.key})") for kind in kinds)]

    def clean_args_schema(self) -> dict[str, Any]:
        try:
            schema = json.loads(self.cleaned_data["args_schema"])
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from error
        if not isinstance(schema, dict):
            raise forms.ValidationError("A schema is an object.")
        return schema

    def clean_editable_fields(self) -> list[str]:
        return _words(self.cleaned_data["editable_fields"])

    def clean_watch_fields(self) -> list[str]:
        return _words(self.cleaned_data["watch_fields"])

    def clean_materiality(self) -> dict[str, float]:
        weights = {}
        for each in _words(self.cleaned_data["materiality"]):
            name, _, weight = (part.strip() for part in each.partition("="))
            try:
                weights[name] = float(weight)
            except ValueError as error:
                raise forms.ValidationError(f"“{each[:60]}” does not read as argument=number.") from error
        return weights

    def clean_compensation_args(self) -> dict[str, str]:
        sources: dict[str, str] = {}
        for each in _words(self.cleaned_data["compensation_args"]):
            name, _, source = (part.strip() for part in each.partition("="))
            if not name or not source:
                raise forms.ValidationError(f"“{each[:60]}” does not read as argument=args.field or before.field.")
            if name in sources:
                raise forms.ValidationError(f"{name} is given twice.")
            sources[name] = source
        return sources

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        # Of an agent that runs elsewhere only the watched fields are read before, so no other could be put back.
        watched = {f"{BEFORE}.{field}" for field in given.get("watch_fields", ())}
        sources = given.get("compensation_args", {})
        unread = [each for each in sources.values() if each.startswith(f"{BEFORE}.") and each not in watched]
        if unread and "watch_fields" not in self.errors:
            self.add_error("compensation_args", f"Watch what is put back: {', '.join(unread)} is not read before.")
        return given

    def definition(self) -> dict[str, Any]:
        return dict(self.cleaned_data)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
