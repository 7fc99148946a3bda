from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
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
    return render(request, "demo/logins.html", {"cast": cast, "company": COMPANY})


@require_POST
def sign_in(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign in as one of the cast, by one click and without a password."""
    _only_in_a_demo(request)
    user = get_object_or_404(User, pk=pk, is_demo=True, is_active=True)
    login(request, user, backend=BACKEND)
    return redirect("ui:home")


def _only_in_a_demo(request: HttpRequest) -> None:
    """Look at who calls, too: a Host header is the caller's own word, and a server can be bound past our settings."""
    if not (settings.DEMO and _is_this_machine(request.META.get("REMOTE_ADDR", ""))):
        raise Http404("Not found")


def _is_this_machine(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
