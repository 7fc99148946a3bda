from django.db import models
from django.db.models.functions import Now

from apps.accounts.models import ApiToken
from apps.agents.models import Agent


class OutsideRequest(models.Model):
    """What an agent in another process asked for: one request, one proposal for each action in it."""

    class Format(models.TextChoices):
        """The wire format it came in, which is the one it is answered in."""

        PLAIN = "plain", "Pastpilot"
        LANGCHAIN_CALL = "langchain.call", "LangChain, one call"
        LANGCHAIN_BATCH = "langchain.batch", "LangChain, batched"
        AGENT_INBOX = "agent_inbox", "Agent Inbox"
        AG_UI = "ag_ui", "AG-UI 1.0"

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    token = models.ForeignKey(ApiToken, on_delete=models.PROTECT, related_name="+")
    source = models.CharField(
        max_length=40, db_comment="As in Proposal.source; with external_id it finds its proposals."
    )
    external_id = models.CharField(max_length=120)
    format = models.CharField(max_length=16, choices=Format, default=Format.PLAIN)
    asked = models.JSONField(
        db_comment="The ids and shape that its answer must repeat; arguments are with the proposals."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "external_id"], name="one_outside_request_per_source_id")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.external_id}"
