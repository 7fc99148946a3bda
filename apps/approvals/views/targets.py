"""The doors at which a card's target is looked at again (R9)."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import reproposing
from apps.approvals.errors import Changed, NotFound, Refused
from apps.approvals.forms import StampForm
from apps.approvals.queries import cards
from apps.approvals.queries.targets import comparison
from apps.approvals.views.pages import Notice, detail, page, refused, shown_card

REPROPOSED = "The agent hears what changed, and proposes anew if it still holds. Nothing was executed."


@require_safe
@never_cache
@login_required
def now(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Show when proposed, now and if approved of a card's target. It is only read: nothing moves."""
    found = comparison(request.user, pk)
    if request.htmx:
        return render(request, "approvals/_diff.html", {"comparison": found, "card": found.card, "beside": True})
    return page(request, shown_card(request, pk), comparison=found)


@require_POST
@login_required
def repropose(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Ask for a new proposal because the target moved; the card closes."""
    cards.ensure_in_sight(request.user, pk)
    form = StampForm(request.POST)
    if not form.is_valid():
        return refused(request, pk, Changed())
    try:
        reproposing.repropose(pk, **form.cleaned_data, actor=request.user)
    except NotFound:
        raise
    except Refused as refusal:
        return refused(request, pk, refusal)
    if not request.htmx:
        messages.success(request, REPROPOSED)
        return redirect("approvals:card", pk)
    return detail(request, pk, notice=Notice("ok", REPROPOSED), with_queue=True)
