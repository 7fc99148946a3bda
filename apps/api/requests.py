"""The door for agents in other processes (§5.3): ask, wait, take back, consume once, say how it ended."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import Field, Header, Router

from apps.api.idempotency import answer_once, ensure_key
from apps.api.schemas import ConsumeIn, ConsumeOut, Error, FactsIn, OutcomeIn, OutcomeOut, RequestIn, RequestOut
from apps.api.tokens import AgentToken, token_of
from apps.api.waiting import LONGEST_WAIT_S, place, wait_until
from apps.approvals.actions import outside
from apps.approvals.actions.outside import CardFacts, Consumed
from apps.approvals.domain.outside import OUTCOME_WITHIN, PENDING
from apps.approvals.models import OutsideRequest
from apps.approvals.queries.outside import RequestState, request_of, request_state
from apps.audit.clock import clock

router = Router(tags=["requests"], auth=AgentToken("proposals:write"))

SCOPE: Final = "proposals:write"
# OpenAPI names the scope that the token must have.
_SCOPED: Final = {"security": [{"AgentToken": [SCOPE]}]}


def _documented(*refusals: HTTPStatus) -> dict[HTTPStatus, type[Error]]:
    return dict.fromkeys((HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, *refusals), Error)


@router.post(
    "",
    response={
        201: RequestOut,
        **_documented(
            HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS
        ),
    },
    url_name="requests",
    openapi_extra=_SCOPED,
)
def ask(
    request: HttpRequest,
    response: HttpResponse,
    asked: RequestIn,
    idempotency_key: Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=120)],
) -> tuple[int, Any]:
    """Ask for one action, or for those of one message of a framework. The same key with the same body is answered the same."""
    token = token_of(request)

    def act() -> tuple[int, dict[str, Any]]:
        row = outside.ask(
            form=asked.format,
            payload=_payload(asked),
            facts=_facts(asked),
            each=[_facts(each, over=asked) for each in asked.actions],
            thread=asked.thread,
            external_id=asked.external_id,
            token=token,
        )
        return HTTPStatus.CREATED, _told(row)

    body = {"door": "requests", **asked.model_dump(mode="json", exclude_unset=True)}
    answered = answer_once(token, ensure_key(idempotency_key), body, act)
    if answered.is_replay:
        response["Idempotency-Replayed"] = "true"
    return answered.status, answered.body


@router.get(
    "/{int:request_id}",
    response={
        200: RequestOut,
        **_documented(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS),
    },
    url_name="request",
    openapi_extra=_SCOPED,
)
def read(
    request: HttpRequest, request_id: int, wait: Annotated[int, Field(ge=0, le=LONGEST_WAIT_S)] = 0
) -> dict[str, Any]:
    """Say where a request stands; with `wait`, answer as soon as it is no longer pending, after so many seconds at most."""
    token = token_of(request)
    row = request_of(token, request_id)
    state = request_state(row, at=clock())
    if wait and state.status == PENDING:
        with place(token, seconds=wait):
            state = wait_until(
                lambda: request_state(row, at=clock()), lambda found: found.status != PENDING, seconds=wait
            )
    return _shown(state)


@router.delete(
    "/{int:request_id}",
    response={200: RequestOut, **_documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)},
    url_name="request",
    openapi_extra=_SCOPED,
)
def withdraw(request: HttpRequest, request_id: int) -> dict[str, Any]:
    """Take back what has not started. Twice is the same as once."""
    return _told(outside.withdraw(request_id, token=token_of(request)))


@router.post(
    "/{int:request_id}/consume",
    response={
        200: ConsumeOut,
        **_documented(
            HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    },
    url_name="consume",
    openapi_extra=_SCOPED,
)
def consume(
    request: HttpRequest,
    request_id: int,
    consuming: ConsumeIn,
    idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=120)] = None,
) -> dict[str, Any]:
    """Turn an approval into the permission to execute, once; then 409. The same Idempotency-Key gets the same answer."""
    token = token_of(request)

    def act() -> tuple[int, dict[str, Any]]:
        done = outside.consume(request_id, **consuming.model_dump(), token=token)
        return HTTPStatus.OK, _permission(request_id, done)

    if idempotency_key is None:
        return act()[1]
    body = {"door": "consume", "request": request_id, **consuming.model_dump(mode="json")}
    answered = answer_once(token, ensure_key(idempotency_key), body, act)
    return {**answered.body, "replay": answered.is_replay}


@router.post(
    "/{int:request_id}/outcome",
    response={
        200: OutcomeOut,
        **_documented(
            HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    },
    url_name="outcome",
    openapi_extra=_SCOPED,
)
def outcome(request: HttpRequest, request_id: int, ended: OutcomeIn) -> dict[str, Any]:
    """Say how an executed action ended, within 15 minutes; after that it counts as unknown, and a person finds out."""
    row = outside.report_outcome(request_id, **ended.model_dump(), token=token_of(request))
    return {"id": request_id, "position": row.position, "proposal_id": row.pk, "outcome": row.state}


def _payload(asked: RequestIn) -> Any:
    if asked.payload is not None:
        return asked.payload
    plain = {"action_type": asked.action_type}
    return plain if asked.args is None else {**plain, "args": asked.args}


def _facts(given: FactsIn, *, over: RequestIn | None = None) -> CardFacts:
    """Return what is said about an action; what it leaves out, the request says for all."""
    names = CardFacts.__dataclass_fields__
    general = {} if over is None else {name: getattr(over, name) for name in names}
    said = general | {name: getattr(given, name) for name in names if over is None or name in given.model_fields_set}
    return CardFacts(**{**said, "evidence": [each.model_dump() for each in said["evidence"]]})


def _told(row: OutsideRequest) -> dict[str, Any]:
    return _shown(request_state(row, at=clock()))


def _shown(state: RequestState) -> dict[str, Any]:
    """Return a request as JSON: also to be kept, so that a repeat is answered to the letter."""
    body = asdict(state)
    only = body["actions"][0] if len(body["actions"]) == 1 else {}
    names = ("digest", "edited", "consumed", "outcome", "decision", "reason")
    body |= {**{name: only.get(name) for name in names}, "choices": only.get("choices", [])}
    shown: dict[str, Any] = RequestOut(**body).model_dump(mode="json")
    return shown


def _permission(request_id: int, done: Consumed) -> dict[str, Any]:
    row = done.proposal
    permission = ConsumeOut(
        id=request_id,
        position=row.position,
        proposal_id=row.pk,
        digest=row.digest,
        target=row.target,
        args=row.args,
        execution_key=done.execution.idempotency_key,
        consumed_at=row.consumed_at,
        outcome_due=done.execution.started_at + OUTCOME_WITHIN,
        replay=False,
    )
    shown: dict[str, Any] = permission.model_dump(mode="json")
    return shown
