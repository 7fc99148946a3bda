"""A1: who saw which card, as it stood. The one thing that reading a page writes."""

import json

from apps.accounts.models import User
from apps.approvals.card import Card
from apps.audit import actions as audit
from apps.audit.models import AuditEvent

VIEWED = "proposal.viewed"


def record_view(card: Card, *, reader: User) -> None:
    """Tell the log that a person opened a card: once for each version of it, however often they look. 2 queries at most."""
    subject = f"proposal:{card.id}"
    seen = AuditEvent.objects.filter(object=subject, actor=reader.actor, action=VIEWED).values_list(
        "payload", flat=True
    )
    if any(json.loads(payload)["version"] == card.version for payload in seen if payload):
        return
    audit.record(
        VIEWED,
        subject=subject,
        actor=reader.actor,
        team_id=card.team_id,
        proposal_id=card.id,
        digest=card.digest,
        outcome=card.state,
        payload={"version": card.version},
    )
