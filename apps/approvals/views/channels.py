from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.queries import team_ids_with
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import channels as actions
from apps.approvals.actions import notices
from apps.approvals.actions.channels import Added
from apps.approvals.channel_forms import AddChannelForm, ChangeChannelForm
from apps.approvals.errors import BadChannel
from apps.approvals.models import Channel
from apps.approvals.queries import channels as queries
from apps.connectors.sealing import NoSealingKey

CHANGE = queries.CHANGE


@require_safe
@login_required
def channels(request: AuthenticatedRequest) -> HttpResponse:
    """Every channel of the person's teams."""
    ensure(request.user, queries.VIEW)
    context = {"rows": queries.channels(request.user), "may_change": bool(team_ids_with(request.user, CHANGE))}
    return render(request, "approvals/channels.html", context)


@sensitive_post_parameters("address")
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def add(request: AuthenticatedRequest) -> HttpResponse:
    """Add a channel; the secret of a signed webhook is shown on the page that answers, and never again."""
    ensure(request.user, CHANGE)
    may_grant = bool(team_ids_with(request.user, queries.GRANT))
    form = AddChannelForm(request.POST or None, teams=team_ids_with(request.user, CHANGE), may_grant=may_grant)
    added = _added(request, form) if request.method == "POST" and form.is_valid() else None
    if added is None:
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
        return render(request, "approvals/channel_new.html", {"form": form}, status=status)
    if added.secret:
        return _page(request, added.channel.pk, secret=added.secret)
    messages.success(request, f"{added.channel} is added. Send a test.")
    return redirect("approvals:channel", added.channel.pk)


@require_safe
@login_required
def channel(request: AuthenticatedRequest, channel_id: int) -> HttpResponse:
    """One channel: what it hears, and what became of its last messages."""
    return _page(request, channel_id)


@sensitive_post_parameters("address")
@require_POST
@login_required
def change(request: AuthenticatedRequest, channel_id: int) -> HttpResponse:
    """Change what a channel hears, or where it leads."""
    row = queries.channel(request.user, channel_id, right=CHANGE)
    form = ChangeChannelForm(request.POST, may_grant=request.user.has_perm(queries.GRANT, row.team_id))
    if not (form.is_valid() and _changed(request, row, form)):
        return _page(request, channel_id, form=form)
    messages.success(request, "The channel is changed.")
    return redirect("approvals:channel", channel_id)


@require_POST
@login_required
def switch(request: AuthenticatedRequest, channel_id: int) -> HttpResponse:
    """Switch a channel on or off."""
    row = queries.channel(request.user, channel_id, right=CHANGE)
    try:
        row = actions.switch_channel(row, is_active=request.POST.get("active") == "1", actor=request.user)
    except BadChannel as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"The channel is switched {'on' if row.is_active else 'off'}.")
    return redirect("approvals:channel", channel_id)


@require_POST
@login_required
def test(request: AuthenticatedRequest, channel_id: int) -> HttpResponse:
    """Send one message now and say what happened."""
    row = queries.channel(request.user, channel_id, right=CHANGE)
    tried = actions.send_test(row, actor=request.user)
    (messages.success if tried.is_sent else messages.error)(request, tried.words)
    return redirect("approvals:channel", channel_id)


@require_POST
@login_required
def rotate(request: AuthenticatedRequest, channel_id: int) -> HttpResponse:
    """Make a new signing secret and show it once."""
    row = queries.channel(request.user, channel_id, right=CHANGE)
    try:
        added = actions.rotate_secret(row, actor=request.user)
    except (BadChannel, NoSealingKey) as error:
        messages.error(request, str(error))
        return redirect("approvals:channel", channel_id)
    return _page(request, channel_id, secret=added.secret)


@require_POST
@login_required
def remove(request: AuthenticatedRequest, channel_id: int) -> HttpResponse:
    """Remove a channel and the list of its messages."""
    row = queries.channel(request.user, channel_id, right=CHANGE)
    actions.remove_channel(row, actor=request.user)
    messages.success(request, f"{row} is removed. What was sent stays where it arrived.")
    return redirect("approvals:channels")


@require_POST
@login_required
def again(request: AuthenticatedRequest, channel_id: int, notice_id: int) -> HttpResponse:
    """Take up a message again that was given up."""
    row = queries.channel(request.user, channel_id, right=CHANGE)
    if queries.notice(row, notice_id) is None:
        raise Http404("Not found")
    try:
        notices.send_again(notice_id, actor=request.user)
    except BadChannel as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "It is sent again within seconds.")
    return redirect("approvals:channel", channel_id)


def _added(request: AuthenticatedRequest, form: AddChannelForm) -> Added | None:
    """Add the channel, or say on the form why not."""
    given = form.cleaned_data
    if form.networks and not request.user.has_perm(queries.GRANT, given["team"].pk):
        form.add_error("network", "An administrator of this team grants networks.")
        return None
    facts = {name: given[name] for name in ("team", "kind", "name", "address", "events", "risk_from")}
    try:
        return actions.add_channel(**facts, networks=form.networks or [], actor=request.user)
    except BadChannel as error:
        form.add_error(_field_of(error, form), str(error))
    except NoSealingKey as error:
        form.add_error("address", str(error))
    return None


def _changed(request: AuthenticatedRequest, row: Channel, form: ChangeChannelForm) -> bool:
    given = form.cleaned_data
    facts = {name: given[name] for name in ("name", "address", "events", "risk_from")}
    try:
        actions.change_channel(row, **facts, networks=form.networks, actor=request.user)
    except BadChannel as error:
        form.add_error(_field_of(error, form), str(error))
    except NoSealingKey as error:
        form.add_error("address", str(error))
    return not form.errors


def _field_of(error: BadChannel, form: AddChannelForm | ChangeChannelForm) -> str | None:
    name = error.pointer.strip("/")
    return name if name in form.fields else None


def _page(
    request: AuthenticatedRequest, channel_id: int, *, form: ChangeChannelForm | None = None, secret: str = ""
) -> HttpResponse:
    shown = queries.channel_page(request.user, channel_id)
    row = shown.channel
    initial = {
        "name": row.name,
        "events": row.events,
        "risk_from": row.risk_from,
        "network": ", ".join(row.allowed_cidrs),
    }
    context = {
        "shown": shown,
        "channel": row,
        "form": form or ChangeChannelForm(initial=initial, may_grant=shown.may_grant),
        "secret": secret,
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form is not None else HTTPStatus.OK
    return render(request, "approvals/channel.html", context, status=status)
