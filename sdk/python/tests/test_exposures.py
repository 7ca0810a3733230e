"""Exposures of local evaluations, and their report to the server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, eventually, flag
from test_sync import ThreadedServer, lively, rollout

from flagent_realtime import (
    ConnectionRefused,
    Exposure,
    ExposureReporter,
    FlagentError,
    FlagentWebSocketClient,
    FlagStore,
    HandlerFailed,
    sync,
)
from flagent_realtime import _exposure_feed as module

ON = rollout(1, "a", "on")
OFF = flag(2, "off")


async def stored(**options: Any) -> tuple[FlagentWebSocketClient, FlagStore]:
    """A store that has flags, and whose client runs without a server."""
    client = FlagentWebSocketClient("ws://127.0.0.1:9/ws", **options)
    await client.start()
    return client, FlagStore(client, bootstrap={"id": "10@k", "flags": [ON, OFF]})


async def test_tc_exposure() -> None:
    """tc-exposure."""
    client, store = await stored()
    seen: list[Exposure] = []
    end = store.on_exposure(seen.append)
    for _ in range(3):
        store.evaluate("a", "u1", {"country": "US", "age": 7})
    store.evaluate("a", "u2")
    store.evaluate("off", "u1")
    store.evaluate("missing", "u1")
    store.evaluate(flag_id=1, entity_id="u3")
    await eventually(lambda: len(seen) == 4)
    first = seen[0]
    assert (first.flag_key, first.flag_id, first.schema, first.variant_key) == ("a", 1, None, "on")
    assert (first.entity_id, first.segment_id, first.position) == ("u1", 1, 10)
    assert first.context_keys == ("age", "country")
    assert first.time.utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert [(each.flag_key, each.entity_id, each.variant_key) for each in seen[1:]] == [
        ("a", "u2", "on"),
        ("off", "u1", None),
        ("a", "u3", "on"),
    ]
    end()
    store.evaluate("a", "u9")
    await client.close()
    assert len(seen) == 4


async def test_tc_exposure_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-exposure-raises: reported; evaluating is neither delayed nor failed, and the queue is bounded."""
    monkeypatch.setattr(module, "QUEUE_SIZE", 5)
    client, store = await stored()
    errors: list[FlagentError] = []
    client.on_error(errors.append)

    async def slow(exposure: Exposure) -> None:
        await asyncio.sleep(0.01)
        raise RuntimeError("no analytics")

    client.on_exposure(slow)
    began = time.perf_counter()
    for number in range(50):
        assert store.evaluate("a", f"u{number}").variant_key == "on"
    assert time.perf_counter() - began < 1
    await eventually(lambda: len(errors) >= 5)
    assert any(isinstance(error, HandlerFailed) for error in errors)
    assert client._exposures.dropped == 45
    await client.close()


class Counters:
    """Takes reports; answers with the statuses in turn, and the last one for ever."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.bodies: list[dict[str, Any]] = []
        self.peers: list[Peer] = []

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        if peer.path != "/api/v1/exposures":
            await peer.answer("503 Service Unavailable", Retry_After="60")
            return
        status = self.statuses[min(len(self.bodies), len(self.statuses) - 1)]
        self.peers.append(peer)
        self.bodies.append(json.loads(await peer.reader.readexactly(int(peer.headers["content-length"]))))
        body = '{"detail": "a sentence"}'
        await peer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
            f"Retry-After: 0\r\nConnection: close\r\n\r\n{body}"
        )
        peer.writer.close()


async def test_tc_exposure_report() -> None:
    """tc-exposure-report: counted together, with the key, to the server of the client."""
    counters = Counters("202 Accepted")
    async with ScriptedServer(counters) as server:
        client = FlagentWebSocketClient(server.url("ws", "/prefix/ws"), "k1")
        assert ExposureReporter(client).url == server.url("sse", "/prefix/api/v1/exposures")
        await client.close()
        client = FlagentWebSocketClient(server.url("ws", "/ws"), "k1")
        await client.start()
        store, reporter = FlagStore(client, bootstrap=[ON, OFF]), ExposureReporter(client, interval=0.1)
        for number in range(7):
            store.evaluate("a", f"u{number}")
            store.evaluate("off", f"u{number}")
        await eventually(lambda: counters.bodies)
        assert counters.bodies == [
            {
                "exposures": [
                    {"flagKey": "a", "variantKey": "on", "count": 7},
                    {"flagKey": "off", "variantKey": None, "count": 7},
                ]
            }
        ]
        assert counters.peers[0].headers["x-api-key"] == "k1"
        await reporter.close()
        await client.close()


async def test_tc_exposure_fails() -> None:
    """tc-exposure-fails: sent later after a passing error; after a refusal nothing is sent any more."""
    counters = Counters("503 Service Unavailable", "202 Accepted", "404 Not Found")
    async with ScriptedServer(counters) as server:
        client = FlagentWebSocketClient(server.url("ws", "/ws"))
        errors: list[FlagentError] = []
        client.on_error(errors.append)
        await client.start()
        store, reporter = FlagStore(client, bootstrap=[ON]), ExposureReporter(client, interval=0.05)
        store.evaluate("a", "u1")
        await eventually(lambda: len(counters.bodies) == 2)
        assert counters.bodies[0] == counters.bodies[1]
        store.evaluate("a", "u2")
        await eventually(lambda: reporter.failure is not None)
        assert isinstance(reporter.failure, ConnectionRefused)
        assert "a sentence" in str(reporter.failure)
        store.evaluate("a", "u3")
        await reporter.close()
        assert len(counters.bodies) == 3
        assert client.failure is None
        assert sum("a sentence" in str(error) for error in errors) == 2
        await client.close()


async def test_tc_exposure_close() -> None:
    """tc-exposure-close: what is left is sent; a server that does not answer does not delay it."""
    counters = Counters("202 Accepted")
    async with ScriptedServer(counters) as server:
        client = FlagentWebSocketClient(server.url("ws", "/ws"))
        await client.start()
        store, reporter = FlagStore(client, bootstrap=[ON]), ExposureReporter(client)
        store.evaluate("a", "u1")
        await reporter.close()
        await reporter.close()
        assert [body["exposures"][0]["count"] for body in counters.bodies] == [1]
        await client.close()

    async def hang(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedServer(hang) as server:
        client = FlagentWebSocketClient(server.url("ws", "/ws"))
        await client.start()
        store, reporter = FlagStore(client, bootstrap=[ON]), ExposureReporter(client)
        store.evaluate("a", "u1")
        began = time.monotonic()
        await reporter.close()
        assert time.monotonic() - began < 2
        await client.close()


def test_exposures_without_asyncio() -> None:
    called = threading.Event()
    with ThreadedServer(lively) as threaded, sync.FlagentWebSocketClient(threaded.server.url("ws")) as client:
        store = sync.FlagStore(client)
        store.ready(10)
        reporter = sync.ExposureReporter(client)
        store.on_exposure(lambda exposure: called.set())
        store.evaluate("new_payment_flow", "u1")
        assert called.wait(10)
        assert (reporter.pending, reporter.dropped, reporter.failure) == (1, 0, None)
        reporter.close()
