"""Which client a connection or a request counts for, where clients have limits of their own.

That is the address of the other end; where this is a proxy that the server trusts, the address that it speaks for. Each
proxy appends to `X-Forwarded-For` whom it was reached by, so the list is read from its end, and what a client wrote
there itself is never reached. Nobody else is believed.

Clients of this machine are not told apart and have no limit. Of IPv6 the network counts, for who has one address there
has 2^64 of them.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["Proxies", "account"]

_FORWARDED_FOR = b"x-forwarded-for"

_CACHED = 4096


class Proxies:
    """The proxies that are trusted; none by default."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Whom a request with these headers counts for; None where there is no limit.

        A trusted proxy that does not say so in addresses speaks for itself.
        """
        if not self.trusts(peer):
            return account(peer)
        said = b",".join(value for name, value in headers if name == _FORWARDED_FOR).decode("latin-1")
        while said:
            said, _, address = said.rpartition(",")
            if _parsed(address) is None:
                break
            if not self.trusts(address):
                return account(address)
        return account(peer)


@lru_cache(_CACHED)
def account(address: str) -> str | None:
    """What an address counts as.

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
    """An address as it stands in a peer's name or in the header, where some proxies add the port."""
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
