"""The proxy: it forwards, stalls, disconnects, and leads to another port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from cdc.cli.torture.port import lasting_port
from cdc.cli.torture.proxy import Proxy

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Proxy], Awaitable[Connection]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects to a proxy; the test's connections are closed at its end."""
    opened: list[Connection] = []

    async def connect(proxy: Proxy) -> Connection:
        opened.append(await asyncio.open_connection("127.0.0.1", proxy.port))
        return opened[-1]

    yield connect
    for _, writer in opened:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def upper() -> AsyncIterator[int]:
    """The port of a server that answers each line in upper case."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy("127.0.0.1", port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


async def answer_to(connection: Connection, line: bytes) -> bytes:
    reader, writer = connection
    writer.write(line)
    return await reader.readline()


async def is_aborted(connection: Connection) -> bool:
    try:
        return await asyncio.wait_for(connection[0].read(1), 10) == b""
    except ConnectionResetError:
        return True


async def test_it_forwards_in_both_directions(connect: Connect) -> None:
    async with upper() as port, proxy_to(port) as proxy:
        connection = await connect(proxy)
        assert await answer_to(connection, b"one\n") == b"ONE\n"
        connection[1].write_eof()
        assert await connection[0].read() == b""
        connection[1].close()


async def test_a_stalled_connection_stays_silent_and_open_also_after_the_stall(connect: Connect) -> None:
    async with upper() as port, proxy_to(port) as proxy:
        old = await connect(proxy)
        assert await answer_to(old, b"one\n") == b"ONE\n"
        proxy.stall()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer_to(old, b"two\n"), 0.1)
        proxy.resume()
        assert await answer_to(await connect(proxy), b"three\n") == b"THREE\n"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(old[0].read(1), 0.1)


async def test_disconnecting_aborts_every_connection_and_new_ones_work(connect: Connect) -> None:
    async with upper() as port, proxy_to(port) as proxy:
        connections = [await connect(proxy) for _ in range(3)]
        for connection in connections:
            assert await answer_to(connection, b"one\n") == b"ONE\n"
        proxy.disconnect()
        for connection in connections:
            assert await is_aborted(connection)
        assert await answer_to(await connect(proxy), b"two\n") == b"TWO\n"


async def test_a_connection_is_aborted_if_the_other_end_accepts_none(connect: Connect) -> None:
    async with proxy_to(lasting_port()) as proxy:
        assert await is_aborted(await connect(proxy))


async def test_it_leads_new_connections_to_another_port(connect: Connect) -> None:
    async with upper() as port, proxy_to(lasting_port()) as proxy:
        assert await is_aborted(await connect(proxy))
        proxy.lead_to(port)
        assert await answer_to(await connect(proxy), b"one\n") == b"ONE\n"


async def test_closed_it_accepts_nothing(connect: Connect) -> None:
    async with upper() as port, proxy_to(port) as proxy:
        connection = await connect(proxy)
        assert await answer_to(connection, b"one\n") == b"ONE\n"
        assert proxy.is_open
        at = proxy.port
    assert not proxy.is_open
    assert await is_aborted(connection)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", at)
