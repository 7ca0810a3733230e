"""Which client a connection or a request counts for."""

import asyncio
from ipaddress import ip_network

from api.limits.client_address import Proxies, account
from api.limits.http_limits import ConnectionCounter, Limits

LOOPBACK = (ip_network("127.0.0.0/8"),)


async def test_a_client_is_an_address_and_this_machine_has_no_limit() -> None:
    visitors = ConnectionCounter(Limits(connections_per_client=1))

    def connection(address: str) -> asyncio.BaseTransport:
        return asyncio.BaseTransport(extra={"peername": (address, 1)})

    for address, same in (("203.0.113.7", "::ffff:203.0.113.7"), ("2001:db8::1", "2001:db8::ffff:1")):
        first = connection(address)
        assert visitors.enter(first) is None
        assert visitors.enter(connection(same)) is not None
        visitors.leave(first)
        assert visitors.enter(connection(same)) is None
    for _ in range(5):
        assert visitors.enter(connection("127.0.0.1")) is None
        assert visitors.enter(connection("::1")) is None
    # Who is not trusted speaks for nobody.
    headers = [(b"x-forwarded-for", b"198.51.100.1")]
    assert Proxies().client("203.0.113.7", headers) == "203.0.113.7"
    assert Proxies(LOOPBACK).client("203.0.113.7", headers) == "203.0.113.7"
    assert Proxies(LOOPBACK).client("127.0.0.1", [(b"x-forwarded-for", b"unknown")]) is None
    assert Proxies(LOOPBACK).client("127.0.0.1", [(b"x-forwarded-for", b"6.6.6.6, [2001:db8::7]:443")]) == (
        "2001:db8::/64"
    )
    assert Proxies(LOOPBACK).client("127.0.0.1", [*headers, (b"x-forwarded-for", b"203.0.113.9:5123")]) == (
        "203.0.113.9"
    )


def test_an_account_is_an_address_or_an_ipv6_network() -> None:
    assert account("203.0.113.7") == account("203.0.113.7:5123") == account("::ffff:203.0.113.7") == "203.0.113.7"
    assert account("2001:db8:1:2:3:4:5:6") == account("[2001:db8:1:2::9]:443") == "2001:db8:1:2::/64"
    assert account("127.0.0.1") is account("::1") is account("nonsense") is account("") is None
