"""What both transports share of HTTP: the key's header, and the error for a response that is not a stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from ._policy import Outcome, parse_retry_after, status_outcome
from .errors import ConnectionLost, ConnectionRefused

_HINTS = {
    401: "check api_key",
    403: "api_key does not permit this; check its permissions",
    404: "check the path of the URL",
}


def key_headers(key: str | None) -> dict[str, str]:
    """The API key as a header; it is never part of a URL."""
    return {} if key is None else {"X-API-Key": key}


def response_error(status: int, headers: Mapping[str, str]) -> ConnectionLost | ConnectionRefused:
    """The error for a response with this status: fatal, or lost with the wait that the server requested."""
    text = f"the server answered with status {status}"
    if status_outcome(status) is Outcome.FATAL:
        hint = _HINTS.get(status)
        return ConnectionRefused(text if hint is None else f"{text}; {hint}", status=status)
    now = datetime.now(timezone.utc)
    return ConnectionLost(text, status=status, retry_after_ms=parse_retry_after(headers.get("Retry-After"), now))
