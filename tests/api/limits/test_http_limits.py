"""What one client may have, whose address a proxy may tell; connections are counted in and, in any case, out again."""

import asyncio
import json
from ipaddress import ip_network

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.limits.http_limits import BoundedHttpProtocol
from cdc.source.memory import MemoryLog
from tests.fixtures.hostile import HANDSHAKE, Raw, frame, raw
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import RunningServer, port_of, serving, sse, until

LOOPBACK = (ip_network("127.0.0.0/8"),)


async def test_behind_a_trusted_proxy_each_client_has_its_own_connections(
    memory_log: MemoryLog, with_handover: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that a proxy uses again counts for whom it was used last."""
    one, other = {"x-forwarded-for": "198.51.100.1, 203.0.113.7"}, {"x-forwarded-for": "203.0.113.8, 127.0.0.2"}
    async with serving(
        memory_log, with_handover=with_handover, limits_max_connections_per_client=2, limits_trusted_proxies=LOOPBACK
    ) as server:
        async with (
            sse(server.stream_url, **one),
            connect(server.websocket_url, additional_headers=one),
            httpx.AsyncClient(base_url=server.url) as proxy,
        ):
            refused = await proxy.get("/healthz", headers=one)
            assert (refused.status_code, refused.json()["code"]) == (503, "too_many_connections")
            assert {
                vars(record).get("client") for record in caplog.records if record.name == "api.limits.http_limits"
            } == {"203.0.113.7"}
            for _ in range(3):
                assert (await proxy.get("/healthz", headers=other)).status_code == 200
            with pytest.raises(InvalidStatus):
                async with connect(server.websocket_url, additional_headers=one):
                    pass
            async with sse(server.stream_url, **other):
                pass

        async def has_place() -> bool:
            async with httpx.AsyncClient(base_url=server.url) as proxy:
                return (await proxy.get("/healthz", headers=one)).status_code == 200

        await until(has_place, "a place for the first client")


async def test_an_upgrade_where_there_is_no_websocket_is_counted_out_again(memory_log: MemoryLog) -> None:
    """Such a connection changes hands within uvicorn; counted for ever, a few thousand would close the server."""
    async with serving(memory_log, limits_max_connections=3) as server:
        for _ in range(5):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(server.url.replace("http:", "ws:") + "/nowhere"):
                    pass
            assert refused.value.response.status_code == 404

        async def has_place() -> bool:
            async with httpx.AsyncClient(base_url=server.url) as client:
                return (await client.get("/api/v1/flags")).status_code == 200

        await until(has_place, "a place")


async def test_pipelined_requests_are_parsed_a_few_at_a_time(memory_server: RunningServer) -> None:
    """A read of 256 KiB holds ten thousand requests; each would be an object that waits, and so would those of every
    read that follows an answer."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    number = 10_000
    most_waiting = most_unparsed = answered = 0
    async with raw(port_of(memory_server)) as connection, asyncio.timeout(60):
        connection.writer.write(request * number)
        received = b""
        while answered < number:
            received = received[-14:] + await connection.reader.read(1 << 16)
            answered += received.count(b"HTTP/1.1 200 OK")
            for protocol in list(memory_server.uvicorn.server_state.connections):
                assert isinstance(protocol, BoundedHttpProtocol)
                most_waiting = max(most_waiting, len(protocol.pipeline))
                most_unparsed = max(most_unparsed, len(protocol._unparsed))
    assert 0 < most_waiting <= 4096 // len(request) + 1
    assert most_unparsed <= 2 * 256 * 1024


async def test_a_body_behind_pipelined_requests_arrives_whole(memory_server: RunningServer) -> None:
    body = b'{"flagKey":"none","entityID":"e","entityContext":{"a":"' + b"x" * 60_000 + b'"}}'
    evaluation = b"POST /api/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    evaluation += b"Content-Length: %d\r\n" % len(body)
    pipelined = (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50 + evaluation + b"\r\n" + body) * 8
    async with raw(port_of(memory_server)) as connection:
        await connection.send(pipelined + evaluation + b"Connection: close\r\n\r\n" + body)
        received = await connection.read_to_end()
    assert received.count(b"HTTP/1.1 200 OK") == 8 * 50 + 9


# -- requests that were sent before earlier ones were answered ------------------------------------------------------

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG_POLL = b"GET /api/v1/changes?waitMs=30000&after=%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def waiting(server: RunningServer, connection: Raw, rest: bytes) -> None:
    """Send a long poll and, with it or right behind it, the rest; the poll is still pending."""
    position = f"{server.pipeline.hub.catalog.position}@{server.pipeline.hub.catalog.log}"
    await connection.send(LONG_POLL % position.encode() + rest)
    await until(lambda: server.pipeline.changes._waiting == 1, "the long poll")


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (HANDSHAKE + b"\r\n", b"HTTP/1.1 101 "),
        (HANDSHAKE.replace(b"/ws", b"/nowhere") + b"\r\n", b"HTTP/1.1 404 "),
        (HANDSHAKE.replace(b"13", b"8") + b"\r\n", b"HTTP/1.1 426 "),
        (HANDSHAKE + b"Host: localhost\r\n\r\n", b"HTTP/1.1 400 "),
        (HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 421 "),
        (b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 421 "),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 431 "),
    ],
)
async def test_the_last_request_of_a_connection_waits_for_the_answers_before_it(
    memory_log: MemoryLog, with_handover: bool, last: bytes, expected: bytes
) -> None:
    """An upgrade, or a refusal, was written in the middle of them, and took the connection away from them."""
    async with serving(memory_log, with_handover=with_handover) as server:
        writer = MemoryWriter(memory_log)
        # 200 are more than are parsed before the poll is answered.
        for number in (0, 1, 200):
            async with raw(port_of(server)) as connection:
                await waiting(server, connection, HEALTH * number + last)
                writer.flag(f"f{number}")
                for _ in range(1 + number):
                    head = await connection.head()
                    assert head.startswith(b"HTTP/1.1 200 OK"), head
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    json.loads(await connection.reader.readexactly(length))
                head = await connection.head()
                assert head.startswith(expected), head
                if expected.endswith(b"101 "):
                    await connection.send(frame(1, b'{"type": "ping"}'))
                    assert (await connection.message())["type"] == "pong"


CHUNKED = b"POST /api/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_that_cannot_be_parsed_never_interrupts_a_response(memory_log: MemoryLog) -> None:
    async with serving(memory_log) as server:
        async with raw(port_of(server)) as connection:
            await connection.send(CHUNKED + b"2\r\n{}\r\nzz\r\n")
            received = await connection.read_to_end()
            assert received.startswith(b"HTTP/1.1 400 ")
            assert received.count(b"\r\n\r\n") == 1
        async with raw(port_of(server)) as connection:
            await waiting(server, connection, CHUNKED + b"zz\r\n")
            assert await connection.read_to_end() == b""


async def test_an_upgrade_behind_a_stream_is_never_answered(memory_log: MemoryLog, with_handover: bool) -> None:
    async with serving(memory_log, with_handover=with_handover) as server:
        async with raw(port_of(server)) as connection:
            await connection.send(
                b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + HANDSHAKE + b"\r\n"
            )
            assert (await connection.head()).startswith(b"HTTP/1.1 200 OK")
            await connection.reader.readuntil(b"event: connected")
            MemoryWriter(memory_log).flag("a")
            assert b"HTTP/1.1" not in await connection.reader.readuntil(b"event: flag_created")
            assert server.pipeline.hub.subscriber_count == 1
        await until(lambda: server.pipeline.hub.subscriber_count == 0, "the stream's end")
