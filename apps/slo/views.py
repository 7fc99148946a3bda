from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.slo.charts import burn_down_figure
from apps.slo.queries import agent_budgets, chart_table, fleet, objective_or_404, objective_page, proposal_agent_id


@require_safe
@login_required
def overview(request: AuthenticatedRequest) -> HttpResponse:
    """Every agent's objectives, the worst first."""
    ensure(request.user, "slo.view")
    return render(request, "slo/fleet.html", {"fleet": fleet(request.user)})


@require_safe
@login_required
def objective(request: AuthenticatedRequest, line_id: UUID) -> HttpResponse:
    detail = objective_page(objective_or_404(request.user, line_id))
    return render(request, "slo/objective.html", {"detail": detail, "table": chart_table(detail.points)})


@require_safe
@login_required
def burn_down(request: AuthenticatedRequest, line_id: UUID) -> HttpResponse:
    page = objective_page(objective_or_404(request.user, line_id))
    return JsonResponse(burn_down_figure(page.points, zone="UTC"))


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "slo/_panel.html", {"budgets": agent_budgets(request.user, pk)})


@require_safe
@login_required
def proposal_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    budgets = agent_budgets(request.user, proposal_agent_id(request.user, pk))
    return render(request, "slo/_panel.html", {"budgets": budgets})
