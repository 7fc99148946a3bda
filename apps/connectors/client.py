"""Reading and writing records of outside systems over HTTP. One keep-alive client per system and process."""

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, NoReturn

import httpcore
import httpx
from django.conf import settings
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from apps.connectors import queries
from apps.connectors.domain.addresses import BadAddress, check_url, parse_networks
from apps.connectors.domain.targets import BadTarget, Target, is_collection, parse_target
from apps.connectors.errors import (
    AlreadyThere,
    Changed,
    ConnectorError,
    CredentialMissing,
    NoAnswer,
    NotFound,
    NotSent,
    Refused,
    Unclear,
    Unsafe,
)
from apps.connectors.models import Connector
from apps.connectors.network import deadline, open_line
from apps.connectors.sealing import NoSealingKey, Sealed, unseal

ANSWER_WITHIN: Final = 10.0
MAX_ANSWER: Final = 1024 * 1024
READ_ATTEMPTS: Final = 3
# A changed address, grant or credential counts in every process after this long at the latest.
FRESH_FOR: Final = 2.0
MAX_TOLD: Final = 300

_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_NO_LONGER_THERE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
# The server gave up waiting for us, or asks to try later without saying that it did nothing.
_UNCLEAR_CODES: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
_NO_ACCESS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Record:
    """One record as its system shows it, and the mark of its version; the mark is empty where the system has none."""

    target: str
    fields: dict[str, Any]
    etag: str


@dataclass(frozen=True, slots=True)
class Written:
    """A write that happened. `replayed`: the system had done it before under the same key."""

    ref: str
    etag: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look at a system found, in a sentence."""

    is_reachable: bool
    note: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def is_success(self) -> bool:
        return httpx.codes.is_success(self.status)

    @property
    def is_redirect(self) -> bool:
        return httpx.codes.is_redirect(self.status)

    def json(self) -> Any:
        """Return what the body spells, or None where it is no JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


def read(target: str, *, timeout: float = ANSWER_WITHIN) -> Record:
    """Read one record. Tried again while time is left if no answer came; raises the errors of this room."""
    named = _parsed(target)
    answer = _retried(named.connector, named.path, {}, about=target, timeout=timeout)
    return Record(target, _json_object(answer, about=target), answer.headers.get("etag", ""))


def search(
    connector_key: str, collection: str, query: Mapping[str, str | int], *, timeout: float = ANSWER_WITHIN
) -> list[Record]:
    """Find records of a collection by its system's own query fields."""
    about = f"{connector_key}:{collection}"
    if not is_collection(collection):
        raise Refused(f"{collection[:40]!r} is no collection. Nothing was sent.", target=about)
    answer = _retried(connector_key, f"/{collection}", query, about=about, timeout=timeout)
    items = _json_object(answer, about=about).get("items")
    if not isinstance(items, list):
        raise Refused(f"{about} answered without a list of items.", target=about)
    return [
        Record(f"{about}/{item['id']}", {k: v for k, v in item.items() if k != "etag"}, str(item.get("etag") or ""))
        for item in items
        if isinstance(item, dict) and item.get("id")
    ]


def write(
    target: str,
    *,
    changes: Mapping[str, Any],
    etag: str | None,
    idempotency_key: str,
    actor: str,
    timeout: float = ANSWER_WITHIN,
) -> Written:
    """
    Change fields of one record, once. Never tried again here: only the caller knows whether the system honours the key.

    NotFound, Changed, Refused, NotSent and Unsafe mean that nothing was written; Unclear that nobody knows. Once a call
    was Unclear, only a success settles it: a later refusal may come after a first attempt that worked.
    """
    condition = {} if etag is None else {"if-match": etag}
    return _sent("PATCH", target, changes, condition, key=idempotency_key, actor=actor, timeout=timeout)


def create(
    target: str,
    *,
    record: Mapping[str, Any],
    idempotency_key: str,
    actor: str,
    timeout: float = ANSWER_WITHIN,
) -> Written:
    """
    Add one record under its name, unless its system has one: then AlreadyThere, and that one stays as it is.

    The other errors mean what they mean for `write`. An unclear creation may be sent again, even to a system that
    does not honour the key: RFC 9110 §13.1.2 lets `If-None-Match: *` through only while the record does not exist.
    """
    return _sent("PUT", target, record, {"if-none-match": "*"}, key=idempotency_key, actor=actor, timeout=timeout)


def _sent(
    method: str,
    target: str,
    fields: Mapping[str, Any],
    condition: Mapping[str, str],
    *,
    key: str,
    actor: str,
    timeout: float,
) -> Written:
    named = _parsed(target)
    headers = {"idempotency-key": key, "x-actor": actor, "content-type": "application/json", **condition}
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise Refused(f"The {name} of this write cannot be sent. Nothing was written.", target=target)
    try:
        body = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        raise Refused("A value of this write cannot be spelt in JSON. Nothing was written.", target=target) from None
    with _using(named.connector) as link:
        answer = _exchange(link, method, named.path, headers=headers, body=body, about=target, timeout=timeout)
    if method == "PUT" and answer.status == HTTPStatus.PRECONDITION_FAILED:
        raise AlreadyThere(f"{target} exists already. Nothing was written.", target=target, status=answer.status)
    if not answer.is_success:
        _refuse_write(answer, target)
    new_etag = answer.headers.get("etag", "")
    ref = f"{named.collection}/{named.id}" + (f"@{new_etag.strip(chr(34))}" if new_etag else "")
    return Written(ref[:200], new_etag, answer.headers.get("idempotency-replayed") == "true")


