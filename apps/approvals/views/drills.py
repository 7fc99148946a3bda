from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import Forbidden
from apps.accounts.types import AuthenticatedRequest
from apps.agents.queries import agent_for
from apps.approvals.actions import drills as actions
from apps.approvals.errors import Refused
from apps.approvals.forms import PlantForm
from apps.approvals.models import Drill
from apps.approvals.queries import drills as queries


@require_safe
@login_required
def drills(request: AuthenticatedRequest) -> HttpResponse:
    """Revealed drills: a reviewer's own, and all of a team for whoever looks after its people."""
    _ensure_concerned(request)
    context = {"found": queries.drills_page(request.user), "mutations": Drill.Mutation.choices}
    return render(request, "approvals/drills.html", context)


@require_POST
@login_required
def plant(request: AuthenticatedRequest) -> HttpResponse:
    """Put one planted card before the people of an agent; it is not told which case it was made of."""
    form = PlantForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose an agent and a kind of fault of the list. Nothing was planted.")
        return redirect("approvals:drills")
    agent = agent_for(request.user, form.cleaned_data["agent"], right=queries.PLANT)
    try:
        actions.plant_by_hand(agent, mutation=form.cleaned_data["mutation"] or None, actor=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, "Planted. It waits in the queue and looks like any other card.")
    return redirect("approvals:drills")


def _ensure_concerned(request: AuthenticatedRequest) -> None:
    """Whoever decides has results of their own; everybody else needs the right to look after people."""
    if not any(request.user.has_perm(right) for right in ("approvals.view", queries.VIEW)):
        raise Forbidden(queries.VIEW)
