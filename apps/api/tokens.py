"""Who may come in with a token (S7): an agent in another process, for the scopes that its token has, and nothing else."""

from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer

from apps.accounts.actions import note_token_use
from apps.accounts.domain.addresses import client_address
from apps.accounts.domain.tokens import Refusal, key_id_of, refusal
from apps.accounts.models import ApiToken
from apps.accounts.queries import known, token_of_key
from apps.audit.clock import clock

# These say who it is that may not; the others, that nobody knows who it is.
_FORBIDDEN: Final = frozenset({"wrong_network", "out_of_scope"})
_NONE_SHOWN: Final = Refusal(
    "no_token",
    "Send a token: Authorization: Bearer pp_… An administrator issues them. Nothing changed.",
    is_known=False,
)


class TokenRefused(Exception):
    """A token that opens nothing here. Recorded like every failed authorisation: `actor`, `right` and `team_id` say whose."""

    def __init__(self, why: Refusal, *, scope: str, token: ApiToken | None) -> None:
        super().__init__(why.message)
        self.code = why.code
        self.message = why.message
        self.status = HTTPStatus.FORBIDDEN if why.code in _FORBIDDEN else HTTPStatus.UNAUTHORIZED
        self.right = scope
        self.was_shown = why is not _NONE_SHOWN
        is_known = token is not None and why.is_known
        self.subject = f"token:{token.pk}" if token is not None and is_known else "token:unknown"
        self.actor = token.actor if token is not None and is_known else "token:unknown"
        self.team_id = token.team_id if token is not None and is_known else None


class AgentToken(HttpBearer):
    """A bearer token with the scope that the address asks for. Refuses with TokenRefused, so that the caller learns why."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> ApiToken:
        found = super().__call__(request)
        if not isinstance(found, ApiToken):
            raise TokenRefused(_NONE_SHOWN, scope=self.scope, token=None)
        return found

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:
        key_id = key_id_of(token)
        row = token_of_key(key_id) if key_id else None
        now = clock()
        no = refusal(
            known(row) if row else None,
            shown=token,
            address=client_address(
                str(request.META.get("REMOTE_ADDR", "")),
                str(request.META.get("HTTP_X_FORWARDED_FOR", "")),
                trusted_proxies=settings.TRUSTED_PROXIES,
            ),
            scope=self.scope,
            now=now,
        )
        if no is not None or row is None:
            raise TokenRefused(no or Refusal("bad_token", "", is_known=False), scope=self.scope, token=row)
        note_token_use(row, at=now)
        return row


def token_of(request: HttpRequest) -> ApiToken:
    """Return the token that opened this address; only for addresses behind the class above."""
    found: Any = getattr(request, "auth", None)
    if not isinstance(found, ApiToken):
        raise TypeError("This address is not behind a token.")
    return found
