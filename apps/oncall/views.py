from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts.access import ensure, object_or_404, scoped
from apps.accounts.models import Team
from apps.accounts.types import AuthenticatedRequest
from apps.agents.models import Agent
from apps.audit.clock import clock
from apps.oncall import actions, queries
from apps.oncall.errors import OnCallError
from apps.oncall.forms import RotationForm
from apps.oncall.models import Schedule


@require_safe
@login_required
def index(request: AuthenticatedRequest) -> HttpResponse:
    """Who answers now and next, team by team."""
    ensure(request.user, "oncall.view")
    teams = scoped(Team.objects.order_by("name"), request.user, "oncall.view", team="pk")
    duties = queries.duties(teams, at=clock())
    may_change = {duty.team.pk for duty in duties if request.user.has_perm("oncall.change", duty.team.pk)}
    gaps = [duty.team for duty in duties if duty.now is None]
    return render(request, "oncall/index.html", {"duties": duties, "may_change": may_change, "gaps": gaps})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def rotation(request: AuthenticatedRequest, team_id: int) -> HttpResponse:
    """Say who takes turns, from which hand-off on."""
    team = _team(request, "oncall.change", team_id)
    schedule = Schedule.objects.filter(team=team).first()
    form = _rotation_form(request, team, schedule)
    if request.method == "POST" and form.is_valid():
        try:
            row = schedule or actions.create_schedule(team, zone=form.cleaned_data["zone"], actor=request.user)
            layer = actions.set_rotation(row, actor=request.user, **form.rotation())
        except OnCallError as refusal:
            form.add_error(None, refusal.message)
        else:
            messages.success(request, f"{team.name}: the rotation starts {layer.valid_from:%d %b %H:%M} UTC.")
            there = reverse("oncall:index")
            return HttpResponseClientRedirect(there) if request.htmx else redirect(there)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    page = "oncall/rotation.html#form" if request.method == "POST" and request.htmx else "oncall/rotation.html"
    return render(request, page, {"team": team, "schedule": schedule, "form": form}, status=status)


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, agent_id: int) -> HttpResponse:
    """Who answers for an agent's team; for the agent's page."""
    agent = object_or_404(Agent.objects.select_related("team"), request.user, "agents.view", agent_id)
    return _answers(request, agent.team)


@require_safe
@login_required
def team_panel(request: AuthenticatedRequest, team_id: int) -> HttpResponse:
    """Who answers for a team; for every page that waits for one of its people."""
    may_see = request.user.has_perm("oncall.view", team_id)
    return _answers(request, _team(request, "oncall.view" if may_see else "approvals.view", team_id))


def _team(request: AuthenticatedRequest, right: str, team_id: int) -> Team:
    # A team is its own team: `own_id` is where the access rule looks for it.
    return object_or_404(Team.objects.annotate(own_id=F("pk")), request.user, right, team_id, team="own")


def _answers(request: AuthenticatedRequest, team: Team) -> HttpResponse:
    (duty,) = queries.duties([team], at=clock(), ahead=1)
    may_change = request.user.has_perm("oncall.change", team.pk)
    return render(request, "oncall/_answers.html", {"duty": duty, "may_change": may_change})


def _rotation_form(request: AuthenticatedRequest, team: Team, schedule: Schedule | None) -> RotationForm:
    places = queries.people_in_order(schedule) if schedule else []
    if request.method == "POST":
        return RotationForm(request.POST, team=team, taken=max(len(places), _places_sent(request)))
    layer = queries.newest_layer(schedule) if schedule else None
    initial: dict[str, object] = {f"person_{place}": group[0] for place, group in enumerate(places, start=1)}
    if schedule and layer:
        initial |= {"unit": layer.unit, "length": layer.length, "zone": schedule.zone}
        initial |= {"start_day": layer.start_day, "start_time": layer.start_time}
    else:
        initial |= {"zone": request.user.time_zone, "start_day": clock().date(), "start_time": "09:00"}
    return RotationForm(initial=initial, team=team, taken=len(places))


def _places_sent(request: AuthenticatedRequest) -> int:
    return sum(1 for name, value in request.POST.items() if name.startswith("person_") and value)
