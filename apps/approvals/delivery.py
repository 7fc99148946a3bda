"""How a message leaves the house: by e-mail, or over the one safe line out (rule S5). Nothing is stored here."""

import json
import smtplib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpcore
import httpx
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from apps.approvals.domain import chat, webhooks
from apps.approvals.domain.notices import NEVER_DECIDES, Message
from apps.approvals.domain.webhooks import SigningSecret
from apps.connectors.domain.addresses import BadAddress, check_url, parse_networks
from apps.connectors.errors import Unsafe
from apps.connectors.network import deadline, open_line

# A receiver has this long for everything; then the message goes again later, under the same id.
ANSWER_WITHIN: Final = 10.0
MAX_ANSWER: Final = 64 * 1024
_RESTING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Undelivered(Exception):
    """The receiver did not take it this time. `retry_after` is how long it asked for, if it did."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Gone(Undelivered):
    """The receiver wants no more messages (410)."""


@dataclass(frozen=True, slots=True)
class Line:
    """An opened channel: where to, with which secrets. Made for one sending, never kept or logged."""

    kind: str
    address: str = field(repr=False)
    networks: Sequence[str] = ()
    secrets: Sequence[SigningSecret] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Thread:
    """What was sent before about the same card: its message id (for e-mail), and what the chat calls it."""

    root: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class MailBox:
    """From whom mail is sent and by which host name its ids are made. `host` is the mail server; empty: there is none."""

    host: str
    sender: str
    id_domain: str


def deliver(line: Line, message: Message, *, thread: Thread, mail: MailBox, now: datetime) -> str:
    """Send one message and return what the channel calls it, or nothing. Raises Undelivered or Gone."""
    match line.kind:
        case "email":
            return _mail(line.address, message, thread.root, mail)
        case "webhook":
            body = webhooks.body_of(message)
            signed = webhooks.signed_headers(body, message_id=message.id, secrets=line.secrets, now=now)
            _post(line, body, signed, now)
            return ""
        case _:
            said = chat.asking(message) if _starts(message) else chat.closing(message, reference=thread.reference)
            body = json.dumps(said, ensure_ascii=False).encode()
            return chat.reference_in(_json(_post(line, body, {}, now))) or thread.reference


def message_id(local: str, mail: MailBox) -> str:
    """Write an id of ours as a Message-ID (RFC 5322 §3.6.4)."""
    return f"<{local}@{mail.id_domain}>"


def _starts(message: Message) -> bool:
    return message.is_asking or message.type == "channel.test"


def _mail(address: str, message: Message, root: str, mail: MailBox) -> str:
    if not mail.host:
        raise Undelivered("No mail server is configured (EMAIL_HOST), so no e-mail leaves.")
    headers = {"Message-ID": message_id(message.id, mail), "Auto-Submitted": "auto-generated"}
    if root and root != message.id:
        headers |= {"In-Reply-To": message_id(root, mail), "References": message_id(root, mail)}
    text = "\n".join([*message.lines, "", message.link, NEVER_DECIDES])
    letter = EmailMultiAlternatives(
        message.headline, text, mail.sender, [address], headers=headers, connection=get_connection()
    )
    context = {"message": message, "never_decides": NEVER_DECIDES}
    letter.attach_alternative(render_to_string("approvals/email/notice.html", context), "text/html")
    try:
        letter.send()
    except smtplib.SMTPRecipientsRefused as error:
        code, _ = next(iter(error.recipients.values()), (0, b""))
        raise Undelivered(f"The mail server refused the recipient (code {code}).") from error
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"The mail server answered with code {error.smtp_code}.") from error
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered(f"The mail server could not be reached or broke off ({type(error).__name__}).") from error
    return ""


def _post(line: Line, body: bytes, headers: Mapping[str, str], now: datetime) -> bytes:
    """Send one request over a checked line, without redirects, and return what a success says. Raises Undelivered, Gone."""
    networks = parse_networks(line.networks)
    plain = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "pastpilot"}
    try:
        check_url(line.address, networks)
        with closing(open_line(line.address, networks, headers=plain)) as client, deadline(ANSWER_WITHIN):
            answer = client.send(client.build_request("POST", line.address, headers=headers, content=body), stream=True)
            try:
                return _taken(answer, now)
            finally:
                answer.close()
    except (BadAddress, Unsafe) as error:
        raise Undelivered(str(error)) from error
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
        raise Undelivered("The receiver could not be reached. Nothing was sent.") from error
    except httpcore.TimeoutException as error:
        raise Undelivered(f"The receiver gave no answer within {ANSWER_WITHIN:g} s.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Undelivered("The receiver cut the connection before it answered.") from error


def _taken(answer: httpx.Response, now: datetime) -> bytes:
    status = answer.status_code
    if httpx.codes.is_success(status):
        return _bounded(answer)
    if status == HTTPStatus.GONE:
        raise Gone("The receiver answered 410 Gone: it wants no more messages.")
    if httpx.codes.is_redirect(status):
        raise Undelivered(
            f"The receiver answered {status}: it has moved. Redirects are not followed; change the address."
        )
    wanted = webhooks.retry_after(answer.headers.get("retry-after"), now) if status in _RESTING else None
    raise Undelivered(f"The receiver answered {status}.", retry_after=wanted)


def _bounded(answer: httpx.Response) -> bytes:
    """Read the beginning of a success. It is taken whatever it says: a cut answer is no reason to send again."""
    parts, size = [], 0
    try:
        for part in answer.iter_raw():
            size += len(part)
            if size > MAX_ANSWER:
                return b""
            parts.append(part)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        return b""
    return b"".join(parts)


def _json(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None
