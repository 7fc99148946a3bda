from http import HTTPStatus

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.forms import shown_versions, time_of
from apps.approvals.queries import cards
from apps.approvals.queries import inbox as queries
from apps.approvals.views.pages import page, queue_context, shown_card


@require_safe
@login_required
def inbox(request: AuthenticatedRequest) -> HttpResponse:
    """The queue, with the first card that this person may decide."""
    ensure(request.user, "approvals.view")
    first = queries.next_waiting(request.user)
    return page(request, shown_card(request, first) if first else None)


@require_POST
@login_required
def changes(request: AuthenticatedRequest) -> HttpResponse:
    """Tell a page what happened to the cards that it shows; nothing reorders under the cursor."""
    ensure(request.user, "approvals.view")
    found = queries.changed_since(request.user, shown_versions(request.POST), as_of=time_of(request.POST.get("as_of")))
    if not found.has_any:
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    opened = request.POST.get("open", "")
    gone = next((row for row in found.closed if str(row.id) == opened), None)
    context = {"changes": found, "gone": cards.card(request.user, gone.id) if gone else None, "open_id": opened}
    return render(request, "approvals/_changes.html", context)


@require_safe
@login_required
def queue(request: AuthenticatedRequest) -> HttpResponse:
    """Draw the queue anew, in the order of now."""
    ensure(request.user, "approvals.view")
    opened = request.GET.get("open", "")
    return render(request, "approvals/_queue.html", queue_context(request, int(opened) if opened.isdecimal() else None))
