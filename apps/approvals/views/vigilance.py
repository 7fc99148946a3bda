from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import Forbidden
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.queries import vigilance as queries
from apps.audit.clock import clock


@require_safe
@login_required
def vigilance(request: AuthenticatedRequest) -> HttpResponse:
    """How a reviewer looks, told to themselves; and how a team does, to whoever looks after it."""
    if not any(request.user.has_perm(right) for right in ("approvals.view", queries.VIEW)):
        raise Forbidden(queries.VIEW)
    return render(request, "approvals/vigilance.html", {"found": queries.vigilance_page(request.user, at=clock())})
