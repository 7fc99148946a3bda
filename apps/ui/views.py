from http import HTTPStatus

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import trigger_client_event

from apps.ui import gallery as exhibits
from apps.ui import navigation, preferences
from apps.ui.types import HtmxRequest


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Open the first noun this person may see."""
    for item in navigation.visible_to(request.user):
        return redirect(item.url_name)
    return render(request, "ui/nothing_yet.html")


@require_POST
def prefer(request: HtmxRequest, name: str) -> HttpResponse:
    """Keep one preference in a cookie; without htmx, return to the page the person was on."""
    value = request.POST.get(name, "")
    if value not in preferences.CHOICES[name]:
        return HttpResponse(
            f"{name} must be one of: {', '.join(preferences.CHOICES[name])}.", status=HTTPStatus.UNPROCESSABLE_ENTITY
        )
    if request.htmx:
        response = HttpResponse(status=HTTPStatus.NO_CONTENT)
        trigger_client_event(response, "preference", {"name": name, "choice": value})
    else:
        response = redirect(_way_back(request))
    preferences.keep(response, name, value)
    return response


@require_GET
def gallery(request: HttpRequest) -> HttpResponse:
    """Show every component in all its states, to developers, in the demo, and to administrators."""
    may_see = (
        settings.DEBUG or settings.DEMO or (request.user.is_authenticated and request.user.has_perm("people.change"))
    )
    if not may_see:
        raise Http404
    return render(request, "ui/gallery.html", exhibits.context())


def _way_back(request: HttpRequest) -> str:
    path = request.POST.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(path, {request.get_host()}, require_https=request.is_secure())
    return path if is_safe else resolve_url("ui:home")
