"""Which connections uvicorn hands over, and what of uvicorn's inside that depends on."""

import asyncio
import inspect

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from websockets.asyncio.client import connect

from api.streams.sse_connection import SseConnection
from api.streams.websocket_connection import WebSocketConnection
from cdc.source.memory import MemoryLog
from tests.fixtures.server import DEADLINE_S, RunningServer, port_of, serving, sse, until


async def answer_to(server: RunningServer, request: bytes) -> bytes:
    """The head of the response to a request that no client library would send."""
    address = httpx.URL(server.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    async with asyncio.timeout(DEADLINE_S):
        head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.read() if b"connection: close" in head else b""
    writer.close()
    return head + body


def kinds(server: RunningServer) -> list[type]:
    return sorted((type(each) for each in server.uvicorn.server_state.connections), key=lambda kind: kind.__name__)


async def test_admitted_streams_leave_uvicorns_protocol_and_other_requests_stay(memory_server: RunningServer) -> None:
    async with (
        sse(memory_server.stream_url),
        sse(memory_server.url + "/realtime/sse"),
        connect(memory_server.websocket_url),
        httpx.AsyncClient(base_url=memory_server.url) as http,
    ):
        assert (await http.get("/healthz")).status_code == 200
        handed_over = [kind for kind in kinds(memory_server) if not issubclass(kind, HttpToolsProtocol)]
        assert handed_over == [SseConnection, SseConnection, WebSocketConnection]
        assert len(kinds(memory_server)) == 4
    await until(lambda: not kinds(memory_server), "all connections' end")


async def test_a_request_with_another_method_stays_with_uvicorn(memory_server: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=memory_server.url) as http:
        assert (await http.post(memory_server.stream_url)).status_code == 405
        assert all(issubclass(kind, HttpToolsProtocol) for kind in kinds(memory_server))


@pytest.mark.parametrize("url", [b"http://", b"http://[", b"http://x:99999999/ws"])
async def test_a_malformed_url_of_an_upgrade_is_refused(memory_server: RunningServer, url: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x"
    answer = await answer_to(memory_server, b"GET " + url + b" HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_what_the_client_sends_behind_its_request_is_ignored(server: RunningServer) -> None:
    request = f"GET {httpx.URL(server.stream_url).path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    address = httpx.URL(server.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert b"HTTP/1.1 200 OK" in await reader.readuntil(b"event: connected")
    assert server.pipeline.hub.subscriber_count == 1
    (stream,) = server.uvicorn.server_state.connections
    assert isinstance(stream, SseConnection)
    assert stream._transport.is_reading(), "the client's end would go unnoticed until the next keep-alive"
    writer.close()
    await until(lambda: server.pipeline.hub.subscriber_count == 0, "the stream's end")


async def test_a_stream_that_waits_for_its_turn_is_refused_before_what_came_behind_it(memory_log: MemoryLog) -> None:
    """The head was read without uvicorn's parser; what the client sends meanwhile must not overtake it."""
    async with serving(memory_log, limits_handshakes_per_second=2, sse_max_clients=1) as server:
        path = httpx.URL(server.stream_url).path
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        async with sse(server.stream_url):
            connections = [await asyncio.open_connection("127.0.0.1", port_of(server)) for _ in range(3)]
            for _, writer in connections:
                writer.write(head)
                await writer.drain()
            await until(lambda: server.uvicorn.server_state.connections, "the connections")
            for reader, writer in connections:
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                async with asyncio.timeout(DEADLINE_S):
                    received = await reader.read()
                assert received.startswith(b"HTTP/1.1 503 ")
                assert received.count(b"HTTP/1.1 200 OK") == 1
                writer.close()


async def test_a_stream_beyond_the_rate_of_requests_is_counted_and_refused_once(memory_log: MemoryLog) -> None:
    async with serving(memory_log, limits_requests_per_second=1) as server, sse(server.stream_url):
        path = httpx.URL(server.stream_url).path
        answer = await answer_to(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 429 ")


def test_uvicorn_has_what_the_handover_overrides() -> None:
    assert list(inspect.signature(HttpToolsProtocol._start_asgi_task).parameters) == ["self", "cycle", "app"]
    assert list(inspect.signature(HttpToolsProtocol.handle_websocket_upgrade).parameters) == ["self"]
    assert list(inspect.signature(HttpToolsProtocol._unset_keepalive_if_required).parameters) == ["self"]
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
