from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.runs import queries
from apps.runs.actions import ends, repairs
from apps.runs.actions.hand_overs import close_hand_over
from apps.runs.actions.traces import record_read
from apps.runs.errors import AlreadyClosed, BadChoice, NotClosed, NotEnded, NotRepaired
from apps.runs.forms import CloseForm, EndForm, KeepForm
from apps.runs.models import Run


@require_safe
@login_required
def runs(request: AuthenticatedRequest) -> HttpResponse:
    """Every run of the person's teams, newest first."""
    ensure(request.user, queries.VIEW)
    found = queries.run_list(
        request.user,
        state=request.GET.get("state", ""),
        agent=request.GET.get("agent", ""),
        before=_place(request.GET.get("before", "")),
    )
    context = {"found": found, "states": Run.State, "may_see_stuck": request.user.has_perm(queries.STUCK)}
    return render(request, _part(request, "runs/runs.html", "rows"), context)


@require_safe
@login_required
def run(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """One run. Who may read its trace is known to have read it."""
    card = request.GET.get("card", "")
    page = queries.run_page(request.user, pk, card_id=int(card) if card.isdecimal() else None)
    if page.may_read:
        record_read(page.run, reader=request.user)
    return render(request, "runs/run.html", {"page_of": page, "ending": _CANCEL, "form": EndForm()})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def cancel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """An operator stops an open run because it is not wanted any more."""
    return _end_by_hand(request, pk, _CANCEL)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def give_up(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """An operator ends a run as failed that cannot go on."""
    return _end_by_hand(request, pk, _GIVE_UP)


@require_safe
@login_required
def threads(request: AuthenticatedRequest) -> HttpResponse:
    """What does not go on by itself: operators act, others follow it."""
    ensure(request.user, queries.STUCK)
    return render(request, "runs/threads.html", {"stuck": queries.stuck_threads(request.user)})


@require_POST
@login_required
def repair(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """An operator has a stuck thread's last turn planned anew; a worker does it in a moment."""
    run = queries.run_to_end(request.user, pk)
    try:
        repairs.ask_repair(run, actor=request.user)
    except NotRepaired as refusal:
        context = {"stuck": queries.stuck_threads(request.user), "problem": str(refusal)}
        return render(request, "runs/threads.html", context, status=HTTPStatus.CONFLICT)
    messages.success(
        request,
        f"Asked for. A worker plans the last turn of {run.work_item} anew: its question returns with the same proposal, and "
        "nothing runs twice. If that fails, this list says why.",
    )
    return redirect("runs:threads")


@require_safe
@login_required
def handed_over(request: AuthenticatedRequest) -> HttpResponse:
    """The cases that agents gave to people, oldest first."""
    ensure(request.user, queries.CLOSE)
    reason, agent = request.GET.get("reason", ""), request.GET.get("agent", "")
    after = _place(request.GET.get("after", ""))
    found = queries.hand_overs(request.user, reason=reason, agent=agent, after=after)
    context = {"found": found, "reason": reason, "agent": agent, "after": after}
    return render(request, _part(request, "runs/handed_over.html", "cases"), context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def hand_over(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """One case: read it, choose where it goes or keep it, and the next one opens."""
    page = queries.hand_over_page(request.user, pk)
    if request.method != "POST":
        return _case(request, page)
    form = KeepForm(request.POST) if "keep" in request.POST else _close_form(page, data=request.POST)
    if not form.is_valid():
        return _case(request, page, form, status=422)
    try:
        close_hand_over(page.item, **form.cleaned_data, actor=request.user)
    except AlreadyClosed as refusal:
        messages.info(request, str(refusal))
        return _go(request, reverse("runs:hand_over", args=[pk]))
    except NotClosed as refusal:
        return _refused(request, pk, form, refusal)
    messages.success(request, f"{page.item} is closed in your name.")
    following = queries.next_hand_over(request.user)
    return _go(request, reverse("runs:hand_over", args=[following]) if following else reverse("runs:handed_over"))


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "runs/_panel.html", {"work": queries.work_panel(request.user, pk)})


@dataclass(frozen=True, slots=True)
class _Ending:
    """One way to end a run by hand, and what people read before and after it."""

    verb: Callable[..., Run]
    url_name: str
    title: str
    effect: str
    icon: str
    done: str


_CANCEL: Final = _Ending(
    ends.cancel,
    "runs:cancel",
    "Cancel the run",
    "What it asks is taken back, and its case is closed without a change. This cannot be undone.",
    "octagon-x",
    "Cancelled. What it asked is taken back, and its case is closed.",
)
_GIVE_UP: Final = _Ending(
    ends.give_up,
    "runs:give_up",
    "Give the run up",
    "For a run that can neither go on nor hand its case over. It counts as failed; what it asks is taken back, and its case "
    "is closed as it stands, so somebody must see to it where it came from. This cannot be undone.",
    "octagon-x",
    "Given up. The run counts as failed; see to its case where it came from.",
)


def _end_by_hand(request: AuthenticatedRequest, pk: int, ending: _Ending) -> HttpResponse:
    """Ask for the reason, where no script opened a dialog for it, and end the run."""
    run = queries.run_to_end(request.user, pk)
    form, problem, status = EndForm(request.POST if request.method == "POST" else None), "", HTTPStatus.OK
    if form.is_valid():
        try:
            ending.verb(run, reason=form.cleaned_data["reason"], actor=request.user)
        except NotEnded as refusal:
            problem, status = str(refusal), HTTPStatus.CONFLICT
        else:
            messages.success(request, ending.done)
            return redirect("runs:run", pk)
    elif form.is_bound:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    context = {"run": run, "ending": ending, "form": form, "problem": problem}
    return render(request, "runs/end.html", context, status=status)


def _refused(request: AuthenticatedRequest, pk: int, form: CloseForm | KeepForm, refusal: NotClosed) -> HttpResponse:
    """Show the case as it stands now, with what the person had chosen, and the version they now see."""
    page = queries.hand_over_page(request.user, pk)
    given = {**form.cleaned_data, "etag": page.etag}
    again = KeepForm(given) if isinstance(form, KeepForm) else _close_form(page, data=given)
    again.is_valid()
    return _case(request, page, again, problem=str(refusal), status=422 if isinstance(refusal, BadChoice) else 409)


def _close_form(page: queries.HandOverPage, *, data: Mapping[str, Any] | None = None) -> CloseForm:
    initial = {**page.guess, "etag": page.etag}
    return CloseForm(data, initial=initial, queues=page.queues, priorities=page.priorities)


def _case(
    request: AuthenticatedRequest,
    page: queries.HandOverPage,
    given: CloseForm | KeepForm | None = None,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    """Show the case with both ways to end it; the one that was tried keeps what was typed."""
    close = given if isinstance(given, CloseForm) else _close_form(page)
    keep = given if isinstance(given, KeepForm) else KeepForm()
    context = {"case": page, "close": close, "keep": keep, "problem": problem}
    return render(request, _part(request, "runs/hand_over.html", "case"), context, status=status)


def _go(request: AuthenticatedRequest, url: str) -> HttpResponse:
    """Lead to another page as a whole: a part of it would stand below the heading and address of this one."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def _place(text: str) -> int | None:
    """Read the row at which a page of a list begins; anything else means the first page."""
    return int(text) if text.isdecimal() and len(text) < len(str(2**63)) else None


def _part(request: AuthenticatedRequest, page: str, partial: str) -> str:
    return f"{page}#{partial}" if request.htmx and not request.htmx.boosted else page
