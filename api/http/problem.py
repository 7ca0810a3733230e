"""Errors over HTTP: one format, `application/problem+json` (RFC 9457), with a stable code for programs."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from cdc.errors import InvalidInput, OutOfReach, SourceError, TooBusy

__all__ = ["PROBLEM_SCHEMA", "PROBLEM_TYPE", "Problem"]

PROBLEM_TYPE = "application/problem+json"

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "string", "description": "A stable word for programs."},
    },
}

# The status of each code of `OutOfReach`: the history is gone, too long to read, or not kept on this node.
_STATUS = {
    "pruned": 410,
    "log_replaced": 410,
    "ahead": 410,
    "too_far_back": 422,
    "commit_too_large": 422,
    "no_past": 501,
}


# Not frozen: Python sets the traceback of an exception when it handles it.
@dataclass(eq=False)
class Problem(Exception):
    """A refused request: `detail` is one sentence for people, `code` a stable word for programs.

    `retry_after_s` becomes the header Retry-After, `challenge` the header WWW-Authenticate; `fields` are further
    members of the document, `more_headers` further headers.
    """

    status: int
    code: str
    detail: str
    retry_after_s: int | None = None
    challenge: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    more_headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of_input(cls, error: InvalidInput) -> "Problem":
        """The problem of an invalid parameter: 400, with its name."""
        return cls(400, error.code, str(error), fields={"parameter": error.name} if error.name else {})

    @classmethod
    def of(cls, error: InvalidInput | OutOfReach | TooBusy | SourceError) -> "Problem":
        """The problem of one of our errors. The text of a driver's error goes to the application log only."""
        match error:
            case InvalidInput():
                return cls.of_input(error)
            case OutOfReach():
                fields = {}
                if error.oldest is not None and error.oldest_at is not None:
                    fields = {"oldestPosition": str(error.oldest), "oldestTime": error.oldest_at}
                return cls(_STATUS[error.code], error.code, str(error), fields=fields)
            case TooBusy():
                return cls(503, "too_busy", str(error), retry_after_s=error.retry_after_s)
            case SourceError():
                return cls(503, "database_unavailable", "the database does not respond; retry later", retry_after_s=1)

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
        return [*headers, *self.more_headers]
