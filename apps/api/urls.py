from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, path
from ninja import NinjaAPI
from ninja.parser import Parser

from apps.api.proposals import router as proposals
from apps.api.refusals import answer_refusals
from apps.api.requests import router as requests
from apps.audit.domain.canonical import parse


class StrictJson(Parser):
    """JSON as the digest needs it: no NaN, no key twice, no integer that loses digits."""

    def parse_body(self, request: HttpRequest) -> Any:
        return parse(request.body.decode())


class DescribedApi(NinjaAPI):
    """Names in its description the scopes that a token must have; ninja itself leaves them out."""

    def get_openapi_schema(self, **options: Any) -> Any:
        schema = super().get_openapi_schema(**options)
        for methods in schema["paths"].values():
            for operation in methods.values():
                named = [each for each in operation.get("security", ()) if any(each.values())]
                if named:
                    operation["security"] = named
        return schema


# No page of documentation: its scripts would come from elsewhere. The description itself is at openapi.json.
api = DescribedApi(
    title="Pastpilot",
    version="1",
    description=(
        "People read what waits for them, and decide it, with their own session. Agents in other processes ask, wait,"
        " consume and report with a token of the scope proposals:write; no token decides anything."
    ),
    urls_namespace="api",
    docs_url=None,
    docs_decorator=login_required,
    parser=StrictJson(),
)
api.add_router("/proposals", proposals)
api.add_router("/requests", requests)
answer_refusals(api)

urlpatterns: list[URLPattern | URLResolver] = [path("", api.urls)]
