from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails


class HtmxRequest(HttpRequest):
    """A request as every view sees it: it knows whether htmx asked."""

    htmx: HtmxDetails
