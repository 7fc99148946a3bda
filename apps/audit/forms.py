from typing import Any, cast

from django import forms

from apps.audit.names import names_of
from apps.audit.queries import Filters


class SearchForm(forms.Form):
    object = forms.CharField(
        required=False, label="About", widget=forms.TextInput(attrs={"placeholder": "proposal:4711"})
    )
    actor = forms.CharField(required=False, label="By", widget=forms.TextInput(attrs={"placeholder": "user:81"}))
    action = forms.CharField(
        required=False,
        label="What",
        widget=forms.TextInput(attrs={"placeholder": "proposal.decided, or proposal."}),
    )
    team = forms.ChoiceField(required=False, label="Team")
    since = forms.DateTimeField(
        required=False,
        label="From",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    until = forms.DateTimeField(
        required=False,
        label="Until",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, *args: Any, team_ids: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        teams = sorted(f"team:{team_id}" for team_id in team_ids)
        names = names_of(teams)
        choices = sorted((names.get(team, team), team) for team in teams)
        cast("forms.ChoiceField", self.fields["team"]).choices = [
            ("", "All of mine"),
            *((team, name) for name, team in choices),
        ]

    def filters(self) -> Filters:
        """Return what to search for; a field that could not be read does not narrow the search."""
        self.is_valid()
        return Filters(**{key: value for key, value in self.cleaned_data.items() if value})