def probe(connector_key: str) -> Probe:
    """Read the connector's test path once, with its credential, and say what happened. Raises nothing of this room."""
    began = monotonic()
    try:
        with _using(connector_key, is_fresh=True) as link:
            path = link.facts.probe_path or "/"
            answer = _exchange(link, "GET", path, about=connector_key, timeout=ANSWER_WITHIN)
    except ConnectorError as error:
        return Probe(is_reachable=False, note=str(error))
    spent = f"{(monotonic() - began) * 1000:.0f} ms"
    if answer.is_success:
        return Probe(is_reachable=True, note=f"It answered {answer.status} in {spent}.")
    if answer.status in _NO_ACCESS:
        note = f"It answered {answer.status} in {spent}: it does not accept the credential. Store a new one."
    elif answer.is_redirect:
        note = f"It answered with a redirect ({answer.status}), which is never followed. Correct the address."
    else:
        note = f"It answered {answer.status} in {spent}. Check the address and the test path."
    return Probe(is_reachable=False, note=note)


def forget() -> None:
    """Close every kept connection of this process; the next call looks everything up again."""
    with _lock:
        links = list(_links.values())
        _links.clear()
    for link in links:
        link.retire()


@dataclass(frozen=True, slots=True)
class _Facts:
    """Everything about a connector that shapes its client; when one differs, the client is made anew."""

    pk: int
    base_url: str
    auth: str
    probe_path: str
    cidrs: tuple[str, ...]
    sealed: Sealed | None = field(repr=False)


class _Link:
    """One system's client. Retired links close when their last call has ended."""

    def __init__(self, facts: _Facts, client: httpx.Client) -> None:
        self.facts = facts
        self.client = client
        self.fresh_until = 0.0
        self._calls = 0
        self._is_retired = False
        self._lock = threading.Lock()

    def enter(self) -> bool:
        with self._lock:
            if self._is_retired:
                return False
            self._calls += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._calls -= 1
            ends = self._is_retired and self._calls == 0
        if ends:
            self.client.close()

    def retire(self) -> None:
        with self._lock:
            ends = not self._is_retired and self._calls == 0
            self._is_retired = True
        if ends:
            self.client.close()


_links: dict[str, _Link] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """Leave the parent's sockets to the parent: two processes on one connection would read each other's answers."""
    global _links, _lock
    _kept_from_parent.append(_links)
    _links, _lock = {}, threading.Lock()


# Kept, not closed: closing a TLS connection here would say goodbye on the parent's behalf.
_kept_from_parent: list[dict[str, _Link]] = []
os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _using(connector_key: str, *, is_fresh: bool = False) -> Iterator[_Link]:
    link = _current(connector_key, is_fresh=is_fresh)
    while not link.enter():
        link = _current(connector_key, is_fresh=True)
    try:
        yield link
    finally:
        link.leave()


def _current(connector_key: str, *, is_fresh: bool) -> _Link:
    """Return the link of a system, looking its row up again when it was last seen too long ago."""
    known = _links.get(connector_key)
    if known is not None and not is_fresh and monotonic() < known.fresh_until:
        return known
    facts = _facts(queries.connector(connector_key))
    with _lock:
        known = _links.get(connector_key)
        if known is None or known.facts != facts:
            if known is not None:
                known.retire()
            known = _links[connector_key] = _Link(facts, _client(facts))
        known.fresh_until = monotonic() + FRESH_FOR
        return known


def _facts(connector: Connector) -> _Facts:
    stored = getattr(connector, "credential", None)
    return _Facts(
        pk=connector.pk,
        base_url=connector.base_url,
        auth=connector.auth,
        probe_path=connector.probe_path,
        cidrs=tuple(connector.allowed_cidrs),
        sealed=None if stored is None else Sealed(bytes(stored.sealed), stored.key_id),
    )


def _client(facts: _Facts) -> httpx.Client:
    networks = parse_networks(facts.cidrs)
    try:
        check_url(facts.base_url, networks)
    except BadAddress as error:
        raise Unsafe(f"{error} Nothing was sent.") from error
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "pastpilot"}
    if facts.auth == Connector.Auth.API_KEY:
        headers["authorization"] = f"Bearer {_secret(facts)}"
    return open_line(facts.base_url, networks, headers=headers)


def _secret(facts: _Facts) -> str:
    if facts.sealed is None:
        raise CredentialMissing("The system's credential is not stored yet. An administrator can store it.")
    try:
        return unseal(facts.sealed, about=f"connector:{facts.pk}", key=settings.CREDENTIAL_KEY)
    except NoSealingKey as error:
        raise CredentialMissing(f"{error} Nothing was sent.") from error


