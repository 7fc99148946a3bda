from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.models import User
from apps.demo.company import CAST, COMPANY

BACKEND = "apps.accounts.backends.RoleBackend"


@require_safe
def logins(request: HttpRequest) -> HttpResponse:
    """Offer the cast on the sign-in page; there is no such page outside a demo."""
    _only_in_a_demo(request)
    people = {user.email: user for user in User.objects.filter(is_demo=True, is_active=True)}
    cast = [(people[person.email], person.says) for person in CAST if person.offered and person.email in people]
    back = parse_qs(urlsplit(request.headers.get("HX-Current-URL", "")).query).get("next", [""])[-1]
    return render(request, "demo/logins.html", {"cast": cast, "company": COMPANY, "back": back})


@require_POST
def sign_in(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign in as one of the cast, by one click and without a password."""
    _only_in_a_demo(request)
    user = get_object_or_404(User, pk=pk, is_demo=True, is_active=True)
    login(request, user, backend=BACKEND)
    return redirect(_back(request) or "ui:home")


def _back(request: HttpRequest) -> str:
    """Return the page of ours that somebody came from to sign in again."""
    page = request.POST.get("next", "")
    return page if url_has_allowed_host_and_scheme(page, None) else ""


def _only_in_a_demo(request: HttpRequest) -> None:
    """Look at who calls, too: a Host header is the caller's own word, and a server can be bound past our settings."""
    if not (settings.DEMO and _is_this_machine(request.META.get("REMOTE_ADDR", ""))):
        raise Http404("Not found")


def _is_this_machine(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
