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


@pytest.mark.parametrize("size", [20, 200, 70_000], ids=["2 bytes", "4 bytes", "10 bytes"])
async def test_messages_of_one_read_are_answered_in_their_order(memory_server: RunningServer, size: int) -> None:
    """Whole frames, which are taken apart here, in between those that are left to the parser of `websockets`."""
    blanks = b" " * size

    def ping(number: int) -> bytes:
        return b'{"type":"ping","requestId":"%d"%b}' % (number, blanks)

    def evaluate(number: int) -> bytes:
        return b'{"type":"evaluate","requestId":"%d","flagKey":"none","entityID":"u"%b}' % (number, blanks)

    async with raw_websocket(port_of(memory_server)) as connection:
        await connection.send(
            frame(1, ping(0))
            + frame(1, evaluate(1))
            + frame(1, b'{"type":"subscribe","requestId":"2","flags":["a"]}')
            + frame(1, evaluate(3))
            + frame(1, ping(4)[:7], fin=False)
            + frame(0, ping(4)[7:])
            + frame(1, b'{"type":"nonsense","requestId":"5"}')
            + frame(2, b"binary")
            + frame(1, ping(7))
        )
        answers = [await connection.message() for _ in range(8)]
    assert [answer["requestId"] for answer in answers] == ["0", "1", "2", "3", "4", "5", None, "7"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(1, b"\xff\xfe"), 1007),
        (b"\x81\x04ping", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x81\xfe\x00\x01\0\0\0\0x", None),
    ],
    ids=["not UTF-8", "not masked", "reserved bit", "length in a longer form"],
)
async def test_a_bad_frame_behind_good_ones_is_judged_by_the_parser(
    memory_server: RunningServer, bad: bytes, code: int | None
) -> None:
    async with raw_websocket(port_of(memory_server)) as connection:
        await connection.send(frame(1, b'{"type":"ping","requestId":"p"}') + bad)
        assert await connection.message() == {"type": "pong", "requestId": "p"}
        if code is None:
            assert (await connection.message())["code"] == "invalid_json"
        else:
            assert await connection.close_code() == code
