"""Messages about cards: written in the transaction of the change they tell, sent by a worker, sent again until taken.

A slow or dead receiver costs nobody but itself: deciding only writes rows, and a channel sends one message at a time.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.queries import declines_mail
from apps.approvals import delivery
from apps.approvals.actions import channels
from apps.approvals.delivery import Gone, Thread, Undelivered
from apps.approvals.domain import notices
from apps.approvals.domain.notices import Told
from apps.approvals.errors import BadChannel
from apps.approvals.models import Channel, Notice, Proposal
from apps.approvals.queries import last_words
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors.sealing import NoSealingKey

NOTIFY_TASK: Final = "approvals.notify"
# A worker that died while it sent is presumed dead after this long; longer than the task may take.
LEASE: Final = timedelta(seconds=60)
# The sweep comes every 15 s; for shorter pauses the worker is woken by itself.
WOKEN_WITHIN: Final = timedelta(minutes=1)
BATCH: Final = 500
DECLINED: Final = "The person of this address wants no messages about cards by e-mail."
# What was sent longer ago answers no question that the log does not answer; no card waits longer than this either.
KEPT_FOR: Final = timedelta(days=30)
PRUNE_BATCH: Final = 5_000

logger = structlog.get_logger(__name__)

# One indexed statement for each told event, whatever the number of channels. The key share lock keeps a channel from
# being removed before this transaction ends: else a decision could fail for a message that nobody wants any more.
_WRITE: Final = """
INSERT INTO approvals_notice (channel_id, proposal_id, event, version, state, attempts, next_try_at, last_error,
                              message_id, reply_ref)
SELECT heard.id, %s, %s, %s, 'new', 0, clock_timestamp(), '', 'msg_' || replace(gen_random_uuid()::text, '-', ''), ''
FROM (
    SELECT id FROM approvals_channel
    WHERE team_id = %s AND is_active AND risk_from = ANY(%s) AND (events = '[]'::jsonb OR events @> %s::jsonb)
    ORDER BY id FOR KEY SHARE
) AS heard
ON CONFLICT DO NOTHING RETURNING channel_id
"""


def write(row: Proposal, action: str) -> None:
    """Write the messages that tell of what just happened to a proposal, in the caller's transaction. 1 query, or none.

    A planted card that waits too long looks escalated (R17), but an exercise calls nobody away from other work.
    """
    event = notices.event_of(action, state=row.state)
    if event is None or (event == notices.ESCALATED and row.kind != Proposal.Kind.LIVE):
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            [
                row.pk,
                notices.spelt(event, row.tier),
                row.version,
                row.team_id,
                notices.thresholds(row.risk_class),
                json.dumps([event]),
            ],
        )
        heard = [channel_id for (channel_id,) in cursor.fetchall()]
    wake(heard)


def wake(channel_ids: Iterable[int], *, eta: datetime | None = None) -> None:
    """Wake a worker for these channels after commit. A dead broker costs time only: the sweep wakes them again."""
    for channel_id in channel_ids:
        tell = partial(current_app.send_task, NOTIFY_TASK, [channel_id], eta=eta, retry=False)
        transaction.on_commit(tell, robust=True)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message that this worker, and no other, sends now."""

    notice: Notice
    channel: Channel
    thread: Thread


def deliver(channel_id: int, *, at: datetime | None = None, chance: float | None = None) -> bool:
    """Send the oldest message that is due in a channel; say whether another one may be tried at once.

    Nothing is sent while a message of the channel is on its way or its receiver failed a moment ago. No transaction is
    open while the receiver is asked.
    """
    taken = _take(channel_id, at)
    if taken is None:
        return False
    error: Undelivered | None = None
    reference = ""
    try:
        reference = _send(taken, at or clock())
    except Undelivered as reason:
        error = reason
    except NoSealingKey as reason:
        error = Undelivered(str(reason))
    except SoftTimeLimitExceeded:
        error = Undelivered("The receiver took too long.")
    if error is None:
        _note_sent(taken, reference, at)
        return True
    _note_failure(taken, error, at, chance=random.random() if chance is None else chance)  # noqa: S311  # spreads tries
    return False


def channels_due(at: datetime | None = None) -> list[int]:
    """Return the channels that have something to send: their messages were lost on the way, or a pause is over."""
    now = at or clock()
    rests = Q(channel__rests_until__isnull=True) | Q(channel__rests_until__lte=now)
    due = Notice.objects.filter(rests, state=Notice.State.NEW, next_try_at__lte=now, channel__is_active=True)
    return list(due.order_by("channel_id").values_list("channel_id", flat=True).distinct()[:BATCH])


def prune(at: datetime | None = None) -> int:
    """Delete messages older than 30 days, sent or not; return how many. What they told stands in the log."""
    old = Notice.objects.filter(created_at__lt=(at or clock()) - KEPT_FOR)
    pruned = 0
    while found := list(old.order_by("created_at").values_list("pk", flat=True)[:PRUNE_BATCH]):
        pruned += Notice.objects.filter(pk__in=found).delete()[0]
    return pruned


@transaction.atomic
def send_again(notice_id: int, *, actor: User, at: datetime | None = None) -> Notice:
    """Take up a message again that was given up, under its first id. Raises BadChannel while its channel is off."""
    known = Notice.objects.only("channel_id").get(pk=notice_id)
    channel = channels.lock(known.channel_id)
    row = Notice.objects.select_for_update().get(pk=notice_id)
    if not channel.is_active:
        raise BadChannel("The channel is switched off. Switch it on first.")
    if row.state == Notice.State.DEAD:
        row.state, row.attempts, row.next_try_at = Notice.State.NEW, 0, at or clock()
        row.save(update_fields=["state", "attempts", "next_try_at"])
        Channel.objects.filter(pk=channel.pk).update(rests_until=None)
        audit.record(
            "channel.sent_again",
            subject=channel.subject,
            actor=actor.actor,
            team_id=channel.team_id,
            payload={"notice": row.pk, "proposal": row.proposal_id},
        )
        wake([channel.pk])
    return row


