from http import HTTPStatus
from typing import Annotated

from django.http import HttpRequest
from ninja import Field, Router

from apps.accounts.access import ensure
from apps.api.schemas import CardOut, DecideIn, DecideOut, Error, InboxOut
from apps.api.sessions import PersonSession, ProposalSession, person_of
from apps.approvals.actions.verdicts import Decided, decide_proposal
from apps.approvals.actions.viewing import record_view
from apps.approvals.card import Card
from apps.approvals.queries import cards, inbox
from apps.audit.clock import clock

router = Router(tags=["proposals"])

_REFUSALS = dict.fromkeys((HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND), Error)
_VERDICT_REFUSALS = {
    **_REFUSALS,
    **dict.fromkeys((HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY), Error),
}


@router.get("", auth=PersonSession(), response={200: InboxOut, **_REFUSALS}, url_name="proposals", by_alias=False)
def proposals(
    request: HttpRequest,
    limit: Annotated[int, Field(ge=1, le=200)] = 50,
    offset: Annotated[int, Field(ge=0, le=100_000)] = 0,
) -> dict[str, object]:
    """List what waits in your teams, in the order of the inbox."""
    person = person_of(request)
    ensure(person, "approvals.view")
    now = clock()
    rows = inbox.inbox_rows(person, limit=limit, offset=offset, at=now)
    return {"items": rows, "as_of": now, "waiting": inbox.waiting_count(person)}


@router.get("/{int:proposal_id}", auth=ProposalSession(), response={200: CardOut, **_REFUSALS}, url_name="proposal")
def proposal(request: HttpRequest, proposal_id: int) -> Card:
    """Show one card, with the version and digest that a verdict on it must carry."""
    person = person_of(request)
    card = cards.card(person, proposal_id)
    record_view(card, reader=person)
    return card


@router.post(
    "/{int:proposal_id}/decide",
    auth=ProposalSession(),
    response={200: DecideOut, **_VERDICT_REFUSALS},
    url_name="decide",
)
def decide(request: HttpRequest, proposal_id: int, verdict: DecideIn) -> dict[str, object]:
    """Decide exactly the card that you read. The same verdict again answers 200 with `replayed`; another one 409."""
    return _told(
        decide_proposal(
            proposal_id,
            verdict=verdict.verdict,
            version=verdict.version,
            digest=verdict.digest,
            args=verdict.args,
            reason=verdict.reason,
            confirm=verdict.confirm,
            actor=person_of(request),
            channel="api",
        )
    )


def _told(decided: Decided) -> dict[str, object]:
    row = decided.proposal
    return {
        "id": row.pk,
        "state": row.state,
        "version": row.version,
        "digest": row.digest,
        "execute_after": row.execute_after,
        "replayed": decided.replayed,
    }
