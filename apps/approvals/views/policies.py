from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts.access import Forbidden, ensure, object_or_404
from apps.accounts.types import AuthenticatedRequest
from apps.agents.models import Agent
from apps.agents.queries import ensure_may
from apps.approvals.actions.policies import publish_policy
from apps.approvals.domain import terms
from apps.approvals.errors import Conflict, Refused
from apps.approvals.policy_form import PolicyForm, TryOutForm
from apps.approvals.queries import dry_runs
from apps.approvals.queries import policies as queries
from apps.approvals.queries.policies import PolicyPage


@require_safe
@login_required
def index(request: AuthenticatedRequest) -> HttpResponse:
    """The rules that decide who is asked, for every kind of action of the person's teams."""
    ensure(request.user, "agents.view")
    return render(request, "approvals/policies/index.html", {"rows": queries.policy_rows(request.user)})


@require_safe
@login_required
def agent_panel(request: AuthenticatedRequest, agent_id: int) -> HttpResponse:
    """The policies of one agent; for the agent's page."""
    agent = object_or_404(Agent.objects.all(), request.user, "agents.view", agent_id)
    return render(request, "approvals/policies/_panel.html", {"rows": queries.policy_rows(request.user, agent=agent)})


@require_safe
@login_required
def policy(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """One policy in words, its versions, and how past cases fare under it."""
    shown = queries.policy_page(request.user, key, version=_number(request.GET.get("version")))
    context: dict[str, Any] = {"policy": shown, "form": TryOutForm(kind=shown.action_type)}
    proposal = _number(request.GET.get("proposal"))
    if proposal is not None and shown.may_see_args:
        context["explanation"] = queries.explain_proposal(request.user, shown, proposal)
    if "tried" in request.GET and shown.shown.terms:
        kind, version = shown.action_type, shown.shown.terms
        try:
            context["run"] = dry_runs.dry_run(request.user, kind, version, shown.in_force.terms)
        except dry_runs.TooSlow as slow:
            context["too_slow"] = slow.message
    return _page(request, context)


@require_POST
@login_required
def explain(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """Work a case that somebody wrote down through the version that is shown."""
    shown = queries.policy_page(request.user, key, version=_number(request.GET.get("version")))
    form = TryOutForm(request.POST, kind=shown.action_type)
    context: dict[str, Any] = {"policy": shown, "form": form}
    if not form.is_valid():
        return _page(request, context, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    context["explanation"] = queries.explain(shown, form.facts(), of="The case below")
    return _page(request, context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """The draft of the next version: written, tried on last month's cases, reviewed, and only then published."""
    shown = queries.policy_page(request.user, key)
    if not (shown.may_change or shown.may_see_args):
        ensure_may(request.user, "agents.change", shown.action_type.agent)
    form = PolicyForm(
        fields=shown.fields,
        reviewers=shown.reviewers,
        posted=request.POST if request.method == "POST" else None,
        shown=shown.in_force.terms,
        based_on=shown.in_force.version,
    )
    if request.method != "POST":
        return _form(request, shown, form)
    do = request.POST.get("do", "")
    if do == "refresh" or form.change_rows(do):
        form.settle()
        return _form(request, shown, form)
    if not form.is_valid():
        return _form(request, shown, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    if do == "try":
        return _tried(request, shown, form)
    return _reviewed_or_published(request, shown, form, do)


def _tried(request: AuthenticatedRequest, shown: PolicyPage, form: PolicyForm) -> HttpResponse:
    kind, draft = shown.action_type, form.draft
    if not dry_runs.may_try_drafts(request.user, kind):
        raise Forbidden("approvals.view", kind.agent.team_id)
    try:
        run = dry_runs.dry_run(request.user, kind, draft, shown.in_force.terms)
    except dry_runs.TooSlow as slow:
        return _form(request, shown, form, status=HTTPStatus.CONFLICT, too_slow=slow.message)
    return _form(request, shown, form, run=run)


def _reviewed_or_published(request: AuthenticatedRequest, shown: PolicyPage, form: PolicyForm, do: str) -> HttpResponse:
    """Publish exactly the draft that was reviewed; anything else is shown for review first."""
    based_on = form.plain.cleaned_data["based_on"]
    if do != "publish" or request.POST.get("reviewed") != form.fingerprint(based_on):
        return _form(request, shown, form, review=_review(shown, form))
    ensure_may(request.user, "agents.change", shown.action_type.agent)
    try:
        row = publish_policy(
            shown.action_type,
            **form.draft.stored(),
            note=form.plain.cleaned_data["note"],
            based_on=based_on,
            actor=request.user.actor,
        )
    except Conflict as conflict:
        newest = queries.policy_page(request.user, shown.key)
        return _form(request, newest, form, review=_review(newest, form), status=conflict.status)
    except Refused as refusal:
        form.refuse(refusal.pointer, refusal.message)
        return _form(request, shown, form, status=refusal.status)
    messages.success(
        request, f"Version {row.version} is in force. What waits already keeps the version it was made under."
    )
    to = reverse("approvals:policy", args=[row.key])
    return HttpResponseClientRedirect(to) if request.htmx else redirect(to)


def _review(shown: PolicyPage, form: PolicyForm) -> dict[str, Any]:
    """Say what the draft changes against the version in force as it is now, and seal the draft for publishing."""
    before = shown.in_force.terms
    changes = terms.changes(before, form.draft, shown.vocabulary) if before else ()
    return {
        "changes": changes,
        "loosens": any(each.loosens for each in changes),
        "seal": form.fingerprint(shown.in_force.version),
        "next": shown.in_force.version + 1,
    }


def _form(
    request: AuthenticatedRequest, shown: PolicyPage, form: PolicyForm, *, status: int = HTTPStatus.OK, **more: Any
) -> HttpResponse:
    page = "approvals/policies/edit.html"
    name = f"{page}#form" if request.method == "POST" and request.htmx else page
    context = {
        "policy": shown,
        "draft": form,
        "may_try": dry_runs.may_try_drafts(request.user, shown.action_type),
        # Somebody published meanwhile: from here on the draft is one against their version, and the page says so.
        "is_behind": form.based_on != shown.in_force.version,
        "is_faulty": status == HTTPStatus.UNPROCESSABLE_ENTITY,
        **more,
    }
    return render(request, name, context, status=status)


def _page(request: AuthenticatedRequest, context: dict[str, Any], *, status: int = HTTPStatus.OK) -> HttpResponse:
    shown: PolicyPage = context["policy"]
    if shown.may_see_args:
        context["past"] = queries.past_proposals(request.user, shown.action_type)
    return render(request, "approvals/policies/policy.html", context, status=status)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None  # noqa: PLR2004  # what a bigint holds
