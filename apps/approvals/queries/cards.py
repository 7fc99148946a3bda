from datetime import datetime
from typing import Final

from django.db.models import Count, OuterRef, QuerySet, Subquery

from apps.accounts.access import object_or_404
from apps.accounts.models import User
from apps.approvals.card import Card, PastDecisions, Superseded, assemble, kind_field
from apps.approvals.domain import states
from apps.approvals.domain.hidden import reveal
from apps.approvals.domain.vigilance import Attention
from apps.approvals.models import Decision, Proposal, ResumeOutbox, SecondLook, Snooze
from apps.approvals.queries import drills, reviewers, vigilance
from apps.approvals.queries.last_words import FIELD_OF_VERDICT, by, final_decisions, verdict_words
from apps.approvals.queries.outside import choices_of, message_of
from apps.approvals.queries.repeats import repeats_before
from apps.approvals.queries.visible import for_eyes_of
from apps.audit.clock import clock
from apps.oncall import queries as oncall

# "Past decisions of its kind" looks at so many; older ones say little about the agent of today.
PAST_DECISIONS: Final = 200


def card(user: User, proposal_id: int, *, at: datetime | None = None) -> Card:
    """Return everything that the card of a proposal shows. Raises 404 for outsiders, 403 for members without the right.

    7 queries besides the person's rights and who answers; 1 more for an open card of an agent that runs elsewhere.
    """
    rows = Proposal.objects.select_related(
        "action_type", "agent_version__agent", "policy", "body", "claimed_by", "assigned_to", "team__lead"
    ).annotate(hidden_until=Subquery(Snooze.objects.filter(user=user, proposal=OuterRef("pk")).values("until")[:1]))
    row = object_or_404(rows.filter(for_eyes_of(user)), user, "approvals.view", proposal_id)
    now = at or clock()
    standing = reviewers.standing_of(user, row, at=now)
    on_duty = oncall.on_duty(row.team_id, at=now) if row.is_open else []
    return assemble(
        row,
        reader=user,
        decisions=list(row.decisions.select_related("actor").order_by("decided_at", "pk")),
        past=_past(row),
        answer_is_new=row.state == states.QUEUED and _answer_is_new(row.pk),
        on_duty=on_duty,
        stand_ins=oncall.stand_ins(row.team) if row.is_open and not on_duty else None,
        standing=standing,
        snoozed_until=_later(getattr(row, "hidden_until", None), now) if row.is_open else None,
        lender=User.objects.get(pk=standing.on_behalf_of) if standing.on_behalf_of else None,
        attention=vigilance.latest(user, at=now) if row.is_open else Attention(),
        revealed=drills.revealed_to(user, row),
        supersedes=_superseded(row),
        repeats=repeats_before(row),
        offered=choices_of(row, message_of(row)) if row.is_open else (),
        now=now,
    )


def _superseded(row: Proposal) -> Superseded | None:
    """Say what a card comes in place of, and what was asked of the agent then. 0 or 2 queries."""
    if row.supersedes_id is None:
        return None
    earlier = Proposal.objects.get(pk=row.supersedes_id)
    last = final_decisions([earlier.pk]).get(earlier.pk)
    words = f"{verdict_words(last, earlier)} by {by(last)}" if last else verdict_words(None, earlier)
    return Superseded(earlier.pk, words, reveal(last.reason) if last else "")


def ensure_in_sight(user: User, proposal_id: int) -> None:
    """Raise 404 for outsiders, 403 for members who may not see the inbox. 1 query."""
    object_or_404(Proposal.objects.filter(for_eyes_of(user)).only("pk"), user, "approvals.view", proposal_id)


def _later(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment is not None and moment > now else None


def _answer_is_new(proposal_id: int) -> bool:
    return ResumeOutbox.objects.filter(proposal_id=proposal_id, state=ResumeOutbox.State.NEW).exists()


def _same_case(row: Proposal) -> "list[int] | QuerySet[SecondLook, int]":
    """A card is no precedent of itself, and a second look is the same card: its first verdict would tell what to say."""
    if row.kind == Proposal.Kind.SECOND_LOOK:
        return SecondLook.objects.filter(proposal=row.pk).values_list("original", flat=True)
    return [row.pk]


def _past(row: Proposal) -> PastDecisions:
    """Count the last decided proposals of the same action type that share its weightiest short argument."""
    field = kind_field(row.action_type, row.args)
    alike = Proposal.objects.filter(
        kind=Proposal.Kind.LIVE, team_id=row.team_id, action_type_id=row.action_type_id, closed_at__isnull=False
    ).exclude(pk__in=_same_case(row))
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
