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
    _only_in_a_demo()
    people = {user.email: user for user in User.objects.filter(is_demo=True, is_active=True)}
    cast = [(people[person.email], person.says) for person in CAST if person.offered and person.email in people]
    return render(request, "demo/logins.html", {"cast": cast, "company": COMPANY})


@require_POST
def sign_in(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign in as one of the cast, by one click and without a password."""
    _only_in_a_demo()
    user = get_object_or_404(User, pk=pk, is_demo=True, is_active=True)
    login(request, user, backend=BACKEND)
    return redirect("ui:home")


def _only_in_a_demo() -> None:
    if not settings.DEMO:
        raise Http404("Not found")
