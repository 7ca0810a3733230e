"""However a client behaves, no turn of the event loop takes long: a turn is what every other client waits for.

A probe on the server's loop measures the longest turn in processor time of its thread, so a busy machine does not
disturb it. The measure of "long" is what honest clients cause in the same run, on the same flags. The abusive clients
are threads with plain sockets: almost nothing of their work is in Python.
"""

import asyncio
import contextlib
import gc
import json
import socket
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cdc.source.memory import MemoryLog
from tests.fixtures.hostile import HANDSHAKE, frame, text
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import RunningServer, port_of, serving, until
from tests.fixtures.websocket_client import talking

pytestmark = pytest.mark.timeout(120)

# How much longer than the longest turn of honest clients one may take.
TIMES = 5

FLAGS = 400


class Probe:
    """The longest turn of the event loop since `begin`, in seconds of its thread's processor time."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    def begin(self) -> None:
        gc.collect()
        gc.freeze()
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before)


@dataclass(frozen=True)
class Target:
    """The server that a client abuses; `begin` is the id before its flags."""

    port: int
    begin: str

    @contextlib.contextmanager
    def connected(self, first: bytes = b"") -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall(first)
            yield connection

    @contextlib.contextmanager
    def websocket(self, *headers: bytes) -> Iterator[socket.socket]:
        with self.connected(HANDSHAKE + b"".join(header + b"\r\n" for header in headers) + b"\r\n") as connection:
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                received += connection.recv(1)
            yield connection

    def talk(self, *frames: bytes, first: bytes = b"") -> None:
        """Send all in one go, and read until a last ping is answered."""
        with self.websocket() as connection:
            connection.sendall(first)
            last = text({"type": "ping", "requestId": "the last one"})
            connection.setblocking(False)
            out, received = memoryview(b"".join(frames) + last), b""
            deadline = time.monotonic() + 60
            while b'"the last one"' not in received:
                assert time.monotonic() < deadline, "the last message was not answered"
                with contextlib.suppress(BlockingIOError):
                    out = out[connection.send(out[: 1 << 20]) :] if out else out
                with contextlib.suppress(BlockingIOError):
                    data = connection.recv(1 << 20)
                    assert data, f"the server closed the connection: {received[-64:]!r}"
                    received = received[-64:] + data
                    continue
                time.sleep(0.0005)  # between two looks at the socket

    def request(self, requests: bytes) -> None:
        """Send requests, the last of which ends the connection, and read all answers."""
        with self.connected() as connection:
            connection.setblocking(False)
            out = memoryview(requests)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    out = out[connection.send(out[: 1 << 20]) :] if out else out
                with contextlib.suppress(BlockingIOError):
                    if not connection.recv(1 << 20):
                        return
                    continue
                time.sleep(0.0005)  # between two looks at the socket
            raise AssertionError("the last request was not answered")


def get(target: bytes, *, close: bool = False) -> bytes:
    return (
        b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + (b"Connection: close\r\n" if close else b"") + b"\r\n"
    )


def post(path: bytes, body: object, *, close: bool = False) -> bytes:
    data = json.dumps(body).encode()
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + (b"Connection: close\r\n" if close else b"") + b"Content-Length: %d\r\n\r\n" % len(data) + data


def subscribe(**message: Any) -> bytes:
    return text({"type": "subscribe", **message})


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


SELECTORS = [f"{'k' * 90}-{number}" for number in range(1_000)]
EVALUATION = {"flagKey": "f1", "entityID": "e"}
BATCH = {"entities": [{"entityID": f"e{n}"} for n in range(25)], "flagKeys": [f"f{n}" for n in range(40)]}


def many_small_subscribes(target: Target) -> None:
    target.talk(*[subscribe(flags=[f"f{number}"]) for number in range(1_500)])


def many_pings(target: Target) -> None:
    target.talk(*[text({"type": "ping"})] * 20_000)


def many_protocol_pings(target: Target) -> None:
    target.talk(frame(9) * 100_000)


def many_bad_messages(target: Target) -> None:
    target.talk(*[frame(1, b'{"a":[' + b"[]," * 43_000 + b"1]}")] * 40)


def many_large_subscribes(target: Target) -> None:
    target.talk(*[subscribe(flags=SELECTORS)] * 60)


def small_subscribes_beside_many_selectors(target: Target) -> None:
    large = [subscribe(flags=[f"{key}-{number}" for key in SELECTORS]) for number in range(9)]
    target.talk(*large, *[subscribe(flags=[f"f{number}"]) for number in range(200)])


def many_clauses_and_an_old_id(target: Target) -> None:
    clauses = [subscribe(subscribeAll=True, schemas=[f"s{number}"]) for number in range(30)]
    again = subscribe(subscribeAll=True, schemas=["public"], types=["flag_deleted"], lastEventId=target.begin)
    target.talk(*clauses, *[again] * 20)


def replays_in_batches_with_stamps(target: Target) -> None:
    wish = {"subscribeAll": True, "lastEventId": target.begin, "batchMs": 10_000, "stamps": True}
    target.talk(*[subscribe(**wish), text({"type": "unsubscribe"})] * 20)


def many_different_snapshots(target: Target) -> None:
    target.talk(*[subscribe(subscribeAll=True, flags=[f"none-{n}"], snapshot=True) for n in range(60)])


def many_batches_of_evaluations(target: Target) -> None:
    target.talk(*[text({"type": "evaluate_batch", **BATCH})] * 50)


def many_batches_of_evaluations_over_http(target: Target) -> None:
    request = post(b"/api/v1/evaluation/batch", BATCH)
    target.request(request * 30 + post(b"/api/v1/evaluation/batch", BATCH, close=True))


def many_pipelined_requests(target: Target) -> None:
    target.request(get(b"/healthz") * 3_000 + get(b"/healthz", close=True))


def many_lists_of_flags(target: Target) -> None:
    target.request(get(b"/api/v1/flags?preload=true") * 20 + get(b"/api/v1/flags?preload=true", close=True))


def many_streams_from_an_old_id(target: Target) -> None:
    with contextlib.ExitStack() as streams:
        request = get(b"/api/v1/events/stream?lastEventId=" + target.begin.encode().replace(b"@", b"%40"))
        opened = [streams.enter_context(target.connected(request)) for _ in range(40)]
        for stream in opened:
            received = b""
            while b": keep-alive" not in received:
                received = received[-64:] + stream.recv(1 << 20)


def clients_that_never_read(target: Target) -> None:
    with contextlib.ExitStack() as streams:
        for _ in range(10):
            streams.enter_context(target.connected(get(b"/api/v1/flags?preload=true") * 30))
            wishes = [subscribe(subscribeAll=True, flags=[f"n{n}"], snapshot=True) for n in range(30)]
            streams.enter_context(target.websocket()).sendall(b"".join(wishes))
        target.talk()


def compressed_messages(target: Target) -> None:
    with target.websocket(b"Sec-WebSocket-Extensions: permessage-deflate") as connection:
        connection.sendall(frame(1, deflated(b"[" * 1_000_000), rsv=4) * 200)
        received = 0
        while received < 200:
            received += connection.recv(1 << 16).count(b"\x81")


PATTERNS = (
    many_small_subscribes,
    many_pings,
    many_protocol_pings,
    many_bad_messages,
    many_large_subscribes,
    small_subscribes_beside_many_selectors,
    many_clauses_and_an_old_id,
    replays_in_batches_with_stamps,
    many_different_snapshots,
    many_batches_of_evaluations,
    many_batches_of_evaluations_over_http,
    many_pipelined_requests,
    many_lists_of_flags,
    many_streams_from_an_old_id,
    clients_that_never_read,
    compressed_messages,
)


@pytest.fixture
async def crowded(memory_log: MemoryLog) -> AsyncIterator[tuple[RunningServer, Target]]:
    """A server with flags, and a few thousand events about them in memory."""
    async with serving(memory_log, websocket_ping_interval_s=1.0) as server:
        begin = str(server.pipeline.hub.here())
        writer = MemoryWriter(memory_log)
        flags = [writer.tables.flag(f"f{number}", description="x" * 500) for number in range(FLAGS)]
        for flag_id in flags:
            variant_id = writer.tables.insert("variants", flag_id=flag_id, key="on")
            segment_id = writer.tables.insert("segments", flag_id=flag_id, rank=1, rollout_percent=100)
            writer.tables.insert(
                "distributions", segment_id=segment_id, variant_id=variant_id, variant_key="on", percent=100
            )
        for is_enabled in (True, False, True, False, True):
            for flag_id in flags:
                writer.tables.update("flags", flag_id, enabled=is_enabled)
            position = writer.commit()
            await until(lambda: server.pipeline.hub.catalog.position >= position, "the events")  # noqa: B023
        assert server.pipeline.hub.ring.end > 8 * FLAGS
        yield server, Target(port_of(server), begin)


def honest(target: Target) -> None:
    """One of each thing that clients do."""
    target.request(get(b"/api/v1/flags?preload=true") + post(b"/api/v1/evaluation", EVALUATION, close=True))
    target.talk(subscribe(subscribeAll=True, snapshot=True), text({"type": "evaluate", **EVALUATION}))
    target.talk(subscribe(subscribeAll=True, lastEventId=target.begin))


@pytest.mark.parametrize("abuse", PATTERNS, ids=lambda pattern: pattern.__name__)
async def test_no_client_makes_the_others_wait(
    crowded: tuple[RunningServer, Target], abuse: Callable[[Target], None]
) -> None:
    server, target = crowded
    probe = Probe()
    probing = asyncio.create_task(probe.run())
    try:
        await asyncio.to_thread(honest, target)  # once before: what is done at the first time only is not measured
        probe.begin()
        await asyncio.to_thread(honest, target)
        usual_s = probe.longest_s
        async with talking(server) as client:
            probe.begin()
            abusing = asyncio.create_task(asyncio.to_thread(abuse, target))
            answers = 0
            while not abusing.done():
                assert (await client.ask(type="ping", requestId=f"{answers}"))["requestId"] == f"{answers}"
                answers += 1
            longest_s = probe.longest_s
            await abusing
    finally:
        probing.cancel()
        gc.unfreeze()
    print(f"{abuse.__name__}: usual {usual_s * 1000:.1f} ms, longest {longest_s * 1000:.1f} ms, {answers} answers")
    assert answers > 0
    assert longest_s < TIMES * usual_s, f"{longest_s * 1000:.1f} ms, where honest clients cause {usual_s * 1000:.1f} ms"
