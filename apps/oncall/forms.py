from typing import Any
from zoneinfo import available_timezones

from django import forms

from apps.accounts.models import Team, User
from apps.accounts.queries import users_with
from apps.oncall.models import Unit

# Places offered beyond those taken, so that a rotation can grow without a script.
SPARE_PLACES = 2
MOST_PLACES = 24


class RotationForm(forms.Form):
    """Who takes turns, in which order, and when shifts change hands."""

    unit = forms.ChoiceField(label="Changes every", choices=Unit.choices, initial=Unit.WEEKLY)
    length = forms.IntegerField(label="How many of them", min_value=1, max_value=52, initial=1)
    start_day = forms.DateField(label="First hand-off", widget=forms.DateInput(attrs={"type": "date"}))
    start_time = forms.TimeField(label="At", widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"))
    zone = forms.ChoiceField(
        label="Time zone", choices=lambda: [(zone, zone) for zone in sorted(available_timezones())]
    )

    def __init__(self, *args: Any, team: Team, taken: int = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        members = _members(team)
        self.places = [f"person_{place}" for place in range(1, min(taken + SPARE_PLACES, MOST_PLACES) + 1)]
        for place, name in enumerate(self.places, start=1):
            self.fields[name] = forms.ModelChoiceField(
                members, label=f"Turn {place}", required=place == 1, empty_label="Nobody"
            )

    @property
    def turns(self) -> list[forms.BoundField]:
        return [self[name] for name in self.places]

    @property
    def people(self) -> list[User]:
        """The people in their order; empty places are left out."""
        return [self.cleaned_data[name] for name in self.places if self.cleaned_data.get(name)]

    def rotation(self) -> dict[str, Any]:
        names = ("unit", "length", "start_day", "start_time", "zone")
        return {name: self.cleaned_data[name] for name in names} | {"people": self.people}


def _members(team: Team) -> Any:
    """Whoever answers must be able to see what waits: people who may see the team's inbox."""
    return users_with("approvals.view", team.pk).order_by("name", "pk")
