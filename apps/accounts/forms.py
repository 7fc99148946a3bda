from typing import Any, cast
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm, SetPasswordForm

from apps.accounts.domain.tokens import AGENT, LONGEST_LIFE, BadNetwork, network
from apps.accounts.models import Role, Team, User
from apps.accounts.queries import ROLE_MEANS
from apps.accounts.speakers import Speaker, speakers

ROLE_CHOICES = [(role.value, f"{role.label}: {ROLE_MEANS[role]}") for role in Role]


class FirstAdministratorForm(BaseUserCreationForm):
    name = forms.CharField(max_length=120, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))
    team_name = forms.CharField(max_length=120, label="Your first team", initial="Support")

    field_order = ["name", "email", "team_name", "password1", "password2"]

    class Meta:
        model = User
        fields = ["email", "name"]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["email"].widget.attrs.pop("autofocus", None)
        self.fields["name"].widget.attrs["autofocus"] = True


class ChoosePasswordForm(SetPasswordForm):
    """The two password fields of an invitation."""


class InviteForm(forms.Form):
    name = forms.CharField(max_length=120)
    email = forms.EmailField(label="E-mail", help_text="They sign in with it.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None)
    role = forms.ChoiceField(choices=ROLE_CHOICES)

    def __init__(self, *args: Any, teams: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        _offer(self.fields["team"], teams)


class GrantForm(forms.Form):
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None)
    role = forms.ChoiceField(choices=ROLE_CHOICES)

    def __init__(self, *args: Any, teams: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        _offer(self.fields["team"], teams)


class TeamForm(forms.ModelForm):
    class Meta:
        model = Team
        fields = ["name", "purpose"]


class ProfileForm(forms.Form):
    name = forms.CharField(max_length=120)
    time_zone = forms.ChoiceField(label="Time zone", help_text="Pages show times in it.")
    wants_mail = forms.BooleanField(
        label="Messages about cards may come to my e-mail address",
        required=False,
        help_text="They come where a channel of your team leads to your own address.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zones = cast("forms.ChoiceField", self.fields["time_zone"])
        zones.choices = [(zone, zone) for zone in sorted(available_timezones())]


class TokenForm(forms.Form):
    """A new token for an agent. Only scopes that open a door of this version are offered."""

    name = forms.CharField(max_length=80, help_text="Where it is used, for example: refunds agent, production.")
    agent = forms.TypedChoiceField(coerce=int, help_text="It can only ask on behalf of this agent, and never decides.")
    days = forms.IntegerField(
        label="Lives for days", min_value=1, max_value=LONGEST_LIFE.days, initial=30, help_text="At most 90."
    )
    cidr = forms.CharField(
        label="Only from network",
        required=False,
        max_length=50,
        help_text="The network of the caller, for example 203.0.113.0/24. Empty: from anywhere. Behind a proxy see TRUSTED_PROXIES.",
    )

    SCOPES = ("proposals:write",)

    def __init__(self, *args: Any, teams: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._speakers = {each.id: each for each in speakers(teams)}
        field = cast("forms.TypedChoiceField", self.fields["agent"])
        field.choices = [(each.id, each.name) for each in self._speakers.values()]

    @property
    def has_agents(self) -> bool:
        return bool(self._speakers)

    def clean_cidr(self) -> str:
        try:
            return network(self.cleaned_data["cidr"])
        except BadNetwork as error:
            raise forms.ValidationError(str(error)) from error

    @property
    def speaker(self) -> Speaker:
        return self._speakers[self.cleaned_data["agent"]]

    def token_fields(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {
            "kind": AGENT,
            "scopes": self.SCOPES,
            "agent_id": given["agent"],
            **{name: given[name] for name in ("name", "days", "cidr")},
        }


def _offer(field: forms.Field, teams: frozenset[int]) -> None:
    cast("forms.ModelChoiceField", field).queryset = Team.objects.filter(pk__in=teams).order_by("name")
