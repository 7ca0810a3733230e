"""Frames, fragments and compression on a real socket."""

import pytest
from websockets.exceptions import ConnectionClosed

from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer
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
