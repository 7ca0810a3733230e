"""The server's other endpoints, from the address of one of them. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

_KNOWN_PATHS = ("/ws", "/api/v1/events/stream")


def server_address(url: str, path: str) -> str:
    """The address of *path* on the server of a client.

    >>> server_address("wss://flags.example/team/ws", "/api/v1/exposures")
    'https://flags.example/team/api/v1/exposures'
    """
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    base = parts.path.rstrip("/")
    for known in _KNOWN_PATHS:
        base = base.removesuffix(known)
    return urlunsplit((scheme, parts.netloc, base + path, "", ""))
