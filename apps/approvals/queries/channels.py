from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Exists, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce

from apps.accounts.access import object_or_404, scoped
from apps.accounts.models import User
from apps.approvals.domain import notices
from apps.approvals.models import Channel, Notice

VIEW, CHANGE = "channels.view", "channels.change"
# Granting a network is the right of who connects systems.
GRANT = "connectors.change"
RECENT = 50


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One channel in the list: how many messages wait, whether some were given up, and when one last arrived."""

    channel: Channel
    hears: str
    waiting: int
    has_dead: bool
    last_sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a channel, as its page shows it."""

    id: int
    proposal_id: int
    title: str
    words: str
    state: str
    state_words: str
    status: str
    attempts: int
    error: str
    created_at: datetime
    sent_at: datetime | None
    next_try_at: datetime | None
    may_repeat: bool


@dataclass(frozen=True, slots=True)
class ChannelPage:
    """One channel with its newest messages. `trouble` says why nothing can leave, if that is so."""

    channel: Channel
    hears: str
    trouble: str
    may_change: bool
    may_grant: bool
    may_see_cards: bool
    deliveries: list[Delivery]


def channels(user: User) -> list[ChannelRow]:
    """Return the channels of the person's teams, by team and name. 1 query, any length."""
    own = Notice.objects.filter(channel=OuterRef("pk")).order_by()
    waiting = own.filter(state=Notice.State.NEW).values("channel").annotate(rows=Count("pk")).values("rows")
    last = own.filter(state=Notice.State.SENT).order_by("-id").values("sent_at")[:1]
    rows = (
        scoped(Channel.objects.select_related("team"), user, VIEW)
        .annotate(
            waiting=Coalesce(Subquery(waiting, output_field=IntegerField()), 0),
            has_dead=Exists(own.filter(state=Notice.State.DEAD)),
            last_sent_at=Subquery(last),
        )
        .order_by("team__name", "name", "pk")
    )
    return [ChannelRow(row, hears(row), row.waiting, row.has_dead, row.last_sent_at) for row in rows]


def channel(user: User, channel_id: int, *, right: str = VIEW) -> Channel:
    """Return one channel, or raise 404 to outsiders and Forbidden to members without the right. 1 query."""
    return object_or_404(Channel.objects.select_related("team", "created_by"), user, right, channel_id)


def channel_page(user: User, channel_id: int) -> ChannelPage:
    """Return one channel with its newest messages. 2 queries."""
    row = channel(user, channel_id)
    may_change = user.has_perm(CHANGE, row.team_id)
    recent = Notice.objects.filter(channel=row).select_related("proposal").order_by("-id")[:RECENT]
    return ChannelPage(
        channel=row,
        hears=hears(row),
        trouble=trouble(row),
        may_change=may_change,
        may_grant=user.has_perm(GRANT, row.team_id),
        may_see_cards=user.has_perm("approvals.view", row.team_id),
        deliveries=[_delivery(each, row, may_change=may_change) for each in recent],
    )


def notice(row: Channel, notice_id: int) -> Notice | None:
    """Return one message of a channel. 1 query."""
    return Notice.objects.filter(channel=row, pk=notice_id).first()


def hears(row: Channel) -> str:
    """Say in words what a channel is told."""
    chosen = [words for event, words in notices.EVENTS.items() if event in row.events]
    what = ", ".join(chosen).lower().capitalize() if chosen else "Everything"
    return what if row.risk_from == notices.RISKS[0] else f"{what}; {row.risk_from} risk and above"


def trouble(row: Channel) -> str:
    """Say why nothing leaves over a channel, or nothing."""
    if row.kind == Channel.Kind.EMAIL and not settings.EMAIL_HOST:
        return "No mail server is configured, so no e-mail leaves. Whoever runs this installation sets EMAIL_HOST."
    if row.is_active:
        return ""
    return row.off_reason or "It is switched off. Nothing is written for it meanwhile."


def _delivery(row: Notice, of: Channel, *, may_change: bool) -> Delivery:
    state = Notice.State(row.state)
    return Delivery(
        id=row.pk,
        proposal_id=row.proposal_id,
        title=row.proposal.title,
        words=notices.EVENTS[notices.event_in(row.event)],
        state=row.state,
        state_words=state.label,
        status={Notice.State.SENT: "ok", Notice.State.DEAD: "bad", Notice.State.MOOT: "idle"}.get(
            state, "warn" if row.last_error else "wait"
        ),
        attempts=row.attempts,
        error=row.last_error,
        created_at=row.created_at,
        sent_at=row.sent_at,
        next_try_at=row.next_try_at if state == Notice.State.NEW and of.is_active else None,
        may_repeat=may_change and state == Notice.State.DEAD and of.is_active,
    )
