from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.domain.search import parse
from apps.approvals.forms import time_of
from apps.approvals.queries import history as queries
from apps.approvals.queries.answered import answered_in_time


@require_safe
@login_required
def history(request: AuthenticatedRequest) -> HttpResponse:
    """What was closed, searched as the inbox is; how many were answered in time, for whoever asks."""
    ensure(request.user, "approvals.view")
    text = request.GET.get("q", "").strip()
    before, pk = time_of(request.GET.get("before")), request.GET.get("id", "")
    after = (before, int(pk)) if before and pk.isdecimal() else None
    search = parse(text)
    context = {
        "q": text,
        "search": search,
        "decided": queries.history_rows(request.user, after=after, search=search),
        "answered": answered_in_time(request.user) if "answered" in request.GET else None,
    }
    return render(request, "approvals/history.html", context)
