"""Every error of the JSON door has one shape: {"code", "message", "pointer"?, "problems"?, "current"?, "retry_after"?}."""

from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from apps.accounts.access import Forbidden, Hidden
from apps.accounts.middleware import record_refusal
from apps.api.idempotency import KEY_WANTED
from apps.api.tokens import TokenRefused
from apps.approvals.domain.edit import pointer
from apps.approvals.errors import BadArgs, OpenFirst, Refused, TooMany
from apps.approvals.models import Proposal
from apps.audit.domain.canonical import CanonicalError

_KEY_HEADER: Final = ("header", "Idempotency-Key")


def answer_refusals(api: NinjaAPI) -> None:
    """Teach an API to answer what our verbs raise."""
    api.add_exception_handler(Refused, _refused(api))
    api.add_exception_handler(TokenRefused, _token_refused(api))
    api.add_exception_handler(Http404, _not_found(api))
    api.add_exception_handler(PermissionDenied, _forbidden(api))
    api.add_exception_handler(AuthenticationError, _signed_out(api))
    api.add_exception_handler(ValidationError, _misshapen(api))
    api.add_exception_handler(HttpError, _unreadable(api))


def _refused(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, refusal: Refused) -> HttpResponse:
        if refusal.status == HTTPStatus.FORBIDDEN:
            record_refusal(request, refusal)
        body: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
        if refusal.pointer:
            body["pointer"] = refusal.pointer
        if isinstance(refusal, BadArgs):
            body["problems"] = [
                {"code": each.code, "pointer": each.pointer, "message": each.message} for each in refusal.problems
            ]
        if refusal.status == HTTPStatus.CONFLICT:
            body["current"] = _current(request, refusal)
        if isinstance(refusal, OpenFirst):
            body["open_first"] = [{"id": pk, "url": reverse("approvals:card", args=[pk])} for pk in refusal.ids]
        if isinstance(refusal, TooMany):
            body["retry_after"] = refusal.retry_after
        response = api.create_response(request, body, status=refusal.status)
        if isinstance(refusal, TooMany):
            response["Retry-After"] = str(refusal.retry_after)
        return response

    return handle


def _token_refused(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, refusal: TokenRefused) -> HttpResponse:
        if refusal.was_shown:
            record_refusal(request, refusal)
        body = {"code": refusal.code, "message": refusal.message}
        response = api.create_response(request, body, status=refusal.status)
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            response["WWW-Authenticate"] = "Bearer"
        return response

    return handle


def _not_found(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, error: Http404) -> HttpResponse:
        if isinstance(error, Hidden):
            record_refusal(request, error)
        body = {"code": "not_found", "message": "There is no such proposal."}
        return api.create_response(request, body, status=HTTPStatus.NOT_FOUND)

    return handle


def _forbidden(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
        record_refusal(request, error)
        who = f" It comes with the role {' or '.join(error.roles)}." if isinstance(error, Forbidden) else ""
        body = {"code": "forbidden", "message": f"You may not do this. Nothing changed.{who}"}
        return api.create_response(request, body, status=HTTPStatus.FORBIDDEN)

    return handle


def _signed_out(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        body = {"code": "signed_out", "message": "Sign in first. Nothing changed."}
        return api.create_response(request, body, status=HTTPStatus.UNAUTHORIZED)

    return handle


def _misshapen(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, error: ValidationError) -> HttpResponse:
        if any(tuple(each["loc"][:2]) == _KEY_HEADER for each in error.errors):
            body: dict[str, Any] = {"code": "idempotency_key_missing", "message": KEY_WANTED}
            return api.create_response(request, body, status=HTTPStatus.BAD_REQUEST)
        # The first two parts say which parameter of ours it was; the rest is the place in what was sent.
        problems = [
            {"code": "bad_request", "pointer": pointer(each["loc"][2:]), "message": f"{each['msg']}."}
            for each in error.errors
        ]
        body = {**problems[0], "problems": problems}
        return api.create_response(request, body, status=HTTPStatus.UNPROCESSABLE_ENTITY)

    return handle


def _unreadable(api: NinjaAPI) -> Any:
    def handle(request: HttpRequest, error: HttpError) -> HttpResponse:
        cause = error.__cause__
        if isinstance(cause, CanonicalError):
            place = cause.pointer.removeprefix("/args")
            body = {"code": "bad_args", "message": f"{cause}. Nothing changed.", "pointer": place}
            return api.create_response(request, body, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        codes = {HTTPStatus.BAD_REQUEST: "bad_json", HTTPStatus.FORBIDDEN: "csrf"}
        words = {
            HTTPStatus.BAD_REQUEST: "The body is not JSON. Nothing changed.",
            HTTPStatus.FORBIDDEN: "The CSRF token is missing or wrong. Nothing changed.",
        }
        status = HTTPStatus(error.status_code)
        body = {"code": codes.get(status, "refused"), "message": words.get(status, str(error))}
        return api.create_response(request, body, status=status)

    return handle


def _current(request: HttpRequest, refusal: Refused) -> dict[str, Any] | None:
    """Say where the proposal stands that was refused, or that of this address; whoever gets here may see it."""
    kwargs = request.resolver_match.kwargs if request.resolver_match else {}
    refused = getattr(refusal, "proposal", None)
    row = (
        refused if isinstance(refused, Proposal) else Proposal.objects.filter(pk=kwargs.get("proposal_id") or 0).first()
    )
    return None if row is None else {"id": row.pk, "state": row.state, "version": row.version, "digest": row.digest}
