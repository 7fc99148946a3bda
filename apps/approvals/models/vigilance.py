from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.approvals.models.decisions import Decision
from apps.approvals.models.proposals import Proposal


class Drill(models.Model):
    """A planted proposal with one known fault. Its card looks like any other; it is revealed after the verdict."""

    class Mutation(models.TextChoices):
        AMOUNT = "amount", "An amount ten times too high"
        RECIPIENT = "recipient", "A wrong recipient or target"
        STALE = "stale", "Outdated data"
        POLICY = "policy", "A broken clause of the policy"
        INJECTION = "injection", "An instruction hidden in the text"

    class Outcome(models.TextChoices):
        CAUGHT = "caught", "Caught"
        MISSED = "missed", "Missed"
        NONE = "none", "Not decided"

    proposal = models.OneToOneField(Proposal, on_delete=models.CASCADE, related_name="drill")
    original = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="+")
    mutation = models.CharField(max_length=10, choices=Mutation)
    fault_path = models.CharField(max_length=200, db_comment="JSON pointer (RFC 6901) of the fault inside args.")
    fault_words = models.CharField(max_length=300, db_comment="What is wrong, said when it is revealed.")
    outcome = models.CharField(max_length=6, choices=Outcome, default=Outcome.NONE)
    planted_at = models.DateTimeField(db_default=Now())
    revealed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"drill {self.pk}: {self.get_mutation_display()}"


class SecondLook(models.Model):
    """A decided proposal that a second person judges without knowing the first verdict."""

    proposal = models.OneToOneField(Proposal, on_delete=models.CASCADE, related_name="second_look")
    original = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="+")
    first = models.ForeignKey(Decision, on_delete=models.PROTECT, related_name="+")
    agrees = models.BooleanField(null=True)
    planted_at = models.DateTimeField(db_default=Now())
    revealed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["original"], name="one_second_look_per_proposal")]

    def __str__(self) -> str:
        return f"second look at proposal {self.original_id}"


class Vigilance(models.Model):
    """How attentively one reviewer decided over the last 30 days, as of one day; and what follows from it."""

    class Response(models.TextChoices):
        """What is done about it, mildest first; each includes those before it."""

        NONE = "none", "Nothing"
        EXPANDED = "expanded", "Evidence opens expanded"
        REASON = "reason", "A reason is required"
        SLOW = "slow", "Slow lane"
        COOL_DOWN = "cool_down", "Ten minutes off"
        NO_EVIDENCE = "no_evidence", "Approvals do not count as evidence"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    decided = models.PositiveIntegerField(default=0)
    drills = models.PositiveIntegerField(default=0)
    caught = models.PositiveIntegerField(default=0)
    catch_lower = models.FloatField(null=True, db_comment="One-sided lower bound at 0.95 of the catch rate, in [0, 1].")
    median_s = models.FloatField(null=True, db_comment="Median seconds from opening a card to its verdict.")
    below_floor = models.FloatField(null=True, db_comment="Share decided faster than anybody reads, in [0, 1].")
    approve_run = models.PositiveIntegerField(default=0, db_comment="Length of the current run of approvals.")
    run_alarm_at = models.PositiveIntegerField(null=True, db_comment="The run from which it is an alarm.")
    looked_twice = models.PositiveIntegerField(default=0)
    agreed = models.PositiveIntegerField(default=0)
    decay = models.FloatField(null=True, db_comment="Catch rate of the day's later half minus its first half.")
    response = models.CharField(max_length=12, choices=Response, default=Response.NONE)
    cool_down_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "day"], name="one_vigilance_per_person_and_day")]

    def __str__(self) -> str:
        return f"{self.user} on {self.day}: {self.get_response_display()}"
