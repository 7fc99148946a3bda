from collections.abc import Callable
from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import ensure, object_or_404
from apps.accounts.middleware import record_refusal
from apps.accounts.queries import team_ids_with
from apps.accounts.types import AuthenticatedRequest
from apps.agents.models import Agent
from apps.programs import queries
from apps.programs.actions import gates, planning, readings, stages
from apps.programs.charts import stage_figure
from apps.programs.errors import NotYours, ProgramError
from apps.programs.forms import AnswerForm, EvidenceForm, ProgramForm


@require_safe
@login_required
def programs(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "programs.view")
    rows = queries.program_rows(request.user)
    return render(
        request,
        "programs/programs.html",
        {"rows": rows, "may_open": bool(team_ids_with(request.user, "programs.plan"))},
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new_program(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "programs.plan")
    form = ProgramForm(request.POST or None, teams=team_ids_with(request.user, "programs.plan"))
    if request.method == "POST" and form.is_valid():
        try:
            opened = planning.open_program(actor=request.user, **form.cleaned_data)
        except ProgramError as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("programs:program", opened.pk)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return render(request, "programs/new.html", {"form": form}, status=status)


@require_safe
@login_required
def program(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "programs/program.html", {"plan": queries.program_page(request.user, pk)})


@require_POST
@login_required
def read_gates(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    """Read the numbers behind the computed gates now, rather than at the next round."""
    found = queries.program_or_404(request.user, pk)
    queries.ensure_may_change(request.user, found)
    changed = readings.evaluate_gates(found)
    messages.success(
        request, f"Read all numbers: {changed} changed." if changed else "Read all numbers: nothing changed."
    )
    return redirect("programs:program", pk)


@require_POST
@login_required
def advance(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    found = queries.program_or_404(request.user, pk)
    ensure(request.user, "programs.plan", found.home_team_id)
    try:
        event = stages.advance(found, transition=request.POST.get("transition", ""), actor=request.user)
    except ProgramError as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"{found.agent.name} is in {event.get_stage_display()} now.")
    return redirect("programs:program", pk)


@require_safe
@login_required
def gate(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return _gate_page(request, pk)


@require_POST
@login_required
def start(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    found = queries.gate_or_404(request.user, pk)
    queries.ensure_may_change(request.user, found.program)
    gates.start_gate(found, actor=request.user)
    return redirect("programs:gate", pk)


@require_POST
@login_required
def evidence(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    found = queries.gate_or_404(request.user, pk)
    queries.ensure_may_change(request.user, found.program)
    form = EvidenceForm(request.POST)
    if not form.is_valid():
        return _gate_page(request, pk, evidence_form=form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return _answer(
        request, pk, lambda: gates.add_evidence(found, actor=request.user, **form.cleaned_data), "Evidence added."
    )


@require_POST
@login_required
def submit(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    found = queries.gate_or_404(request.user, pk)
    queries.ensure_may_change(request.user, found.program)
    return _answer(
        request, pk, lambda: gates.submit_gate(found, actor=request.user), f"Submitted: {found.team} signs next."
    )


@require_POST
@login_required
def sign(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    found = queries.gate_or_404(request.user, pk)
    form = AnswerForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    return _answer(
        request, pk, lambda: gates.sign_gate(found, actor=request.user, reason=reason), f"{found.key} is signed."
    )


@require_POST
@login_required
def refuse(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    found = queries.gate_or_404(request.user, pk)
    form = AnswerForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    return _answer(
        request, pk, lambda: gates.refuse_gate(found, actor=request.user, reason=reason), f"{found.key} is refused."
    )


@require_safe
@login_required
def portfolio(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "portfolio.view")
    return render(request, "programs/portfolio.html", {"portfolio": queries.portfolio(request.user)})


@require_safe
@login_required
def portfolio_chart(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "portfolio.view")
    return JsonResponse(stage_figure(queries.portfolio(request.user)))


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    object_or_404(Agent.objects.all(), request.user, "programs.view", pk)
    rows = [row for row in queries.program_rows(request.user) if row.program.agent_id == pk]
    return render(request, "programs/_panel.html", {"row": rows[0] if rows else None})


def _answer(request: AuthenticatedRequest, pk: int, verb: Callable[[], object], done: str) -> HttpResponse:
    try:
        verb()
    except ProgramError as refusal:
        # The page answers it, so the middleware that records failed authorisation does not see it.
        if isinstance(refusal, NotYours):
            record_refusal(request, refusal)
        return _gate_page(request, pk, refusal=str(refusal), status=refusal.status)
    messages.success(request, done)
    return redirect("programs:gate", pk)


def _gate_page(
    request: AuthenticatedRequest,
    pk: int,
    *,
    evidence_form: EvidenceForm | None = None,
    refusal: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "sheet": queries.gate_page(request.user, pk),
        "evidence_form": evidence_form or EvidenceForm(),
        "refusal": refusal,
    }
    return render(request, "programs/gate.html", context, status=status)
