"""What both transports say in HTTP: headers, and what an answer other than a stream means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from ._policy import Outcome, judge_status, parse_retry_after
from .errors import ConnectionLost, Refused


def key_headers(key: str | None) -> dict[str, str]:
    """The API key as a header; the URL never carries it."""
    return {} if key is None else {"X-API-Key": key}


def refusal(status: int, headers: Mapping[str, str]) -> ConnectionLost | Refused:
    """The error that an answer stands for."""
    if judge_status(status) is Outcome.FATAL:
        return Refused(f"the server answered with status {status}", status=status)
    now = datetime.now(timezone.utc)
    return ConnectionLost(
        f"the server answered with status {status}",
        status=status,
        retry_after_ms=parse_retry_after(headers.get("Retry-After"), now),
    )
