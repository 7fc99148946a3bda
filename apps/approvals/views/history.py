from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.forms import time_of
from apps.approvals.queries import history as queries


@require_safe
@login_required
def history(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "approvals.view")
    before, pk = time_of(request.GET.get("before")), request.GET.get("id", "")
    decided = queries.history_rows(request.user, after=(before, int(pk)) if before and pk.isdecimal() else None)
    return render(request, "approvals/history.html", {"decided": decided})