@transaction.atomic
def _take(channel_id: int, at: datetime | None) -> _Taken | None:
    """Choose the oldest due message, settle those that are not true any more, and lease the channel for the sending."""
    channel = Channel.objects.select_for_update(no_key=True).filter(pk=channel_id, is_active=True).first()
    now = at or clock()
    if channel is None or (channel.rests_until is not None and channel.rests_until > now):
        return None
    if channel.kind == Channel.Kind.EMAIL and declines_mail(channel.address):
        _leave_alone(channel, now)
        return None
    notice = _next_true(channel, now)
    if notice is None:
        return None
    notice.attempts += 1
    notice.next_try_at = channel.rests_until = now + LEASE
    notice.save(update_fields=["attempts", "next_try_at"])
    channel.save(update_fields=["rests_until"])
    return _Taken(notice, channel, _thread_of(notice))


def _next_true(channel: Channel, now: datetime) -> Notice | None:
    due = Notice.objects.filter(channel=channel, state=Notice.State.NEW, next_try_at__lte=now).order_by("pk")
    for notice in due.select_related("proposal__team", "proposal__action_type", "proposal__agent_version__agent")[
        :BATCH
    ]:
        # A program may follow every event; a person must not be asked for what is decided.
        is_read_by_people = channel.kind != Channel.Kind.WEBHOOK
        if not (is_read_by_people and notices.is_moot(notices.event_in(notice.event), notice.proposal.state)):
            return notice
        notice.state = Notice.State.MOOT
        notice.save(update_fields=["state"])
    return None


def _leave_alone(channel: Channel, now: datetime) -> None:
    """Settle what is due for a person who wants no such mail; what comes after they changed their mind is sent."""
    due = Notice.objects.filter(channel=channel, state=Notice.State.NEW, next_try_at__lte=now)
    due.update(state=Notice.State.MOOT, last_error=DECLINED)


def _thread_of(notice: Notice) -> Thread:
    """Return how the same card was told of before in this channel."""
    others = Notice.objects.filter(channel=notice.channel_id, proposal=notice.proposal_id, sent_at__isnull=False)
    before = list(others.exclude(pk=notice.pk).order_by("pk").values_list("message_id", "reply_ref"))
    reference = next((ref for _, ref in reversed(before) if ref), "")
    return Thread(root=before[0][0] if before else "", reference=reference)


def _send(taken: _Taken, now: datetime) -> str:
    notice = taken.notice
    message = notices.message(
        _told(notice),
        message_id=notice.message_id,
        at=notice.created_at,
        now=now,
        zone=ZoneInfo(settings.TIME_ZONE),
    )
    line = channels.opened(taken.channel)
    return delivery.deliver(line, message, thread=taken.thread, mail=channels.mail_box(), now=now)


def _told(notice: Notice) -> Told:
    row = notice.proposal
    last = last_words.final_decisions([row.pk]).get(row.pk)
    return Told(
        event=notices.event_in(notice.event),
        proposal_id=row.pk,
        team_id=row.team_id,
        team=row.team.name,
        agent=row.agent_version.agent.name,
        action_type=row.action_type.key,
        title=row.title,
        risk=row.risk_class,
        digest=row.digest,
        version=row.version,
        state=row.state,
        deadline=row.deadline,
        link=settings.PUBLIC_URL + reverse("approvals:card", args=[row.pk]),
        by=last_words.by(last),
        verdict=last.verdict if last else "",
        verdict_words=last_words.verdict_words(last, row) if last else "",
        decided_at=last.decided_at if last else None,
    )


@transaction.atomic
def _note_sent(taken: _Taken, reference: str, at: datetime | None) -> None:
    channels.lock(taken.channel.pk)
    Notice.objects.filter(pk=taken.notice.pk).update(
        state=Notice.State.SENT, sent_at=at or clock(), reply_ref=reference[:200], last_error=""
    )
    Channel.objects.filter(pk=taken.channel.pk).update(rests_until=None)


@transaction.atomic
def _note_failure(taken: _Taken, error: Undelivered, at: datetime | None, *, chance: float) -> None:
    """Plan the next attempt, or give up where a person can see it."""
    channel = channels.lock(taken.channel.pk)
    now = at or clock()
    row = Notice.objects.select_for_update().get(pk=taken.notice.pk)
    if row.state != Notice.State.NEW or row.attempts != taken.notice.attempts:
        # Another worker took over after the lease; what it finds counts.
        return
    wait = None if isinstance(error, Gone) else notices.pause(row.attempts, chance=chance)
    if wait is not None and error.retry_after is not None:
        wait = max(wait, error.retry_after)
    row.last_error = str(error)[:300]
    row.state = Notice.State.DEAD if wait is None else Notice.State.NEW
    row.next_try_at = now if wait is None else now + wait
    row.save(update_fields=["state", "last_error", "next_try_at"])
    rest = max(min(wait or notices.LONGEST_REST, notices.LONGEST_REST), error.retry_after or timedelta(0))
    channel.rests_until = now + rest
    channel.save(update_fields=["rests_until"])
    if isinstance(error, Gone):
        channels.switch_off_because(channel, f"{error} The channel was switched off.")
    elif wait is not None and wait < WOKEN_WITHIN:
        wake([channel.pk], eta=row.next_try_at)
    logger.warning("notice not taken", notice_id=row.pk, channel_id=channel.pk, attempts=row.attempts, state=row.state)
