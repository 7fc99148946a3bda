from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import ensure
from apps.accounts.queries import team_ids_with
from apps.accounts.types import AuthenticatedRequest
from apps.slo.charts import burn_down_figure
from apps.slo.models import Objective
from apps.slo.queries import agent_lines, chart_table, fleet, fleet_sentence, objective_page, proposal_agent_id


@require_safe
@login_required
def overview(request: AuthenticatedRequest) -> HttpResponse:
    """Every agent's objectives, the worst first."""
    ensure(request.user, "slo.view")
    rows = fleet(request.user)
    return render(request, "slo/fleet.html", {"fleet": rows, "so_what": fleet_sentence(rows)})


@require_safe
@login_required
def objective(request: AuthenticatedRequest, line_id: UUID) -> HttpResponse:
    detail = objective_page(_objective(request, line_id))
    return render(request, "slo/objective.html", {"detail": detail, "table": chart_table(detail.points)})


@require_safe
@login_required
def burn_down(request: AuthenticatedRequest, line_id: UUID) -> HttpResponse:
    page = objective_page(_objective(request, line_id))
    return JsonResponse(burn_down_figure(page.points, zone="UTC"))


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "slo/_panel.html", {"lines": agent_lines(request.user, pk)})


@require_safe
@login_required
def proposal_panel(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    return render(request, "slo/_panel.html", {"lines": agent_lines(request.user, proposal_agent_id(request.user, pk))})


def _objective(request: AuthenticatedRequest, line_id: UUID) -> Objective:
    found = (
        Objective.objects.filter(
            line_id=line_id, valid_to__isnull=True, indicator__agent__team__in=team_ids_with(request.user, "slo.view")
        )
        .select_related("indicator__agent__team")
        .first()
    )
    if found is None:
        raise Http404
    return found
