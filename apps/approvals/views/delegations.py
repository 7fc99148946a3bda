from http import HTTPStatus
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import ensure, object_or_404
from apps.accounts.models import Team
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import delegating
from apps.approvals.errors import NotFound, Refused
from apps.approvals.forms import DelegationForm
from apps.approvals.queries import delegations as queries


@require_safe
@login_required
def delegations(request: AuthenticatedRequest) -> HttpResponse:
    """Who decides in whose place, and the way to lend one's own right."""
    ensure(request.user, "approvals.view")
    return _page(request)


@require_POST
@login_required
def give(request: AuthenticatedRequest, team_id: int) -> HttpResponse:
    """Lend one's right to decide in a team."""
    # A team is its own team: `own_id` is where the access rule looks for it.
    rows = Team.objects.annotate(own_id=F("pk"))
    team = object_or_404(rows, request.user, "approvals.decide", team_id, team="own")
    form = _form(request, team, posted=True)
    if form.is_valid():
        try:
            row = delegating.delegate(team, actor=request.user, **form.lending(ZoneInfo(request.user.time_zone)))
        except Refused as refusal:
            form.add_error({"/to": "to", "/ends": "last_day"}.get(refusal.pointer), refusal.message)
        else:
            messages.success(request, f"{row.to_user} decides in your place. You may end it at any time.")
            return redirect("approvals:delegations")
    return _page(request, faulty=form, status=HTTPStatus.UNPROCESSABLE_ENTITY)


@require_POST
@login_required
def revoke(request: AuthenticatedRequest, delegation_id: int) -> HttpResponse:
    try:
        row = delegating.revoke(delegation_id, actor=request.user)
    except NotFound:
        raise Http404("Not found") from None
    messages.success(request, f"Ended. {row.to_user} no longer decides for {row.from_user}; what was decided stands.")
    return redirect("approvals:delegations")


def _page(
    request: AuthenticatedRequest, *, faulty: DelegationForm | None = None, status: int = HTTPStatus.OK
) -> HttpResponse:
    teams = queries.lending_teams(request.user)
    forms = [_form(request, team) for team in teams]
    if faulty is not None:
        forms = [faulty if each.prefix == faulty.prefix else each for each in forms]
    context = {"page_of": queries.delegations_page(request.user), "lending": list(zip(teams, forms, strict=True))}
    return render(request, "approvals/delegations.html", context, status=status)


def _form(request: AuthenticatedRequest, team: Team, *, posted: bool = False) -> DelegationForm:
    return DelegationForm(
        request.POST if posted else None,
        prefix=f"team-{team.pk}",
        people=queries.who_may_stand_in(request.user, team),
        kinds=queries.kinds_of(team),
    )
