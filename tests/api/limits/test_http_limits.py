"""What one client may have, whose address a proxy may tell; connections are counted in and, in any case, out again."""

import asyncio
from ipaddress import ip_network

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.limits.http_limits import BoundedHttpProtocol
from cdc.source.memory import MemoryLog
from tests.fixtures.hostile import raw
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
            assert refused.value.response.status_code in (403, 404)

        async def has_place() -> bool:
            async with httpx.AsyncClient(base_url=server.url) as client:
                return (await client.get("/healthz")).status_code == 200

        await until(has_place, "a place")


async def test_pipelined_requests_are_parsed_a_few_at_a_time(memory_server: RunningServer) -> None:
    """A read of 256 KiB holds ten thousand requests; each would be an object that waits, and so would those of every
    read that follows an answer."""
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
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
    evaluation = b"POST /api/v1/evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    evaluation += b"Content-Length: %d\r\n" % len(body)
    pipelined = (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + evaluation + b"\r\n" + body) * 8
    async with raw(port_of(memory_server)) as connection:
        await connection.send(pipelined + evaluation + b"Connection: close\r\n\r\n" + body)
        received = await connection.read_to_end()
    assert received.count(b"HTTP/1.1 200 OK") == 8 * 50 + 9
