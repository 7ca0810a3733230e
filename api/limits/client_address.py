"""Which client a connection or a request counts for, for the limits per client.

That is the peer's address or, when the peer is a trusted proxy, the address the proxy forwards for. Each proxy appends
the address it was reached from to `X-Forwarded-For`, so the list is read from its end, and what a client wrote into it
is never reached. The header of an untrusted peer is ignored.

Loopback addresses have no limit. An IPv6 client counts by its /64 network, because a host with one address there can
use all 2^64 of them.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["Proxies", "account"]

_FORWARDED_FOR = b"x-forwarded-for"

_CACHED = 4096


class Proxies:
    """The trusted proxies; none by default."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """The client a request with these headers counts for; None for one without a limit.

        A trusted proxy that forwards no readable address counts as the client itself.
        """
        if not self.trusts(peer):
            return account(peer)
        forwarded = b",".join(value for name, value in headers if name == _FORWARDED_FOR).decode("latin-1")
        while forwarded:
            forwarded, _, address = forwarded.rpartition(",")
            if _parsed(address) is None:
                break
            if not self.trusts(address):
                return account(address)
        return account(peer)


@lru_cache(_CACHED)
def account(address: str) -> str | None:
    """The client that an address counts as; None for one without a limit.

    >>> account("203.0.113.7"), account("2001:db8:1:2:3:4:5:6"), account("::ffff:203.0.113.7")
    ('203.0.113.7', '2001:db8:1:2::/64', '203.0.113.7')
    >>> account("127.0.0.1"), account("::1"), account("")
    (None, None, None)
    """
    parsed = _parsed(address)
    if parsed is None or parsed.is_loopback:
        return None
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


@lru_cache(_CACHED)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """An address from a peer's name or from the header, in which some proxies add the port."""
    text = address.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
