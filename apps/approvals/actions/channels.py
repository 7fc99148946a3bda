"""The channels of a team: where it is told of its cards. Addresses and secrets are sealed and never shown again."""

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.urls import reverse

from apps.accounts.models import Team, User
from apps.approvals import delivery
from apps.approvals.delivery import Line, MailBox, Thread, Undelivered
from apps.approvals.domain import notices, webhooks
from apps.approvals.domain.webhooks import SigningSecret
from apps.approvals.errors import BadChannel
from apps.approvals.models import Channel
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.connectors.domain.addresses import BadAddress, BadNetwork, check_grant, check_url, parse_networks
from apps.connectors.sealing import NoSealingKey, Sealed, seal, unseal

NO_MAIL_SERVER: Final = "No mail server is configured, so no e-mail leaves. Set EMAIL_HOST and start again."
# Nobody reads so long a list, and each one costs a row with every message.
MOST_PER_TEAM: Final = 20


@dataclass(frozen=True, slots=True)
class Added:
    """A channel, and the signing secret of a webhook: this is the only time that it is told."""

    channel: Channel
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a test, in one sentence."""

    is_sent: bool
    words: str


@transaction.atomic
def add_channel(
    *,
    team: Team,
    kind: str,
    name: str,
    address: str,
    events: Collection[str] = (),
    risk_from: str = notices.RISKS[0],
    networks: Sequence[str] = (),
    actor: User,
    at: datetime | None = None,
) -> Added:
    """Add a channel and switch it on; one for e-mail stays off while there is no mail server.

    `networks` are internal ones that an administrator grants to this channel alone. No events means all of them.
    Raises BadChannel for an address that is none or that rule S5 refuses, for a taken name, for the 21st channel of a team.
    """
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    if Channel.objects.filter(team=team).count() >= MOST_PER_TEAM:
        raise BadChannel(f"A team has {MOST_PER_TEAM} channels at most. Nothing was added.")
    granted = _granted(networks)
    shown = _shown(kind, address, granted)
    is_mail = kind == Channel.Kind.EMAIL
    why_off = NO_MAIL_SERVER if is_mail and not settings.EMAIL_HOST else ""
    row = Channel(
        team=team,
        kind=kind,
        name=name.strip(),
        address=shown,
        events=_known(events),
        risk_from=risk_from,
        allowed_cidrs=granted,
        is_active=not why_off,
        off_reason=why_off,
        created_by=actor,
        # What is sealed is bound to the row's number, which there is only afterwards.
        sealed_url=None if is_mail else b"",
    )
    _insert(row)
    secret = webhooks.spell_secret(secrets.token_bytes(webhooks.SECRET_BYTES)) if kind == Channel.Kind.WEBHOOK else ""
    if not is_mail:
        _seal(row, address, [SigningSecret(secret)] if secret else [])
    _record("channel.added", row, actor=actor.actor)
    return Added(row, secret)


@transaction.atomic
def change_channel(
    channel: Channel,
    *,
    name: str,
    events: Collection[str],
    risk_from: str,
    address: str = "",
    networks: Sequence[str] | None = None,
    actor: User,
) -> Channel:
    """Change what a channel hears, and where it leads if an address is given. `networks` None leaves the grants as they are.

    Raises BadChannel as `add_channel` does. The signing secret stays.
    """
    row = lock(channel.pk)
    row.name, row.events, row.risk_from = name.strip(), _known(events), risk_from
    if networks is not None:
        row.allowed_cidrs = _granted(networks)
    if address:
        signing = _opened(row)[1] if row.kind != Channel.Kind.EMAIL else ()
        row.address = _shown(row.kind, address, row.allowed_cidrs)
        if row.kind != Channel.Kind.EMAIL:
            _seal(row, address, signing)
        row.rests_until = None
    _save(row, "name", "events", "risk_from", "allowed_cidrs", "address", "rests_until")
    _record("channel.changed", row, actor=actor.actor, moved=bool(address))
    return row


@transaction.atomic
def switch_channel(channel: Channel, *, is_active: bool, actor: User) -> Channel:
    """Switch a channel on or off. The same twice changes nothing. Raises BadChannel if it cannot work."""
    row = lock(channel.pk)
    if row.is_active == is_active:
        return row
    if is_active and row.kind == Channel.Kind.EMAIL and not settings.EMAIL_HOST:
        raise BadChannel(NO_MAIL_SERVER)
    row.is_active, row.off_reason, row.rests_until = is_active, "", None
    row.save(update_fields=["is_active", "off_reason", "rests_until"])
    _record("channel.changed", row, actor=actor.actor)
    return row


def switch_off_because(row: Channel, reason: str) -> None:
    """Switch a locked channel off because its receiver asked for it."""
    row.is_active, row.off_reason = False, reason[:300]
    row.save(update_fields=["is_active", "off_reason"])
    _record("channel.changed", row, actor="system", reason=reason)


@transaction.atomic
def remove_channel(channel: Channel, *, actor: User) -> None:
    """Remove a channel with its list of messages. What is being decided at this moment is not held up."""
    # The full lock waits for changes that have just written a message for it, and keeps new ones from beginning.
    row = Channel.objects.select_for_update().select_related("team").get(pk=channel.pk)
    _record("channel.removed", row, actor=actor.actor)
    row.delete()


@transaction.atomic
def rotate_secret(channel: Channel, *, actor: User, at: datetime | None = None) -> Added:
    """Make a new signing secret. For 24 h messages carry both signatures, so that the receiver can change over."""
    row = lock(channel.pk)
    if row.kind != Channel.Kind.WEBHOOK:
        raise BadChannel("Only a signed webhook has a secret.")
    url, signing = _opened(row)
    new = webhooks.spell_secret(secrets.token_bytes(webhooks.SECRET_BYTES))
    _seal(row, url, webhooks.rotated(signing, new, at or clock()))
    _record("channel.changed", row, actor=actor.actor, rotated=True)
    return Added(row, new)


def send_test(channel: Channel, *, actor: User, at: datetime | None = None) -> Tried:
    """Send one test message now, also over a channel that is off. Raises nothing: what went wrong is the answer."""
    now = at or clock()
    message = notices.trial(
        message_id=f"msg_{uuid4().hex}",
        channel=channel.name,
        team_id=channel.team_id,
        link=settings.PUBLIC_URL + reverse("approvals:channel", args=[channel.pk]),
        at=now,
    )
    try:
        delivery.deliver(opened(channel), message, thread=Thread(), mail=mail_box(), now=now)
    except (Undelivered, NoSealingKey) as error:
        tried = Tried(is_sent=False, words=f"The test did not arrive. {error}")
    else:
        tried = Tried(is_sent=True, words="The test was taken. Look whether it is there.")
    audit.record(
        "channel.tested",
        subject=channel.subject,
        actor=actor.actor,
        team_id=channel.team_id,
        outcome="sent" if tried.is_sent else "undelivered",
        payload={"note": tried.words},
    )
    return tried


def lock(channel_id: int) -> Channel:
    """Lock a channel. Whoever writes a message for it meanwhile does not wait (the key stays the same)."""
    return Channel.objects.select_for_update(no_key=True, of=("self",)).select_related("team").get(pk=channel_id)


def opened(row: Channel) -> Line:
    """Open what a channel keeps sealed, for one sending. Raises NoSealingKey."""
    if row.kind == Channel.Kind.EMAIL:
        return Line(row.kind, row.address)
    url, signing = _opened(row)
    return Line(row.kind, url, tuple(row.allowed_cidrs), tuple(signing))


def mail_box() -> MailBox:
    """Say from where e-mail leaves."""
    domain = urlsplit(settings.PUBLIC_URL).hostname or "pastpilot.invalid"
    return MailBox(settings.EMAIL_HOST, settings.DEFAULT_FROM_EMAIL, domain)


def _insert(row: Channel) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise _taken(row.name) from error


def _save(row: Channel, *fields: str) -> None:
    try:
        with transaction.atomic():
            row.save(update_fields=fields)
    except IntegrityError as error:
        raise _taken(row.name) from error


def _taken(name: str) -> BadChannel:
    return BadChannel(f"Another channel of the team is already called {name}. Choose another name.", pointer="/name")


def _known(events: Collection[str]) -> list[str]:
    """Keep the known events in their order; all of them is the same as none chosen, so that new kinds are heard too."""
    chosen = [each for each in notices.EVENTS if each in events]
    return [] if len(chosen) == len(notices.EVENTS) else chosen


def _granted(networks: Sequence[str]) -> list[str]:
    try:
        return [check_grant(each) for each in networks]
    except BadNetwork as error:
        raise BadChannel(str(error), pointer="/network") from error


def _shown(kind: str, address: str, networks: Sequence[str]) -> str:
    """Check an address and return what of it may be shown: an e-mail address, or the host of a URL."""
    try:
        if kind == Channel.Kind.EMAIL:
            validate_email(address)
            return address
        place = check_url(address, parse_networks(networks))
    except ValidationError:
        raise BadChannel("This is no e-mail address.", pointer="/address") from None
    except BadAddress as error:
        raise BadChannel(str(error), pointer="/address") from error
    return place.host


def _seal(row: Channel, url: str, signing: Sequence[SigningSecret]) -> None:
    """Seal URL and secrets together, so that both are always of the same key. Raises NoSealingKey."""
    sealed = seal(url, about=f"{row.subject}:url", key=settings.CREDENTIAL_KEY)
    row.sealed_url, row.key_id = sealed.sealed, sealed.key_id
    if signing:
        text = json.dumps([[each.text, each.until.isoformat() if each.until else None] for each in signing])
        row.sealed_secret = seal(text, about=f"{row.subject}:secret", key=settings.CREDENTIAL_KEY).sealed
    row.save(update_fields=["sealed_url", "sealed_secret", "key_id"])


def _opened(row: Channel) -> tuple[str, list[SigningSecret]]:
    key = settings.CREDENTIAL_KEY
    url = unseal(Sealed(bytes(row.sealed_url or b""), row.key_id), about=f"{row.subject}:url", key=key)
    if row.sealed_secret is None:
        return url, []
    text = unseal(Sealed(bytes(row.sealed_secret), row.key_id), about=f"{row.subject}:secret", key=key)
    return url, [
        SigningSecret(each, datetime.fromisoformat(until) if until else None) for each, until in json.loads(text)
    ]


def _record(action: str, row: Channel, *, actor: str, **more: object) -> None:
    facts = {
        "kind": row.kind,
        "name": row.name,
        "address": row.address,
        "events": row.events,
        "risk_from": row.risk_from,
        "networks": row.allowed_cidrs,
        "is_active": row.is_active,
    }
    audit.record(action, subject=row.subject, actor=actor, team_id=row.team_id, payload={**facts, **more})
