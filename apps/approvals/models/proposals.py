from datetime import datetime
from typing import Final

import pgtrigger
from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Func, Q, Value

from apps.accounts.models import Team
from apps.agents.models import ActionType, AgentVersion, Reversibility, RiskClass
from apps.approvals.domain.digest import Action
from apps.approvals.domain.states import edges
from apps.approvals.models.policies import ApprovalPolicy
from apps.audit.fields import Xid8Field, stamp_xid


class State(models.TextChoices):
    """Where a proposal stands. The moves between states are in domain/states.py."""

    PROPOSED = "proposed", "Proposed"
    PENDING = "pending", "Needs you"
    CLAIMED = "claimed", "Being decided"
    APPROVED = "approved", "Approved"
    EDITED = "edited", "Approved with changes"
    AUTO = "auto", "Allowed by policy"
    QUEUED = "queued", "Approved, about to run"
    EXECUTING = "executing", "Running"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Outcome unknown"
    ROLLED_BACK = "rolled_back", "Rolled back"
    REJECTED = "rejected", "Rejected"
    ANSWERED = "answered", "Answered"
    EXPIRED = "expired", "Expired"
    WITHDRAWN = "withdrawn", "Withdrawn"
    STALE = "stale", "Out of date"


# The domain owns the table of moves and spells the states; a test holds both lists together.
OPEN = (State.PENDING, State.CLAIMED)
AFTER_CONSENT = (State.QUEUED, State.EXECUTING, State.SUCCEEDED, State.FAILED, State.UNKNOWN, State.ROLLED_BACK)


# Left in, these make one word of "desk:tickets/T-1001", which nobody finds who types T-1001. A search leaves them out too.
WORD_JOINTS: Final = ":/-"


def in_words(column: str) -> Func:
    """Part what PostgreSQL would take for a path, an address or a negative number."""
    return Func(
        F(column),
        Value(WORD_JOINTS),
        Value(" " * len(WORD_JOINTS)),
        function="translate",
        output_field=models.TextField(),
    )


class ProposalQuerySet(models.QuerySet["Proposal"]):
    def waiting(self) -> "ProposalQuerySet":
        """Open: a person may still decide."""
        return self.filter(state__in=OPEN)

    def overdue(self, at: datetime) -> "ProposalQuerySet":
        return self.waiting().filter(deadline__lte=at)


