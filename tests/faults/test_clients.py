"""Clients that do not read, and a server that is shut down while many are connected."""

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdc.fanout.subscriber import CloseReason
from tests.fixtures.flags import Writer
from tests.fixtures.server import ServerProcess, serving, sse, until
from tests.fixtures.websocket import receive, request, websocket

pytestmark = pytest.mark.timeout(90)

FILLER = "x" * 50_000


class RawStream:
    """An event stream on a bare socket, which can be left unread until the kernel's buffers are full."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.text = ""

    async def read_until(self, pattern: str, deadline_s: float = 20) -> re.Match[str]:
        async with asyncio.timeout(deadline_s):
            while (match := re.search(pattern, self.text)) is None:
                data = await self._reader.read(1 << 20)
                assert data, f"the stream ended before {pattern!r}, with {self.text[-200:]!r}"
                self.text += data.decode()
        return match

    async def read_to_end(self, deadline_s: float = 20) -> str:
        async with asyncio.timeout(deadline_s):
            while data := await self._reader.read(1 << 20):
                self.text += data.decode()
        return self.text

    async def trickle(self) -> None:
        """Read to the end, fifty bytes a second."""
        while await self._reader.read(1):
            await asyncio.sleep(0.02)

    def close(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def raw(port: int, query: str = "") -> AsyncIterator[RawStream]:
    stream = await open_raw(port, query)
    try:
        yield stream
    finally:
        stream.close()


async def open_raw(port: int, query: str = "") -> RawStream:
    # HTTP/1.0 has no chunked encoding.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 14)
    writer.write(f"GET /api/v1/events/stream{query} HTTP/1.0\r\nhost: localhost\r\n\r\n".encode())
    stream = RawStream(reader, writer)
    await stream.read_until("event: connected")
    return stream


async def test_sigterm_closes_a_thousand_streams_in_time_with_a_reconnect_delay(database_url: str) -> None:
    server = ServerProcess(database_url)
    server.start()
    try:
        await server.ready()
        streams: list[RawStream] = []
        for _ in range(20):
            streams += await asyncio.gather(*[open_raw(server.port) for _ in range(50)])
        stuck = await open_raw(server.port)
        began = time.monotonic()
        server.send(signal.SIGTERM)
        ended_at: list[float] = []

        async def read_to_end(stream: RawStream) -> str:
            text = await stream.read_to_end()
            ended_at.append(time.monotonic() - began)
            return text

        texts = await asyncio.gather(*map(read_to_end, streams))
        assert await asyncio.to_thread(server.wait, 10) == 0
        took_s = time.monotonic() - began
        stuck.close()
    finally:
        server.kill()
        for stream in streams:
            stream.close()
    assert took_s < 5
    delays = [int(found[-1]) for found in (re.findall(r"retry: (\d+)\n: closing", text) for text in texts) if found]
    assert len(delays) == 1000
    assert min(delays) >= 2000
    assert max(delays) - min(delays) > 1000, "all clients reconnect at once"
    assert max(ended_at) - min(ended_at) > 0.5, "all streams are closed at once"


async def test_a_subscriber_that_never_reads_delays_no_other_and_ends_with_the_newest_state(database_url: str) -> None:
    server = ServerProcess(database_url, FLAGENT_CDC_RING_BYTES="2MiB")
    server.start()
    slow: list[RawStream] = []
    try:
        await server.ready()
        with Writer(database_url) as writer:
            flag = writer.flag("a")
            slow = [await open_raw(server.port) for _ in range(10)]
            async with (
                websocket(server.websocket_url, max_queue=1) as silent,
                sse(server.stream_url) as quick,
            ):
                await request(silent, type="subscribe", subscribeAll=True)
                before_mib = server.resident_mib
                waited: list[float] = []
                for version in range(300):
                    # 15 MB per subscriber, 165 MB for all that do not read.
                    writer.connection.execute(
                        "update flags set description = %s, notes = %s where id = %s", (f"{version} {FILLER}", "", flag)
                    )
                    committed = time.monotonic()
                    assert (await quick.next()).data["description"].startswith(f"{version} ")
                    waited.append(time.monotonic() - committed)
                assert server.resident_mib - before_mib < 40
                assert sorted(waited)[len(waited) // 2] < 0.1
                for stream in slow:
                    await stream.read_until(r'"description":"299 ')
                    # The events that the buffers held, then one resync, and no incomplete block.
                    assert stream.text.count("event: resync") == 1
                    assert '"reason":"overflow"' in stream.text
                    for block in stream.text.split("\n\n")[:-1]:
                        for line in block.split("\n"):
                            assert re.match(r"(HTTP/|[a-z-]+: |event: |id: |data: |: |retry: |\r?$)", line), line[:80]
                while True:
                    message = await receive(silent)
                    flags = [message.get("flag"), *message.get("snapshot", {}).get("flags", [])]
                    if any(flag and flag["description"].startswith("299 ") for flag in flags):
                        break
    finally:
        for stream in slow:
            stream.close()
        server.kill()


async def test_a_slow_subscriber_with_overflow_disconnect_is_disconnected_and_resumes(database_url: str) -> None:
    async with serving(database_url, pipeline_ring_bytes=200_000) as server:
        port = int(server.url.rpartition(":")[2])
        with Writer(database_url) as writer:
            flag = writer.flag("a")
            async with raw(port, "?overflow=disconnect") as slow, sse(server.stream_url) as quick:
                for version in range(200):
                    writer.connection.execute(
                        "update flags set description = %s where id = %s", (f"{version} {FILLER}", flag)
                    )
                    await quick.next()
                text = await slow.read_to_end()
                assert "event: resync" not in text
                assert ": client is too slow; reconnect" in text[-200:]
                last_id = re.findall(r"\nid: (\S+)\n", text)[-1]
            async with sse(server.stream_url, last_event_id=last_id) as again:
                event = await again.next()
                # The next event after the received ones, from the change log.
                received = int(re.findall(r'"description":"(\d+) ', text)[-1])
                assert event.data["description"].startswith(f"{received + 1} ")


@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "a byte now and then"])
async def test_a_subscriber_that_hardly_reads_is_disconnected_after_the_stall_timeout(
    database_url: str, reads: bool
) -> None:
    async with serving(database_url, sse_keep_alive_s=0.3, pipeline_stall_timeout_s=0.6) as server:
        port = int(server.url.rpartition(":")[2])
        with Writer(database_url) as writer:
            flag = writer.flag("a")
            async with raw(port) as slow:
                reading = asyncio.create_task(slow.trickle() if reads else asyncio.sleep(0))
                while not any(subscriber.is_paused for subscriber in server.pipeline.hub._subscribers):
                    writer.connection.execute(
                        "update flags set description = %s where id = %s", (f"{time.monotonic()} {FILLER}", flag)
                    )
                    await asyncio.sleep(0)
                await until(lambda: server.pipeline.hub.subscriber_count == 0, "the disconnect")
                assert server.pipeline.hub.counters.disconnects == {CloseReason.TOO_SLOW: 1}
                assert reading.done() is not reads
                reading.cancel()


async def test_a_snapshot_that_is_half_sent_is_finished_before_a_resync(database_url: str) -> None:
    """A reader stalls in a large snapshot while the database is replaced."""
    async with serving(database_url, listener_probe_interval_s=0.3) as server:
        port = int(server.url.rpartition(":")[2])
        with Writer(database_url) as writer:
            for number in range(200):
                writer.flag(f"f{number}", description=FILLER)
            await until(lambda: server.pipeline.hub.catalog.find("public", "f199"), "the last flag")
            async with raw(port, "?snapshot=true") as slow:
                await until(lambda: any(each.is_paused for each in server.pipeline.hub._subscribers), "the stall")
                writer.run("update flagent_cdc.installation set id = gen_random_uuid()")
                await until(lambda: server.pipeline.hub.counters.resyncs, "the new log")
                await slow.read_until('"reason":"log_replaced"')
                await slow.read_until(r'"reason":"log_replaced".*\n\n')
    data = [line.removeprefix("data: ") for line in slow.text.split("\n") if line.startswith("data: ")]
    sizes = [len(json.loads(text).get("snapshot", json.loads(text)).get("flags", [])) for text in data]
    assert sizes == [0, 200, 200]
