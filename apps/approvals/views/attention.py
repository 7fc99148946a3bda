"""What a reviewer does with a card besides deciding it: put it aside, call the next person, hand it to a colleague."""

from datetime import timedelta
from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import delegating, escalating, snoozing, withdrawing
from apps.approvals.errors import Refused
from apps.approvals.forms import HandOverForm, SnoozeForm
from apps.approvals.queries import cards, reviewers
from apps.approvals.views.pages import Notice, detail, refused
from apps.audit.clock import clock


@require_POST
@login_required
def snooze(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    cards.ensure_in_sight(request.user, pk)
    form = SnoozeForm(request.POST)
    if not form.is_valid():
        unread = Notice("bad", "Choose for how long. Nothing was changed.")
        return detail(request, pk, notice=unread, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        snoozing.snooze(pk, length=timedelta(minutes=form.cleaned_data["minutes"]), actor=request.user)
    except Refused as refusal:
        return _refused(request, pk, refusal)
    return detail(
        request, pk, notice=Notice("idle", "Put aside. Only you do not see it; it waits on."), with_queue=True
    )


@require_POST
@login_required
def unsnooze(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    cards.ensure_in_sight(request.user, pk)
    snoozing.unsnooze(pk, actor=request.user)
    return detail(request, pk, notice=Notice("idle", "It is back in your queue."), with_queue=True)


@require_POST
@login_required
def escalate(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    cards.ensure_in_sight(request.user, pk)
    try:
        row, people = escalating.escalate(pk, reason=request.POST.get("reason", ""), actor=request.user)
    except Refused as refusal:
        return _refused(request, pk, refusal)
    if not row.is_open:
        # A drill: the card itself now tells what it was.
        return detail(request, pk, with_queue=True)
    names = " and ".join(str(each) for each in people)
    told = f"Escalated to {names}." if people else "Escalated, but this team has nobody on call and no lead."
    return detail(request, pk, notice=Notice("ok" if people else "warn", f"{told} It waits on."), with_queue=True)


@require_POST
@login_required
def withdraw(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Take a card back in place of its agent."""
    cards.ensure_in_sight(request.user, pk)
    try:
        withdrawing.withdraw_by_hand(pk, reason=request.POST.get("reason", ""), actor=request.user)
    except Refused as refusal:
        return refused(request, pk, refusal, "withdraw")
    return detail(request, pk, notice=Notice("idle", "Withdrawn. Nothing was executed."), with_queue=True)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def hand_over(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Ask to whom the card goes, and hand it over."""
    card = cards.card(request.user, pk)
    form = HandOverForm(request.POST or None, people=reviewers.colleagues_for(pk, at=clock(), but=request.user))
    if request.method != "POST" or not form.is_valid():
        whole = "approvals/_hand_over.html" if request.htmx else "approvals/hand_over.html"
        status = HTTPStatus.OK if request.method != "POST" else HTTPStatus.UNPROCESSABLE_ENTITY
        return render(request, whole, {"card": card, "form": form}, status=status)
    try:
        row = delegating.hand_over(pk, actor=request.user, **form.cleaned_data)
    except Refused as refusal:
        return _refused(request, pk, refusal)
    told = f"Handed to {row.assigned_to}. Others of the team may still decide it."
    if not request.htmx:
        messages.success(request, told)
        return redirect("approvals:card", pk)
    return detail(request, pk, notice=Notice("ok", told), with_queue=True)


def _refused(request: AuthenticatedRequest, pk: int, refusal: Refused) -> HttpResponse:
    return detail(request, pk, notice=Notice("warn", refusal.message), status=refusal.status, with_queue=True)
