"""More clients than files: those within the limit are served, the others refused, and the process stays whole."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from api.limits.listening_socket import ListeningSocket
from cdc.core.descriptors import connections_within
from tests.fixtures.server import ServerProcess, sse, until

FILES = 256


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def crowded(database_url: str, log: Path) -> Iterator[ServerProcess]:
    """A server that may open 256 files."""
    server = ServerProcess(database_url, log=log, FLAGENT_CDC_LOG_FORMAT="json")
    server.files = FILES
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def test_beyond_the_files_of_the_process_clients_are_refused_and_it_stays_healthy(
    crowded: ServerProcess, log: Path
) -> None:
    await crowded.ready()
    assert log.read_text().count("descriptors_low") == 1, "the start says so"
    request = b"GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answers: list[bytes] = []
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", crowded.port), 5)) for _ in range(2 * FILES)
        ]
        for client in clients:
            client.sendall(request)
        for client in clients:
            answers += [await asyncio.to_thread(client.recv, 12)]
        served, refused = answers.count(b"HTTP/1.1 200"), answers.count(b"HTTP/1.1 503")
        assert connections_within(FILES) - 20 <= served <= connections_within(FILES)
        assert served + refused == len(answers)
        async with httpx.AsyncClient(base_url=crowded.url) as health:
            for path in ("/readyz", "/healthz") * 5:
                answer = await health.get(path)
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert (await health.get("/api/v1/flags")).json()["code"] == "too_many_connections"
    lines = log.read_text().splitlines()
    assert sum("connections_exhausted" in line for line in lines) == 1
    assert len(lines) < 20, lines
    assert not any("Traceback" in line for line in lines)

    async def is_free() -> bool:
        async with httpx.AsyncClient(base_url=crowded.url) as client:
            return (await client.get("/api/v1/flags")).status_code == 200

    await until(is_free, "the place of those who left")
    async with sse(crowded.stream_url) as stream:
        assert stream.greeting["fresh"] is True


@asynccontextmanager
async def listening(room: int | None) -> AsyncIterator[tuple[ListeningSocket, int, list[asyncio.StreamWriter]]]:
    """A listener, its port, and the connections that its server has got."""
    connected: list[asyncio.StreamWriter] = []
    listener = ListeningSocket(
        socket.create_server(("127.0.0.1", 0), backlog=512), room=lambda: room, arriving=8, refusal=b"refused"
    )
    port = listener.getsockname()[1]
    server = await asyncio.start_server(lambda _, writer: connected.append(writer), sock=listener, backlog=512)
    try:
        yield listener, port, connected
    finally:
        server.close()
        for writer in connected:
            writer.close()


@pytest.mark.parametrize("room", [None, 0, 3, 1000])
async def test_every_connection_arrives_however_little_room_there_is(room: int | None) -> None:
    async with listening(room) as (_, port, connected):
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            await until(lambda: len(connected) == 100, "the last connection")


async def test_a_turn_of_the_loop_takes_few_where_there_is_little_room() -> None:
    loop = asyncio.get_running_loop()
    async with listening(0) as (listener, port, _):
        loop.remove_reader(listener)
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))

            def take() -> int:
                taken = 0
                try:
                    while True:
                        stack.enter_context(listener.accept()[0])
                        taken += 1
                except BlockingIOError:
                    return taken

            assert (take(), take()) == (2, 0)
            await asyncio.sleep(0)
            assert take() == 2


async def test_without_a_descriptor_a_connection_is_refused_and_not_left_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with listening(None) as (_, port, connected):
        clients = [socket.socket() for _ in range(3)]
        taken = [os.dup(0)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 20, limits[1]))
        try:
            while True:
                try:
                    taken.append(os.dup(0))
                except OSError:
                    break
            loop = asyncio.get_running_loop()
            for client in clients:
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", port))
                async with asyncio.timeout(5):
                    assert await loop.sock_recv(client, 100) == b"refused"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in taken:
                os.close(descriptor)
        assert connected == []
        assert [vars(record).get("action") for record in caplog.records] == ["descriptors_exhausted"]
        for client in clients:
            client.close()
        with socket.create_connection(("127.0.0.1", port), 5):
            await until(lambda: len(connected) == 1, "the next connection")
