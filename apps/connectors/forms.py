from collections.abc import Sequence
from typing import Any, cast

from django import forms

from apps.accounts.models import Team
from apps.connectors.domain.addresses import (
    BadAddress,
    BadNetwork,
    check_addresses,
    check_grant,
    check_url,
    parse_networks,
)
from apps.connectors.models import Connector
from apps.connectors.network import system_resolve

SECRET_WIDGET = {"autocomplete": "off", "spellcheck": "false"}


def _network(text: str) -> str:
    try:
        return check_grant(text)
    except BadNetwork as error:
        raise forms.ValidationError(str(error)) from error


class ConnectForm(forms.Form):
    """A new system. Its address is checked here for a clear answer, and again at every connection."""

    name = forms.CharField(max_length=120)
    key = forms.SlugField(label="Short name", help_text="Agents name it so, as in desk:tickets/T-1001.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="The team that owns the system.")
    base_url = forms.CharField(
        label="Address", max_length=300, help_text="Like https://tickets.example.com/api. Only https."
    )
    network = forms.CharField(
        required=False,
        label="Internal network",
        help_text="Only for a system without a public address: the network it stands in, like 10.20.0.0/16.",
    )
    probe_path = forms.RegexField(
        r"\A/(?!/)[\x21-\x7e]*\Z",
        label="Test path",
        initial="/",
        max_length=200,
        help_text="What a test of the connection reads, like /tickets?limit=1.",
        error_messages={"invalid": "The test path begins with one slash and has no spaces."},
    )
    auth = forms.ChoiceField(label="Signs in with", choices=Connector.Auth)
    secret = forms.CharField(
        required=False,
        label="API key",
        widget=forms.PasswordInput(SECRET_WIDGET),
        help_text="Sealed when stored and never shown again. It can follow later.",
    )
    is_idempotent = forms.BooleanField(
        required=False,
        label="It honours Idempotency-Key",
        help_text="Then a write without an answer may be sent again.",
    )

    def __init__(self, *args: Any, teams: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        cast("forms.ModelChoiceField[Team]", self.fields["team"]).queryset = Team.objects.filter(pk__in=teams).order_by(
            "name"
        )

    def clean_network(self) -> str:
        text = self.cleaned_data["network"]
        return _network(text) if text else ""

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if "base_url" in given and "network" in given:
            try:
                _check_address(given["base_url"], [given["network"]] if given["network"] else [])
            except forms.ValidationError as error:
                self.add_error("base_url", error)
        return given


def _check_address(url: str, cidrs: Sequence[str]) -> None:
    networks = parse_networks(cidrs)
    # Rule S5: plain http is never taken from a page, whatever is granted.
    if url.lower().startswith("http:"):
        raise forms.ValidationError(
            "Plain http is not taken here. Use https, or connect a system of this machine with manage.py connect_system."
        )
    try:
        place = check_url(url, networks)
        if place.literal is None:
            check_addresses(place.host, system_resolve(place.host, place.port), networks)
    except BadAddress as error:
        raise forms.ValidationError(str(error)) from error
    except OSError as error:
        raise forms.ValidationError("Its name was not found.") from error


class AddressForm(forms.Form):
    """Where a connected system answers from now on."""

    base_url = forms.CharField(
        label="New address",
        max_length=300,
        help_text="On another host or port the stored key is dropped: store it again for the new place.",
    )

    def __init__(self, *args: Any, networks: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.networks = networks

    def clean_base_url(self) -> str:
        url: str = self.cleaned_data["base_url"]
        _check_address(url, self.networks)
        return url


class CredentialForm(forms.Form):
    secret = forms.CharField(
        label="New API key",
        widget=forms.PasswordInput(SECRET_WIDGET),
        help_text="It takes the place of the old one within seconds and is never shown again.",
    )


class NetworkForm(forms.Form):
    network = forms.CharField(label="Network", help_text="Like 10.20.0.0/16. As small as it can be.")
    reason = forms.CharField(max_length=300, help_text="For those who read the log later.")

    def clean_network(self) -> str:
        return _network(self.cleaned_data["network"])
