from datetime import datetime, timedelta

from django.db import models
from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.audit.fields import Xid8Field, stamp_xid


class Connector(models.Model):
    """An outside system that agents read and write through HTTP."""

    class Auth(models.TextChoices):
        API_KEY = "api_key", "API key header"
        NONE = "none", "None"

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, related_name="+", help_text="The team that owns the system."
    )
    base_url = models.CharField(max_length=300)
    auth = models.CharField(max_length=12, choices=Auth, default=Auth.API_KEY)
    allowed_cidrs = models.JSONField(
        default=list, db_comment="Internal networks an administrator granted; empty: public addresses only."
    )
    is_idempotent = models.BooleanField(
        default=False, db_comment="Honours Idempotency-Key, so an unanswered write may be sent again."
    )
    is_demo = models.BooleanField(default=False)
    probe_path = models.CharField(
        max_length=200, default="/", db_comment="Path and query that a test of the connection reads."
    )
    is_reachable = models.BooleanField(null=True, db_comment="What the last test found; null before the first.")
    check_note = models.CharField(max_length=400, blank=True)
    checked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """The name by which the audit log knows this system."""
        return f"connector:{self.pk}"

    @property
    def has_credential(self) -> bool:
        """True once a secret is stored; what it is stays sealed."""
        return hasattr(self, "credential")


class Credential(models.Model):
    """A sealed secret of one connector. Written and replaced, never shown."""

    connector = models.OneToOneField(Connector, on_delete=models.CASCADE, related_name="credential")
    sealed = models.BinaryField(db_comment="AES-GCM: 12 bytes nonce, then ciphertext with tag.")
    key_id = models.CharField(max_length=8)
    changed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"credential of {self.connector}"


class ActionExecutionQuerySet(models.QuerySet["ActionExecution"]):
    def of(self, connector: Connector) -> "ActionExecutionQuerySet":
        return self.filter(connector=connector)

    def unknown(self) -> "ActionExecutionQuerySet":
        return self.filter(state=ActionExecution.State.UNKNOWN)

    def started_before(self, at: datetime) -> "ActionExecutionQuerySet":
        return self.filter(state=ActionExecution.State.STARTED, started_at__lt=at)


class ActionExecution(models.Model):
    """The ledger: one row before each side effect. `unknown` means it may or may not have happened."""

    class State(models.TextChoices):
        STARTED = "started", "Started"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    thread_id = models.CharField(max_length=80)
    tool_call_id = models.CharField(max_length=80)
    proposal_id_value = models.BigIntegerField(
        null=True, db_comment="approvals.Proposal.id; null for a hand-over closed by a person."
    )
    agent_id_value = models.BigIntegerField(db_comment="agents.Agent.id, so that the ledger can be counted per agent.")
    connector = models.ForeignKey(
        Connector,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_comment="Null where an agent in another process writes to a system that is not connected here.",
    )
    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, null=True, related_name="+", db_comment="Whose write it is without a connector."
    )
    digest = models.CharField(max_length=71)
    idempotency_key = models.CharField(max_length=170)
    state = models.CharField(max_length=8, choices=State, default=State.STARTED)
    request_hash = models.CharField(max_length=71, blank=True)
    result = models.JSONField(null=True)
    external_ref = models.CharField(max_length=200, blank=True)
    suppressed = models.PositiveIntegerField(
        default=0, db_comment="How often a repeat was answered from this row instead of sent."
    )
    actor = models.CharField(max_length=60)
    worker = models.CharField(max_length=120, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    synthetic = models.BooleanField(default=False)
    xid = Xid8Field()

    objects = ActionExecutionQuerySet.as_manager()

    class Meta:
        triggers = [stamp_xid()]
        constraints = [
            models.UniqueConstraint(fields=["thread_id", "tool_call_id"], name="one_execution_per_tool_call"),
            models.CheckConstraint(
                condition=models.Q(connector__isnull=False) | models.Q(team__isnull=False),
                name="an_execution_belongs_to_a_team",
            ),
        ]
        indexes = [
            models.Index(
                fields=["started_at"],
                condition=models.Q(state__in=["started", "unknown"]),
                name="executions_without_outcome",
            ),
            models.Index(fields=["xid", "id"], name="executions_in_commit_order"),
            models.Index(fields=["proposal_id_value"], name="executions_by_proposal"),
            models.Index(fields=["connector", "-id"], name="executions_by_connector"),
        ]

    def __str__(self) -> str:
        return f"{self.idempotency_key}: {self.state}"

    @property
    def owner_id(self) -> int | None:
        """The team whose people may see it: that of the system or, without one, that of the agent."""
        return self.team_id if self.connector is None else self.connector.team_id

    @property
    def took(self) -> timedelta | None:
        """How long the call took; None while it runs."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    @property
    def status(self) -> str:
        """Which of the five statuses of a page this state is; an unknown outcome waits for a person."""
        return {"started": "idle", "done": "ok", "failed": "bad", "unknown": "wait"}[self.state]
