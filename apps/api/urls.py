from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, path
from ninja import NinjaAPI
from ninja.parser import Parser

from apps.api.proposals import router as proposals
from apps.api.refusals import answer_refusals
from apps.audit.domain.canonical import parse


class StrictJson(Parser):
    """JSON as the digest needs it: no NaN, no key twice, no integer that loses digits."""

    def parse_body(self, request: HttpRequest) -> Any:
        return parse(request.body.decode())


# No page of documentation: its scripts would come from elsewhere. The description itself is at openapi.json.
api = NinjaAPI(
    title="Pastpilot",
    version="1",
    description="Read what waits for people, and decide it, with your own session.",
    urls_namespace="api",
    docs_url=None,
    docs_decorator=login_required,
    parser=StrictJson(),
)
api.add_router("/proposals", proposals)
answer_refusals(api)

urlpatterns: list[URLPattern | URLResolver] = [path("", api.urls)]
