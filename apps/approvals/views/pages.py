"""What the doors of the inbox draw: a whole page, or the detail beside the queue."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import viewing
from apps.approvals.card import Card
from apps.approvals.queries import cards, inbox


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence above a card, in one of the five statuses."""

    status: str
    text: str
    problems: tuple[Any, ...] = ()


def page(
    request: AuthenticatedRequest,
    shown: Card | None,
    *,
    notice: Notice | None = None,
    status: int = 200,
    reopen: str = "",
) -> HttpResponse:
    context = queue_context(request, shown.id if shown else None) | {
        "card": shown,
        "notice": notice,
        "reopen": reopen,
        "posted": request.POST,
    }
    return render(request, "approvals/inbox.html", context, status=status)


def detail(
    request: AuthenticatedRequest,
    pk: int,
    *,
    notice: Notice | None = None,
    status: int = 200,
    reopen: str = "",
    with_queue: bool = False,
) -> HttpResponse:
    if not request.htmx:
        return page(request, shown_card(request, pk), notice=notice, status=status, reopen=reopen)
    context: dict[str, Any] = {
        "card": shown_card(request, pk),
        "notice": notice,
        "reopen": reopen,
        "posted": request.POST,
    }
    if with_queue:
        context |= queue_beside(request, pk)
    return render(request, "approvals/_detail.html", context, status=status)


def shown_card(request: AuthenticatedRequest, pk: int) -> Card:
    """Return a card as this person is about to see it; that they saw it is an event."""
    shown = cards.card(request.user, pk)
    viewing.record_view(shown, reader=request.user)
    return shown


def queue_context(request: AuthenticatedRequest, open_id: int | None) -> dict[str, Any]:
    return {"queue": inbox.queue(request.user), "open_id": open_id}


def queue_beside(request: AuthenticatedRequest, open_id: int | None) -> dict[str, Any]:
    """What changes beside a card when it was decided: the queue, its sentence, and the number on the side bar."""
    return queue_context(request, open_id) | {"with_queue": True, "waiting": inbox.waiting_count(request.user)}
