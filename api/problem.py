"""Errors over HTTP: one format, `application/problem+json` (RFC 9457), with a stable code for programs."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from cdc.core.errors import InvalidInput

__all__ = ["PROBLEM_TYPE", "Problem"]

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem(Exception):
    """A request that is refused: `detail` is one sentence for people, `code` a word for programs.

    `retry_after_s` becomes the header Retry-After, whole seconds; `challenge` WWW-Authenticate.
    """

    status: int
    code: str
    detail: str
    retry_after_s: int | None = None
    challenge: str | None = None
    fields: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_input(cls, error: InvalidInput) -> "Problem":
        return cls(400, error.code, str(error), fields={"parameter": error.name} if error.name else {})

    def body(self) -> bytes:
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.fields,
        }
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"cache-control", b"no-store")]
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(self.retry_after_s).encode()))
        if self.challenge is not None:
            headers.append((b"www-authenticate", self.challenge.encode()))
        return headers