def _parsed(target: str) -> Target:
    try:
        return parse_target(target)
    except BadTarget as error:
        raise Refused(f"{error} Nothing was sent.", target=target[:200]) from error


def _retried(connector_key: str, path: str, query: Mapping[str, str | int], *, about: str, timeout: float) -> _Answer:
    """GET, again after NotSent and NoAnswer while the time lasts."""
    end = monotonic() + timeout
    attempts = Retrying(
        retry=retry_if_exception_type((NotSent, NoAnswer)),
        stop=lambda state: stop_after_attempt(READ_ATTEMPTS)(state) or monotonic() >= end,
        wait=wait_random(0.05, 0.2),
        reraise=True,
    )
    for attempt in attempts:
        with attempt, _using(connector_key) as link:
            left = max(end - monotonic(), 0.001)
            answer = _exchange(link, "GET", path, query=query, about=about, timeout=left)
            if not answer.is_success:
                _refuse_read(answer, about)
            return answer
    raise AssertionError("tenacity ends with an answer or an error")  # pragma: no cover


def _exchange(
    link: _Link,
    method: str,
    path: str,
    *,
    about: str,
    timeout: float,
    query: Mapping[str, str | int] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> _Answer:
    """Send one request and read its whole answer, within time and size. A write's answer may be cut: its status tells."""
    request = link.client.build_request(method, path, params=query or None, headers=headers, content=body)
    try:
        with deadline(timeout):
            answer = link.client.send(request, stream=True)
            try:
                return _Answer(answer.status_code, answer.headers, _bounded(answer, about))
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError, Refused):
                if method == "GET" or not answer.is_success:
                    raise
                return _Answer(answer.status_code, answer.headers, b"")
            finally:
                answer.close()
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
        raise NotSent(f"{about} could not be reached: {_told(str(error))} Nothing was sent.", target=about) from error
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise NoAnswer(_no_answer(method, about, timeout, error), target=about) from error
    except httpcore.LocalProtocolError as error:
        raise Refused("The request could not be written. Nothing was sent.", target=about) from error


def _bounded(answer: httpx.Response, about: str) -> bytes:
    """Read the body as it was sent: a compressed one could be any size once unpacked."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Refused(f"{about} answered compressed, which was not asked for and is not read.", target=about)
    parts, size = [], 0
    for part in answer.iter_raw():
        size += len(part)
        if size > MAX_ANSWER:
            raise Refused(f"{about} answered with more than 1 MiB, which is not read.", target=about)
        parts.append(part)
    return b"".join(parts)


def _no_answer(method: str, about: str, timeout: float, error: Exception) -> str:
    what = (
        f"gave no answer within {round(timeout, 1):g} s"
        if isinstance(error, httpcore.TimeoutException)
        else "cut the connection"
    )
    if method == "GET":
        return f"{about} {what}. It was only read; nothing was written. Try again."
    return f"{about} {what} after the request was sent. It may or may not have been written. Look there before anything else."


def _refuse_read(answer: _Answer, about: str) -> NoReturn:
    code = answer.status
    if answer.is_redirect:
        raise Unsafe(f"{about} answered with a redirect, which is never followed.", target=about, status=code)
    if code in _NO_LONGER_THERE:
        raise NotFound(f"{about} does not exist in the outside system.", target=about, status=code)
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR or code in _UNCLEAR_CODES:
        raise Unclear(f"{about} failed with {code}. It was only read; nothing was written.", target=about, status=code)
    raise Refused(f"{about} refused to be read ({code}): {_said(answer)}", target=about, status=code)


def _refuse_write(answer: _Answer, target: str) -> NoReturn:
    code = answer.status
    if code in _NO_LONGER_THERE:
        raise NotFound(f"{target} does not exist. Nothing was written.", target=target, status=code)
    if code == HTTPStatus.PRECONDITION_FAILED:
        raise Changed(
            f"{target} changed since it was read. Nothing was written. Read it again and decide anew.",
            target=target,
            status=code,
        )
    if httpx.codes.is_client_error(code) and code not in _UNCLEAR_CODES:
        raise Refused(f"{target} refused the write ({code}): {_said(answer)}", target=target, status=code)
    # A redirect too: some systems answer a finished write with 303.
    raise Unclear(
        f"{target} answered {code} after the request was sent. It may or may not have been written. Look there first.",
        target=target,
        status=code,
    )


def _said(answer: _Answer) -> str:
    """Return the system's own sentence, shortened; it is untrusted text."""
    content = answer.json()
    message = content.get("message") if isinstance(content, dict) else None
    return _told(str(message)) if message else "it gave no reason."


def _told(text: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in text)[:MAX_TOLD].strip()
    return text if text.endswith(".") else f"{text}."


def _json_object(answer: _Answer, *, about: str) -> dict[str, Any]:
    content = answer.json()
    if not isinstance(content, dict):
        raise Refused(f"{about} answered with something that is no JSON record.", target=about)
    return content
