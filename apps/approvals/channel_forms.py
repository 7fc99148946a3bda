from collections.abc import Sequence
from typing import Any, cast

from django import forms

from apps.accounts.models import Team
from apps.approvals.domain import notices
from apps.approvals.models import Channel

_SECRET = {"autocomplete": "off", "spellcheck": "false"}


class _ChannelForm(forms.Form):
    """What may be said of a channel at any time."""

    name = forms.CharField(max_length=60)
    events = forms.MultipleChoiceField(
        label="It hears of",
        choices=list(notices.EVENTS.items()),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Nothing ticked means everything.",
    )
    risk_from = forms.ChoiceField(
        label="Lowest risk", choices=[(each, each.capitalize()) for each in notices.RISKS], initial=notices.RISKS[0]
    )
    network = forms.CharField(
        required=False,
        label="Internal network",
        help_text="Only for a receiver without a public address: the network it stands in, like 10.20.0.0/16.",
    )

    def __init__(self, *args: Any, may_grant: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.may_grant = may_grant
        if not may_grant:
            del self.fields["network"]

    @property
    def networks(self) -> list[str] | None:
        """The networks that the person grants; None if granting is not theirs."""
        if not self.may_grant:
            return None
        text = self.cleaned_data["network"].strip()
        return [each.strip() for each in text.split(",") if each.strip()]

    def clean_address(self) -> str:
        text: str = self.cleaned_data["address"].strip()
        # Rule S5: plain http is never taken from a page, whatever is granted.
        if text.lower().startswith("http:"):
            raise forms.ValidationError("Plain http is not taken here. Use https.")
        return text

    def _order(self, names: Sequence[str]) -> None:
        self.order_fields([name for name in names if name in self.fields])


class AddChannelForm(_ChannelForm):
    """A new channel of one of the person's teams."""

    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None)
    kind = forms.ChoiceField(choices=Channel.Kind, help_text="A chat gets its link from the incoming webhook.")
    address = forms.CharField(
        max_length=300,
        label="Address",
        widget=forms.TextInput(_SECRET),
        help_text="An e-mail address, or an https URL without a query. A URL is sealed when stored and never shown again.",
    )

    def __init__(self, *args: Any, teams: frozenset[int], may_grant: bool, **options: Any) -> None:
        super().__init__(*args, may_grant=may_grant, **options)
        known = Team.objects.filter(pk__in=teams).order_by("name")
        cast("forms.ModelChoiceField[Team]", self.fields["team"]).queryset = known
        self._order(["team", "kind", "name", "address", "network", "events", "risk_from"])


class ChangeChannelForm(_ChannelForm):
    """A channel as it is. An empty address leaves it where it is."""

    address = forms.CharField(
        max_length=300,
        required=False,
        label="New address",
        widget=forms.TextInput(_SECRET),
        help_text="Leave it empty to keep the one that is stored.",
    )

    def __init__(self, *args: Any, may_grant: bool, **options: Any) -> None:
        super().__init__(*args, may_grant=may_grant, **options)
        self._order(["name", "address", "network", "events", "risk_from"])
