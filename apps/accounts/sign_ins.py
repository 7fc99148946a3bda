"""Who came, who left and who was refused at the door: each attempt is an audit event."""

from typing import Any

from django.http import HttpRequest

from apps.accounts import sessions
from apps.accounts.models import User
from apps.audit import actions as audit

# As long as an address may be; what is longer is no address.
MAX_ADDRESS = 254


def signed_in(*, user: User, request: HttpRequest, **_: Any) -> None:
    sessions.note_sign_in(request, user)
    audit.record("session.opened", subject=user.actor, actor=user.actor)


def shown_again(*, user: User, reauthenticated: bool = False, **_: Any) -> None:
    """Somebody gave their password again inside a session."""
    if reauthenticated:
        audit.record("session.confirmed", subject=user.actor, actor=user.actor)


def signed_out(*, user: User | None, **_: Any) -> None:
    if user is not None:
        audit.record("session.closed", subject=user.actor, actor=user.actor)


def sign_in_failed(*, credentials: dict[str, Any], **_: Any) -> None:
    """Name the person if the address is one of ours. Somebody may have typed a password into the address field."""
    address = str(credentials.get("email") or "").strip().lower()[:MAX_ADDRESS]
    person = User.objects.filter(email=address).first()
    audit.record(
        "session.refused",
        subject=person.actor if person else "user:unknown",
        actor="user:unknown",
        outcome="refused",
        payload={"address": address} if "@" in address else {},
    )
