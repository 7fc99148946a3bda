from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.access import ensure, scoped
from apps.accounts.models import Team
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import saved_views as actions
from apps.approvals.errors import NotFound, Refused
from apps.approvals.forms import ViewForm
from apps.approvals.queries import views as queries


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def views(request: AuthenticatedRequest) -> HttpResponse:
    """The views of a person with their keys; a search that comes along waits for its name."""
    ensure(request.user, "approvals.view")
    teams = scoped(Team.objects.order_by("name"), request.user, "approvals.view", team="pk")
    form = ViewForm(request.POST or None, teams=teams, initial={"query": request.GET.get("q", "")})
    if request.method == "POST" and form.is_valid():
        try:
            saved = actions.save_view(actor=request.user, **form.cleaned_data)
        except Refused as refusal:
            form.add_error(refusal.pointer.removeprefix("/") or None, refusal.message)
        else:
            messages.success(request, f'"{saved.name}" is kept.')
            return redirect("approvals:views")
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return render(
        request, "approvals/views.html", {"views": queries.views_of(request.user), "form": form}, status=status
    )


@require_POST
@login_required
def change(request: AuthenticatedRequest, view_id: int) -> HttpResponse:
    """Rename, move or remove one view."""
    try:
        match request.POST.get("do", ""):
            case "rename":
                actions.rename_view(view_id, name=request.POST.get("name", ""), actor=request.user)
            case "remove":
                actions.remove_view(view_id, actor=request.user)
            case "earlier" | "later" as way:
                actions.move_view(view_id, earlier=way == "earlier", actor=request.user)
            case _:
                actions.ensure_own(view_id, actor=request.user)
    except NotFound:
        raise Http404("Not found") from None
    except Refused as refusal:
        messages.error(request, refusal.message)
    return redirect("approvals:views")
