"""What both transports share of HTTP: the key's header, and the error for a response that is not a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone

from ._policy import Outcome, parse_retry_after, status_outcome
from .errors import ConnectionLost, ConnectionRefused

MAX_PROBLEM_BYTES = 16 * 1024
MAX_SENTENCE = 500
MAX_CAUSES = 4

_HINTS = {
    401: "check api_key",
    403: "api_key does not permit this; check its permissions",
    404: "check the path of the URL",
}


def key_headers(key: str | None) -> dict[str, str]:
    """The API key as a header; it is never part of a URL."""
    return {} if key is None else {"X-API-Key": key}


def response_error(status: int, headers: Mapping[str, str], body: bytes = b"") -> ConnectionLost | ConnectionRefused:
    """The error for a response with this status: fatal, or lost with the wait that the server requested.

    It contains the server's own sentence, where the body is a problem.
    """
    sentence = _sentence(headers.get("Content-Type", ""), body)
    text = f"the server answered with status {status}" + (f": {sentence}" if sentence else "")
    if status_outcome(status) is Outcome.FATAL:
        hint = _HINTS.get(status)
        return ConnectionRefused(text if hint is None else f"{text}; {hint}", status=status)
    now = datetime.now(timezone.utc)
    kind = "failed" if status in (501, 505) else "unavailable"
    wait_ms = parse_retry_after(headers.get("Retry-After"), now)
    return ConnectionLost(text, status=status, retry_after_ms=wait_ms, kind=kind)


def _sentence(content_type: str, body: bytes) -> str:
    """The detail of a problem (RFC 9457), or its title, in one line."""
    if "json" not in content_type.lower():
        return ""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    found = (problem.get("detail") or problem.get("title")) if isinstance(problem, dict) else None
    return " ".join(found.split())[:MAX_SENTENCE] if isinstance(found, str) else ""


def cause_text(cause: BaseException) -> str:
    """What the operating system, TLS or DNS said: the texts of an error and of those that caused it, once each."""
    texts: list[str] = []
    error: BaseException | None = cause
    while error is not None and len(texts) < MAX_CAUSES:
        # A connection that was tried at several addresses failed once for each.
        errors = getattr(error, "exceptions", (error,)) if not str(error) else (error,)
        for each in errors:
            text = " ".join(str(each).split()) or type(each).__name__
            if not any(text in known for known in texts):
                texts.append(text)
        error = error.__cause__ or error.__context__
    return "; ".join(texts)
