"""A small scripted server on real sockets.

Each connection runs the next script, an async function with a :class:`Peer` as its argument. A peer reads a request and
writes raw bytes; it can also send the same protocol message over either transport, so that one test covers both.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

Script = Callable[["Peer"], Awaitable[None]]

DEADLINE_S = 10.0


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.path = ""
        self.query: dict[str, list[str]] = {}
        self.headers: dict[str, str] = {}
        self.is_websocket = False
        self.subscribe: dict[str, Any] = {}

    # ------------------------------------------------------------------ HTTP

    async def request(self) -> None:
        """Read a request's head."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        parts = urlsplit(first.split(" ")[1])
        self.path, self.query = parts.path, parse_qs(parts.query)
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.is_websocket = self.headers.get("upgrade", "").lower() == "websocket"

    async def write(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def answer(self, status: str, **headers: str) -> None:
        """Respond without a body and close."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.write(f"HTTP/1.1 {status}\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n")
        self.writer.close()

    def abort(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed; its WebSocket close frame is answered by closing."""
        try:
            while data := await self.reader.read(65536):
                if self.is_websocket and data[0] & 0x0F == 8:
                    break
        except ConnectionError:
            pass
        self.writer.close()

    async def snapshots_until_gone(self, position: int, *flags: dict[str, Any]) -> None:
        """Answer each further request for a snapshot, as of stores that are made on a stream, until the client closes."""
        if not self.is_websocket:
            return await self.gone()
        while True:
            self.subscribe = await self.receive()
            if self.subscribe["type"] == "subscribe":
                await self.greet(position)
            if self.wants_snapshot:
                await self.snapshot(position, *flags)

    # --------------------------------------------------------- either transport

    async def open(self) -> None:
        """Read the request and accept the stream; over WebSocket, read the subscription too."""
        await self.request()
        if not self.is_websocket:
            await self.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            return
        await self._switch()
        self.subscribe = await self.receive()
        assert self.subscribe["type"] == "subscribe", self.subscribe

    async def upgrade(self) -> None:
        """Read the request and accept a WebSocket."""
        await self.request()
        await self._switch()

    async def _switch(self) -> None:
        accept = base64.b64encode(
            hashlib.sha1((self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        ).decode()
        await self.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )

    @property
    def last_event_id(self) -> str | None:
        return self.subscribe.get("lastEventId") if self.is_websocket else self.headers.get("last-event-id")

    @property
    def wants_snapshot(self) -> bool:
        return bool(self.subscribe.get("snapshot")) if self.is_websocket else self.query.get("snapshot") == ["true"]

    async def greet(self, position: int, fresh: bool = True, log: str = "k", **more: Any) -> None:
        fields = {"position": str(position), "id": f"{position}@{log}", "fresh": fresh, "ageMs": 1, **more}
        if self.is_websocket:
            await self.frame({"type": "subscribed", "requestId": self.subscribe.get("requestId"), **fields})
        else:
            await self.write(f"event: connected\ndata: {json.dumps(fields)}\n\n")

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message given in the WebSocket's form."""
        if self.is_websocket:
            await self.frame(message)
            return
        if message["type"] == "heartbeat":
            digest = f" digest={message['digest']}" if "digest" in message else ""
            fresh = "true" if message["fresh"] else "false"
            await self.write(
                f": keep-alive position={message['position']} fresh={fresh} ageMs=1{digest}\nid: {message['id']}\n\n"
            )
            return
        await self.write(f"event: {message['type']}\nid: {message['id']}\ndata: {json.dumps(message)}\n\n")

    async def snapshot(self, position: int, *flags: dict[str, Any], log: str = "k") -> None:
        message: dict[str, Any] = {"type": "snapshot", "id": f"{position}@{log}", "position": str(position)}
        message["flags"] = list(flags)
        if self.is_websocket:
            message["requestId"] = self.subscribe.get("requestId")
        await self.send(message)

    async def heartbeat(self, position: int, fresh: bool = True, log: str = "k", **more: Any) -> None:
        fields = {"position": str(position), "id": f"{position}@{log}", "fresh": fresh, "ageMs": 1, **more}
        await self.send({"type": "heartbeat", **fields})

    # --------------------------------------------------------------- WebSocket

    async def frame(self, message: Any, opcode: int = 1) -> None:
        """Send a whole frame: text as it is, other values as JSON."""
        if isinstance(message, bytes):
            payload = message
        else:
            payload = (message if isinstance(message, str) else json.dumps(message)).encode()
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        await self.write(head + payload)

    async def close_frame(self, code: int, reason: str = "") -> None:
        await self.frame(struct.pack("!H", code) + reason.encode(), opcode=8)
        await self.gone()

    async def receive(self) -> dict[str, Any]:
        """The next text frame of the client. Raises ConnectionError when it closes."""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = struct.unpack("!H", await self.reader.readexactly(2))[0]
            elif size == 127:
                size = struct.unpack("!Q", await self.reader.readexactly(8))[0]
            mask = await self.reader.readexactly(4)
            masked = await self.reader.readexactly(size)
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
            if first & 0x0F == 8:
                self.writer.close()
                raise ConnectionAbortedError("the client has closed the WebSocket")
            if first & 0x0F == 1:
                message: dict[str, Any] = json.loads(payload)
                return message


class ScriptedServer:
    """Runs one script per connection, in the order in which connections arrive; the last one for all further ones."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._play, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failures and error[0] is None:
            raise self.failures[0]

    def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        script = self.scripts[min(peer.number, len(self.scripts) - 1)]
        task = asyncio.get_running_loop().create_task(self._guard(script, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, script: Script, peer: Peer) -> None:
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.failures.append(error)

    def url(self, transport: str, path: str = "/stream") -> str:
        return f"{'ws' if transport == 'ws' else 'http'}://127.0.0.1:{self.port}{path}"


async def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition, with a deadline."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"did not happen in {DEADLINE_S:g} s: {what or condition}")
        await asyncio.sleep(0.005)


class PlayedClock:
    """Real time, given randomness, and sleeps that are recorded and end at once."""

    def __init__(self, *randoms: float) -> None:
        self.randoms = list(randoms)
        self.slept: list[float] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def random(self) -> float:
        return self.randoms.pop(0) if self.randoms else 0.5

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def flag(id: int, key: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "key": key, "enabled": False} | more


def event(kind: str, id: str, subject: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An event about a flag; ``flag_deleted`` has no flag."""
    message = {"type": kind, "id": id, "flagKey": subject["key"], "flagID": subject["id"], "schema": "public"}
    message["committedAt"] = "2026-11-23T08:00:00.123456Z"
    return message | ({} if kind == "flag_deleted" else {"flag": subject}) | more
