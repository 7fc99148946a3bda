"""Two things about the person behind a request: whose clock the pages show, and what they were refused."""

from collections.abc import Callable
from http import HTTPStatus
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from apps.accounts.access import Forbidden, Hidden
from apps.accounts.models import User
from apps.accounts.queries import who_can_grant
from apps.audit import actions as audit

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class OwnTimeZone:
    """Shows times in the person's zone."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Without the cookie there is nobody to ask the database about.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and isinstance(request.user, User):
            with timezone.override(ZoneInfo(request.user.time_zone)):
                return self.get_response(request)
        return self.get_response(request)


class RefusalsAreRecorded:
    """Makes each failed authorisation an audit event, after the refused view's transaction is gone (ASVS 16.3.2)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, Hidden | PermissionDenied):
            record_refusal(request, exception)
        if isinstance(exception, Forbidden):
            context = {"exception": str(exception), "who": who_can_grant(exception.team_id), "ask": exception.ask}
            return render(request, "403.html", context, status=HTTPStatus.FORBIDDEN)
        return None


def record_refusal(request: HttpRequest, refusal: Exception) -> None:
    """Record who was refused what, as far as the refusal says: `right`, `subject`, `team_id`; `actor` for programs.

    Doors that answer refusals themselves, as the inbox and the JSON API do, call this too.
    """
    person = request.user
    audit.record(
        "access.refused",
        subject=getattr(refusal, "subject", None) or f"right:{getattr(refusal, 'right', 'unnamed')}",
        actor=str(getattr(refusal, "actor", "") or getattr(person, "actor", "user:unknown")),
        team_id=getattr(refusal, "team_id", None),
        outcome="hidden" if isinstance(refusal, Hidden) else "forbidden",
        payload={
            "method": request.method,
            "path": request.path[:500],
            "right": getattr(refusal, "right", None),
        },
    )
