"""What the desk sends back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
CSS: Final = "text/css; charset=utf-8"

SAFE_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire_headers(self) -> list[tuple[bytes, bytes]]:
        own = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        length = str(len(self.body)).encode()
        return [(b"content-type", self.kind.encode()), (b"content-length", length), *SAFE_HEADERS, *own]


def answer_json(status: int, content: Mapping[str, Any], **headers: str) -> Answer:
    return Answer(status, json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), JSON, headers)


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    return answer_json(status, {"error": code, "message": message}, **headers)
