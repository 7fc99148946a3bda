from collections.abc import Callable
from http import HTTPStatus

from allauth.account import views as allauth_views
from allauth.core import ratelimit
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import actions, invitations
from apps.accounts.access import ensure, object_or_404
from apps.accounts.errors import FirstRunOver, PeopleError
from apps.accounts.forms import (
    ChoosePasswordForm,
    FirstAdministratorForm,
    GrantForm,
    InviteForm,
    ProfileForm,
    TeamForm,
    TokenForm,
)
from apps.accounts.models import ApiToken, Membership, Team, User
from apps.accounts.queries import people_of, people_page, roles_held, team_ids_with, token_rows
from apps.accounts.types import AuthenticatedRequest
from apps.audit.clock import clock

BACKEND = "apps.accounts.backends.RoleBackend"


@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in; while there is nobody, begin with the first administrator."""
    if not User.objects.exists():
        return redirect("accounts:start")
    return allauth_views.login(request)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Create the administrator: the first step of an empty house, and afterwards no page at all."""
    if User.objects.exists():
        raise Http404("Not found")
    form = FirstAdministratorForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/start.html", {"form": form}, status=_status(form))
    given = form.cleaned_data
    try:
        person = actions.create_first_administrator(
            name=given["name"], email=given["email"], password=given["password1"], team_name=given["team_name"]
        )
    except FirstRunOver as refusal:
        messages.error(request, str(refusal))
        return redirect("account_login")
    login(request, person, backend=BACKEND)
    return redirect("ui:home")


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def welcome(request: HttpRequest, number: str, token: str) -> HttpResponse:
    """Choose a password by the link that an administrator handed over."""
    if limited := ratelimit.consume_or_429(request, action="reset_password_from_key"):
        return limited
    person = invitations.person_of(number, token)
    if person is None:
        return render(request, "accounts/link_over.html", status=HTTPStatus.NOT_FOUND)
    form = ChoosePasswordForm(person, request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/welcome.html", {"form": form, "person": person}, status=_status(form))
    actions.choose_password(person, password=form.cleaned_data["new_password1"])
    login(request, person, backend=BACKEND)
    return redirect("ui:home")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def me(request: AuthenticatedRequest) -> HttpResponse:
    """The person's own profile and roles."""
    person = request.user
    form = ProfileForm(request.POST or None, initial=_profile(person))
    if request.method == "POST" and form.is_valid():
        actions.change_profile(person, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("accounts:me")
    context = {"form": form, "held": roles_held(person, viewer=person)}
    return render(request, "accounts/me.html", context, status=_status(form))


def _profile(person: User) -> dict[str, object]:
    return {"name": person.name, "time_zone": person.time_zone, "wants_mail": person.wants_mail}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def change_password(request: AuthenticatedRequest) -> HttpResponse:
    """Change one's password; an account without one gets its first by an administrator's link."""
    if not request.user.has_usable_password():
        messages.info(request, "This account has no password. An administrator can make a link to choose one.")
        return redirect("accounts:me")
    return allauth_views.password_change(request)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def sign_in_again(request: AuthenticatedRequest) -> HttpResponse:
    """Give the password again before a dear action; whoever has none signs out and in."""
    if not request.user.has_usable_password():
        return render(request, "account/reauthenticate.html")
    return allauth_views.reauthenticate(request)


@require_safe
@login_required
def people(request: AuthenticatedRequest) -> HttpResponse:
    """Teams, their members and roles."""
    ensure(request.user, "people.view")
    return _people(request)


@require_POST
@login_required
def invite(request: AuthenticatedRequest) -> HttpResponse:
    """Add a person with their first role, and show the link for their password once."""
    ensure(request.user, "people.change")
    form = InviteForm(request.POST, teams=team_ids_with(request.user, "people.change"))
    if not form.is_valid():
        return _people(request, invite=form)
    try:
        person = actions.create_person(**form.cleaned_data, actor=request.user)
    except PeopleError as refusal:
        form.add_error("email", str(refusal))
        return _people(request, invite=form)
    return _person(request, person, link=invitations.link_for(person))


@require_POST
@login_required
def create_team(request: AuthenticatedRequest) -> HttpResponse:
    """Create a team, with the actor as its first administrator."""
    ensure(request.user, "people.change")
    form = TeamForm(request.POST)
    if not form.is_valid():
        return _people(request, team=form)
    team = actions.create_team(**form.cleaned_data, actor=request.user)
    messages.success(request, f"{team} exists. You are its administrator.")
    return redirect("accounts:people")


@require_safe
@login_required
def person(request: AuthenticatedRequest, person_id: int) -> HttpResponse:
    """One person: their roles, and what an administrator can do."""
    return _person(request, _seen(request, person_id))


@require_POST
@login_required
def grant(request: AuthenticatedRequest, person_id: int) -> HttpResponse:
    """Give the person a role in one of the actor's teams."""
    subject = _seen(request, person_id)
    ensure(request.user, "people.change")
    form = GrantForm(request.POST, teams=team_ids_with(request.user, "people.change"))
    if not form.is_valid():
        return _person(request, subject, grant=form)
    membership = actions.grant_role(subject, **form.cleaned_data, actor=request.user)
    messages.success(request, f"{membership}.")
    return redirect("accounts:person", subject.pk)


@require_POST
@login_required
def revoke(request: AuthenticatedRequest, membership_id: int) -> HttpResponse:
    """Take one role away."""
    memberships = Membership.objects.select_related("user", "team")
    membership = object_or_404(memberships, request.user, "people.change", membership_id)
    return _changed(request, membership.user, actions.revoke_role, membership)


@require_POST
@login_required
def deactivate(request: AuthenticatedRequest, person_id: int) -> HttpResponse:
    """Close an account."""
    subject = _seen(request, person_id)
    ensure(request.user, "people.change")
    return _changed(request, subject, actions.deactivate, subject)


@require_POST
@login_required
def reactivate(request: AuthenticatedRequest, person_id: int) -> HttpResponse:
    """Open an account again."""
    subject = _seen(request, person_id)
    ensure(request.user, "people.change")
    return _changed(request, subject, actions.reactivate, subject)


@require_POST
@login_required
def make_link(request: AuthenticatedRequest, person_id: int) -> HttpResponse:
    """Show a new link for the person's password, once."""
    subject = _seen(request, person_id)
    ensure(request.user, "people.change")
    try:
        actions.record_link(subject, actor=request.user)
    except PeopleError as refusal:
        return _person(request, subject, problem=str(refusal))
    return _person(request, subject, link=invitations.link_for(subject))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def tokens(request: AuthenticatedRequest) -> HttpResponse:
    """The tokens by which programs sign in, and the form that issues one; its text is shown once, here."""
    ensure(request.user, "people.view")
    teams = team_ids_with(request.user, "people.change")
    form = TokenForm(request.POST or None, teams=teams)
    issued = None
    if request.method == "POST":
        ensure(request.user, "people.change")
        if form.is_valid():
            team = Team.objects.get(pk=form.speaker.team_id)
            issued = actions.issue_token(**form.token_fields(), team=team, actor=request.user)
            form = TokenForm(teams=teams)
    rows = token_rows(request.user, at=clock())
    context = {"rows": rows, "form": form, "issued": issued, "may_change": bool(teams)}
    return render(request, "accounts/tokens.html", context, status=_status(form))


@require_POST
@login_required
def revoke_token(request: AuthenticatedRequest, token_id: int) -> HttpResponse:
    """Take one token away."""
    token = object_or_404(ApiToken.objects.all(), request.user, "people.change", token_id)
    actions.revoke_token(token, actor=request.user)
    messages.success(request, f"{token} opens nothing any more.")
    return redirect("accounts:tokens")


def _seen(request: AuthenticatedRequest, person_id: int) -> User:
    subject = people_of(request.user).filter(pk=person_id).first() if person_id < 2**63 else None
    if subject is None:
        raise Http404("Not found")
    return subject


def _changed(
    request: AuthenticatedRequest, subject: User, verb: Callable[..., object], changed: User | Membership
) -> HttpResponse:
    try:
        verb(changed, actor=request.user)
    except PeopleError as refusal:
        return _person(request, subject, problem=str(refusal))
    messages.success(request, "Done. It holds from their next click.")
    if people_of(request.user).filter(pk=subject.pk).exists():
        return redirect("accounts:person", subject.pk)
    return redirect("accounts:people")


def _people(
    request: AuthenticatedRequest, *, invite: BaseForm | None = None, team: BaseForm | None = None
) -> HttpResponse:
    teams = team_ids_with(request.user, "people.change")
    context = {
        "people": people_page(request.user),
        "invite": invite or InviteForm(teams=teams),
        "team": team or TeamForm(),
        "may_change": bool(teams),
    }
    return render(request, "accounts/people.html", context, status=_status(invite or team))


def _person(
    request: AuthenticatedRequest, subject: User, *, link: str = "", grant: BaseForm | None = None, problem: str = ""
) -> HttpResponse:
    teams = team_ids_with(request.user, "people.change")
    context = {
        "subject": subject,
        "held": roles_held(subject, viewer=request.user),
        "grant": grant or GrantForm(teams=teams),
        "may_change": bool(teams),
        "link": request.build_absolute_uri(link) if link else "",
        "problem": problem,
    }
    status = HTTPStatus.CONFLICT if problem else _status(grant)
    return render(request, "accounts/person.html", context, status=status)


def _status(form: BaseForm | None) -> HTTPStatus:
    return HTTPStatus.UNPROCESSABLE_ENTITY if form is not None and form.is_bound and form.errors else HTTPStatus.OK
