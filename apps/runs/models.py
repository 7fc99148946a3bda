from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.agents.models import Agent, AgentVersion
from apps.audit.fields import Xid8Field, stamp_xid

HAND_OVER_THREAD = "hand-over:"


class WorkItem(models.Model):
    """One case for an agent: what arrived, and whether it is settled."""

    class State(models.TextChoices):
        NEW = "new", "New"
        IN_WORK = "in_work", "In work"
        HANDED_OVER = "handed_over", "Handed over"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Cancelled"

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    external_id = models.CharField(max_length=120, db_comment="The case's own id in its system, for example T-1001.")
    payload = models.JSONField(default=dict, db_comment="text, customer, and any further columns of the import.")
    label = models.JSONField(
        null=True, db_comment="Known right answer, where a benchmark's file carries one. Agents never see it."
    )
    state = models.CharField(max_length=12, choices=State, default=State.NEW)
    sla_due = models.DateTimeField(null=True)
    may_open = models.BooleanField(
        default=False,
        db_default=False,
        db_comment="If its system does not know the case, its run opens it there in the importer's name.",
    )
    origin = models.CharField(max_length=12, default="import")
    import_job = models.ForeignKey("ImportJob", on_delete=models.SET_NULL, null=True, related_name="items")
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    synthetic = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "external_id"], name="one_work_item_per_case")]
        indexes = [
            models.Index(fields=["agent", "id"], condition=Q(state="new"), name="new_work_by_agent"),
            models.Index(fields=["agent", "-created_at"], name="work_by_agent_and_time"),
            models.Index(fields=["agent", "id"], condition=Q(state="handed_over"), name="handed_over_by_agent"),
        ]

    def __str__(self) -> str:
        return self.external_id

    @property
    def opening_thread(self) -> str:
        """The name under which the ledger keeps the opening of this case in its system."""
        return f"open:{self.pk}"

    @property
    def hand_over_thread(self) -> str:
        """The name under which the ledger keeps what a person wrote when closing this case."""
        return f"{HAND_OVER_THREAD}{self.pk}"


class Run(models.Model):
    """One attempt at one work item: one LangGraph thread."""

    class State(models.TextChoices):
        """DONE and HANDED_OVER are the agent's own ends; a person cancels a run, or gives up one that cannot go on."""

        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        WAITING = "waiting", "Waiting for a person"
        DONE = "done", "Done"
        HANDED_OVER = "handed_over", "Handed over"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    class Reason(models.TextChoices):
        """Why a run was handed over to a person."""

        NOT_SURE = "not_sure", "Not sure"
        OUT_OF_SCOPE = "out_of_scope", "Outside its scope"
        NOT_FOUND = "not_found", "The case was not found"
        REFUSED = "refused", "A person or a policy refused"
        ANSWERED = "answered", "A person answered instead of deciding"
        EXPIRED = "expired", "Nobody answered in time"
        TOO_LATE = "too_late", "Approved, but not run in its time"
        STALE = "stale", "The case changed meanwhile"
        TECHNICAL = "technical", "A technical failure"
        ADVISED = "advised", "It only advises, a person acts"

    work_item = models.ForeignKey(WorkItem, on_delete=models.PROTECT, related_name="runs")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    agent_version = models.ForeignKey(AgentVersion, on_delete=models.PROTECT, related_name="+")
    thread_id = models.CharField(max_length=80, unique=True)
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    model = models.CharField(max_length=120, blank=True, db_comment="What answered: precedent, openai:…")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(
        null=True, db_comment="A running run whose lease ended is taken over by the sweep."
    )
    heartbeat_at = models.DateTimeField(null=True)
    worker = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=14, choices=Reason, blank=True)
    reason_text = models.CharField(
        max_length=2000, blank=True, db_comment="The agent's words, or those of the person who ended the run."
    )
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, db_comment="When the broker was last told of it.")
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    repair_asked_at = models.DateTimeField(
        null=True,
        db_comment="When somebody asked on the page to plan the thread's last turn anew; null once that is done.",
    )
    repair_asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    pruned_at = models.DateTimeField(null=True, db_comment="When all checkpoints but the last were deleted.")
    synthetic = models.BooleanField(default=False)
    xid = Xid8Field()

    class Meta:
        triggers = [stamp_xid()]
        constraints = [
            models.UniqueConstraint(
                fields=["work_item"],
                condition=Q(state__in=["queued", "running", "waiting"]),
                name="one_open_run_per_work_item",
            ),
            models.CheckConstraint(condition=~Q(state="handed_over") | ~Q(reason=""), name="a_hand_over_has_a_reason"),
            models.CheckConstraint(
                condition=~Q(state__in=["failed", "cancelled"]) | ~Q(reason_text=""), name="who_ends_a_run_says_why"
            ),
        ]
        indexes = [
            models.Index(fields=["lease_until"], condition=Q(state__in=["queued", "running"]), name="runs_by_lease"),
            models.Index(fields=["agent", "-created_at"], name="runs_by_agent_and_time"),
            models.Index(fields=["ended_at"], condition=Q(pruned_at=None, synthetic=False), name="runs_to_be_pruned"),
            models.Index(fields=["xid", "id"], name="runs_in_commit_order"),
            models.Index(
                fields=["repair_asked_at"], condition=Q(repair_asked_at__isnull=False), name="repairs_asked_for"
            ),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk} of {self.work_item}"


class Step(models.Model):
    """One thing a run did, for people to read: a model turn, a read, a proposal, what it heard of it, a write, a hand-over."""

    class Kind(models.TextChoices):
        MODEL = "model", "Model turn"
        READ = "read", "Read"
        PROPOSE = "propose", "Proposed"
        ANSWER = "answer", "Heard"
        WRITE = "write", "Wrote"
        HAND_OVER = "hand_over", "Handed over"
        ERROR = "error", "Error"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=80)
    detail = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "position"], name="one_step_per_position")]

    def __str__(self) -> str:
        return f"{self.position} {self.name}"


class Precedent(models.Model):
    """A decided case that the `precedent` model answers from."""

    class Source(models.TextChoices):
        LEARNED = "learned", "Taught from a file"
        DECISION = "decision", "Decided by a person"
        HAND_OVER = "hand_over", "Closed by a person"

    agent_version = models.ForeignKey(AgentVersion, on_delete=models.CASCADE, related_name="+")
    text = models.TextField()
    queue = models.CharField(max_length=60, blank=True, db_comment="Empty: outside the agent's scope.")
    priority = models.CharField(max_length=20, blank=True)
    reply = models.TextField(blank=True)
    source = models.CharField(max_length=10, choices=Source)
    work_item = models.ForeignKey(WorkItem, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            # Precedents from a file have no work item; null differs from null.
            models.UniqueConstraint(fields=["agent_version", "work_item"], name="one_precedent_per_case")
        ]
        indexes = [models.Index(fields=["agent_version", "id"], name="precedents_by_version")]

    def __str__(self) -> str:
        return f"{self.queue or 'out of scope'}: {self.text[:60]}"


class ImportJob(models.Model):
    """One file of work, as it was read: all of its rows, or none."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    rows = models.PositiveIntegerField()
    created = models.PositiveIntegerField()
    known = models.PositiveIntegerField()
    actor = models.CharField(max_length=60)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
