"""What a status, a close code, a content type or a redirect means for a connection. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from urllib.parse import urljoin, urlsplit, urlunsplit

from ._backoff import MAX_RETRY_AFTER_MS

MAX_REDIRECTS = 5

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


class Outcome(Enum):
    """What the client does next: read the stream, follow, reconnect with backoff, or fail for good."""

    STREAM = "stream"
    REDIRECT = "redirect"
    RETRY = "retry"
    FATAL = "fatal"


def status_outcome(status: int) -> Outcome:
    """What an HTTP status means. A retry after a 4xx helps only for 408, 425 and 429."""
    if status == 200:
        return Outcome.STREAM
    if status in (301, 302, 303, 307, 308):
        return Outcome.REDIRECT
    if status >= 500 or status in (408, 425, 429):
        return Outcome.RETRY
    return Outcome.FATAL


def close_code_outcome(code: int) -> Outcome:
    """What a WebSocket close code means. 44xx stands for HTTP status 4xx; 3000 and 3003 for 401 and 403 (IANA)."""
    if code in (1010, 3000, 3003):
        return Outcome.FATAL
    if 4400 <= code < 4500 and status_outcome(code - 4000) is Outcome.FATAL:
        return Outcome.FATAL
    return Outcome.RETRY


def is_event_stream(content_type: str) -> bool:
    """Whether a Content-Type is ``text/event-stream``."""
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


def parse_retry_after(value: str | None, now: datetime) -> int | None:
    """A ``Retry-After`` (seconds or an HTTP date) in milliseconds, one hour at most; ``None`` when unreadable."""
    text = (value or "").strip()
    if re.fullmatch("[0-9]+", text):
        return min(int(text[:12]) * 1000, MAX_RETRY_AFTER_MS)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0, min(round((date - now).total_seconds() * 1000), MAX_RETRY_AFTER_MS))


def resolve_redirect(url: str, location: str | None, hop: int) -> tuple[str, bool] | None:
    """The redirect's target and whether the API key may be sent to it; ``None`` when it must not be followed.

    *hop* is 1 for the first redirect. The result keeps the scheme family of *url* (http or ws). The query is the
    selection, without which the target would be another stream: a target without a query keeps it.
    """
    if not location or hop > MAX_REDIRECTS:
        return None
    old = urlsplit(url)
    try:
        new = urlsplit(urljoin(_as_http(url), location))
        ports = (_port(old.scheme, old.port), _port(new.scheme, new.port))
    except ValueError:
        return None
    if new.scheme not in _SECURE or not new.hostname or (_SECURE[old.scheme] and not _SECURE[new.scheme]):
        return None
    upgraded = ports == (80, 443) and not _SECURE[old.scheme] and _SECURE[new.scheme]
    same_scheme = _SECURE[old.scheme] == _SECURE[new.scheme]
    send_key = old.hostname == new.hostname and (upgraded or (same_scheme and ports[0] == ports[1]))
    scheme = ("wss" if _SECURE[new.scheme] else "ws") if old.scheme.startswith("ws") else new.scheme
    query = new.query or (old.query if send_key else _without_token(old.query))
    return urlunsplit(new._replace(scheme=_as_family(scheme, old.scheme), query=query, fragment="")), send_key


def _without_token(query: str) -> str:
    """A token is a credential: it stays with its origin, as the key does."""
    return "&".join(part for part in query.split("&") if part.partition("=")[0] != "token")


def _as_http(url: str) -> str:
    """``urljoin`` resolves relative to http, not to ws."""
    return re.sub("^ws", "http", url)


def _as_family(scheme: str, old: str) -> str:
    return scheme if old.startswith("ws") else re.sub("^ws", "http", scheme)


def _port(scheme: str, port: int | None) -> int | None:
    return port if port is not None else _DEFAULT_PORTS.get(scheme)
