"""Which pages may read from a browser: CORS (Fetch standard, section 3.3) and the Origin of WebSocket handshakes.

A browser lets any page open a WebSocket anywhere and sends cookies along, so the server must look at Origin itself.
Programs that are no browsers send none.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["ALLOWED_HEADERS", "ALLOWED_METHODS", "EXPOSED_HEADERS", "Cors"]

Headers = list[tuple[bytes, bytes]]

ALLOWED_METHODS = b"GET, POST, OPTIONS"
ALLOWED_HEADERS = b"Authorization, Content-Type, If-None-Match, Last-Event-ID, X-API-Key"
EXPOSED_HEADERS = b"ETag, Retry-After, WWW-Authenticate, X-Total-Count"

_MAX_AGE_S = b"600"


class Cors:
    """`allowed` as in the settings; `with_local` allows pages of this machine too, for development."""

    def __init__(self, allowed: Sequence[str] = (), *, with_local: bool = False) -> None:
        self._is_any = "*" in allowed
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._with_local = with_local

    def allows(self, origin: bytes) -> bool:
        return self._is_any or origin.lower() in self._allowed or (self._with_local and _is_local(origin))

    def allows_socket(self, origin: bytes | None, host: bytes | None) -> bool:
        """Whether a handshake with these headers may go on: no page, a page of this server, or an allowed one."""
        if origin is None or self.allows(origin):
            return True
        _, _, authority = origin.partition(b"://")
        return host is not None and authority.lower() == host.strip().lower()

    def headers(self, origin: bytes | None) -> Headers:
        """What an answer to a page of this origin carries."""
        # Caches must keep the answers to different pages apart, also those without these headers.
        vary = [(b"vary", b"origin")] if self._allowed or self._with_local else []
        if origin is None or not self.allows(origin):
            return vary
        expose = (b"access-control-expose-headers", EXPOSED_HEADERS)
        if self._is_any:
            # Without cookies: any page could use them.
            return [*vary, (b"access-control-allow-origin", b"*"), expose]
        allow = (b"access-control-allow-origin", origin)
        return [*vary, allow, (b"access-control-allow-credentials", b"true"), expose]

    def preflight(self, origin: bytes) -> Headers | None:
        """The answer's headers to the question before a request; None where the page may not."""
        if not self.allows(origin):
            return None
        return [
            *self.headers(origin),
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", _MAX_AGE_S),
        ]


def _is_local(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii"))
        return parts.scheme in ("http", "https") and parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
