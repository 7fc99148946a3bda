"""When a person last showed who they are in this session: dear actions ask for that anew."""

from datetime import UTC, datetime

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from django.http import HttpRequest

from apps.accounts.models import User


def note_sign_in(request: HttpRequest, user: User) -> None:
    """Remember when this sign-in was, by whatever door the person came in."""
    record_authentication(request, user, method="sign_in")


def signed_in_at(request: HttpRequest) -> datetime | None:
    """Return when the person of this session last signed in or gave their password again; None if nobody knows."""
    person = request.user if isinstance(request.user, User) else None
    moments = [float(each["at"]) for each in get_authentication_records(request, person)]
    return datetime.fromtimestamp(max(moments), UTC) if moments else None
