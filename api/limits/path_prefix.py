"""The path that a proxy removes before it forwards a request, as `/flags` of `/flags/api/v1/flags`.

Clients resolve most addresses in an answer themselves; this is for those that have to be complete. A prefix becomes the
begin of an address that may carry a token, so it is read from trusted proxies only, and only if it is a plain path: one
that begins with `//` would name another server.
"""

import re
from collections.abc import Iterable

from fastapi import Request

from .client_address import Proxies

__all__ = ["MOUNT", "PathPrefix", "public_path"]

MOUNT = "flagent_cdc.mount"
"""The member of a request's scope with the path under which another program has mounted this application."""

_FORWARDED_PREFIX = b"x-forwarded-prefix"

_SEGMENTS = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@-]+)+", re.ASCII)

_MAX_CHARACTERS = 256


class PathPrefix:
    """`configured` is the prefix of requests without the header of a trusted proxy; "" for none."""

    def __init__(self, configured: str = "", proxies: Proxies | None = None) -> None:
        self._configured = configured
        self._proxies = Proxies() if proxies is None else proxies

    def of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The prefix of a request; it begins with a slash and ends without, or is empty."""
        if not self._proxies.trusts(peer):
            return self._configured
        values = [value for name, value in headers if name == _FORWARDED_PREFIX]
        forwarded = None if not values else _joined(b",".join(values))
        return self._configured if forwarded is None else forwarded


def public_path(request: Request, path: str) -> str:
    """The path as the client of this request has to write it."""
    prefix: PathPrefix = request.app.state.gateway.path_prefix
    peer = "" if request.client is None else request.client.host
    # Behind a proxy of its own, the program that this is mounted in is found first.
    mount: str = request.scope.get(MOUNT, "")
    return prefix.of(peer, request.headers.raw) + mount + path


def _joined(value: bytes) -> str | None:
    """The prefix that several proxies have removed, each of which appends its own; None if it is not a plain path.

    >>> _joined(b"/flags/"), _joined(b"/outer, /inner"), _joined(b"/"), _joined(b"")
    ('/flags', '/outer/inner', '', '')
    >>> _joined(b"//evil.example"), _joined(b"/a/../b"), _joined(b"https://evil.example"), _joined(b"/a?b")
    (None, None, None, None)
    """
    prefix = "".join(part.strip().removesuffix("/") for part in value.decode("latin-1").split(","))
    is_path = not prefix or (len(prefix) <= _MAX_CHARACTERS and _SEGMENTS.fullmatch(prefix) is not None)
    return prefix if is_path else None