class Proposal(models.Model):
    """One action that an agent wants to take, bound to its digest."""

    class Kind(models.TextChoices):
        LIVE = "live", "Live"
        DRILL = "drill", "Drill"
        SECOND_LOOK = "second_look", "Second look"
        ADVICE = "advice", "Advice"

    kind = models.CharField(max_length=12, choices=Kind, default=Kind.LIVE)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    agent_version = models.ForeignKey(AgentVersion, on_delete=models.PROTECT, related_name="+")
    action_type = models.ForeignKey(ActionType, on_delete=models.PROTECT, related_name="+")
    policy = models.ForeignKey(ApprovalPolicy, on_delete=models.PROTECT, null=True, related_name="+")
    run_id_value = models.BigIntegerField(null=True, db_comment="runs.Run.id; a value, as runs stands higher.")
    work_item_id_value = models.BigIntegerField(null=True)
    source = models.CharField(max_length=40, default="run")
    external_id = models.CharField(max_length=120)
    position = models.PositiveSmallIntegerField(default=0)
    thread_id = models.CharField(max_length=80)
    tool_call_id = models.CharField(max_length=80)
    tool_name = models.CharField(max_length=80, blank=True, db_comment="The agent's own name of the tool.")
    interrupt_id = models.CharField(max_length=32, blank=True, db_comment="Empty: nobody waits on a thread.")
    supersedes = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_comment="The answered or outdated proposal that this one comes instead of.",
    )
    compensates = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="+", db_comment="The executed one that this undoes."
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_comment="The person who asked for it, if one did; barred from deciding it.",
    )
    title = models.CharField(
        max_length=200, db_comment="One line built from the typed arguments, never from agent prose."
    )
    args = models.JSONField()
    args_original = models.JSONField()
    schema_version = models.PositiveIntegerField()
    target = models.CharField(max_length=200, help_text="connector:collection/id, for example desk:tickets/T-1001")
    subject = models.CharField(max_length=200, blank=True, help_text="Whom it concerns, for example customer/C-77")
    digest = models.CharField(max_length=71)
    state_digest = models.CharField(max_length=71, blank=True)
    risk_class = models.CharField(max_length=8, choices=RiskClass)
    reversibility = models.CharField(max_length=14, choices=Reversibility)
    state = models.CharField(max_length=12, choices=State, default=State.PROPOSED)
    version = models.PositiveIntegerField(default=1)
    executable = models.BooleanField(default=True)
    approvals_needed = models.PositiveSmallIntegerField(default=1)
    approvals_given = models.PositiveSmallIntegerField(default=0)
    hold_reason = models.CharField(max_length=200, blank=True)
    confidence = models.DecimalField(max_digits=4, decimal_places=3, null=True)
    created_at = models.DateTimeField()
    claimed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    claim_until = models.DateTimeField(null=True)
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_comment="The colleague to whom the card was handed; others may still decide it.",
    )
    tier = models.PositiveSmallIntegerField(default=0, db_comment="How often it was escalated.")
    next_escalation_at = models.DateTimeField(null=True)
    deadline = models.DateTimeField(null=True)
    sla_due = models.DateTimeField(null=True)
    execute_after = models.DateTimeField(null=True)
    valid_until = models.DateTimeField(null=True)
    consumed_at = models.DateTimeField(null=True)
    extended_at = models.DateTimeField(null=True, db_comment="When the window was extended; it is, once at most.")
    closed_at = models.DateTimeField(null=True, db_comment="When it stopped waiting for people.")
    synthetic = models.BooleanField(default=False)
    search = models.GeneratedField(
        expression=SearchVector(*(in_words(name) for name in ("title", "target", "subject")), config="simple"),
        output_field=SearchVectorField(),
        db_persist=True,
    )
    xid = Xid8Field()

    objects = ProposalQuerySet.as_manager()

    class Meta:
        triggers = [
            stamp_xid(),
            pgtrigger.FSM(name="only_known_moves", field="state", transitions=sorted(edges())),
        ]
        constraints = [
            models.UniqueConstraint(fields=["source", "external_id", "position"], name="one_proposal_per_source_id"),
            models.UniqueConstraint(fields=["thread_id", "tool_call_id"], name="one_proposal_per_tool_call"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="a_state_is_known"),
            models.UniqueConstraint(
                fields=["compensates"],
                condition=~Q(state__in=["rejected", "answered", "expired", "withdrawn", "stale", "failed"]),
                name="one_live_compensation",
            ),
            models.CheckConstraint(
                condition=Q(executable=True) | ~Q(state__in=AFTER_CONSENT), name="what_is_not_executable_never_runs"
            ),
            models.CheckConstraint(
                condition=Q(kind="live") | Q(executable=False), name="only_what_is_live_is_executable"
            ),
            models.CheckConstraint(
                condition=~Q(state="claimed") | (Q(claimed_by__isnull=False) & Q(claim_until__isnull=False)),
                name="a_claim_names_its_holder",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["pending", "claimed"]) | Q(deadline__isnull=False),
                name="what_waits_has_a_deadline",
            ),
        ]
        indexes = [
            models.Index(
                fields=["team", "deadline"],
                condition=Q(state__in=["pending", "claimed"]),
                name="open_by_team_and_deadline",
            ),
            # All that the order of R19 and the first views ask for: 10,000 waiting cards are put in order from here alone.
            models.Index(
                fields=["team"],
                include=[
                    "id",
                    "risk_class",
                    "created_at",
                    "deadline",
                    "sla_due",
                    "assigned_to",
                    "claimed_by",
                    "claim_until",
                    "approvals_given",
                    "kind",
                    "state",
                    "agent_version",
                    "action_type",
                ],
                condition=Q(state__in=["pending", "claimed"]),
                name="open_in_order",
            ),
            models.Index(fields=["execute_after"], condition=Q(state="queued"), name="queued_by_time"),
            models.Index(
                fields=["next_escalation_at"],
                condition=Q(state__in=["pending", "claimed"], next_escalation_at__isnull=False),
                name="open_by_escalation",
            ),
            GinIndex(fields=["search"], name="proposals_by_word"),
            models.Index(fields=["team"], condition=Q(state="unknown"), name="unknown_outcomes"),
            models.Index(fields=["xid", "id"], name="proposals_in_commit_order"),
            models.Index(fields=["agent_version", "state"], name="proposals_by_version_and_state"),
            models.Index(fields=["team", "-closed_at", "-id"], name="closed_by_team"),
            models.Index(fields=["agent_version", "-created_at"], name="proposals_by_version_and_time"),
            models.Index(fields=["digest"], condition=Q(state__in=["pending", "claimed"]), name="open_by_digest"),
            GinIndex(fields=["args"], opclasses=["jsonb_path_ops"], name="proposals_by_argument"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def action(self) -> Action:
        """The eight facts that the digest is made of, as they stand."""
        return Action(
            action_type=self.action_type.key,
            schema_version=self.schema_version,
            args=self.args,
            target=self.target,
            subject=self.subject,
            agent_fingerprint=self.agent_version.fingerprint,
            policy_version=self.policy.version if self.policy else 0,
        )


class ProposalBody(models.Model):
    """What the card shows and the queue does not need."""

    proposal = models.OneToOneField(Proposal, on_delete=models.CASCADE, primary_key=True, related_name="body")
    state_proposed = models.JSONField(default=dict, db_comment="Watched fields of the target as read when proposed.")
    state_if_approved = models.JSONField(default=dict)
    evidence = models.JSONField(default=list, db_comment="[{label, text, source}], at most 64 kB.")
    consequence = models.CharField(max_length=300)
    agent_text = models.TextField(blank=True, max_length=4000)
    review_reason = models.CharField(max_length=300, blank=True, db_comment="Why the policy asked people.")
    trace_ref = models.CharField(max_length=120, blank=True)
    redacted = models.JSONField(default=list, db_comment="JSON pointers of what held a secret at intake.")
    state_found = models.JSONField(
        null=True, db_comment="Watched fields of the target as read when it turned out to have moved."
    )

    def __str__(self) -> str:
        return f"body of proposal {self.proposal_id}"
