"""Frames, fragments and compression on a real socket."""

import socket

import pytest
from websockets.exceptions import ConnectionClosed

from api.streams.websocket_connection import WebSocketConnection
from tests.fixtures.flags import Writer
from tests.fixtures.hostile import frame, raw_websocket
from tests.fixtures.server import RunningServer, port_of, until
from tests.fixtures.websocket_client import talking


async def test_a_frame_beyond_all_measure_closes_the_connection(either_memory_server: RunningServer) -> None:
    async with talking(either_memory_server) as client:
        await client.connection.send("x" * 2_000_000)
        with pytest.raises(ConnectionClosed):
            await client.hear()
    assert client.connection.close_code == 1009


async def test_fragments_make_one_message(either_memory_server: RunningServer) -> None:
    async with talking(either_memory_server) as client:
        await client.connection.send(iter(['{"type":', '"ping","requestId"', ':"f"}']))
        assert await client.hear() == {"type": "pong", "requestId": "f"}


@pytest.mark.parametrize("size", [20, 200, 70_000], ids=["2 bytes", "4 bytes", "10 bytes"])
async def test_a_frame_that_arrives_in_parts_is_whole(memory_server: RunningServer, size: int) -> None:
    """Wherever TCP cuts it, also between its header, its mask and its payload."""
    message = frame(1, b'{"type":"ping","requestId":"p"' + b" " * size + b"}")
    async with raw_websocket(port_of(memory_server)) as connection:
        connection.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        (protocol,) = memory_server.uvicorn.server_state.connections
        assert isinstance(protocol, WebSocketConnection)
        for cut in range(1, 18):
            await connection.send(message[:cut])
            await until(lambda: protocol._parser is not None, "the first part")
            await connection.send(message[cut:])
            assert await connection.message() == {"type": "pong", "requestId": "p"}
            await until(lambda: protocol._parser is None, "the end of the message")


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_large_and_small_events_are_read_with_and_without_compression(
    either_server: RunningServer, database_url: str, compression: str | None
) -> None:
    with Writer(database_url) as writer:
        async with talking(either_server, compression=compression) as client:
            await client.ask(type="subscribe", subscribeAll=True)
            for key, size in (("s", 1), ("m", 5_000), ("l", 200_000)):
                writer.flag(key, description="ä" * size)
            events = [await client.hear() for _ in range(3)]
            assert (await client.ask(type="ping", requestId="x" * 100))["type"] == "pong"
    assert [len(event["flag"]["description"]) for event in events] == [1, 5_000, 200_000]
