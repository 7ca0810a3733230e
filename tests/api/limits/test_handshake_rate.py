"""Handshakes are limited, and served in the order in which they came."""

import asyncio

import httpx

from api.limits.handshake_rate import HandshakeRateLimiter
from tests.fixtures.server import DEADLINE_S, serving, until


async def test_an_unhurried_handshake_begins_at_once() -> None:
    begun: list[int] = []
    HandshakeRateLimiter(1_000).admit(lambda: begun.append(1))
    assert begun == [1]


async def test_a_rush_is_served_first_come_first_served_at_the_rate() -> None:
    admission, begun = HandshakeRateLimiter(1_000), []
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(200):
        admission.admit(lambda number=number: begun.append(number))  # type: ignore[misc]
    assert 0 < len(begun) < 100
    assert admission.waiting == 200 - len(begun)
    await until(lambda: len(begun) == 200, "the last handshake")
    assert begun == list(range(200))
    assert loop.time() - started >= (200 - 10 - 1) / 1_000
    assert admission.waiting == 0


async def test_no_limit_is_no_limit() -> None:
    begun: list[int] = []
    admission = HandshakeRateLimiter(0)
    for number in range(1_000):
        admission.admit(lambda number=number: begun.append(number))  # type: ignore[misc]
    assert len(begun) == 1_000


async def test_everybody_gets_in_also_past_one_who_gave_up_waiting(database_url: str) -> None:
    async with serving(database_url, limits_handshakes_per_second=100) as server:
        address = httpx.URL(server.stream_url)

        async def greeting() -> bytes:
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"GET {address.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await reader.readuntil(b"event: connected")
            finally:
                writer.close()

        async def give_up() -> None:
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"GET {address.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await writer.drain()
            writer.transport.abort()

        await asyncio.gather(*(give_up() for _ in range(10)), *(greeting() for _ in range(40)))
        await until(lambda: server.pipeline.hub.subscriber_count == 0, "everyone's leaving")
