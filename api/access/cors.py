"""The origins that may use the API from a browser: CORS (Fetch standard, section 3.3), and WebSocket handshakes.

A browser lets any page open a WebSocket to any server and adds cookies, so the server has to check Origin itself.
Clients other than browsers send no Origin.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["ALLOWED_HEADERS", "ALLOWED_METHODS", "EXPOSED_HEADERS", "Cors"]

Headers = list[tuple[bytes, bytes]]

ALLOWED_METHODS = b"GET, POST, OPTIONS"
# Cache-Control: EventSource polyfills send it with every request. traceparent and tracestate: so do traced pages.
ALLOWED_HEADERS = (
    b"Authorization, Cache-Control, Content-Type, If-None-Match, Last-Event-ID, X-API-Key, traceparent, tracestate"
)
EXPOSED_HEADERS = (
    b"ETag, Flagent-Next, Flagent-Position, Flagent-Stale, Link, Retry-After, WWW-Authenticate, X-Total-Count"
)

_MAX_AGE_S = b"600"


class Cors:
    """Decides which origins may read responses and open WebSockets.

    `allowed` are the origins of FLAGENT_CDC_CORS_ORIGINS, "*" for all; `with_local` adds pages of this machine, for
    development.
    """

    def __init__(self, allowed: Sequence[str] = (), *, with_local: bool = False) -> None:
        self._is_any = "*" in allowed
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._with_local = with_local

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may read responses."""
        return self._is_any or origin.lower() in self._allowed or (self._with_local and _is_local(origin))

    def allows_socket(self, origin: bytes | None, host: bytes | None) -> bool:
        """Whether to accept a WebSocket handshake: from no page, a page of this server, or an allowed origin."""
        return origin is None or self.allows(origin) or _is_own(origin, host)

    def trusts_cookie(self, origin: bytes | None, host: bytes | None) -> bool:
        """Whether the cookie of a WebSocket handshake may authenticate it.

        Not if only "*" allows the page: a browser adds the cookie of the visitor, and nothing keeps the page from
        reading the socket.
        """
        return origin is None or _is_own(origin, host) or (not self._is_any and self.allows(origin))

    def headers(self, origin: bytes | None) -> Headers:
        """The CORS headers of a response to this origin."""
        # Also on responses without CORS headers: a cache must not serve one origin's response to another.
        vary = [(b"vary", b"origin")] if self._allowed or self._with_local else []
        if origin is None or not self.allows(origin):
            return vary
        expose = (b"access-control-expose-headers", EXPOSED_HEADERS)
        if self._is_any:
            # Without credentials: otherwise any page could use the reader's cookies.
            return [*vary, (b"access-control-allow-origin", b"*"), expose]
        allow = (b"access-control-allow-origin", origin)
        return [*vary, allow, (b"access-control-allow-credentials", b"true"), expose]

    def preflight(self, origin: bytes) -> Headers | None:
        """The headers of the response to a preflight request; None if the origin is not allowed."""
        if not self.allows(origin):
            return None
        return [
            *self.headers(origin),
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", _MAX_AGE_S),
        ]


def _is_own(origin: bytes, host: bytes | None) -> bool:
    """Whether the page comes from this server."""
    _, _, authority = origin.partition(b"://")
    return host is not None and authority.lower() == host.strip().lower()


def _is_local(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii"))
        return parts.scheme in ("http", "https") and parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
