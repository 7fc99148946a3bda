import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.agents.models import Agent
from apps.programs.domain.states import Kind, State


def _never_changes() -> pgtrigger.Trigger:
    """Guard rows that tell what was: neither changed nor deleted, by nobody, not even beside our own verbs."""
    return pgtrigger.Protect(name="what_was_never_changes", operation=pgtrigger.Update | pgtrigger.Delete)


class Catalogue(models.Model):
    """One immutable version of the launch gates. A program pins one."""

    version = models.PositiveIntegerField(unique=True)
    body = models.JSONField()
    sha256 = models.CharField(max_length=64)
    loaded_at = models.DateTimeField(db_default=Now())

    class Meta:
        triggers = [_never_changes()]

    def __str__(self) -> str:
        return f"Gate catalogue v{self.version}"


class Program(models.Model):
    """The effort to move one agent through its transitions."""

    class Tier(models.TextChoices):
        LOW = "low", "Low risk"
        MEDIUM = "medium", "Medium risk"
        HIGH = "high", "High risk"

    class RegulatoryClass(models.TextChoices):
        UNKNOWN = "unknown", "Not screened yet"
        NOT_HIGH_RISK = "not_high_risk", "Not high risk"
        HIGH_RISK = "high_risk", "High risk"

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"
        STOPPED = "stopped", "Stopped"
        DONE = "done", "Done"

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=120)
    home_team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    rank = models.PositiveIntegerField()
    tier = models.CharField(max_length=8, choices=Tier, default=Tier.MEDIUM)
    catalogue = models.ForeignKey(Catalogue, on_delete=models.PROTECT, related_name="+")
    start_date = models.DateField()
    target_date = models.DateField(null=True, blank=True)
    regulatory_class = models.CharField(max_length=14, choices=RegulatoryClass, default=RegulatoryClass.UNKNOWN)
    state = models.CharField(max_length=8, choices=Status, default=Status.ACTIVE)
    time_zone = models.CharField(max_length=64, default="UTC")
    seen = models.JSONField(
        default=dict, db_comment="The agent as it was when its gates were last looked at; domain/attesting.py compares."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rank"], condition=Q(state="active"), name="one_program_per_rank")
        ]

    def __str__(self) -> str:
        return self.name


class Gate(models.Model):
    """One launch condition of a program, owned by one team. `state` is a cache of the pure function over its events."""

    program = models.ForeignKey(Program, on_delete=models.CASCADE, related_name="gates")
    key = models.CharField(max_length=60)
    name = models.CharField(max_length=200)
    transition = models.CharField(max_length=2)
    mode = models.CharField(max_length=10)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    est_o = models.DecimalField(max_digits=6, decimal_places=1)
    est_m = models.DecimalField(max_digits=6, decimal_places=1)
    est_p = models.DecimalField(max_digits=6, decimal_places=1)
    criterion = models.JSONField(null=True)
    evidence_items = models.JSONField(default=list)
    keep = models.BooleanField(default=False)
    after_stage = models.CharField(max_length=2, blank=True)
    validity_days = models.PositiveIntegerField()
    state = models.CharField(
        max_length=14, default=State.NOT_STARTED, choices=[(each.value, each.value.replace("_", " ")) for each in State]
    )
    state_since = models.DateTimeField(db_default=Now())
    valid_until = models.DateField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["program", "key"], name="one_gate_per_key_and_program"),
            models.CheckConstraint(
                condition=Q(est_o__gte=0) & Q(est_m__gte=F("est_o")) & Q(est_p__gte=F("est_m")),
                name="estimates_in_order",
            ),
        ]
        indexes = [models.Index(fields=["team", "state"], name="gates_by_team_and_state")]

    def __str__(self) -> str:
        return f"{self.key} {self.name}"

    @property
    def catalogue_key(self) -> str:
        """The gate's key in the catalogue; a gate made for each integration carries the integration's key too."""
        return self.key.partition(":")[0]


class Dependency(models.Model):
    """`gate` waits on `needs`, finish to start."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="waits_on")
    needs = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="blocks")
    lag_days = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["gate", "needs"], name="one_dependency_per_pair"),
            models.CheckConstraint(condition=~Q(gate=F("needs")), name="no_gate_waits_on_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.gate.key} waits on {self.needs.key}"


class GateEvent(models.Model):
    """Append-only history of a gate; its state follows from it."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20, choices=[(each.value, each.value.replace("_", " ")) for each in Kind])
    verdict = models.CharField(max_length=8, blank=True)
    valid_until = models.DateField(null=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=60)
    payload = models.JSONField(default=dict)
    synthetic = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["gate", "id"], name="events_of_a_gate")]
        triggers = [_never_changes()]

    def __str__(self) -> str:
        return f"{self.gate.key} {self.kind}"


class GateReading(models.Model):
    """One evaluation of a criterion, written when it changes."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="readings")
    at = models.DateTimeField()
    n = models.PositiveIntegerField(default=0)
    k = models.PositiveIntegerField(default=0)
    value = models.FloatField(null=True)
    bound = models.FloatField(null=True)
    verdict = models.CharField(max_length=8)
    text = models.CharField(max_length=300)

    class Meta:
        indexes = [models.Index(fields=["gate", "-at"], name="readings_of_a_gate")]

    def __str__(self) -> str:
        return f"{self.gate.key}: {self.verdict}"


class Evidence(models.Model):
    """A link that shows an item of a gate's evidence list; versions are immutable."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="evidence")
    item = models.PositiveSmallIntegerField(db_comment="Position in Gate.evidence_items.")
    version = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    url = models.URLField(max_length=500)
    note = models.CharField(max_length=500, blank=True)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())
    synthetic = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gate", "item", "version"], name="one_evidence_per_version")]
        triggers = [_never_changes()]

    def __str__(self) -> str:
        return self.name


class SignOff(models.Model):
    """One round before the owning team: who asked, who answered, on which frozen facts."""

    class Outcome(models.TextChoices):
        SIGN = "sign", "Signed"
        REFUSE = "refuse", "Refused"

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="sign_offs")
    round = models.PositiveIntegerField()
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_comment="Null: a change of the agent asks again (rule 10), not a person.",
    )
    requested_at = models.DateTimeField()
    signer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=6, choices=Outcome, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    frozen = models.JSONField(
        default=dict, db_comment="Evidence versions, reading, fingerprint and catalogue at the signature."
    )
    synthetic = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["gate", "round"], name="one_sign_off_per_round"),
            models.CheckConstraint(
                condition=Q(signer__isnull=True) | ~Q(signer=F("requester")), name="nobody_signs_what_they_asked"
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="only_the_answer_is_added", exclude=["signer", "decided_at", "outcome", "reason", "frozen"]
            ),
            pgtrigger.Protect(
                name="an_answer_is_given_once", operation=pgtrigger.Update, condition=~pgtrigger.Q(old__outcome="")
            ),
            pgtrigger.Protect(name="a_round_stays", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.gate.key} round {self.round}: {self.outcome or 'open'}"
