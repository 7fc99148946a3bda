from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.domain.search import parse
from apps.approvals.forms import shown_versions, time_of
from apps.approvals.queries import cards
from apps.approvals.queries import inbox as queries
from apps.approvals.views.pages import PAGE, addresses, asked, page, queue_context, shown_card, shown_lines


@require_safe
@login_required
def inbox(request: AuthenticatedRequest) -> HttpResponse:
    """The queue, with the first card that this person may decide."""
    ensure(request.user, "approvals.view")
    search = parse(asked(request, "q"))
    drawn = queries.queue(request.user, search=search, limit=shown_lines(request))
    first = drawn.next_after()
    if first is None and (drawn.has_more or not search.is_about_open):
        first = queries.next_waiting(request.user, search=search)
    return page(request, shown_card(request, first) if first else None, queue=drawn)


@require_POST
@login_required
def changes(request: AuthenticatedRequest) -> HttpResponse:
    """Tell a page what happened to the cards that it shows; nothing reorders under the cursor."""
    ensure(request.user, "approvals.view")
    text = asked(request, "q")
    found = queries.changed_since(
        request.user,
        shown_versions(request.POST),
        as_of=time_of(request.POST.get("as_of")),
        search=parse(text),
    )
    if not found.has_any:
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    opened = request.POST.get("open", "")
    gone = next((row for row in found.closed if str(row.id) == opened), None)
    context = {
        "changes": found,
        "gone": cards.card(request.user, gone.id) if gone else None,
        "open_id": opened,
        "waiting": queries.waiting_count(request.user),
    }
    return render(request, "approvals/_changes.html", context | addresses(text, shown_lines(request)))


@require_safe
@login_required
def queue(request: AuthenticatedRequest) -> HttpResponse:
    """Draw the queue anew, in the order of now; what it searches for becomes the address of the page."""
    ensure(request.user, "approvals.view")
    opened = request.GET.get("open", "")
    context = queue_context(request, int(opened) if opened.isdecimal() else None)
    # Whoever types keeps their box as it is; a view that was chosen fills it in.
    context["is_view"] = request.htmx.trigger != "q"
    response = render(request, "approvals/queue.html", context)
    if "q" in request.GET:
        said = "HX-Push-Url" if context["is_view"] else "HX-Replace-Url"
        response[said] = f"{reverse('approvals:inbox')}{context['trail']}"
    return response


@require_safe
@login_required
def more(request: AuthenticatedRequest) -> HttpResponse:
    """Append the next lines, in the order in which the first ones stood."""
    ensure(request.user, "approvals.view")
    text, after = asked(request, "q"), request.GET.get("after", "")
    as_of = time_of(request.GET.get("as_of"))
    if not request.htmx or as_of is None or not after.isdecimal():
        return redirect(f"{reverse('approvals:inbox')}{addresses(text, shown_lines(request))['trail']}")
    part = queries.more(request.user, after=int(after), as_of=as_of, search=parse(text), limit=PAGE)
    context: dict[str, Any] = {"part": part} | addresses(text, shown_lines(request))
    response = render(request, "approvals/more.html", context)
    here = urlsplit(request.htmx.current_url or reverse("approvals:inbox")).path
    response["HX-Replace-Url"] = f"{here}{context['trail']}"
    return response
