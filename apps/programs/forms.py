from datetime import date
from typing import Any, cast

from django import forms
from django.core.validators import URLValidator

from apps.agents.models import Agent
from apps.programs.models import Program


class ProgramForm(forms.Form):
    """Opens a program for an agent that has none."""

    agent = forms.ModelChoiceField(Agent.objects.none())
    name = forms.CharField(max_length=120, help_text="For example: Ticket desk to production")
    tier = forms.ChoiceField(choices=Program.Tier, initial=Program.Tier.MEDIUM, label="Risk tier")
    start_date = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}), initial=date.today, label="Starts on")

    def __init__(self, *args: Any, teams: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        with_program = Program.objects.values("agent")
        agents = cast("forms.ModelChoiceField[Agent]", self.fields["agent"])
        agents.queryset = Agent.objects.filter(team__in=teams).exclude(pk__in=with_program)


class EvidenceForm(forms.Form):
    item = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    name = forms.CharField(max_length=200, label="What it shows")
    url = forms.CharField(max_length=500, label="Link", validators=[URLValidator(schemes=["https", "http"])])


class AnswerForm(forms.Form):
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2}))
