"""What the doors of the inbox draw: a whole page, or the detail beside the queue."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.middleware import record_refusal
from apps.accounts.types import AuthenticatedRequest
from apps.approvals.actions import viewing
from apps.approvals.actions.verdicts import Decided
from apps.approvals.card import Card
from apps.approvals.domain.search import parse
from apps.approvals.errors import BadArgs, Refused, SignInAgain
from apps.approvals.forms import typed_back
from apps.approvals.queries import cards, inbox
from apps.approvals.queries.targets import Comparison
from apps.approvals.views.kept import keep
from apps.ui.context import know_count

# So many lines at once, and at most: further down than that nobody reads, they search.
PAGE: Final = 50
MOST_LINES: Final = 500


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence above a card, in one of the five statuses."""

    status: str
    text: str
    problems: tuple[Any, ...] = ()
    link: str = ""
    link_words: str = ""


def page(
    request: AuthenticatedRequest,
    shown: Card | None,
    *,
    notice: Notice | None = None,
    status: int = 200,
    reopen: str = "",
    posted: QueryDict | None = None,
    comparison: Comparison | None = None,
    queue: inbox.Queue | None = None,
) -> HttpResponse:
    """Draw the whole inbox; `queue` is the one that was drawn to find the card, if it was."""
    typed = request.POST if posted is None else posted
    context = queue_context(request, shown.id if shown else None, queue)
    know_count(request, "approvals:inbox", context["queue"].mine)
    # Counted only where somebody may look into them.
    context["unknown"] = inbox.unknown_count(request.user) if request.user.has_perm("repairs.view") else 0
    context |= {
        "card": typed_back(shown, typed) if shown and reopen == "edit" else shown,
        "notice": notice,
        "reopen": reopen,
        "posted": typed,
        "comparison": comparison,
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
    decided: Decided | None = None,
) -> HttpResponse:
    if not request.htmx:
        return page(request, shown_card(request, pk), notice=notice, status=status, reopen=reopen)
    shown = shown_card(request, pk)
    context: dict[str, Any] = {
        "card": typed_back(shown, request.POST) if reopen == "edit" else shown,
        "notice": notice,
        "reopen": reopen,
        "posted": request.POST,
        "decided": decided,
    }
    if with_queue:
        context |= queue_beside(request, pk)
    return render(request, "approvals/_detail.html", context, status=status)


def refused(request: AuthenticatedRequest, pk: int, refusal: Refused, verdict: str = "") -> HttpResponse:
    """Draw a card again with the reason why nothing was done on it; a faulty form stays open as it was typed."""
    if refusal.status == HTTPStatus.FORBIDDEN:
        record_refusal(request, refusal)
    if isinstance(refusal, SignInAgain):
        return _sign_in_again(request, pk, refusal)
    is_faulty = refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY
    problems = tuple(refusal.problems) if isinstance(refusal, BadArgs) else ()
    notice = Notice("bad" if is_faulty else "warn", refusal.message, problems)
    return detail(
        request, pk, notice=notice, status=refusal.status, reopen=verdict if is_faulty else "", with_queue=True
    )


def _sign_in_again(request: AuthenticatedRequest, pk: int, refusal: SignInAgain) -> HttpResponse:
    """Lead to the sign-in and back to the card; what was typed is kept meanwhile."""
    keep(request, pk)
    to = f"{reverse('account_reauthenticate')}?{urlencode({'next': reverse('approvals:card', args=[pk])})}"
    notice = Notice("warn", refusal.message, link=to, link_words="Sign in again; what you typed is kept")
    response = detail(request, pk, notice=notice, status=refusal.status, with_queue=True)
    if request.htmx:
        response["HX-Redirect"] = to
    return response


def shown_card(request: AuthenticatedRequest, pk: int) -> Card:
    """Return a card as this person is about to see it; that they saw it is an event."""
    shown = cards.card(request.user, pk)
    viewing.record_view(shown, reader=request.user)
    return shown


def queue_context(
    request: AuthenticatedRequest, open_id: int | None, queue: inbox.Queue | None = None
) -> dict[str, Any]:
    """The queue as the page shows it: what it searches for, and how many lines it has come to show."""
    text, show = asked(request, "q"), shown_lines(request)
    queue = queue or inbox.queue(request.user, search=parse(text), limit=show)
    return {"queue": queue, "open_id": open_id} | addresses(text, show)


def addresses(text: str, show: int) -> dict[str, Any]:
    """What the addresses in a queue carry along, so that a card opened from a search leads back to it."""
    kept = {"q": text} if text else {}
    shown = {} if show == PAGE else {"show": str(show)}
    longer = {**kept, "show": str(min(show + PAGE, MOST_LINES))}
    trail = kept | shown
    return {"q": text, "trail": f"?{urlencode(trail)}" if trail else "", "longer": f"?{urlencode(longer)}"}


def shown_lines(request: AuthenticatedRequest) -> int:
    text = asked(request, "show")
    return min(max(int(text), PAGE), MOST_LINES) if text.isdecimal() and len(text) < 6 else PAGE  # noqa: PLR2004  # digits


def asked(request: AuthenticatedRequest, name: str) -> str:
    """Return what a request says; one of htmx that says nothing speaks for the page that it comes from."""
    for said in (request.GET, request.POST):
        if name in said:
            return str(said[name]).strip()
    here = urlsplit(request.htmx.current_url or "").query if request.htmx else ""
    return parse_qs(here).get(name, [""])[0].strip()


def queue_beside(request: AuthenticatedRequest, open_id: int | None) -> dict[str, Any]:
    """What changes beside a card when it was decided: the queue, its sentence, and the number on the side bar."""
    context = queue_context(request, open_id)
    return context | {"with_queue": True, "waiting": context["queue"].mine}
