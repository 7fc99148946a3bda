from dataclasses import replace
from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.sessions import signed_in_at
from apps.accounts.types import AuthenticatedRequest
from apps.agents.models import RiskClass
from apps.approvals.actions import claims, undoing, verdicts, viewing
from apps.approvals.card import Card
from apps.approvals.domain.search import parse
from apps.approvals.errors import NotFound, Refused
from apps.approvals.forms import VerdictForm, edited_args, shown_stamp
from apps.approvals.models import Proposal
from apps.approvals.queries import cards, inbox
from apps.approvals.views.kept import give_back
from apps.approvals.views.pages import Notice, asked, detail, page, queue_beside, refused, shown_card
from apps.ui import preferences


@require_safe
@login_required
def card(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    shown = shown_card(request, pk)
    kept = give_back(request, pk)
    if kept is None or not shown.may_decide:
        return page(request, shown)
    again = Notice("ok", "You signed in again. Nothing was decided yet, and what you typed is still here.")
    return page(request, shown, notice=again, reopen=kept.get("verdict", ""), posted=kept)


@require_safe
@login_required
def ahead(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Draw the card that comes after this one before anybody asks for it: it is neither claimed nor seen yet."""
    cards.ensure_in_sight(request.user, pk)
    following = _following(request, pk)
    drawn = replace(cards.card(request.user, following), claimed_by_me=True) if following else None
    context = {"card": drawn, "after": pk, "queue": inbox.queue(request.user, limit=1)}
    return render(request, "approvals/_ahead.html", context)


@require_POST
@login_required
def claim(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Open a card: it is this person's for five minutes, and what they had open before is free again."""
    opened = cards.card(request.user, pk)
    # Whoever may only read opens it all the same; to claim it was the page's idea, not theirs.
    if not opened.may_ever_decide:
        return detail(request, pk)
    row, notice = _claimed(request, pk)
    if row is not None and _is_shown(request, opened, row):
        return _still_shown(request, opened, row)
    return detail(request, pk, notice=notice)


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
def evidence(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Note that the person opened the evidence of the card before them."""
    cards.ensure_in_sight(request.user, pk)
    viewing.open_evidence(pk, actor=request.user)
    if not request.htmx:
        return redirect(f"{reverse('approvals:card', args=[pk])}?evidence=open#evidence-{pk}")
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


@require_POST
@login_required
def decide(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Take one verdict on exactly the card that was shown; after a low or medium one the next card opens."""
    form = VerdictForm(request.POST)
    if not form.is_valid():
        unread = Notice("bad", "This verdict cannot be read. Nothing was decided.")
        return detail(request, pk, notice=unread, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    verdict = form.cleaned_data["verdict"]
    try:
        decided = verdicts.decide_proposal(
            pk,
            args=edited_args(cards.card(request.user, pk), request.POST) if verdict == "edit" else None,
            actor=request.user,
            signed_in_at=signed_in_at(request),
            **form.cleaned_data,
        )
    except NotFound:
        # Says 404 as for every page, and records who asked for what is not theirs.
        cards.ensure_in_sight(request.user, pk)
        raise
    except Refused as refusal:
        return refused(request, pk, refusal, verdict)
    return _next(request, decided) if _advances(request, decided.proposal) else _stay(request, decided)


@require_POST
@login_required
def undo(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    cards.ensure_in_sight(request.user, pk)
    try:
        undoing.undo(pk, actor=request.user)
    except Refused as refusal:
        return detail(request, pk, notice=Notice("bad", refusal.message), status=refusal.status, with_queue=True)
    return detail(
        request, pk, notice=Notice("ok", "Taken back. Nothing was executed; it waits again."), with_queue=True
    )


def _claimed(request: AuthenticatedRequest, pk: int) -> tuple[Proposal | None, Notice | None]:
    for other in inbox.claims_of(request.user):
        if other != pk:
            claims.release(other, actor=request.user)
    try:
        return claims.claim(pk, actor=request.user), None
    except Refused as refusal:
        return None, Notice("warn", refusal.message)


def _is_shown(request: AuthenticatedRequest, opened: Card, row: Proposal) -> bool:
    """Say whether the page shows this very card, and nothing but the claim happened to it since."""
    shown = shown_stamp(request.POST)
    # A claim is one step of the version; to renew it is none.
    return shown == (opened.version, opened.digest) and (row.version - opened.version, row.digest) in {
        (0, opened.digest),
        (1, opened.digest),
    }


def _still_shown(request: AuthenticatedRequest, opened: Card, row: Proposal) -> HttpResponse:
    """Tell a page that drew the card ahead which version its verdict must carry from now on."""
    viewing.record_view(replace(opened, version=row.version, state=row.state), reader=request.user)
    return JsonResponse({"id": row.pk, "version": row.version})


def _advances(request: AuthenticatedRequest, row: Proposal) -> bool:
    """R3: what is of high risk is looked at to its end; for the rest the person chose."""
    return row.risk_class != RiskClass.HIGH and preferences.read(request, "advance") == "on"


def _in_words(decided: verdicts.Decided) -> str:
    told = f" {decided.revealed.title} {decided.revealed.text}" if decided.revealed else ""
    return f"{decided.decision.get_verdict_display()}: {decided.proposal.title}.{told}"


def _stay(request: AuthenticatedRequest, decided: verdicts.Decided) -> HttpResponse:
    """Leave the decided card open, with what became of it."""
    row = decided.proposal
    if not request.htmx:
        messages.success(request, _in_words(decided))
        return redirect("approvals:card", row.pk)
    given = f"{row.approvals_given} of {row.approvals_needed} approvals given. One more person must approve."
    return detail(
        request, row.pk, notice=Notice("ok", given) if row.is_open else None, with_queue=True, decided=decided
    )


def _next(request: AuthenticatedRequest, decided: verdicts.Decided) -> HttpResponse:
    if request.htmx and request.POST.get("ahead", "").isdecimal():
        # The page shows the next card already; what it drew ahead it claims by itself.
        return render(request, "approvals/_last_verdict.html", {"decided": decided, "out_of_band": True})
    following = _following(request, decided.proposal.pk)
    if not request.htmx:
        messages.success(request, _in_words(decided))
        return redirect("approvals:card", following) if following else redirect("approvals:inbox")
    notice = _claimed(request, following)[1] if following else None
    context = queue_beside(request, following) | {
        "card": shown_card(request, following) if following else None,
        "notice": notice,
        "decided": decided,
    }
    response = render(request, "approvals/_detail.html", context)
    here = reverse("approvals:card", args=[following]) if following else reverse("approvals:inbox")
    response["HX-Push-Url"] = f"{here}{context['trail']}"
    return response


def _following(request: AuthenticatedRequest, pk: int) -> int | None:
    """Return the card that comes after this one in what the person searches for."""
    return inbox.next_waiting(request.user, after=pk, search=parse(asked(request, "q")))
