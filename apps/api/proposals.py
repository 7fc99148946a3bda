from http import HTTPStatus
from typing import Annotated

from django.http import HttpRequest
from ninja import Field, Router

from apps.accounts.access import ensure
from apps.accounts.middleware import record_refusal
from apps.accounts.sessions import signed_in_at
from apps.api.schemas import BulkIn, BulkOut, CardOut, DecideIn, DecideOut, Error, GroupsOut, InboxOut
from apps.api.sessions import PersonSession, ProposalSession, person_of
from apps.approvals.actions.bulk import Outcome, decide_bulk
from apps.approvals.actions.verdicts import Decided, decide_proposal
from apps.approvals.actions.viewing import record_view
from apps.approvals.card import Card
from apps.approvals.domain.bulk import GroupKey, Shown
from apps.approvals.domain.drills import Revealed
from apps.approvals.queries import cards, drills, inbox
from apps.approvals.queries import groups as group_queries
from apps.approvals.queries.groups import Group, GroupRow
from apps.audit.clock import clock

router = Router(tags=["proposals"])

_REFUSALS = dict.fromkeys((HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND), Error)
_CLOSED = dict.fromkeys((HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN), Error)
_LIST_REFUSALS = {**_CLOSED, HTTPStatus.UNPROCESSABLE_ENTITY: Error}
# What is refused of single cards stands in their results.
_BULK_REFUSALS = {**_LIST_REFUSALS, HTTPStatus.BAD_REQUEST: Error}
_VERDICT_REFUSALS = {
    **_REFUSALS,
    **dict.fromkeys((HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY), Error),
}


@router.get("", auth=PersonSession(), response={200: InboxOut, **_LIST_REFUSALS}, url_name="proposals", by_alias=False)
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


@router.get("/groups", auth=PersonSession(), response={200: GroupsOut, **_CLOSED}, url_name="groups", exclude_none=True)
def groups(request: HttpRequest, group: str = "") -> dict[str, object]:
    """List the groups that may be decided together; `group` names one, to get its cards and its `shown`."""
    person = person_of(request)
    ensure(person, "approvals.view")
    key = GroupKey.parse(group)
    page = group_queries.group_page(person, key) if key else None
    told = {"groups": [_group(each) for each in group_queries.groups(person)]}
    return told | ({"items": [_item(each) for each in page.rows], "shown": page.token} if page else {})


@router.post(
    "/bulk", auth=PersonSession(), response={200: BulkOut, **_BULK_REFUSALS}, url_name="bulk", exclude_none=True
)
def bulk(request: HttpRequest, verdicts: BulkIn) -> dict[str, object]:
    """Give one verdict on at most 50 cards of a group. Each has its own outcome; `open_first` names what to look at before."""
    person = person_of(request)
    ensure(person, "approvals.view")
    outcomes = decide_bulk(
        [Shown(each.id, each.version, each.digest) for each in verdicts.items],
        token=verdicts.shown,
        verdict=verdicts.verdict,
        reason=verdicts.reason,
        actor=person,
        channel="api",
    )
    for each in outcomes:
        if each.refusal is not None and hasattr(each.refusal, "right"):
            record_refusal(request, each.refusal)
    return {"results": [_result(each) for each in outcomes]}


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
    person = person_of(request)
    decided = decide_proposal(
        proposal_id,
        verdict=verdict.verdict,
        version=verdict.version,
        digest=verdict.digest,
        args=verdict.args,
        reason=verdict.reason,
        confirm=verdict.confirm,
        signed_in_at=signed_in_at(request),
        actor=person,
        channel="api",
    )
    # Whoever sends a verdict again, because the answer was lost, has not heard it yet.
    again = drills.revealed_to(person, decided.proposal) if decided.replayed else None
    return _told(decided, reveal=decided.revealed or again)


def _group(group: Group) -> dict[str, object]:
    facts = {"action": group.action, "risk": group.key.risk, "policy": group.policy, "count": group.count}
    return {"group": str(group.key), **facts}


def _item(row: GroupRow) -> dict[str, object]:
    card = row.card
    facts = {"id": card.id, "version": card.version, "digest": card.digest, "title": card.title}
    return {**facts, "opened": row.is_opened, "open_first": row.must_open}


def _result(outcome: Outcome) -> dict[str, object]:
    told = {"code": outcome.code, "message": outcome.message} if outcome.code else {}
    return {"id": outcome.id, "outcome": outcome.outcome, **told}


def _told(decided: Decided, *, reveal: Revealed | None) -> dict[str, object]:
    row = decided.proposal
    return {
        "id": row.pk,
        "state": row.state,
        "version": row.version,
        "digest": row.digest,
        "execute_after": row.execute_after,
        "replayed": decided.replayed,
        "reveal": reveal,
    }
