from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.middleware import record_refusal
from apps.accounts.types import AuthenticatedRequest
from apps.approvals import shown
from apps.approvals.actions import bulk
from apps.approvals.domain.bulk import GroupKey, Shown
from apps.approvals.errors import Refused
from apps.approvals.forms import numbers
from apps.approvals.queries import cards
from apps.approvals.queries import groups as queries
from apps.approvals.views.pages import Notice, shown_card


@require_safe
@login_required
def groups(request: AuthenticatedRequest) -> HttpResponse:
    """The groups that wait for this person, and the cards of one of them."""
    ensure(request.user, "approvals.view")
    key, ticked = GroupKey.parse(request.GET.get("group", "")), frozenset(numbers(request.GET, "card"))
    if key is None and ticked:
        key = queries.group_of(request.user, min(ticked))
    return _page(request, key, ticked=ticked, everything="all" in request.GET)


@require_safe
@login_required
def look(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Open a card to look at it only: nobody claims it, so it stays as the page beside it shows it."""
    cards.ensure_in_sight(request.user, pk)
    return render(request, "approvals/_look.html", {"card": shown_card(request, pk)})


@require_POST
@login_required
def decide(request: AuthenticatedRequest) -> HttpResponse:
    """Give one verdict on all ticked cards of a group, and say of each what became of it."""
    ensure(request.user, "approvals.view")
    key, token = GroupKey.parse(request.POST.get("group", "")), request.POST.get("shown", "")
    verdict = request.POST.get("verdict", "")
    chosen = numbers(request.POST, "card")
    on_page = {each.id: each for each in shown.read(token, user_id=request.user.pk)}
    try:
        outcomes = bulk.decide_bulk(
            [on_page.get(pk, Shown(pk, 0, "")) for pk in chosen],
            token=token,
            verdict=verdict,
            # What was typed for a rejection is no reason to approve.
            reason=request.POST.get("reason", "") if verdict == "reject" else "",
            actor=request.user,
        )
    except Refused as refusal:
        open_first = getattr(refusal, "ids", ())
        notice = Notice("warn", refusal.message)
        return _page(
            request, key, ticked=frozenset(chosen), notice=notice, open_first=open_first, status=refusal.status
        )
    for each in outcomes:
        if each.refusal is not None and getattr(each.refusal, "right", None):
            record_refusal(request, each.refusal)
    titles = queries.titles(request.user, [each.id for each in outcomes])
    return _page(request, key, results=[(each, titles.get(each.id, f"Card {each.id}")) for each in outcomes])


def _page(request: AuthenticatedRequest, key: GroupKey | None, *, status: int = 200, **context: Any) -> HttpResponse:
    found = queries.groups(request.user)
    if key is None and found:
        key = found[0].key
    context |= {
        "groups": found,
        "open": queries.group_page(request.user, key) if key else None,
        "open_key": str(key or ""),
        "posted": request.POST,
    }
    template = "approvals/_group.html" if request.htmx and request.method == "POST" else "approvals/groups.html"
    return render(request, template, context, status=status)
