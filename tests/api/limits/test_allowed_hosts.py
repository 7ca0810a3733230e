"""Names by which requests call the server: rebound ones are refused, on every way into it."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from api.http.problem import Problem
from api.limits.allowed_hosts import AllowedHosts
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import SECRET, token
from tests.fixtures.hostile import raw
from tests.fixtures.server import RunningServer, serving

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


async def ask(server: RunningServer, target: str, *hosts: str, version: str = "1.1", more: str = "") -> tuple[int, str]:
    """The status and the code of the answer to a request with these fields Host."""
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    port = httpx.URL(server.url).port
    assert port is not None
    async with raw(port) as connection:
        await connection.send(f"GET {target} HTTP/{version}\r\n{fields}{more}\r\n".encode("latin-1"))
        head = await connection.head()
        status = int(head.split(b" ", 2)[1])
        if status < 400:
            return status, ""
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return status, json.loads(await connection.reader.readexactly(length))["code"]


WAYS = (("/api/v1/flags", ""), ("/api/v1/events/stream", ""), ("/", ""), ("/nowhere", ""), ("/ws", UPGRADE))


async def test_a_page_that_rebinds_its_name_to_this_machine_is_refused(
    memory_log: MemoryLog, with_handover: bool
) -> None:
    async with serving(memory_log, with_handover=with_handover) as server:
        port = httpx.URL(server.url).port
        for target, more in WAYS:
            for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "0.0.0.0", "192.168.1.7"):
                assert await ask(server, target, host, more=more) == (421, "host_not_allowed"), (target, host)
            origin = "Origin: http://evil.example\r\n"
            assert await ask(server, target, "evil.example", more=more + origin) == (421, "host_not_allowed")
            for host in (f"localhost:{port}", "LOCALHOST", "localhost.", "127.0.0.1", "[::1]:80", "app.localhost"):
                assert (await ask(server, target, host, more=more))[0] in (101, 200, 404), (target, host)


async def test_a_request_has_exactly_one_valid_host(memory_log: MemoryLog, with_handover: bool) -> None:
    """Also where every name is allowed: a proxy in front may read another one than the server does."""
    async with serving(memory_log, with_handover=with_handover, auth_jwt_secret=SECRET) as server:
        credential = f"Authorization: Bearer {token()}\r\n"
        for target, more in WAYS:
            for hosts in ((), ("a.example", "a.example"), ("a.example", "b.example"), ("",), ("a b",), ("a, b",)):
                found = await ask(server, target, *hosts, more=more + credential)
                assert found == (400, "invalid_host"), (target, hosts)
            for host in ("a@b", "a/b", "a\\b", "a?b", "a#b", "http://a", "a:b", "[::1", "\xe4", "a%2Fb", "a:123456"):
                assert await ask(server, target, host, more=more + credential) == (400, "invalid_host"), (target, host)
            assert (await ask(server, target, "flags.example.com:443", more=more + credential))[0] in (101, 200, 404)
        assert (await ask(server, "/healthz", version="1.0"))[0] == 200
        assert await ask(server, "/healthz", "a", "b", version="1.0") == (400, "invalid_host")


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({}, False),
        ({"listen_host": "localhost"}, False),
        ({"listen_host": "::1"}, False),
        ({"auth_enabled": True}, True),
        ({"listen_host": "0.0.0.0", "listen_insecure": True}, True),
        ({"web_allowed_hosts": ("*",)}, True),
        ({"web_allowed_hosts": ("flags.example.com", "other")}, True),
        ({"web_allowed_hosts": ("other",)}, False),
        ({"web_allowed_hosts": ("other",), "auth_enabled": True}, False),
    ],
)
async def test_only_a_server_that_nothing_else_protects_insists_on_names_of_its_machine(
    memory_log: MemoryLog, settings: dict[str, Any], is_open: bool
) -> None:
    async with serving(memory_log, **settings) as server:
        assert (await ask(server, "/healthz", "Flags.Example.com"))[0] == (200 if is_open else 421)
        assert (await ask(server, "/healthz", "localhost"))[0] == 200


@pytest.mark.parametrize(
    ("target", "headers", "expected"),
    [
        (b"/", [(b"host", b"localhost")], None),
        (b"*", [(b"host", b"localhost")], None),
        (b"http://localhost/", [(b"host", b"localhost")], None),
        (b"http://user@localhost:80/", [(b"host", b"localhost")], None),
        (b"http://evil.example/", [(b"host", b"localhost")], 421),
        (b"http://localhost@evil.example/", [(b"host", b"localhost")], 421),
        (b"http://localhost/", [(b"host", b"evil.example")], 421),
        (b"http:///", [(b"host", b"localhost")], 400),
        (b"http://[/", [(b"host", b"localhost")], 400),
        (b"evil.example:443", [(b"host", b"localhost")], 400),
    ],
)
def test_the_target_of_a_request_may_name_a_host_too(
    target: bytes, headers: Sequence[tuple[bytes, bytes]], expected: int | None
) -> None:
    hosts = AllowedHosts(())
    if expected is None:
        hosts.check("1.1", target, headers)
    else:
        with pytest.raises(Problem) as refused:
            hosts.check("1.1", target, headers)
        assert refused.value.status == expected
