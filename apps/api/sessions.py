"""Who may come in: people with their own session. Every state change carries the CSRF token, as on the pages (S4)."""

from typing import Any

from django.http import HttpRequest
from ninja.security import SessionAuth

from apps.accounts.access import object_or_404
from apps.accounts.models import User
from apps.approvals.models import Proposal


class PersonSession(SessionAuth):
    """Somebody who is signed in. `csrf` stays on: Django's middleware leaves these addresses to us."""

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:  # noqa: ARG002  # ninja names it
        return request.user if isinstance(request.user, User) else None


class ProposalSession(PersonSession):
    """Somebody who may see the proposal in the address. Outsiders get 404 before a word of their request is read."""

    openapi_name = "PersonSession"

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        person = super().authenticate(request, key)
        if person is not None and request.resolver_match is not None:
            object_or_404(
                Proposal.objects.only("pk"), person, "approvals.view", request.resolver_match.kwargs["proposal_id"]
            )
        return person


def person_of(request: HttpRequest) -> User:
    """Return whom the session belongs to; only for addresses behind one of the above."""
    person: Any = request.user
    if not isinstance(person, User):
        raise TypeError("This address is not behind a session.")
    return person
