"""The desk's HTTP face: a raw ASGI application over one store."""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from apps.demo.desk import pages
from apps.demo.desk.answers import JSON, Answer, answer_json, refusal
from apps.demo.desk.faults import Faults, cut_connection
from apps.demo.desk.fields import COLLECTIONS, Problem, problems_with_changes, problems_with_record
from apps.demo.desk.store import Changed, Exists, KeyReused, RecordMissing, Store, Written

logger = logging.getLogger("desk")

MAX_BODY: Final = 8 * 1024 * 1024
MAX_ROWS: Final = 1_000
MAX_HEADER: Final = 200

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Cut(Exception):
    """A fault: the connection ends without an answer."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: tuple[str, ...]
    query: dict[str, str]
    headers: dict[bytes, bytes]
    body: bytes = b""

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1").strip()


@dataclass(slots=True)
class Desk:
    """Answers requests from one store. Reads and writes run on the loop's own thread: SQLite takes microseconds."""

    store: Store
    api_key: str
    start_id: str = ""
    faults: Faults = field(default_factory=Faults)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            body = await _body(scope, receive)
            answer = (
                refusal(413, "too_large", "The body is larger than 8 MiB. Nothing was written.")
                if body is None
                else self._answer(_request(scope, body))
            )
        except Cut:
            cut_connection(*scope["client"])
            return
        except Exception:
            logger.exception("The desk failed")
            answer = refusal(500, "failed", "The desk failed. Look at its output.")
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.wire_headers()})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def _answer(self, request: Request) -> Answer:
        """Find the door: open pages first, then everything that needs the key."""
        if request.path == ("healthz",):
            return answer_json(200, {"ok": True, "start": self.start_id})
        if request.method in {"GET", "HEAD"}:
            page = pages.page(self.store, request.path, request.query)
            if page is not None:
                return page
        expected = f"Bearer {self.api_key}".encode()
        if not hmac.compare_digest(request.headers.get(b"authorization", b""), expected):
            return refusal(401, "no_key", "Send the desk's key as Authorization: Bearer.")
        if request.path == ("journal",) and request.method == "GET":
            return self._journal(request)
        if request.path and request.path[0] in COLLECTIONS:
            return self._collection(request)
        return refusal(404, "not_found", "There is nothing here.")

    def _collection(self, request: Request) -> Answer:
        collection = request.path[0]
        match (request.method, request.path[1:]):
            case ("GET" | "HEAD", (record_id,)):
                return self._read(collection, record_id)
            case ("GET" | "HEAD", ()):
                return self._find(collection, request.query)
            case ("PATCH", (record_id,)):
                return self._change(collection, record_id, request)
            case ("PUT", (record_id,)):
                return self._create(collection, record_id, request)
            case ("POST", ()):
                return self._add(collection, request)
        return refusal(405, "bad_method", f"{request.method} is not possible here.")

    def _read(self, collection: str, record_id: str) -> Answer:
        try:
            stored = self.store.get(collection, record_id)
        except RecordMissing:
            return _missing(collection, record_id)
        return Answer(200, stored.as_json().encode(), JSON, {"etag": f'"{stored.version}"'})

    def _find(self, collection: str, query: dict[str, str]) -> Answer:
        where = {name: value for name, value in query.items() if name not in {"q", "limit", "skip"}}
        unknown = [name for name in where if name not in COLLECTIONS[collection] and name != "id"]
        if unknown:
            return _invalid([Problem(f"/{name}", f"{collection} have no field {name!r}.") for name in unknown])
        items, total = self.store.find(
            collection,
            where=where,
            text=query.get("q", ""),
            limit=_number(query, "limit", 50, MAX_ROWS),
            skip=_number(query, "skip", 0, 10**9),
        )
        shown = [{**item.fields, "etag": f'"{item.version}"'} for item in items]
        return answer_json(200, {"items": shown, "total": total})

    def _change(self, collection: str, record_id: str, request: Request) -> Answer:
        changes = _parsed(request.body)
        refused = _unnamed(request) or _unconditional(request) or _bad_changes(collection, changes)
        if refused is not None:
            return refused
        if self.faults.strikes(self.faults.drop_before_write):
            raise Cut
        try:
            written = self.store.change(
                collection,
                record_id,
                changes=changes,
                version=_version(request.header(b"if-match")),
                key=request.header(b"idempotency-key"),
                actor=request.header(b"x-actor"),
            )
        except RecordMissing:
            return _missing(collection, record_id)
        except Changed as error:
            message = f"The record is at version {error.version} now. Nothing was written. Read it again."
            return refusal(412, "changed", message, etag=f'"{error.version}"')
        except KeyReused:
            return _key_reused()
        return self._written(200, written)

    def _create(self, collection: str, record_id: str, request: Request) -> Answer:
        """Store a record under a name that its writer chose; whoever comes second is told so and changes nothing."""
        record = _parsed(request.body)
        refused = _unnamed(request) or _not_only_new(request) or _bad_record(collection, record_id, record)
        if refused is not None:
            return refused
        if self.faults.strikes(self.faults.drop_before_write):
            raise Cut
        try:
            written = self.store.create(
                collection,
                record_id,
                record={name: value for name, value in record.items() if name != "id"},
                key=request.header(b"idempotency-key"),
                actor=request.header(b"x-actor"),
            )
        except Exists as error:
            message = "A record of this name exists already. Nothing was written."
            return refusal(412, "exists", message, etag=f'"{error.version}"')
        except KeyReused:
            return _key_reused()
        return self._written(201, written)

    def _written(self, status: int, written: Written) -> Answer:
        headers = {"etag": f'"{written.version}"'}
        if written.is_replay:
            headers["idempotency-replayed"] = "true"
        elif self.faults.strikes(self.faults.drop_after_write):
            raise Cut
        elif self.faults.strikes(self.faults.error_after_write):
            return refusal(500, "fault", "A fault that a tester asked for.")
        return Answer(status, written.answer.encode(), JSON, headers)

    def _add(self, collection: str, request: Request) -> Answer:
        records = _parsed(request.body)
        records = [records] if isinstance(records, dict) else records
        if not isinstance(records, list) or not records:
            return _invalid([Problem("", "Send a JSON list of records.")])
        problems = [
            Problem(f"/{place}{problem.pointer}", problem.message)
            for place, record in enumerate(records)
            for problem in problems_with_record(collection, record)
        ]
        if problems:
            return _invalid(problems[:100])
        created, existing = self.store.add(collection, records)
        return answer_json(201 if created else 200, {"created": created, "existing": existing})

    def _journal(self, request: Request) -> Answer:
        after = _number(request.query, "after", 0, 2**62)
        rows = self.store.journal(after=after, limit=_number(request.query, "limit", MAX_ROWS, MAX_ROWS))
        shown = [{name: getattr(row, name) for name in row.__dataclass_fields__} for row in rows]
        return answer_json(200, {"rows": shown, "next": rows[-1].seq if rows else after})


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """Read the whole body, or None when it is larger than the desk takes."""
    if scope["method"] in {"GET", "HEAD"}:
        return b""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            return None
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _request(scope: Scope, body: bytes) -> Request:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = tuple(unquote(part) for part in raw.partition(b"?")[0].decode("latin-1").strip("/").split("/"))
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    return Request(scope["method"], () if path == ("",) else path, query, dict(scope["headers"]), body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _version(etag: str) -> int:
    """Read `"7"`; any other precondition matches no record."""
    number = etag.strip('"')
    return int(number) if number.isascii() and number.isdigit() else -1


def _number(query: dict[str, str], name: str, default: int, largest: int) -> int:
    text = query.get(name, "")
    return min(int(text), largest) if text.isascii() and text.isdigit() and len(text) < 20 else default  # noqa: PLR2004 digits of 2^62


def _unnamed(request: Request) -> Answer | None:
    """Refuse a write that does not name its repeat key and its actor."""
    for name, shown in ((b"idempotency-key", "Idempotency-Key"), (b"x-actor", "X-Actor")):
        if not 0 < len(request.header(name)) <= MAX_HEADER:
            return refusal(400, "bad_header", f"Send {shown} of 1 to {MAX_HEADER} characters. Nothing was written.")
    return None


def _unconditional(request: Request) -> Answer | None:
    """Refuse a change that does not name the version that its writer saw."""
    if not request.header(b"if-match"):
        return refusal(428, "precondition_required", "Send If-Match with the ETag that you read. Nothing was written.")
    return None


def _not_only_new(request: Request) -> Answer | None:
    """A whole record may be sent only to where there is none: else it would undo what others wrote meanwhile."""
    if request.header(b"if-none-match") != "*":
        return refusal(428, "precondition_required", "Send If-None-Match: * with a new record. Nothing was written.")
    return None


def _bad_record(collection: str, record_id: str, record: Any) -> Answer | None:
    named = {"id": record_id, **record} if isinstance(record, dict) else record
    problems = problems_with_record(collection, named)
    if not problems and named["id"] != record_id:
        problems = [Problem("/id", f"id must be {record_id}, as in the address, or be left out.")]
    return _invalid(problems) if problems else None


def _bad_changes(collection: str, changes: Any) -> Answer | None:
    problems = problems_with_changes(collection, changes)
    return _invalid(problems) if problems else None


def _key_reused() -> Answer:
    return refusal(422, "key_reused", "This Idempotency-Key belongs to another request. Nothing was written.")


def _missing(collection: str, record_id: str) -> Answer:
    return refusal(404, "not_found", f"{collection} have no record {record_id!r}.")


def _invalid(problems: list[Problem]) -> Answer:
    return answer_json(
        422,
        {
            "error": "invalid",
            "message": " ".join(problem.message for problem in problems[:5]) + " Nothing was written.",
            "problems": [{"pointer": problem.pointer, "message": problem.message} for problem in problems],
        },
    )
