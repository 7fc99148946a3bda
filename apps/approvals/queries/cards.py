from datetime import datetime
from typing import Final

from django.db.models import Count

from apps.accounts.access import object_or_404
from apps.accounts.models import User
from apps.approvals.card import Card, PastDecisions, assemble, kind_field
from apps.approvals.domain import states
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.approvals.queries.last_words import FIELD_OF_VERDICT
from apps.audit.clock import clock
from apps.oncall import queries as oncall

# "Past decisions of its kind" looks at so many; older ones say little about the agent of today.
PAST_DECISIONS: Final = 200


def card(user: User, proposal_id: int, *, at: datetime | None = None) -> Card:
    """Return everything that the card of a proposal shows. Raises 404 for outsiders, 403 for members without the right.

    5 queries besides the person's rights and who answers.
    """
    rows = Proposal.objects.select_related(
        "action_type", "agent_version__agent", "policy", "body", "claimed_by", "team__lead"
    )
    row = object_or_404(rows, user, "approvals.view", proposal_id)
    now = at or clock()
    on_duty = oncall.on_duty(row.team_id, at=now) if row.is_open else []
    return assemble(
        row,
        reader=user,
        decisions=list(row.decisions.select_related("actor").order_by("decided_at", "pk")),
        past=_past(row),
        answer_is_new=row.state == states.QUEUED and _answer_is_new(row.pk),
        on_duty=on_duty,
        stand_ins=oncall.stand_ins(row.team) if row.is_open and not on_duty else None,
        now=now,
    )


def _answer_is_new(proposal_id: int) -> bool:
    return ResumeOutbox.objects.filter(proposal_id=proposal_id, state=ResumeOutbox.State.NEW).exists()


def _past(row: Proposal) -> PastDecisions:
    """Count the last decided proposals of the same action type that share its weightiest short argument."""
    field = kind_field(row.action_type, row.args)
    alike = Proposal.objects.filter(
        kind=Proposal.Kind.LIVE, team_id=row.team_id, action_type_id=row.action_type_id, closed_at__isnull=False
    ).exclude(pk=row.pk)
    if field is not None:
        alike = alike.filter(args__contains={field: row.args[field]})
    last = alike.order_by("-closed_at", "-pk").values("pk")[:PAST_DECISIONS]
    verdicts = (
        Decision.objects.filter(proposal__in=last, by_kind=Decision.By.PERSON, final=True, voided_at__isnull=True)
        .values_list("verdict")
        .annotate(n=Count("pk"))
    )
    counts = {FIELD_OF_VERDICT[verdict]: n for verdict, n in verdicts if verdict in FIELD_OF_VERDICT}
    what = row.action_type.name if field is None else f"{row.action_type.name} · {field} {row.args[field]}"
    return PastDecisions(what, **{name: counts.get(name, 0) for name in FIELD_OF_VERDICT.values()})
