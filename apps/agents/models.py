from datetime import datetime

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.agents.workflows import OUTSIDE


class Stage(models.TextChoices):
    DEMO = "demo", "Demo"
    PILOT = "pilot", "Pilot"
    PRODUCTION = "production", "Production"
    SCALED = "scaled", "Scaled"
    RETIRED = "retired", "Retired"


class Level(models.TextChoices):
    """How much an action type may do alone, lowest first."""

    SHADOW = "shadow", "Shadow"
    RECOMMEND = "recommend", "Recommend"
    APPROVE = "approve", "Approve"
    SAMPLED = "sampled", "Sampled"
    AUTO = "auto", "Auto"


class RiskClass(models.TextChoices):
    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"


class Reversibility(models.TextChoices):
    REVERSIBLE = "reversible", "Reversible"
    COMPENSABLE = "compensable", "Can be compensated"
    IRREVERSIBLE = "irreversible", "Irreversible"


class Agent(models.Model):
    """One narrow workflow that an agent runs for one team."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    purpose = models.CharField(max_length=300, blank=True, help_text="The workflow in one sentence.")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    workflow = models.CharField(
        max_length=60, default="ticket_desk", db_comment="Name of the package in apps/runs/workflows."
    )
    connector_key = models.SlugField(
        db_comment="connectors.Connector.key of the system of record; a value, as connectors stands higher."
    )
    stage = models.CharField(max_length=12, choices=Stage, default=Stage.DEMO)
    model = models.CharField(max_length=120, blank=True, help_text="Empty: AGENT_MODEL.")
    max_open = models.PositiveIntegerField(default=200)
    max_new_per_minute = models.PositiveIntegerField(default=60)
    is_demo = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(stage__in=Stage.values), name="a_stage_is_known"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_outside(self) -> bool:
        """True for an agent that runs in another process and asks here."""
        return self.workflow == OUTSIDE


class AgentVersion(models.Model):
    """What exactly runs: instructions, queues, tools and model, frozen under one fingerprint."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    instructions = models.TextField(blank=True)
    settings = models.JSONField(
        default=dict,
        db_comment="Queues [{key, name, hint}], priorities [str], sure_at (score from which the agent proposes), scope note.",
    )
    fingerprint = models.CharField(
        max_length=71, db_comment="sha256: of the canonical form of everything that shapes behaviour."
    )
    is_current = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "number"], name="one_version_per_number"),
            models.UniqueConstraint(
                fields=["agent"], condition=models.Q(is_current=True), name="one_current_version_per_agent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} v{self.number}"


class ActionType(models.Model):
    """A kind of write that an agent may propose, with its risk and the schema of its arguments."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="action_types")
    key = models.CharField(max_length=60, help_text="For example tickets.route")
    name = models.CharField(max_length=120)
    schema_version = models.PositiveIntegerField(default=1)
    args_schema = models.JSONField(
        db_comment="JSON Schema 2020-12; additionalProperties is forced to false at registration."
    )
    editable_fields = models.JSONField(default=list)
    materiality = models.JSONField(
        default=dict, db_comment="Field to a number in [0, 1]: 0 wording, 1 amount, recipient, target."
    )
    watch_fields = models.JSONField(
        default=list, db_comment="Fields of the target whose change makes a proposal stale."
    )
    consequence = models.CharField(
        max_length=300, help_text="Our sentence, with {field} of the arguments and {target}."
    )
    risk_class = models.CharField(max_length=8, choices=RiskClass)
    reversibility = models.CharField(max_length=14, choices=Reversibility)
    allow_respond = models.BooleanField(default=False)
    compensated_by = models.CharField(
        max_length=60, blank=True, db_comment="Key of the action type of this agent that undoes it; empty: none does."
    )
    compensation_args = models.JSONField(
        default=dict,
        db_comment="How the undoing call is made: its field to args.<field> or before.<field>, as it was proposed.",
    )
    regulated = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "key"], name="one_action_type_per_key_and_agent"),
            models.CheckConstraint(condition=models.Q(risk_class__in=RiskClass.values), name="a_risk_class_is_known"),
            models.CheckConstraint(
                condition=models.Q(reversibility__in=Reversibility.values), name="a_reversibility_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AutonomyLevel(models.Model):
    """The cell of trust: how far one action type of one agent may act alone."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="levels")
    action_type = models.ForeignKey(ActionType, on_delete=models.CASCADE, related_name="levels")
    segment = models.CharField(max_length=60, default="all")
    level = models.CharField(max_length=10, choices=Level, default=Level.SHADOW)
    frozen_reason = models.CharField(max_length=300, blank=True)
    since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "action_type", "segment"], name="one_level_per_cell"),
            models.CheckConstraint(condition=models.Q(level__in=Level.values), name="a_level_is_on_the_ladder"),
        ]

    def __str__(self) -> str:
        return f"{self.action_type}: {self.get_level_display()}"


