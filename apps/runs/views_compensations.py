"""The panel and page from which an executed action is rolled back: what would be put back, why, and the proposal of it."""

from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts.access import Forbidden
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.models import Proposal
from apps.runs.actions.compensations import propose_compensation
from apps.runs.errors import NotCompensated
from apps.runs.forms import CompensateForm
from apps.runs.queries_compensations import DECIDE, CompensationPage, compensation_page


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def compensation(request: AuthenticatedRequest, proposal_id: int) -> HttpResponse:
    """Show what rolling an action back would change, and propose it; somebody else of the team decides."""
    page = compensation_page(request.user, proposal_id)
    form = CompensateForm(request.POST if request.method == "POST" else None)
    if request.method != "POST":
        return _page(request, page, form)
    if not page.may_propose:
        raise Forbidden(DECIDE, page.proposal.team_id)
    if not form.is_valid():
        return _page(request, page, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        made = propose_compensation(proposal_id, reason=form.cleaned_data["reason"], actor=request.user)
    except NotCompensated as refusal:
        return _page(request, page, form, problem=str(refusal), status=HTTPStatus.CONFLICT)
    _say(request, made)
    card = reverse("approvals:card", args=[proposal_id])
    return HttpResponseClientRedirect(card) if request.htmx else redirect(card)


def _say(request: AuthenticatedRequest, made: Proposal) -> None:
    if made.is_open:
        messages.success(request, "Proposed. It waits in the inbox for somebody else of the team to decide it.")
    else:
        messages.warning(request, f"The roll-back is {made.get_state_display().lower()}; nothing was put back.")


def _page(
    request: AuthenticatedRequest,
    page: CompensationPage,
    form: CompensateForm,
    *,
    problem: str = "",
    status: int = HTTPStatus.OK,
) -> HttpResponse:
    is_part = request.htmx and not request.htmx.boosted
    template = "runs/_compensation.html" if is_part else "runs/compensation.html"
    response = render(request, template, {"undo": page, "form": form, "problem": problem}, status=status)
    if is_part and not page.is_offered:
        # A panel that would only say “nothing” goes away.
        response["HX-Retarget"], response["HX-Reswap"] = "closest section", "delete"
    return response
