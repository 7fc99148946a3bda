from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.runs import queries
from apps.runs.actions.hand_overs import close_hand_over
from apps.runs.errors import AlreadyClosed, BadChoice, NotClosed
from apps.runs.forms import CloseForm
from apps.runs.models import Run


@require_safe
@login_required
def runs(request: AuthenticatedRequest) -> HttpResponse:
    """Every run of the person's teams, newest first."""
    ensure(request.user, queries.VIEW)
    before = request.GET.get("before", "")
    found = queries.run_list(
        request.user,
        state=request.GET.get("state", ""),
        agent=request.GET.get("agent", ""),
        before=int(before) if before.isdecimal() and len(before) < len(str(2**63)) else None,
    )
    context = {"found": found, "states": Run.State, "may_repair": request.user.has_perm("runs.repair")}
    return render(request, _part(request, "runs/runs.html", "rows"), context)


@require_safe
@login_required
def run(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "runs/run.html", {"page_of": queries.run_page(request.user, pk)})


@require_safe
@login_required
def threads(request: AuthenticatedRequest) -> HttpResponse:
    """For operators: what does not go on by itself."""
    ensure(request.user, "runs.repair")
    return render(request, "runs/threads.html", {"stuck": queries.stuck_threads(request.user)})


@require_safe
@login_required
def handed_over(request: AuthenticatedRequest) -> HttpResponse:
    """The cases that agents gave to people, oldest first."""
    ensure(request.user, queries.CLOSE)
    reason, agent = request.GET.get("reason", ""), request.GET.get("agent", "")
    found = queries.hand_overs(request.user, reason=reason, agent=agent)
    context = {"found": found, "reason": reason, "agent": agent}
    return render(request, _part(request, "runs/handed_over.html", "cases"), context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def hand_over(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """One case: read it, choose where it goes, and the next one opens."""
    page = queries.hand_over_page(request.user, pk)
    if request.method != "POST":
        return _case(request, page, _form(page, initial={**page.guess, "etag": page.etag}))
    form = _form(page, data=request.POST)
    if not form.is_valid():
        return _case(request, page, form, status=422)
    try:
        close_hand_over(page.item, **form.cleaned_data, actor=request.user)
    except AlreadyClosed as refusal:
        messages.info(request, str(refusal))
        return redirect("runs:hand_over", pk)
    except NotClosed as refusal:
        return _refused(request, pk, form, refusal)
    messages.success(request, f"{page.item} is closed in your name.")
    following = queries.next_hand_over(request.user)
    return redirect("runs:hand_over", following) if following else redirect("runs:handed_over")


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "runs/_panel.html", {"work": queries.work_panel(request.user, pk)})


def _refused(request: AuthenticatedRequest, pk: int, form: CloseForm, refusal: NotClosed) -> HttpResponse:
    """Show the case as it stands now, with what the person had chosen, and the version they now see."""
    page = queries.hand_over_page(request.user, pk)
    again = _form(page, data={**form.cleaned_data, "etag": page.etag})
    again.is_valid()
    return _case(request, page, again, problem=str(refusal), status=422 if isinstance(refusal, BadChoice) else 409)


def _form(page: queries.HandOverPage, *, data: Any = None, initial: Mapping[str, str] | None = None) -> CloseForm:
    return CloseForm(data, initial=initial, queues=page.queues, priorities=page.priorities)


def _case(
    request: AuthenticatedRequest, page: queries.HandOverPage, form: CloseForm, *, problem: str = "", status: int = 200
) -> HttpResponse:
    name = _part(request, "runs/hand_over.html", "case")
    return render(request, name, {"case": page, "form": form, "problem": problem}, status=status)


def _part(request: AuthenticatedRequest, page: str, partial: str) -> str:
    return f"{page}#{partial}" if request.htmx and not request.htmx.boosted else page
