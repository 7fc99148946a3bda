from http import HTTPStatus

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.middleware import record_refusal
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import claims, undoing, verdicts
from apps.approvals.errors import BadArgs, NotFound, Refused
from apps.approvals.forms import VerdictForm, edited_args
from apps.approvals.queries import cards, inbox
from apps.approvals.views.pages import Notice, detail, page, queue_beside, shown_card


@require_safe
@login_required
def card(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return page(request, shown_card(request, pk))


@require_POST
@login_required
def claim(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Open a card: it is this person's for five minutes, and what they had open before is free again."""
    opened = cards.card(request.user, pk)
    # Whoever may only read opens it all the same; to claim it was the page's idea, not theirs.
    return detail(request, pk, notice=_claimed(request, pk) if opened.may_ever_decide else None)


@require_POST
@login_required
def release(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    cards.card(request.user, pk)
    try:
        claims.release(pk, actor=request.user)
    except Refused as refusal:
        return detail(request, pk, notice=Notice("warn", refusal.message))
    return detail(request, pk, notice=Notice("idle", "Given back. Anybody of the team may decide it."))


@require_POST
@login_required
def decide(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Take one verdict on exactly the card that was shown; the next card opens."""
    shown = cards.card(request.user, pk)
    form = VerdictForm(request.POST)
    if not form.is_valid():
        return detail(
            request, pk, notice=Notice("bad", "This verdict cannot be read. Nothing was decided."), status=422
        )
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
    cards.card(request.user, pk)
    try:
        undoing.undo(pk, actor=request.user)
    except Refused as refusal:
        return detail(request, pk, notice=Notice("bad", refusal.message), status=refusal.status, with_queue=True)
    return detail(
        request, pk, notice=Notice("ok", "Taken back. Nothing was executed; it waits again."), with_queue=True
    )


def _claimed(request: AuthenticatedRequest, pk: int) -> Notice | None:
    for other in inbox.claims_of(request.user):
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
    return detail(request, pk, notice=notice, status=refusal.status, reopen=reopen, with_queue=True)


def _next(request: AuthenticatedRequest, decided: verdicts.Decided) -> HttpResponse:
    following = inbox.next_waiting(request.user, after=decided.proposal.pk)
    if not request.htmx:
        return redirect("approvals:card", following) if following else redirect("approvals:inbox")
    notice = _claimed(request, following) if following else None
    context = queue_beside(request, following) | {
        "card": shown_card(request, following) if following else None,
        "notice": notice,
        "decided": decided,
    }
    response = render(request, "approvals/_detail.html", context)
    response["HX-Push-Url"] = f"/inbox/{following}/" if following else "/inbox/"
    return response
