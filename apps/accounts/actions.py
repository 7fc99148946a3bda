import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils.text import slugify

from apps.accounts.access import Forbidden
from apps.accounts.domain import tokens
from apps.accounts.domain.rights import roles_with
from apps.accounts.errors import AddressTaken, BadToken, FirstRunOver, LastAdministrator, NotYours
from apps.accounts.models import ApiToken, Membership, Role, Team, User
from apps.accounts.queries import team_ids_with
from apps.audit import actions as audit
from apps.audit.clock import clock
from apps.audit.locks import try_xact_lock

_KEY_ID_ALPHABET: Final = string.ascii_letters + string.digits


@transaction.atomic
def create_first_administrator(*, name: str, email: str, password: str, team_name: str) -> User:
    """Create the first person, their team and its administrator. Raises FirstRunOver once there is anybody."""
    with try_xact_lock("accounts.first_run") as got:
        if not got or User.objects.exists():
            raise FirstRunOver("There is an administrator already. Sign in, or ask one to add you.")
        person = User.objects.create_user(email, password, name=name)
        team = Team.objects.create(name=team_name, slug=_free_slug(team_name), lead=person)
        Membership.objects.create(user=person, team=team, role=Role.ADMIN)
        audit.record("person.created", subject=person.actor, actor=person.actor, payload={"name": name})
        audit.record("team.created", subject=f"team:{team.pk}", actor=person.actor, team_id=team.pk)
        _record_role("role.granted", person, team, Role.ADMIN, person)
    return person


@transaction.atomic
def create_person(*, name: str, email: str, team: Team, role: str, actor: User) -> User:
    """Add a person with their first role. They choose their password by the link that the administrator hands over."""
    address = User.objects.normalize_email(email).lower()
    if User.objects.filter(email=address).exists():
        raise AddressTaken(
            f"{address} has an account already. Nothing was changed; grant a role to that person instead."
        )
    person = User.objects.create_user(address, None, name=name)
    audit.record(
        "person.created", subject=person.actor, actor=actor.actor, team_id=team.pk, payload={"name": person.name}
    )
    grant_role(person, team=team, role=role, actor=actor)
    return person


@transaction.atomic
def create_team(*, name: str, purpose: str = "", actor: User) -> Team:
    """Create a team; whoever creates it is its first administrator, so that it can ever have members."""
    team = Team.objects.create(name=name, purpose=purpose, slug=_free_slug(name))
    audit.record(
        "team.created",
        subject=f"team:{team.pk}",
        actor=actor.actor,
        team_id=team.pk,
        payload={"name": name, "purpose": purpose},
    )
    grant_role(actor, team=team, role=Role.ADMIN, actor=actor)
    return team


@transaction.atomic
def grant_role(person: User, *, team: Team, role: str, actor: User) -> Membership:
    """Give a role in a team; it holds from the person's next request. The same again changes nothing."""
    membership, created = Membership.objects.get_or_create(user=person, team=team, role=Role(role))
    if created:
        _record_role("role.granted", person, team, role, actor)
    _forget_roles(person)
    return membership


@transaction.atomic
def revoke_role(membership: Membership, *, actor: User) -> None:
    """Take a role away; the person's next request is without it. Raises LastAdministrator for a team's last one."""
    team = Team.objects.select_for_update().get(pk=membership.team_id)
    if membership.role in roles_with("people.change") and not _other_administrator(team, membership.user):
        raise LastAdministrator(
            f"{membership.user} is the last administrator of {team}. Nothing was changed; make somebody else one first."
        )
    person, role = membership.user, membership.role
    deleted, _ = Membership.objects.filter(pk=membership.pk).delete()
    if deleted:
        _record_role("role.revoked", person, team, role, actor)
    _forget_roles(person)


@transaction.atomic
def deactivate(person: User, *, actor: User) -> None:
    """Close an account; open sessions end with their next request. Roles stay, so that reopening restores them."""
    teams = _teams_in_hand(person, actor)
    for team in teams:
        if team.pk in person.team_ids_with("people.change") and not _other_administrator(team, person):
            raise LastAdministrator(
                f"{person} is the last administrator of {team}. Nothing was changed; make somebody else one first."
            )
    _set_active(person, actor, "person.deactivated", is_active=False)


@transaction.atomic
def reactivate(person: User, *, actor: User) -> None:
    """Open a closed account again, with the roles it had."""
    _teams_in_hand(person, actor)
    _set_active(person, actor, "person.reactivated", is_active=True)


@transaction.atomic
def record_link(person: User, *, actor: User) -> None:
    """Note that an administrator made a link by which the person, or whoever holds it, chooses a password."""
    _teams_in_hand(person, actor)
    audit.record("person.link_made", subject=person.actor, actor=actor.actor)


@transaction.atomic
def choose_password(person: User, *, password: str) -> None:
    """Set the password that the person chose by their link; the link is used up by it."""
    person.set_password(password)
    person.save(update_fields=["password"])
    audit.record("person.password_chosen", subject=person.actor, actor=person.actor)


