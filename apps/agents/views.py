from http import HTTPStatus
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.agents import actions, queries
from apps.agents.domain.schema import SchemaRefused
from apps.agents.errors import AgentsError
from apps.agents.forms import RegisterForm, SettingsForm
from apps.agents.models import KillSwitch
from apps.agents.workflows import workflow as workflow_named
from apps.agents.workflows import workflows
from apps.audit.clock import clock


@require_safe
@login_required
def index(request: AuthenticatedRequest) -> HttpResponse:
    """Every agent of the person's teams: what it does, for whom, and how far it goes alone."""
    ensure(request.user, "agents.view")
    rows = queries.agent_rows(request.user, at=clock())
    return render(request, "agents/index.html", {"rows": rows, **_rights(request), "house_model": settings.AGENT_MODEL})


@require_safe
@login_required
def start(request: AuthenticatedRequest) -> HttpResponse:
    """The first steps of an empty house."""
    steps = queries.first_run()
    more = [(step, done, request.user.has_perm(step.right)) for step, done in steps.more]
    return render(request, "agents/start.html", {"steps": steps, "more": more, **_rights(request)})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: AuthenticatedRequest) -> HttpResponse:
    """Register an agent on a workflow, with its first version."""
    ensure(request.user, "agents.register")
    form = RegisterForm(request.POST or None, user=request.user, initial={"owner": request.user})
    shape = SettingsForm(request.POST or None, initial=_first_settings())
    if request.method == "POST" and all([form.is_valid(), shape.is_valid()]):
        workflow = form.chosen_workflow()
        try:
            agent = actions.open_agent(
                workflow,
                settings=shape.version_settings(workflow.default_settings),
                instructions=shape.cleaned_data["instructions"],
                actor=request.user,
                **form.agent_fields(),
            )
        except (AgentsError, SchemaRefused) as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{agent.name} is registered. It starts as soon as work arrives.")
            return _go(request, reverse("agents:agent", args=[agent.slug]))
    context = {"form": form, "shape": shape, "workflows": workflows()}
    return _form_page(request, "agents/new.html", context, form, shape)


@require_safe
@login_required
def agent(request: AuthenticatedRequest, slug: str) -> HttpResponse:
    """One agent: who answers for it, what it may do, and how to stop it."""
    page = queries.agent_page(request.user, slug, at=clock())
    team_id = page.agent.team_id
    context = {"row": page, "house_model": settings.AGENT_MODEL, **_rights(request, team_id)}
    return render(request, "agents/agent.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def versions(request: AuthenticatedRequest, slug: str) -> HttpResponse:
    """The versions of an agent, and the form that publishes the next one."""
    row = queries.agent_for(request.user, slug)
    if row.is_outside:
        # What runs elsewhere has other settings, and its own page for them.
        return redirect("agents:releases", row.slug)
    if request.method == "POST":
        queries.ensure_may(request.user, "agents.change", row)
    history = queries.versions(row)
    current = next((each for each in history if each.is_current), None)
    before = current.settings if current else {}
    initial = SettingsForm.initial_of(before, current.instructions if current else "")
    form = SettingsForm(request.POST or None, initial=initial)
    workflow = workflow_named(row.workflow)
    if request.method == "POST" and form.is_valid():
        if workflow is None:
            form.add_error(None, f"The workflow {row.workflow} is not installed here. Nothing was published.")
        else:
            version = actions.change_agent(
                row,
                workflow=workflow,
                settings=form.version_settings(before),
                instructions=form.cleaned_data["instructions"],
                actor=request.user,
            )
            messages.success(request, f"Version {version.number} runs from now on. Runs under way keep theirs.")
            return _go(request, reverse("agents:versions", args=[row.slug]))
    may_change = queries.may(request.user, "agents.change", row)
    context = {"agent": row, "versions": history, "form": form, "may_change": may_change}
    return _form_page(request, "agents/versions.html", context, form)


@require_safe
@login_required
def stop(request: AuthenticatedRequest) -> HttpResponse:
    """Every kill switch this person may use."""
    ensure(request.user, "kill.engage")
    switches = queries.switches_for(request.user)
    context = {
        "switches": [(each, _may_release(request, each)) for each in switches],
        "engaged": sum(each.engaged for each in switches),
    }
    return render(request, "agents/stop.html", context)


@require_POST
@login_required
def engage(request: AuthenticatedRequest, switch_id: int) -> HttpResponse:
    """Stop at once; or, once stopped, say why."""
    switch = queries.switch_for(request.user, switch_id, right="kill.engage")
    reason = request.POST.get("reason", "")[:300]
    switch = actions.engage_switch(switch.scope, switch.scope_id, actor=request.user, reason=reason)
    return _switch(request, switch)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def release(request: AuthenticatedRequest, switch_id: int) -> HttpResponse:
    """Ask for the reason, then let work go on."""
    switch = queries.switch_for(request.user, switch_id, right="kill.release")
    form = ReleaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        switch = actions.release_switch(switch.scope, switch.scope_id, actor=request.user, reason=reason)
        messages.success(request, f"{switch.name} may go on.")
        return _go(request, _way_back(request))
    return _form_page(request, "agents/release.html", {"switch": switch, "form": form}, form)


class ReleaseForm(forms.Form):
    reason = forms.CharField(
        label="Why may it go on?", max_length=300, widget=forms.Textarea(attrs={"rows": 2, "autofocus": True})
    )


def _switch(request: AuthenticatedRequest, switch: KillSwitch) -> HttpResponse:
    if not request.htmx:
        return redirect(_way_back(request))
    queries.named([switch])
    slug = request.POST.get("agent", "")
    context = {"switch": switch, "may_release": _may_release(request, switch), "back": slug}
    return render(request, "agents/_switch.html", context)


def _may_release(request: AuthenticatedRequest, switch: KillSwitch) -> bool:
    return request.user.has_perm("kill.release", switch.team_id)


def _way_back(request: AuthenticatedRequest) -> str:
    """Return to the agent's page when the switch was used there."""
    slug = request.POST.get("agent") or request.GET.get("agent")
    return reverse("agents:agent", args=[slug]) if slug and slug.replace("-", "").isalnum() else reverse("agents:stop")


def _rights(request: AuthenticatedRequest, team_id: int | None = None) -> dict[str, bool]:
    rights = {
        "register": "agents.register",
        "engage": "kill.engage",
        "release": "kill.release",
    }
    return {f"may_{word}": request.user.has_perm(right, team_id) for word, right in rights.items()}


def _first_settings() -> dict[str, Any]:
    found = workflows()
    return SettingsForm.initial_of(found[0].default_settings) if found else {}


def _go(request: AuthenticatedRequest, url: str) -> HttpResponse:
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def _form_page(request: AuthenticatedRequest, page: str, context: dict[str, Any], *given: forms.Form) -> HttpResponse:
    wrong = any(form.is_bound and form.errors for form in given)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK
    name = f"{page}#form" if request.method == "POST" and request.htmx else page
    return render(request, name, context, status=status)
