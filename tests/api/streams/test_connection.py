"""Connections that were handed over: what is written to their sockets past the transport must not overtake it."""

import asyncio
import json
import random
import socket
from typing import Any, Self

import httpx

from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, until


class Reader:
    """A connection that is read only when the test says so, and whose kernel keeps little."""

    def __init__(self, url: httpx.URL, head: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect((url.host, url.port))
        self._socket.sendall(f"GET {url.path} HTTP/{head}\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def block(self) -> list[str]:
        """The lines up to the next empty one, of a head or of an event."""
        lines = []
        while (line := self._file.readline().rstrip(b"\r\n")) != b"":
            lines.append(line.decode())
        return lines

    def event(self) -> list[str]:
        """The next block that is dispatched."""
        block = self.block()
        while not block[-1].startswith("data:"):
            block = self.block()
        return block

    def frame(self) -> Any:
        """The next message; every frame must be whole and unfragmented (RFC 6455, section 5.2)."""
        while True:
            first, size = self._file.read(2)
            if size > 125:
                size = int.from_bytes(self._file.read({126: 2, 127: 8}[size]))
            payload = self._file.read(size)
            assert first == 0x81 or (first, size) == (0x89, 0)  # a message or a ping
            if payload and (message := json.loads(payload))["type"] != "heartbeat":
                return message

    def subscribe(self) -> None:
        message = b'{"type":"subscribe","subscribeAll":true}'
        self._socket.sendall(bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message)


def event_stream(server: RunningServer) -> Reader:
    # With HTTP/1.0 the text is not in chunks.
    reader = Reader(httpx.URL(server.stream_url), "1.0\r\nHost: localhost")
    assert reader.block()[0] == "HTTP/1.1 200 OK"
    assert "event: connected" in reader.event()
    return reader


def websocket(server: RunningServer) -> Reader:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    reader = Reader(httpx.URL(server.websocket_url), f"1.1\r\nHost: localhost\r\n{upgrade}\r\n{key}")
    assert reader.block()[0] == "HTTP/1.1 101 Switching Protocols"
    reader.subscribe()
    assert reader.frame()["type"] == "subscribed"
    return reader


def write_at_random(url: str, chance: random.Random) -> list[str]:
    """Changes of all sizes, so that a write may break off anywhere; what was written, in order."""
    written = []
    with Writer(url) as writer:
        flag = writer.flag("a")
        for number in range(150):
            written.append(f"{number} " + "x" * chance.choice((1, 700, 30_000, 200_000)))
            writer.connection.execute("update flags set notes = %s where id = %s", (written[-1], flag))
    return written


async def test_what_a_full_socket_did_not_take_comes_next_and_whole(server: RunningServer, database_url: str) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    with await asyncio.to_thread(event_stream, server) as stream, await asyncio.to_thread(websocket, server) as socket:
        subscribers = list(server.pipeline.hub._subscribers)
        assert None not in {subscriber.sink.socket for subscriber in subscribers}, "asyncio shows its sockets no more"
        written = await asyncio.to_thread(write_at_random, database_url, random.Random(seed))
        await until(lambda: server.pipeline.hub.counters.pauses >= 2, "the pauses of both")
        blocks = await asyncio.to_thread(lambda: [stream.event() for _ in range(151)])
        messages = await asyncio.to_thread(lambda: [socket.frame() for _ in range(151)])
    assert {tuple(line.split(":")[0] for line in block) for block in blocks} == {("event", "id", "data")}
    assert [json.loads(block[2].removeprefix("data: "))["notes"] for block in blocks[1:]] == written
    assert [message["flag"]["notes"] for message in messages[1:]] == written


async def test_nothing_follows_the_goodbye(database_url: str) -> None:
    async with serving(database_url) as server:
        address = httpx.URL(server.stream_url)
        with Writer(database_url) as writer:
            flag = writer.flag("a")

            async def read_to_end() -> bytes:
                reader, stream = await asyncio.open_connection(address.host, address.port)
                stream.write(f"GET {address.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                async with asyncio.timeout(DEADLINE_S):
                    text = await reader.read()
                stream.close()
                return text

            reading = [asyncio.create_task(read_to_end()) for _ in range(200)]
            await until(lambda: server.pipeline.hub.subscriber_count == len(reading), "all streams")
            # The first goodbyes come at once, before a busy machine has made another change.
            await asyncio.to_thread(writer.toggle, flag)
            await until(lambda: server.pipeline.hub.counters.deliveries >= len(reading), "an event for everyone")
            server.uvicorn.should_exit = True
            while not all(task.done() for task in reading):
                await asyncio.to_thread(writer.toggle, flag)
            ends = [task.result() for task in reading]
    assert all(text.endswith(b": closing\n\n\r\n0\r\n\r\n") for text in ends)
    assert all(b"event: flag_" in text for text in ends)
