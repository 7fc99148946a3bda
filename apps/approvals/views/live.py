from http import HTTPStatus

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from apps.accounts.access import ensure
from apps.accounts.queries import team_ids_with
from apps.accounts.types import AuthenticatedRequest
from apps.approvals import live

RIGHT = "approvals.view"


@require_GET
@login_required
async def events(request: AuthenticatedRequest) -> HttpResponseBase:
    """Tell an open page when to ask. Without a stream (too many, or no asynchronous server) it asks every five seconds."""
    user_id, team_ids = await sync_to_async(_reader)(request)
    if not isinstance(request, ASGIRequest):
        # 204 tells the browser not to come back: here each stream would keep a whole thread.
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    if not live.hub().has_room(user_id):
        return HttpResponse(status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "60"})
    return StreamingHttpResponse(
        live.events(user_id, team_ids),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
    )


def _reader(request: AuthenticatedRequest) -> tuple[int, frozenset[int]]:
    """Return who reads and of which teams, and give back the connection: a stream must not keep one of the pool for minutes."""
    ensure(request.user, RIGHT)
    found = request.user.pk, team_ids_with(request.user, RIGHT)
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
    return found
