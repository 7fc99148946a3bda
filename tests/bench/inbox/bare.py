"""What Django alone needs for the same two things: a partial of 50 rows, and one verdict in one transaction. No rights, no rules, no log."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path
from django.utils import timezone

from apps.approvals.models import Decision, Proposal, State

ROWS = engines["django"].from_string(
    "<ul>{% for row in rows %}<li id='proposal-{{ row.id }}'><a href='/inbox/{{ row.id }}/'>"
    "<span>{{ row.title }}</span> <span>{{ row.agent_version__agent__name }} · {{ row.risk_class }} risk</span>"
    " <span>{{ row.created_at }}</span> <span>{{ row.deadline }}</span></a></li>{% endfor %}</ul>"
)
COLUMNS = ("id", "title", "agent_version__agent__name", "risk_class", "created_at", "deadline")


def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def rows(request: HttpRequest) -> HttpResponse:
    found = Proposal.objects.waiting().order_by("deadline").values(*COLUMNS)[:50]
    return HttpResponse(ROWS.render({"rows": found}))


def decide(request: HttpRequest, pk: int, user_id: int) -> HttpResponse:
    with transaction.atomic():
        row = Proposal.objects.select_for_update().get(pk=pk)
        row.state, row.version = State.QUEUED, row.version + 1
        row.save(update_fields=["state", "version"])
        Decision.objects.create(
            proposal=row,
            verdict="approve",
            by_kind="person",
            actor_id=user_id,
            digest=row.digest,
            decided_at=timezone.now(),
        )
    return HttpResponse("ok")


urlpatterns = [
    path("healthz", healthz),
    path("rows/", rows),
    path("decide/<int:pk>/<int:user_id>/", decide),
]
