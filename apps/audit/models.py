from collections.abc import Collection
from datetime import datetime

from django.db import models
from django.db.models import Q

from apps.audit.fields import Xid8Field


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def of_teams(self, team_ids: Collection[int]) -> "AuditEventQuerySet":
        """Events of these teams, and those that belong to no team."""
        return self.filter(Q(team__in=[f"team:{team_id}" for team_id in team_ids]) | Q(team__isnull=True))

    def between(self, since: datetime | None, until: datetime | None) -> "AuditEventQuerySet":
        found = self.filter(recorded_at__gte=since) if since else self
        return found.filter(recorded_at__lt=until) if until else found

    def newest_first(self) -> "AuditEventQuerySet":
        return self.order_by("-recorded_at", "-id")


class AuditEvent(models.Model):
    """One fact, written once. The database fills everything but header, salt and payload, and guards all of it."""

    pk = models.CompositePrimaryKey("recorded_at", "id")
    id = models.BigIntegerField(editable=False)
    epoch = models.IntegerField(db_default=1, editable=False)
    xid = Xid8Field()
    recorded_at = models.DateTimeField(editable=False)
    header = models.TextField(db_comment="The exact text hashed; keys per rule A2, no personal data.")
    salt = models.BinaryField(null=True)
    payload = models.TextField(null=True, db_comment="The exact text hashed; may hold personal data; null once erased.")  # noqa: DJ001  # null means erased, empty text would be a payload
    pc = models.BinaryField(editable=False, db_comment="Payload commitment: sha256(02 ‖ salt ‖ payload).")
    leaf = models.BinaryField(editable=False, db_comment="sha256(00 ‖ pc ‖ header).")
    event_id = models.UUIDField(editable=False)
    team = models.TextField(null=True, editable=False)  # noqa: DJ001  # null is the header's null
    actor = models.TextField(editable=False)
    action = models.TextField(editable=False)
    object = models.TextField(editable=False)
    proposal = models.TextField(null=True, editable=False)  # noqa: DJ001  # null is the header's null

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["epoch", "xid", "id"], name="audit_in_seal_order"),
            models.Index(fields=["object", "recorded_at"], name="audit_by_object"),
            models.Index(fields=["actor", "recorded_at"], name="audit_by_actor"),
            models.Index(fields=["id"], name="audit_by_id"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object} by {self.actor}"
