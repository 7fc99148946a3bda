"""Agents that run elsewhere: how one is registered, what it may propose, and how it is connected."""

import json
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.access import ensure
from apps.accounts.types import AuthenticatedRequest
from apps.agents import actions, queries
from apps.agents.domain.schema import SchemaRefused
from apps.agents.errors import AgentsError
from apps.agents.examples import examples
from apps.agents.forms_outside import ActionTypeForm, OutsideForm, ReleaseForm
from apps.agents.models import Agent
from apps.agents.workflows import RUNS_ELSEWHERE

_REFUSALS: Final = (AgentsError, SchemaRefused)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new_outside(request: AuthenticatedRequest) -> HttpResponse:
    """Register an agent that runs elsewhere, with the release that runs now."""
    ensure(request.user, "agents.register")
    form = OutsideForm(request.POST or None, user=request.user, initial={"owner": request.user})
    release = ReleaseForm(request.POST or None)
    if request.method == "POST" and all([form.is_valid(), release.is_valid()]):
        try:
            agent = actions.open_agent(
                RUNS_ELSEWHERE,
                settings=release.version_settings(),
                instructions=release.cleaned_data["instructions"],
                actor=request.user,
                **form.agent_fields(),
            )
        except _REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{agent.name} is registered. Say next what it may propose.")
            return redirect("agents:action_types", agent.slug)
    return _page(request, "agents/new_outside.html", {"form": form, "release": release}, form, release)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def action_types(request: AuthenticatedRequest, slug: str) -> HttpResponse:
    """What an agent that runs elsewhere may propose, and the form by which its owner adds to it."""
    agent = _outside(request, slug)
    may_change = queries.may(request.user, "agents.change", agent)
    if request.method == "POST":
        queries.ensure_may(request.user, "agents.change", agent)
    known = queries.action_types_of(agent)
    form = ActionTypeForm(request.POST or None, kinds=known)
    if request.method == "POST" and form.is_valid():
        try:
            kind = actions.define_action_type(agent, **form.definition(), actor=request.user)
        except _REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{agent} may propose {kind.key} from now on. People decide each one.")
            return redirect("agents:action_types", agent.slug)
    kinds = [(kind, json.dumps(kind.args_schema, indent=2)) for kind in known]
    context = {"agent": agent, "kinds": kinds, "form": form, "may_change": may_change}
    return _page(request, "agents/action_types.html", context, form)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def releases(request: AuthenticatedRequest, slug: str) -> HttpResponse:
    """The releases of an agent that runs elsewhere, and the form that names the next one."""
    agent = _outside(request, slug)
    if request.method == "POST":
        queries.ensure_may(request.user, "agents.change", agent)
    history = queries.versions(agent)
    current = next((each for each in history if each.is_current), None)
    initial = ReleaseForm.initial_of(current.settings, current.instructions) if current else {}
    form = ReleaseForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        version = actions.change_agent(
            agent,
            workflow=RUNS_ELSEWHERE,
            settings=form.version_settings(),
            instructions=form.cleaned_data["instructions"],
            actor=request.user,
        )
        messages.success(request, f"Version {version.number} runs from now on. What acted alone asks people again.")
        return redirect("agents:releases", agent.slug)
    may_change = queries.may(request.user, "agents.change", agent)
    context = {"agent": agent, "versions": history, "form": form, "may_change": may_change}
    return _page(request, "agents/releases.html", context, form)


@require_safe
@login_required
def connect(request: AuthenticatedRequest, slug: str) -> HttpResponse:
    """How the agent's program asks here: its address, its action types and one example of each format."""
    agent = _outside(request, slug)
    kinds = queries.action_types_of(agent)
    kind = kinds[0] if kinds else None
    door = request.build_absolute_uri("/api/v1/requests")
    target = f"{agent.connector_key}:{kind.key if kind else 'orders'}/1"
    shown = examples(kind.key, kind.args_schema, target) if kind else []
    context = {"agent": agent, "door": door, "kind": kind, "examples": shown}
    return render(request, "agents/connect.html", context)


def _outside(request: AuthenticatedRequest, slug: str) -> Agent:
    agent = queries.agent_for(request.user, slug)
    if not agent.is_outside:
        raise Http404("Not found")
    return agent


def _page(request: AuthenticatedRequest, page: str, context: dict[str, Any], *given: Form) -> HttpResponse:
    wrong = any(form.is_bound and form.errors for form in given)
    return render(request, page, context, status=422 if wrong else 200)
