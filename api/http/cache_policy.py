"""Which caches may keep a response, and for which requests they may use it again.

A response that depends on a credential must not reach a client with another one, or with none. A shared cache decides
by two headers (RFC 9111, sections 3.5 and 4.1): without `Cache-Control` many keep any 200 for minutes, and without
`Vary` they give it to every client. So both are set here, on every response, and no endpoint can forget them.
"""

from collections.abc import Iterable

__all__ = ["CachePolicy"]

Header = tuple[bytes, bytes]

# Where `header_credential` looks. A credential in a URL is part of the cache's key.
_CREDENTIALS = (b"authorization", b"cookie", b"sec-websocket-protocol", b"x-api-key")

# Only for caches that may keep the response.
_LIFETIMES = (b"max-age=", b"s-maxage=", b"immutable", b"public", b"stale-")


class CachePolicy:
    """Completes `Cache-Control` and `Vary`; `is_private` if responses depend on a credential."""

    def __init__(self, *, is_private: bool) -> None:
        self._is_private = is_private

    def apply(self, headers: Iterable[Header]) -> list[Header]:
        """The headers with one `Cache-Control` and at most one `Vary`; the names are in lower case.

        A private response with an entity tag may be kept by the client's own cache, any other one by none.
        """
        kept: list[Header] = []
        directives: list[bytes] = []
        vary: list[bytes] = []
        for name, value in headers:
            if name == b"cache-control":
                directives += _items(value)
            elif name == b"vary":
                vary += _items(value)
            else:
                kept.append((name, value))
        has_tag = any(name == b"etag" for name, _ in kept)
        if not directives:
            directives = [b"no-cache" if has_tag else b"no-store"]
        if self._is_private:
            vary += _CREDENTIALS
            if has_tag:
                directives = [b"private", *(each for each in directives if each not in (b"private", b"public"))]
            else:
                others = (each for each in directives if not each.startswith(_LIFETIMES))
                directives = [b"private", b"no-store", *(o for o in others if o not in (b"private", b"no-store"))]
        kept.append((b"cache-control", b", ".join(directives)))
        if vary:
            kept.append((b"vary", b", ".join(dict.fromkeys(vary))))
        return kept


def _items(value: bytes) -> list[bytes]:
    return [item.strip().lower() for item in value.split(b",") if item.strip()]