@transaction.atomic
def change_profile(person: User, *, name: str, time_zone: str, wants_mail: bool | None = None) -> None:
    """Change what a person may change about themselves; without `wants_mail` that stays as it is."""
    before = {"name": person.name, "time_zone": person.time_zone, "wants_mail": person.wants_mail}
    after = {
        "name": name,
        "time_zone": time_zone,
        "wants_mail": person.wants_mail if wants_mail is None else wants_mail,
    }
    if before == after:
        return
    User.objects.filter(pk=person.pk).update(**after)
    for field, value in after.items():
        setattr(person, field, value)
    audit.record("person.changed", subject=person.actor, actor=person.actor, payload={"before": before, "after": after})


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token with its text, which exists nowhere else and is shown once."""

    token: ApiToken
    text: str


@transaction.atomic
def issue_token(
    *,
    kind: str,
    name: str,
    team: Team,
    scopes: Sequence[str],
    agent_id: int | None = None,
    cidr: str = "",
    days: int = tokens.LONGEST_LIFE.days,
    actor: User,
    at: datetime | None = None,
) -> Issued:
    """Make a token for a program (S7). Only its SHA-256 is kept.

    Raises Forbidden without the right in the team, BadToken for a scope that its kind may not have, a life of more
    than 90 days, no agent for an agent's token, or a network that is none.
    """
    if not actor.has_perm("people.change", team.pk):
        raise Forbidden("people.change", team.pk)
    if not scopes or not set(scopes) <= set(tokens.SCOPES[kind]):
        raise BadToken(f"A token of this kind may have: {', '.join(tokens.SCOPES[kind])}. Nothing was issued.")
    if not timedelta(0) < timedelta(days=days) <= tokens.LONGEST_LIFE:
        raise BadToken(f"A token lives for 1 to {tokens.LONGEST_LIFE.days} days. Nothing was issued.")
    if (kind == ApiToken.Kind.AGENT) != (agent_id is not None):
        raise BadToken("An agent's token names its agent, and no other token does. Nothing was issued.")
    try:
        network = tokens.network(cidr)
    except tokens.BadNetwork as error:
        raise BadToken(f"{error} Nothing was issued.") from error
    now = at or clock()
    text = tokens.spell(
        "".join(secrets.choice(_KEY_ID_ALPHABET) for _ in range(tokens.KEY_ID_CHARS)), secrets.token_urlsafe(32)
    )
    token = ApiToken.objects.create(
        kind=kind,
        name=name,
        team=team,
        agent_id_value=agent_id,
        key_id=tokens.key_id_of(text) or "",
        sha256=tokens.digest_of_token(text),
        scopes=list(scopes),
        cidr=network,
        created_by=actor,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    facts = {"kind": kind, "key_id": token.key_id, "scopes": token.scopes, "cidr": network, "agent": agent_id}
    audit.record(
        "token.issued",
        subject=f"token:{token.pk}",
        actor=actor.actor,
        team_id=team.pk,
        payload={**facts, "name": name, "expires_at": token.expires_at},
    )
    return Issued(token, text)


@transaction.atomic
def revoke_token(token: ApiToken, *, actor: User, at: datetime | None = None) -> ApiToken:
    """Take a token away; the next request with it is refused. Twice is the same as once. Raises Forbidden."""
    if not actor.has_perm("people.change", token.team_id):
        raise Forbidden("people.change", token.team_id)
    row = ApiToken.objects.select_for_update().get(pk=token.pk)
    if row.revoked_at is None:
        row.revoked_at = at or clock()
        row.save(update_fields=["revoked_at"])
        audit.record(
            "token.revoked",
            subject=f"token:{row.pk}",
            actor=actor.actor,
            team_id=row.team_id,
            payload={"name": row.name, "key_id": row.key_id},
        )
    return row


def note_token_use(token: ApiToken, *, at: datetime) -> None:
    """Remember when a token was last used, at most once a minute. It decides nothing, so it is no event."""
    long_ago = at - tokens.NOTE_USE_EVERY
    if token.last_used_at is None or token.last_used_at <= long_ago:
        unnoted = Q(last_used_at__isnull=True) | Q(last_used_at__lte=long_ago)
        ApiToken.objects.filter(unnoted, pk=token.pk).update(last_used_at=at)


def _teams_in_hand(person: User, actor: User) -> list[Team]:
    """Lock the person's teams; each must be one whose people the actor may change, and nobody closes their own account."""
    if person.pk == actor.pk:
        raise NotYours("This is your own account. Nothing was changed; ask another administrator.")
    teams = list(Team.objects.select_for_update().filter(pk__in=person.memberships.values("team")).order_by("pk"))
    mine = team_ids_with(actor, "people.change")
    others = [team.name for team in teams if team.pk not in mine]
    if others or not mine:
        raise NotYours(
            f"{person} also belongs to {', '.join(others) or 'no team of yours'}. Nothing was changed;"
            " take their roles in your team away, or ask an administrator of theirs."
        )
    return teams


def _other_administrator(team: Team, person: User) -> bool:
    administrators = team.memberships.filter(role__in=roles_with("people.change"), user__is_active=True)
    return administrators.exclude(user=person).exists()


def _set_active(person: User, actor: User, action: str, *, is_active: bool) -> None:
    if User.objects.filter(pk=person.pk).exclude(is_active=is_active).update(is_active=is_active):
        audit.record(action, subject=person.actor, actor=actor.actor)
    person.is_active = is_active
    _forget_roles(person)


def _record_role(action: str, person: User, team: Team, role: str, actor: User) -> None:
    audit.record(
        action, subject=person.actor, actor=actor.actor, team_id=team.pk, payload={"role": str(role), "team": team.name}
    )


def _forget_roles(person: User) -> None:
    person.__dict__.pop("roles_by_team", None)


def _free_slug(name: str) -> str:
    wanted = slugify(name)[:40] or "team"
    taken = set(Team.objects.filter(slug__startswith=wanted).values_list("slug", flat=True))
    numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return wanted if wanted not in taken else next(slug for slug in numbered if slug not in taken)
