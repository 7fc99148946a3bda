"""R7: the inbox's own indicator. Silence is not consent, but it is a miss of those who were asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Q

from apps.accounts.models import User
from apps.accounts.queries import team_ids_with
from apps.approvals.models import Decision, Proposal
from apps.audit.clock import clock

WINDOW: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class AnsweredInTime:
    """How many of a team's asked cards a person decided before their deadline; `share` None where none was asked."""

    team: str
    answered: int
    missed: int

    @property
    def asked(self) -> int:
        return self.answered + self.missed

    @property
    def share(self) -> float | None:
        return self.answered / self.asked if self.asked else None


def answered_in_time(user: User, *, at: datetime | None = None) -> list[AnsweredInTime]:
    """Return the last 30 days of each team of the person, by name; teams that nobody asked are absent. 2 queries with the clock.

    Only the last word counts, on live cards: a person's is an answer, the clock's a miss. What was withdrawn, went out of
    date or was settled by the policy alone asked nobody in vain, and is in neither number.
    """
    now = at or clock()
    words = Decision.objects.filter(
        decided_at__gt=now - WINDOW,
        decided_at__lte=now,
        final=True,
        voided_at__isnull=True,
        proposal__kind=Proposal.Kind.LIVE,
        proposal__team__in=team_ids_with(user, "approvals.view"),
    )
    by_person = Q(by_kind=Decision.By.PERSON) & ~Q(verdict=Decision.Verdict.WITHDRAW)
    by_timer = Q(by_kind=Decision.By.TIMER, verdict=Decision.Verdict.EXPIRE)
    rows = (
        words.filter(by_person | by_timer)
        .values_list("proposal__team__name")
        .annotate(answered=Count("pk", filter=by_person), missed=Count("pk", filter=by_timer))
        .order_by("proposal__team__name")
    )
    return [AnsweredInTime(*row) for row in rows]
