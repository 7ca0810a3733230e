"""Clients that do not read, and a server that is told to go while many are connected."""

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from cdc.fanout.subscriber import CloseReason
from tests.fixtures.flags import Writer
from tests.fixtures.server import ServerProcess, serving, sse, until

pytestmark = pytest.mark.timeout(90)

FILLER = "x" * 50_000


class RawStream:
    """An event stream read by hand, so that it can also not be read: the kernel's buffers fill up then."""

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
    # With HTTP/1.0 the text is not in chunks.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 14)
    writer.write(f"GET /api/v1/events/stream{query} HTTP/1.0\r\nhost: x\r\n\r\n".encode())
    stream = RawStream(reader, writer)
    await stream.read_until("event: connected")
    return stream


async def test_sigterm_ends_a_thousand_streams_in_time_and_says_when_to_return(database_url: str) -> None:
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
    assert max(delays) - min(delays) > 1000, "all come back at once"
    assert max(ended_at) - min(ended_at) > 0.5, "all are sent away at once"


async def test_who_never_reads_costs_little_delays_nobody_and_ends_with_the_newest_state(database_url: str) -> None:
    server = ServerProcess(database_url, FLAGENT_CDC_RING_BYTES="2MiB")
    server.start()
    slow: list[RawStream] = []
    try:
        await server.ready()
        with Writer(database_url) as writer:
            flag = writer.flag("a")
            slow = [await open_raw(server.port) for _ in range(10)]
            url = server.url.replace("http", "ws") + "/ws"
            async with (
                connect(url, max_size=None, max_queue=1) as silent,
                sse(server.url + "/api/v1/events/stream") as quick,
            ):
                await silent.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
                await silent.recv()
                before_mib = server.resident_mib
                waited: list[float] = []
                for version in range(300):
                    # 15 MB for each, and 165 for all that do not read.
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
                    # What was sent before it stopped, then one resync, no torn block, no more events than there were.
                    assert stream.text.count("event: resync") == 1
                    assert '"reason":"overflow"' in stream.text
                    for block in stream.text.split("\n\n")[:-1]:
                        for line in block.split("\n"):
                            assert re.match(r"(HTTP/|[a-z-]+: |event: |id: |data: |: |retry: |\r?$)", line), line[:80]
                while True:
                    async with asyncio.timeout(20):
                        message = json.loads(await silent.recv())
                    flags = [message.get("flag"), *message.get("snapshot", {}).get("flags", [])]
                    if any(flag and flag["description"].startswith("299 ") for flag in flags):
                        break
    finally:
        for stream in slow:
            stream.close()
        server.kill()


async def test_a_slow_subscriber_that_asked_for_it_is_cut_and_may_come_back(database_url: str) -> None:
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
                assert ": too slow" in text[-200:]
                last_id = re.findall(r"\nid: (\S+)\n", text)[-1]
            async with sse(server.stream_url, last_event_id=last_id) as again:
                event = await again.next()
                # From the log: the next event after those that it has.
                seen = int(re.findall(r'"description":"(\d+) ', text)[-1])
                assert event.data["description"].startswith(f"{seen + 1} ")


@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "a byte now and then"])
async def test_a_subscriber_that_hardly_reads_is_cut_after_a_while(database_url: str, reads: bool) -> None:
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
                await until(lambda: server.pipeline.hub.subscriber_count == 0, "the cut")
                assert server.pipeline.hub.cuts == {CloseReason.TOO_SLOW: 1}
                assert reading.done() is not reads
                reading.cancel()


async def test_a_snapshot_that_is_half_sent_is_finished_before_a_resync(database_url: str) -> None:
    """A stalled reader of a large snapshot, and a database that is replaced meanwhile."""
    async with serving(database_url, listener_probe_interval_s=0.3) as server:
        port = int(server.url.rpartition(":")[2])
        with Writer(database_url) as writer:
            for number in range(200):
                writer.flag(f"f{number}", description=FILLER)
            await until(lambda: server.pipeline.hub.catalog.find("public", "f199"), "the last flag")
            async with raw(port, "?snapshot=true") as slow:
                await until(lambda: any(each.is_paused for each in server.pipeline.hub._subscribers), "the stall")
                writer.run("update flagent_cdc.installation set id = gen_random_uuid()")
                await until(lambda: server.pipeline.hub.resyncs, "the new log")
                await slow.read_until('"reason":"log_replaced"')
                await slow.read_until(r'"reason":"log_replaced".*\n\n')
    data = [line.removeprefix("data: ") for line in slow.text.split("\n") if line.startswith("data: ")]
    sizes = [len(json.loads(text).get("snapshot", json.loads(text)).get("flags", [])) for text in data]
    assert sizes == [0, 200, 200]
