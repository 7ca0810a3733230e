"""Which names a request may call this server by, in its field Host.

A page can bind its own name to 127.0.0.1 after it was loaded (DNS rebinding). The browser then sends its requests to
this machine and regards the answers as the page's own; only Host still names the page. So a server that any process of
its machine may use without credentials answers to the names of this machine alone.
"""

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..http.problem import Problem

__all__ = ["AllowedHosts"]

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")


class AllowedHosts:
    """Checks the names of requests.

    `names` are allowed beside the names of this machine; None allows every name, and so does "*" among them.
    """

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = None if names is None or "*" in names else frozenset(name.lower() for name in names)

    def check(self, http_version: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises `Problem` for a request without exactly one valid Host (RFC 9112, section 3.2), and for a name that is
        not allowed. `target` is the request's target, which may contain a name too."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) > 1:
            raise Problem(400, "invalid_host", "the request has more than one Host field; send one")
        if not hosts and http_version != "1.0":
            raise Problem(400, "invalid_host", "the request has no Host field; send one")
        # No browser sends a request without Host, so such a one, of HTTP/1.0, comes from no page.
        if not target.startswith((b"/", b"*")):
            hosts.append(_authority(target))
        for host in hosts:
            found = _HOST.fullmatch(host)
            if found is None:
                raise Problem(400, "invalid_host", "the host of the request is not a name or an address")
            self._check_name(found[1].decode().lower().removesuffix("."))

    def _check_name(self, name: str) -> None:
        if self._names is not None and name not in self._names and not _is_of_this_machine(name):
            raise Problem(
                421,
                "host_not_allowed",
                f"this server does not answer to the name {name!r}; add it to FLAGENT_CDC_ALLOWED_HOSTS, or require "
                "credentials: without, a server on a loopback address answers to the names of its machine only",
            )


def _authority(target: bytes) -> bytes:
    """The host and port in the absolute form of a request's target; without the name of a user."""
    try:
        return urlsplit(target).netloc.rpartition(b"@")[2]
    except ValueError:
        return b""


def _is_of_this_machine(name: str) -> bool:
    """Whether browsers resolve the name to loopback, whatever a name server answers (RFC 6761, section 6.3).

    >>> [_is_of_this_machine(name) for name in ("localhost", "a.localhost", "127.0.0.7", "[::1]")]
    [True, True, True, True]
    >>> [_is_of_this_machine(name) for name in ("localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "a")]
    [False, False, False, False]
    """
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
