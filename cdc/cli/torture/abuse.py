"""Clients that violate or exhaust the protocol beside the honest ones, for a moment and in bounded number."""

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

__all__ = ["abuse"]

_LASTS_S = 1.0

_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def abuse(port: int, rng: random.Random) -> None:
    """Have three abusive clients at a server at once; whatever it answers, or does not, is fine."""
    await asyncio.gather(*(_unharmed(client(port)) for client in rng.sample(_CLIENTS, 3)))


async def _unharmed(client: Awaitable[object]) -> None:
    # Refusals, resets and silence are what these clients deserve.
    with suppress(OSError, WebSocketException, TimeoutError, EOFError):
        async with asyncio.timeout(2 * _LASTS_S):
            await client


async def _burst_of_subscribes(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/ws", close_timeout=0.1) as connection:
        for number in range(250):
            await connection.send(json.dumps({"type": "subscribe", "flags": [f"torture-{number}"]}))
        async with asyncio.timeout(_LASTS_S):
            async for _ in connection:
                pass


async def _many_clauses_from_the_start(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/ws", close_timeout=0.1) as connection:
        for number in range(40):
            keys = [f"torture-{number}-{n}" for n in range(200)]
            await connection.send(json.dumps({"type": "subscribe", "flags": keys, "lastEventId": "1-0@nowhere"}))
        async with asyncio.timeout(_LASTS_S):
            async for _ in connection:
                pass


async def _foul_frames(port: int) -> None:
    await _raw(port, _HANDSHAKE + b"\x81\x05hello" + os.urandom(200), reads=True)


async def _garbage(port: int) -> None:
    await _raw(port, os.urandom(2_000) + b"\r\n\r\n", reads=True)


async def _half_a_request(port: int) -> None:
    await _raw(
        port, b"POST /api/v1/evaluation HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{", reads=True
    )


async def _answers_not_read(port: int) -> None:
    request = b"GET /api/v1/flags HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    await _raw(port, request * 200, reads=False)


async def _stream_not_read(port: int) -> None:
    request = b"GET /api/v1/events/stream?all=true&snapshot=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    await _raw(port, request, reads=False)


async def _many_connections(port: int) -> None:
    await asyncio.gather(*(_unharmed(_raw(port, b"GET / HTTP/1.1\r\n", reads=False)) for _ in range(60)))


async def _raw(port: int, data: bytes, *, reads: bool) -> None:
    """Send bytes, and hold the connection for a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 14)
    try:
        writer.write(data)
        async with asyncio.timeout(_LASTS_S):
            if reads:
                while await reader.read(1 << 16):
                    pass
            else:
                # What arrives fills the buffers: this side's, and then the server's.
                await asyncio.Event().wait()
    finally:
        writer.transport.abort()


_CLIENTS: tuple[Callable[[int], Awaitable[object]], ...] = (
    _burst_of_subscribes,
    _many_clauses_from_the_start,
    _foul_frames,
    _garbage,
    _half_a_request,
    _answers_not_read,
    _stream_not_read,
    _many_connections,
)