def _never_changes() -> pgtrigger.Trigger:
    """Guard rows that tell what was: neither changed nor deleted, by nobody, not even beside our own verbs."""
    return pgtrigger.Protect(name="what_was_never_changes", operation=pgtrigger.Update | pgtrigger.Delete)


class LevelChange(models.Model):
    """Append-only history of a cell's level."""

    cell = models.ForeignKey(AutonomyLevel, on_delete=models.CASCADE, related_name="changes")
    from_level = models.CharField(max_length=10, choices=Level)
    to_level = models.CharField(max_length=10, choices=Level)
    cause = models.CharField(max_length=60)
    key = models.CharField(max_length=160, unique=True, db_comment="Makes the same cause count once.")
    actor = models.CharField(max_length=60)
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["cell", "-at"], name="level_changes_by_cell")]
        triggers = [_never_changes()]

    def __str__(self) -> str:
        return f"{self.from_level} → {self.to_level}: {self.cause}"


class Standing(models.Model):
    """What a higher floor must tell a lower one: the state of the budget or of the gates."""

    class Kind(models.TextChoices):
        BUDGET = "budget", "Budget"
        GATES = "gates", "Gates"

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="standings")
    action_type = models.ForeignKey(ActionType, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    value = models.CharField(max_length=20, help_text="budget: ok, watch, restrict, frozen; gates: satisfied, open")
    as_of = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "action_type", "kind"],
                nulls_distinct=False,
                name="one_standing_per_kind_and_action_type",
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent} {self.kind}: {self.value}"


class KillSwitch(models.Model):
    """One row per scope object, made with the object. A missing row counts as engaged."""

    class Scope(models.TextChoices):
        ALL = "all", "Everything"
        TEAM = "team", "Team"
        CONNECTOR = "connector", "Connector"
        AGENT = "agent", "Agent"
        ACTION_TYPE = "action_type", "Action type"

    scope = models.CharField(max_length=12, choices=Scope)
    scope_id = models.BigIntegerField(default=0, db_comment="Id of the scope object; 0 for all.")
    name = models.CharField(
        max_length=250, blank=True, db_comment="Name of the scope object, told by the room that made it."
    )
    team = models.ForeignKey(
        Team, on_delete=models.CASCADE, null=True, blank=True, related_name="+", db_comment="Whose people see it."
    )
    engaged = models.BooleanField(default=False)
    by = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(db_default=Now())

    # Who `by` is, in a person's words; filled in by the queries that show switches.
    by_name = ""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "scope_id"], name="one_switch_per_scope_object"),
            models.CheckConstraint(
                condition=models.Q(scope="all", scope_id=0) | (~models.Q(scope="all") & models.Q(scope_id__gt=0)),
                name="only_the_switch_of_all_has_no_object",
            ),
            models.CheckConstraint(
                condition=models.Q(engaged=False) | ~models.Q(by=""), name="an_engaged_switch_names_who"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.get_scope_display()}: {'engaged' if self.engaged else 'off'}"


class StageEventQuerySet(models.QuerySet["StageEvent"]):
    def until(self, at: datetime) -> "StageEventQuerySet":
        return self.filter(at__lte=at)


class StageEvent(models.Model):
    """Append-only history of stages. Forward moves are written by `advance` in programs only."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="stage_events")
    stage = models.CharField(max_length=12, choices=Stage)
    at = models.DateTimeField(db_default=Now())
    reason = models.CharField(max_length=300, blank=True)
    program_id_value = models.BigIntegerField(
        null=True, blank=True, db_comment="programs.Program.id; a value, as programs stands higher."
    )
    actor = models.CharField(max_length=60)
    synthetic = models.BooleanField(default=False)

    objects = StageEventQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["agent", "at"], name="stage_by_agent_and_time")]
        triggers = [_never_changes()]

    def __str__(self) -> str:
        return f"{self.agent} is in {self.get_stage_display()} since {self.at:%Y-%m-%d}"
