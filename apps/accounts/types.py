from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from apps.accounts.models import User


class AuthenticatedRequest(HttpRequest):
    """A request behind `login_required`: the user is a person of ours."""

    user: User
    htmx: HtmxDetails
