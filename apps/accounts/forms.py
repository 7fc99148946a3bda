from typing import Any, cast
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm, SetPasswordForm

from apps.accounts.models import Role, Team, User
from apps.accounts.queries import ROLE_MEANS

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

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zones = cast("forms.ChoiceField", self.fields["time_zone"])
        zones.choices = [(zone, zone) for zone in sorted(available_timezones())]


def _offer(field: forms.Field, teams: frozenset[int]) -> None:
    cast("forms.ModelChoiceField", field).queryset = Team.objects.filter(pk__in=teams).order_by("name")
