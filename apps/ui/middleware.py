"""What every answer carries, whom state changes are taken from, and how answers to htmx differ. Rules S1, S2, S4."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.messages import get_messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django_htmx.http import HttpResponseClientRedirect

from apps.ui.types import HtmxRequest

GetResponse = Callable[[HttpRequest], HttpResponseBase]

PERMISSIONS_POLICY: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "browsing-topics", "camera", "display-capture", "geolocation", "gyroscope",
        "hid", "magnetometer", "microphone", "midi", "payment", "serial", "usb", "xr-spatial-tracking",
    )
)  # fmt: skip
# Answers that never reach the policy of the pages (files, early refusals) load nothing at all.
CLOSED_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# With these htmx leaves the page: messages wait for the next one.
LEAVING: Final = ("HX-Redirect", "HX-Refresh", "HX-Location")


class SecurityHeaders:
    """Headers of rule S1 that Django and django-csp do not set themselves."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        # Django's own error pages while developing carry their style inline.
        if "Content-Security-Policy" not in response and not settings.DEBUG:
            response["Content-Security-Policy"] = CLOSED_POLICY
        patch_vary_headers(response, ["HX-Request"])
        # Hashed files are public; everything else that a session can see must not stay on a shared disk.
        if "public" not in response.get("Cache-Control", "") and self._has_session(request, response):
            add_never_cache_headers(response)
        return response

    @staticmethod
    def _has_session(request: HttpRequest, response: HttpResponseBase) -> bool:
        """Go by the cookie alone: asking for the person would cost a query, and a stale cookie only costs a cache."""
        return settings.SESSION_COOKIE_NAME in request.COOKIES or settings.SESSION_COOKIE_NAME in response.cookies


class SameOriginOnly:
    """Refuses a state change that another site started, before any view sees it. Rule S4."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in SAFE_METHODS or self._is_ours(request):
            return self.get_response(request)
        return render(request, "403_origin.html", status=HTTPStatus.FORBIDDEN)

    @staticmethod
    def _is_ours(request: HttpRequest) -> bool:
        # Programs send neither header; they have no cookie either, and the CSRF check follows for those who do.
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return False
        origin = request.headers.get("Origin")
        ours = f"{request.scheme}://{request.get_host()}"
        return origin is None or origin == ours or origin in settings.CSRF_TRUSTED_ORIGINS


class HtmxAnswers:
    """Turns redirects to the sign-in page into a whole-page move and adds messages to fragments. Leaves 409 and 422 be."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HtmxRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not request.htmx:
            return response
        if self._asks_to_sign_in(response):
            return HttpResponseClientRedirect(self._sign_in_url(request))
        if isinstance(response, HttpResponse) and self._shows_something(response):
            self._add_messages(request, response)
        return response

    @staticmethod
    def _asks_to_sign_in(response: HttpResponseBase) -> bool:
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            return True
        is_redirect = HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST
        return is_redirect and urlsplit(response.get("Location", "")).path == resolve_url(settings.LOGIN_URL)

    @staticmethod
    def _sign_in_url(request: HtmxRequest) -> str:
        """After signing in, the person comes back to the page they were on, not to the fragment it asked for."""
        query = QueryDict(mutable=True)
        query[REDIRECT_FIELD_NAME] = request.htmx.current_url_abs_path or resolve_url(settings.LOGIN_REDIRECT_URL)
        return f"{resolve_url(settings.LOGIN_URL)}?{query.urlencode(safe='/')}"

    @staticmethod
    def _shows_something(response: HttpResponse) -> bool:
        is_html = response.get("Content-Type", "").startswith("text/html")
        is_drawn = response.status_code not in {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT}
        is_redirect = HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST
        return is_html and is_drawn and not is_redirect and not any(name in response for name in LEAVING)

    @staticmethod
    def _add_messages(request: HttpRequest, response: HttpResponse) -> None:
        messages = get_messages(request)
        # A whole page has drawn its own messages already.
        if not getattr(messages, "used", False) and len(messages):
            response.write(render_to_string("ui/messages.html", {"messages": messages, "out_of_band": True}, request))
            if "Content-Length" in response:
                response["Content-Length"] = str(len(response.content))
