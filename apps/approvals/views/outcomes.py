from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import execution
from apps.approvals.errors import Refused
from apps.approvals.forms import ReconcileForm
from apps.approvals.queries import cards, outcomes


@require_safe
@login_required
def reconcile_list(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "repairs.view")
    return render(
        request, "approvals/reconcile.html", {"rows": outcomes.unknown_outcomes(request.user), "form": ReconcileForm()}
    )


@require_POST
@login_required
def reconcile(request: AuthenticatedRequest, pk: int) -> HttpResponse:
    cards.card(request.user, pk)
    form = ReconcileForm(request.POST)
    if not form.is_valid():
        context = {"rows": outcomes.unknown_outcomes(request.user), "form": form, "faulty": pk}
        return render(request, "approvals/reconcile.html", context, status=422)
    try:
        execution.reconcile(pk, actor=request.user, **form.cleaned_data)
    except Refused as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, "Closed by what you found. It is never run again.")
    return redirect("approvals:reconcile")
