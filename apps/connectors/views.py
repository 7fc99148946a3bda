from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import ensure
from apps.accounts.queries import team_ids_with
from apps.accounts.types import AuthenticatedRequest
from apps.connectors import actions, client, queries
from apps.connectors.domain.addresses import BadNetwork
from apps.connectors.errors import BadSecret, KeyTaken, Unsafe
from apps.connectors.forms import AddressForm, ConnectForm, CredentialForm, NetworkForm
from apps.connectors.models import Connector
from apps.connectors.sealing import NoSealingKey

CHANGE = "connectors.change"


@require_safe
@login_required
def systems(request: AuthenticatedRequest) -> HttpResponse:
    """Every system of the person's teams."""
    ensure(request.user, queries.VIEW)
    context = {"systems": queries.systems(request.user), "may_change": bool(team_ids_with(request.user, CHANGE))}
    return render(request, "connectors/systems.html", context)


@sensitive_post_parameters("secret")
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def connect(request: AuthenticatedRequest) -> HttpResponse:
    """Connect a new system."""
    ensure(request.user, CHANGE)
    form = ConnectForm(request.POST or None, teams=team_ids_with(request.user, CHANGE))
    connector = _connected(request, form) if request.method == "POST" and form.is_valid() else None
    if connector is None:
        return render(request, "connectors/connect.html", {"form": form}, status=_status(form))
    messages.success(request, f"{connector} is connected. Test it before an agent uses it.")
    return redirect("connectors:system", connector.key)


@require_safe
@login_required
def system(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """One system: how it is reached, and what was executed in it."""
    return _system(request, key)


@require_POST
@login_required
def test(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """Read from the system once and keep what happened."""
    connector = queries.system(request.user, key, right=CHANGE)
    found = client.probe(connector.key)
    connector = actions.record_check(
        connector, is_reachable=found.is_reachable, note=found.note, actor=request.user.actor
    )
    if request.htmx:
        context = {"connector": connector, "may_change": True, "is_new": True}
        return render(request, "connectors/system.html#check", context)
    return redirect("connectors:system", key)


@require_POST
@login_required
def move(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """Correct the address of a system."""
    connector = queries.system(request.user, key, right=CHANGE)
    form = AddressForm(request.POST, networks=connector.allowed_cidrs)
    if not form.is_valid():
        return _system(request, key, address=form)
    connector = actions.move_system(connector, base_url=form.cleaned_data["base_url"], actor=request.user.actor)
    messages.success(request, f"{connector} is called at {connector.base_url} from now on. Test it.")
    return redirect("connectors:system", key)


@sensitive_post_parameters("secret")
@require_POST
@login_required
def credential(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """Store a credential in the place of the old one."""
    connector = queries.system(request.user, key, right=CHANGE)
    form = CredentialForm(request.POST)
    if not form.is_valid():
        return _system(request, key, credential=form)
    try:
        actions.store_credential(connector, secret=form.cleaned_data["secret"], actor=request.user.actor)
    except (NoSealingKey, BadSecret) as error:
        form.add_error("secret", str(error))
        return _system(request, key, credential=form)
    messages.success(request, "The key is stored. Test the connection.")
    return redirect("connectors:system", key)


@require_POST
@login_required
def grant(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """Let the system stand in one internal network."""
    connector = queries.system(request.user, key, right=CHANGE)
    form = NetworkForm(request.POST)
    if not form.is_valid():
        return _system(request, key, network=form)
    actions.grant_network(
        connector, cidr=form.cleaned_data["network"], reason=form.cleaned_data["reason"], actor=request.user.actor
    )
    messages.success(request, f"{form.cleaned_data['network']} is granted to {connector}.")
    return redirect("connectors:system", key)


@require_POST
@login_required
def withdraw(request: AuthenticatedRequest, key: str) -> HttpResponse:
    """Take a granted network back."""
    connector = queries.system(request.user, key, right=CHANGE)
    actions.withdraw_network(connector, cidr=request.POST.get("network", ""), actor=request.user.actor)
    messages.success(request, "The network is taken back. It holds for every call within seconds.")
    return redirect("connectors:system", key)


def _connected(request: AuthenticatedRequest, form: ConnectForm) -> Connector | None:
    """Connect the system and store its key in one step, or say on the form why neither happened."""
    given = form.cleaned_data
    network, secret = given.pop("network"), given.pop("secret")
    try:
        with transaction.atomic():
            connector = actions.connect_system(
                **given, allowed_cidrs=[network] if network else [], actor=request.user.actor
            )
            if secret:
                actions.store_credential(connector, secret=secret, actor=request.user.actor)
            return connector
    except KeyTaken as error:
        form.add_error("key", str(error))
    except Unsafe as error:
        form.add_error("base_url", str(error))
    except BadNetwork as error:
        form.add_error("network", str(error))
    except (NoSealingKey, BadSecret) as error:
        form.add_error("secret", str(error))
    return None


def _system(
    request: AuthenticatedRequest,
    key: str,
    *,
    address: BaseForm | None = None,
    credential: BaseForm | None = None,
    network: BaseForm | None = None,
) -> HttpResponse:
    shown = queries.system_page(request.user, key)
    context = {
        "shown": shown,
        "connector": shown.connector,
        "may_change": request.user.has_perm(CHANGE, shown.connector.team_id),
        "address": address or AddressForm(),
        "credential": credential or CredentialForm(),
        "network": network or NetworkForm(),
    }
    return render(request, "connectors/system.html", context, status=_status(address or credential or network))


def _status(form: BaseForm | None) -> HTTPStatus:
    return HTTPStatus.UNPROCESSABLE_ENTITY if form is not None and form.is_bound and form.errors else HTTPStatus.OK
