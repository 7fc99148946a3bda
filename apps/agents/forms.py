from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django.utils.text import slugify

from apps.accounts.models import Team, User
from apps.accounts.queries import team_ids_with, users_with
from apps.agents.models import Stage
from apps.agents.systems import systems
from apps.agents.workflows import Workflow, workflows

# Fewer queues leave nothing to choose.
FEWEST_QUEUES = 1
# Addresses of our own pages below /agents/.
RESERVED = frozenset({"new", "outside", "start", "stop"})
_QUEUE_FORM = "key | name | what belongs there"


class SettingsForm(forms.Form):
    """What shapes a version: its queues, its priorities, when it is sure, and what people tell it."""

    queues = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false"}),
        help_text=f"One a line: {_QUEUE_FORM}. The agent can choose no other.",
    )
    priorities = forms.CharField(max_length=200, help_text="Lowest first, with commas between.")
    sure_at = forms.DecimalField(
        label="Sure from",
        min_value=0,
        max_value=1,
        max_digits=4,
        decimal_places=3,
        widget=forms.NumberInput(attrs={"step": "0.05"}),
        help_text="Score from 0 to 1. Below it the agent hands the case to a person.",
    )
    scope = forms.CharField(
        label="Scope note", required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2})
    )
    instructions = forms.CharField(required=False, max_length=8000, widget=forms.Textarea(attrs={"rows": 5}))

    def clean_queues(self) -> list[dict[str, str]]:
        queues = [_queue(line) for line in self.cleaned_data["queues"].splitlines() if line.strip()]
        keys = [queue["key"] for queue in queues]
        if len(queues) < FEWEST_QUEUES:
            raise forms.ValidationError("Name at least one queue.")
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise forms.ValidationError(f"The queue {twice} is there twice.")
        return queues

    def clean_priorities(self) -> list[str]:
        words = [word.strip() for word in self.cleaned_data["priorities"].split(",") if word.strip()]
        if not words or len(set(words)) < len(words):
            raise forms.ValidationError("Name each priority once.")
        return words

    def version_settings(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of the next version; what the form does not know stays as it was."""
        given = self.cleaned_data
        shown = {"queues": given["queues"], "priorities": given["priorities"], "sure_at": float(given["sure_at"])}
        scope = {"scope": given["scope"]} if given["scope"] else {}
        return {key: value for key, value in before.items() if key != "scope"} | shown | scope

    @staticmethod
    def initial_of(settings: Mapping[str, Any], instructions: str = "") -> dict[str, Any]:
        return {
            "queues": "\n".join(_line(queue) for queue in settings.get("queues", [])),
            "priorities": ", ".join(settings.get("priorities", [])),
            "sure_at": settings.get("sure_at"),
            "scope": settings.get("scope", ""),
            "instructions": instructions,
        }


class RegisterForm(forms.Form):
    """A new agent: what it does, for whom, who owns it, and which system it works in."""

    name = forms.CharField(max_length=120)
    slug = forms.SlugField(
        label="Short name", max_length=50, required=False, help_text="For addresses and commands. Empty: from the name."
    )
    purpose = forms.CharField(max_length=300, help_text="The workflow in one sentence.")
    team = forms.ModelChoiceField(Team.objects.order_by("name"), empty_label=None)
    owner = forms.ModelChoiceField(
        User.objects.order_by("name"), help_text="Answers for the agent; cannot approve its actions."
    )
    workflow = forms.ChoiceField(choices=lambda: [(each.name, each.title) for each in workflows()])
    # Only systems of the person's own teams: an agent must not borrow the credential of others.
    connector_key = forms.ChoiceField(
        label="System of record",
        help_text="Where it reads and, once approved, writes. Systems of your teams; connect one first.",
    )
    stage = forms.ChoiceField(
        choices=[
            (Stage.DEMO, "Demo: it only advises and writes nothing; a person closes each case"),
            (Stage.PILOT, "Pilot: a person approves each action, then it is written"),
        ],
        initial=Stage.DEMO,
        widget=forms.RadioSelect,
    )
    model = forms.CharField(
        max_length=120, required=False, help_text="For example openai:gpt-5. Empty: the house's own."
    )

    def __init__(self, *args: Any, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        teams = team_ids_with(user, "agents.register")
        self._limit("team", Team.objects.filter(pk__in=teams).order_by("name"))
        self._limit("owner", _possible_owners(teams))
        field = self.fields["connector_key"]
        if isinstance(field, forms.ChoiceField):
            field.choices = systems(user)

    def _limit(self, name: str, rows: QuerySet[Any]) -> None:
        field = self.fields[name]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = rows

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if "slug" not in self.errors and "name" not in self.errors:
            self._choose_slug(given)
        team, owner = given.get("team"), given.get("owner")
        if team and owner and not users_with("agents.register", team.pk).filter(pk=owner.pk).exists():
            self.add_error("owner", f"{owner} is no agent owner in {team}.")
        return given

    def _choose_slug(self, given: dict[str, Any]) -> None:
        slug = given["slug"] = given.get("slug") or slugify(given["name"])[:50]
        if not slug:
            self.add_error("slug", "Give it a short name of letters, digits and hyphens.")
        if slug in RESERVED:
            self.add_error("slug", f"{slug} is the address of another page. Choose another short name.")

    def chosen_workflow(self) -> Workflow:
        return next(each for each in workflows() if each.name == self.cleaned_data["workflow"])

    def agent_fields(self) -> dict[str, Any]:
        names = ("name", "slug", "purpose", "team", "owner", "connector_key", "stage", "model")
        return {name: self.cleaned_data[name] for name in names}


def _possible_owners(team_ids: Iterable[int]) -> QuerySet[User]:
    holds_it = Q()
    for team_id in team_ids:
        holds_it |= Q(pk__in=users_with("agents.register", team_id).values("pk"))
    return User.objects.filter(holds_it).order_by("name") if holds_it else User.objects.none()


def _queue(line: str) -> dict[str, str]:
    key, name, hint, *more = [*(part.strip() for part in line.split("|")), "", ""]
    if not key or any(more):
        raise forms.ValidationError(f"“{line.strip()[:60]}” does not read as {_QUEUE_FORM}.")
    return {"key": key, "name": name or key, "hint": hint}


def _line(queue: Mapping[str, Any]) -> str:
    return " | ".join(filter(None, (queue["key"], queue.get("name", ""), queue.get("hint", ""))))
