"""Clients that do not read their answers: on every kind of connection they are disconnected, and only they."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from cdc.source.memory import MemoryLog
from tests.fixtures.hostile import HANDSHAKE
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import RunningServer, port_of, serving, until

STALL_S = 0.4
LARGE = b"GET /api/v1/flags?preload=true HTTP/1.1\r\nHost: localhost\r\n\r\n"
# As large, and answered by the application: an answer in the protocol is written to its end before the next request.
SNAPSHOT = b"GET /api/v1/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAM = b"GET /api/v1/events/stream?snapshot=true HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def writer(memory_log: MemoryLog) -> MemoryWriter:
    """The writer of flags of 12 MB together: more than the kernel keeps for a connection."""
    writer = MemoryWriter(memory_log)
    for number in range(60):
        writer.flag(f"f{number}", description="x" * 200_000)
    return writer


@contextlib.contextmanager
def deaf(server: RunningServer, requests: bytes) -> Iterator[socket.socket]:
    """A connection that is only read when the test does."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port_of(server)))
    connection.sendall(requests)
    try:
        yield connection
    finally:
        connection.close()


def is_established(connection: socket.socket) -> bool:
    """Whether the kernel still keeps a connection for a client that never reads (tcp(7), `TCP_INFO`)."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x01"


def open_count(server: RunningServer) -> int:
    return len(server.uvicorn.server_state.connections)


@pytest.mark.parametrize(
    "requests",
    [
        LARGE,
        LARGE * 12,
        SNAPSHOT * 12,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + LARGE * 2 + STREAM,
        LARGE + HANDSHAKE + b"\r\n",
    ],
    ids=["one", "pipelined", "pipelined, by the application", "a stream behind it", "an upgrade behind it"],
)
async def test_answers_that_are_never_read_are_cut_at_the_deadline(
    writer: MemoryWriter, with_handover: bool, requests: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with serving(
        writer.log,
        with_handover=with_handover,
        pipeline_stall_timeout_s=STALL_S,
        sse_keep_alive_s=0.2,
        websocket_ping_interval_s=0.2,
    ) as server:
        with contextlib.ExitStack() as clients:
            connections = [clients.enter_context(deaf(server, requests)) for _ in range(3)]
            await until(lambda: open_count(server) == 3, "the connections")
            await until(lambda: open_count(server) == 0, "the end of the connections")
            # With what the kernel kept for them.
            await until(lambda: not any(map(is_established, connections)), "the clients' notice")
    actions = {getattr(record, "action", "") for record in caplog.records}
    assert actions & {"client_stalled", "subscriber_disconnected"}
    # asyncio logs each part of an answer that is written to nobody.
    assert "socket.send() raised exception." not in caplog.messages


async def test_a_client_that_reads_slowly_keeps_its_connection(writer: MemoryWriter) -> None:
    """It takes several times the deadline, and less at a time than the server has for it."""
    async with serving(writer.log, pipeline_stall_timeout_s=STALL_S) as server:
        with deaf(server, LARGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            received, turns = bytearray(), 0
            while data := await loop.sock_recv(connection, 1 << 20):
                received += data
                if len(received) // (2 << 20) > turns:
                    turns += 1
                    # Not for a condition: the client's own speed.
                    await asyncio.sleep(STALL_S / 2)
    assert turns >= 5
    assert len(json.loads(received.partition(b"\r\n\r\n")[2])) == 60


async def test_a_client_that_takes_a_byte_now_and_then_is_cut_as_well(writer: MemoryWriter) -> None:
    async with serving(writer.log, pipeline_stall_timeout_s=STALL_S) as server:
        with deaf(server, LARGE) as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await until(lambda: open_count(server) == 1, "the connection")
            while open_count(server):
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(STALL_S / 4):
                        await loop.sock_recv(connection, 1)
                await asyncio.sleep(STALL_S / 8)


async def test_a_stream_behind_an_unread_answer_writes_nothing_until_that_is_read(writer: MemoryWriter) -> None:
    """The connection changes hands while its transport is full, which no one announces to the new protocol."""
    async with serving(writer.log) as server:
        with deaf(server, SNAPSHOT + STREAM) as stream:
            await until(lambda: server.pipeline.hub.subscriber_count == 1, "the stream")
            (subscriber,) = server.pipeline.hub._subscribers
            assert subscriber.is_paused
            sent = server.pipeline.hub.counters.sent_bytes
            for number in range(20):
                writer.flag(f"g{number}", description="x" * 200_000)
            await until(lambda: server.pipeline.hub.catalog.flag_count == 80, "the flags")
            assert server.pipeline.hub.counters.sent_bytes == sent
            stream.setblocking(False)
            received = bytearray()
            async with asyncio.timeout(20):
                while b"event: snapshot" not in received[-1 << 20 :] and b'"key":"g' not in received[-1 << 20 :]:
                    received += await asyncio.get_running_loop().sock_recv(stream, 1 << 20)
            assert received.count(b"HTTP/1.1 200 OK") == 2
