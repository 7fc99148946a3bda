from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.accounts.models import Team
from apps.approvals.models.proposals import Proposal


class Channel(models.Model):
    """Where a team is told of its cards: an e-mail address, a signed webhook, or a chat's incoming webhook."""

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Signed webhook"
        CHAT = "chat", "Chat (Slack-compatible)"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=60)
    address = models.CharField(
        max_length=300,
        db_comment="An e-mail address, or what may be shown of a URL: its host. The URL itself is sealed.",
    )
    sealed_url = models.BinaryField(null=True, db_comment="AES-GCM: 12 bytes nonce, then ciphertext with tag.")
    sealed_secret = models.BinaryField(null=True, db_comment="The signing secret of a webhook, sealed likewise.")
    key_id = models.CharField(max_length=8, blank=True)
    events = models.JSONField(
        default=list, db_comment="asked, escalated, decided, expired, stale, withdrawn, unknown; empty: all."
    )
    risk_from = models.CharField(max_length=8, default="low", db_comment="Tells of cards of this risk and above.")
    allowed_cidrs = models.JSONField(
        default=list, db_comment="Internal networks an administrator granted; empty: public addresses only."
    )
    is_active = models.BooleanField(default=True)
    off_reason = models.CharField(
        max_length=300, blank=True, db_comment="Why it is switched off, if nobody switched it off."
    )
    rests_until = models.DateTimeField(
        null=True, db_comment="Nothing is sent before: a message is on its way, or the receiver failed a moment ago."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "name"], name="one_channel_per_name_and_team"),
            models.CheckConstraint(
                condition=Q(kind="email") | Q(sealed_url__isnull=False), name="a_webhook_has_its_sealed_url"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """The name by which the audit log knows this channel; what it keeps sealed is bound to it."""
        return f"channel:{self.pk}"


class Notice(models.Model):
    """One message to one channel about one proposal. Written with the change it tells; sent by a worker."""

    class State(models.TextChoices):
        NEW = "new", "Waiting"
        SENT = "sent", "Sent"
        DEAD = "dead", "Given up"
        MOOT = "moot", "No longer needed"

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="notices")
    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="+")
    event = models.CharField(max_length=12)
    version = models.PositiveIntegerField(db_comment="The proposal's version that it tells of.")
    state = models.CharField(max_length=4, choices=State, default=State.NEW)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField()
    last_error = models.CharField(max_length=300, blank=True)
    message_id = models.CharField(max_length=120, unique=True, db_comment="Also the webhook-id: a repeat keeps it.")
    reply_ref = models.CharField(
        max_length=200, blank=True, db_comment="What the channel calls the sent message, to edit or answer it later."
    )
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "proposal", "event", "version"], name="one_notice_per_channel_and_change"
            )
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(state="new"), name="notices_due"),
            models.Index(fields=["channel", "id"], condition=Q(state="new"), name="notices_due_by_channel"),
            models.Index(fields=["channel"], condition=Q(state="dead"), name="notices_given_up"),
            models.Index(fields=["channel", "-id"], name="notices_by_channel"),
            models.Index(fields=["created_at"], name="notices_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event} of proposal {self.proposal_id} to {self.channel}: {self.state}"
