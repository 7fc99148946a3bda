from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.middleware import record_refusal
from apps.accounts.types import AuthenticatedRequest
from apps.approvals import queries
from apps.approvals.actions import claims, execution, undoing, verdicts, viewing
from apps.approvals.card import Card
from apps.approvals.errors import BadArgs, NotFound, Refused
from apps.approvals.forms import ReconcileForm, VerdictForm, edited_args, shown_versions


@require_safe
@login_required
def inbox(request: AuthenticatedRequest) -> HttpResponse:
    """The queue, with the first card that this person may decide."""
    ensure(request.user, "approvals.view")
    first = queries.next_waiting(request.user)
    return _page(request, _shown(request, first) if first else None)


@require_safe
@login_required
def card(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return _page(request, _shown(request, pk))


@require_POST
@login_required
def claim(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Open a card: it is this person's for five minutes, and what they had open before is free again."""
    opened = queries.card(request.user, pk)
    # Whoever may only read opens it all the same; to claim it was the page's idea, not theirs.
    return _card(request, pk, notice=_claimed(request, pk) if opened.may_ever_decide else None)


@require_POST
@login_required
def release(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    queries.card(request.user, pk)
    try:
        claims.release(pk, actor=request.user)
    except Refused as refusal:
        return _card(request, pk, notice=Notice("warn", refusal.message))
    return _card(request, pk, notice=Notice("idle", "Given back. Anybody of the team may decide it."))


@require_POST
@login_required
def decide(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Take one verdict on exactly the card that was shown; the next card opens."""
    shown = queries.card(request.user, pk)
    form = VerdictForm(request.POST)
    if not form.is_valid():
        return _card(request, pk, notice=Notice("bad", "This verdict cannot be read. Nothing was decided."), status=422)
    verdict = form.cleaned_data["verdict"]
    try:
        decided = verdicts.decide_proposal(
            pk,
            verdict=verdict,
            version=form.cleaned_data["version"],
            digest=form.cleaned_data["digest"],
            args=edited_args(shown, request.POST) if verdict == "edit" else None,
            reason=form.cleaned_data["reason"],
            opened_at=form.cleaned_data["opened_at"],
            actor=request.user,
        )
    except NotFound:
        raise
    except Refused as refusal:
        return _refused(request, pk, refusal, verdict)
    return _next(request, decided)


@require_POST
@login_required
def undo(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    queries.card(request.user, pk)
    try:
        undoing.undo(pk, actor=request.user)
    except Refused as refusal:
        return _card(request, pk, notice=Notice("bad", refusal.message), status=refusal.status, with_queue=True)
    return _card(request, pk, notice=Notice("ok", "Taken back. Nothing was executed; it waits again."), with_queue=True)


@require_POST
@login_required
def changes(request: AuthenticatedRequest) -> HttpResponse:
    """Tell a page what happened to the cards that it shows; nothing reorders under the cursor."""
    ensure(request.user, "approvals.view")
    found = queries.changed_since(request.user, shown_versions(request.POST), as_of=_time(request.POST.get("as_of")))
    if not found.has_any:
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    opened = request.POST.get("open", "")
    gone = next((row for row in found.closed if str(row.id) == opened), None)
    context = {"changes": found, "gone": queries.card(request.user, gone.id) if gone else None, "open_id": opened}
    return render(request, "approvals/_changes.html", context)


@require_safe
@login_required
def queue(request: AuthenticatedRequest) -> HttpResponse:
    """Draw the queue anew, in the order of now."""
    ensure(request.user, "approvals.view")
    opened = request.GET.get("open", "")
    return render(request, "approvals/_queue.html", _queue(request, int(opened) if opened.isdecimal() else None))


@require_safe
@login_required
def history(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "approvals.view")
    before, pk = _time(request.GET.get("before")), request.GET.get("id", "")
    decided = queries.history_rows(request.user, after=(before, int(pk)) if before and pk.isdecimal() else None)
    return render(request, "approvals/history.html", {"decided": decided})


@require_safe
@login_required
def reconcile_list(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "repairs.view")
    return render(
        request, "approvals/reconcile.html", {"rows": queries.unknown_outcomes(request.user), "form": ReconcileForm()}
    )


@require_POST
@login_required
def reconcile(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    queries.card(request.user, pk)
    form = ReconcileForm(request.POST)
    if not form.is_valid():
        context = {"rows": queries.unknown_outcomes(request.user), "form": form, "faulty": pk}
        return render(request, "approvals/reconcile.html", context, status=422)
    try:
        execution.reconcile(pk, actor=request.user, **form.cleaned_data)
    except Refused as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, "Closed by what you found. It is never run again.")
    return redirect("approvals:reconcile")


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence above a card, in one of the five statuses."""

    status: str
    text: str
    problems: tuple[Any, ...] = ()


def _claimed(request: AuthenticatedRequest, pk: int) -> Notice | None:
    for other in queries.claims_of(request.user):
        if other != pk:
            claims.release(other, actor=request.user)
    try:
        claims.claim(pk, actor=request.user)
    except Refused as refusal:
        return Notice("warn", refusal.message)
    return None


def _refused(request: AuthenticatedRequest, pk: int, refusal: Refused, verdict: str) -> HttpResponse:
    if refusal.status == HTTPStatus.FORBIDDEN:
        record_refusal(request, refusal)
    problems = tuple(refusal.problems) if isinstance(refusal, BadArgs) else ()
    notice = Notice("bad" if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY else "warn", refusal.message, problems)
    reopen = verdict if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY else ""
    return _card(request, pk, notice=notice, status=refusal.status, reopen=reopen, with_queue=True)


def _next(request: AuthenticatedRequest, decided: verdicts.Decided) -> HttpResponse:
    following = queries.next_waiting(request.user, after=decided.proposal.pk)
    if not request.htmx:
        return redirect("approvals:card", following) if following else redirect("approvals:inbox")
    notice = _claimed(request, following) if following else None
    context = _queue_beside(request, following) | {
        "card": _shown(request, following) if following else None,
        "notice": notice,
        "decided": decided,
    }
    response = render(request, "approvals/_detail.html", context)
    response["HX-Push-Url"] = f"/inbox/{following}/" if following else "/inbox/"
    return response


def _card(
    request: AuthenticatedRequest,
    pk: int,
    *,
    notice: Notice | None = None,
    status: int = 200,
    reopen: str = "",
    with_queue: bool = False,
) -> HttpResponse:
    if not request.htmx:
        return _page(request, _shown(request, pk), notice=notice, status=status, reopen=reopen)
    context: dict[str, Any] = {
        "card": _shown(request, pk),
        "notice": notice,
        "reopen": reopen,
        "posted": request.POST,
    }
    if with_queue:
        context |= _queue_beside(request, pk)
    return render(request, "approvals/_detail.html", context, status=status)


def _shown(request: AuthenticatedRequest, pk: int) -> Card:
    """Return a card as this person is about to see it; that they saw it is an event."""
    shown = queries.card(request.user, pk)
    viewing.record_view(shown, reader=request.user)
    return shown


def _page(
    request: AuthenticatedRequest,
    shown: Card | None,
    *,
    notice: Notice | None = None,
    status: int = 200,
    reopen: str = "",
) -> HttpResponse:
    context = _queue(request, shown.id if shown else None) | {
        "card": shown,
        "notice": notice,
        "reopen": reopen,
        "posted": request.POST,
    }
    return render(request, "approvals/inbox.html", context, status=status)


def _queue(request: AuthenticatedRequest, open_id: int | None) -> dict[str, Any]:
    return {"queue": queries.queue(request.user), "open_id": open_id}


def _queue_beside(request: AuthenticatedRequest, open_id: int | None) -> dict[str, Any]:
    """What changes beside a card when it was decided: the queue, its sentence, and the number on the side bar."""
    return _queue(request, open_id) | {"with_queue": True, "waiting": queries.waiting_count(request.user)}


def _time(text: str | None) -> datetime | None:
    return parse_datetime(text or "")
