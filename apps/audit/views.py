from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django_htmx.middleware import HtmxDetails

from apps.audit import queries
from apps.audit.forms import SearchForm


class AuditRequest(HttpRequest):
    htmx: HtmxDetails


class NotAnAuditor(PermissionDenied):
    """The person audits no team."""

    right = "audit.search"


@require_safe
@login_required
def search(request: AuditRequest) -> HttpResponse:
    """What happened in the person's teams, newest first."""
    auditor = _auditor(request)
    form = SearchForm(request.GET, team_ids=auditor.team_ids_with("audit.search"))
    before = queries.Place.parse(request.GET.get("before", ""))
    found = queries.search(auditor, form.filters(), before=before)
    name = "audit/search.html#events" if request.htmx and not request.htmx.boosted else "audit/search.html"
    context = {"form": form, "found": found, "is_filtered": any(form.data.values()), "before": before}
    return render(request, name, context)


@require_safe
@login_required
def event(request: HttpRequest, event_id: int) -> HttpResponse:
    """One event, byte by byte."""
    found = queries.visible_to(_auditor(request)).filter(id=event_id).first() if event_id <= queries.MAX_ID else None
    if found is None:
        raise Http404("Not found")
    return render(request, "audit/event.html", {"page_of": queries.event_page(found)})


def _auditor(request: HttpRequest) -> Any:
    if not request.user.has_perm("audit.search"):
        raise NotAnAuditor("The audit log is for auditors. Nothing was changed.")
    return request.user
