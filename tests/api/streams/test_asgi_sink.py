"""The buffer between the hub and a connection that runs through ASGI."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from api.streams.asgi_sink import AsgiSink
from cdc.fanout.subscriber import CloseReason


class Delivery:
    """Records what the sink asks of a subscriber's delivery."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self, subscriber: Any) -> None:
        self.calls.append("pause")

    def resume(self, subscriber: Any) -> None:
        self.calls.append("resume")


class Subscriber:
    def __init__(self) -> None:
        self.delivery = Delivery()


def sink_of(subscriber: Subscriber) -> AsgiSink:
    sink = AsgiSink()
    sink.subscriber = subscriber  # type: ignore[assignment]
    return sink


async def test_what_was_written_is_one_chunk() -> None:
    sink = sink_of(Subscriber())
    sink.write(b"a")
    sink.write(memoryview(b"bc"))
    chunks = sink.chunks()
    assert await anext(chunks) == b"abc"


async def test_a_full_buffer_pauses_and_an_empty_one_resumes() -> None:
    subscriber = Subscriber()
    sink = sink_of(subscriber)
    sink.write(b"x" * 65_536)
    assert subscriber.delivery.calls == []
    sink.write(b"x")
    assert subscriber.delivery.calls == ["pause"]
    chunks = sink.chunks()
    assert len(await anext(chunks)) == 65_537
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    assert subscriber.delivery.calls == ["pause", "resume"]
    sink.write(b"y")
    assert await waiting == b"y"


async def collected(chunks: AsyncIterator[bytes]) -> list[bytes]:
    return [chunk async for chunk in chunks]


async def test_a_closed_sink_delivers_what_was_written_and_ends() -> None:
    sink = sink_of(Subscriber())
    sink.write(b"last")
    sink.close(CloseReason.RESTARTING, "restarting")
    assert await collected(sink.chunks()) == [b"last"]
    assert (sink.closed_for, sink.close_text) == (CloseReason.RESTARTING, "restarting")


async def test_closing_wakes_a_connection_that_waits() -> None:
    sink = sink_of(Subscriber())
    waiting = asyncio.ensure_future(collected(sink.chunks()))
    await asyncio.sleep(0)
    sink.close(CloseReason.TOO_SLOW, "too slow")
    assert await asyncio.wait_for(waiting, 5) == []


async def test_after_a_disconnection_nothing_is_delivered() -> None:
    sink = sink_of(Subscriber())
    sink.write(b"x")
    sink.disconnect()
    assert await collected(sink.chunks()) == []
