"""Both clients against a scripted server: connecting, reading, reconnecting, handlers, closing."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted import Peer, PlayedClock, Script, ScriptedServer, event, eventually, flag

from flagent_realtime import (
    ClientClosed,
    ConnectionLost,
    ConnectionRefused,
    EventType,
    Flag,
    FlagentEvent,
    FlagentSSEClient,
    FlagentWebSocketClient,
    FlagStore,
    HandlerFailed,
    MalformedMessage,
    NotReady,
    ReconnectConfig,
    ReconnectExhausted,
    RequestFailed,
    RequestTimeout,
    StoreStatus,
    WrongEventLoop,
)
from flagent_realtime._digest import digest_of

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)
Client = FlagentSSEClient | FlagentWebSocketClient

both = pytest.mark.parametrize("transport", ["sse", "ws"])


@asynccontextmanager
async def connected(transport: str, *scripts: Script, **options: Any) -> AsyncIterator[tuple[ScriptedServer, Client]]:
    """A scripted server and a client of it that has not started yet."""
    options.setdefault("reconnect_config", QUICK)
    async with ScriptedServer(*scripts) as server:
        make = FlagentWebSocketClient if transport == "ws" else FlagentSSEClient
        client = make(server.url(transport), **options)
        try:
            yield server, client
        finally:
            await client.close()


def serving(*flags: dict[str, Any], position: int = 10) -> Script:
    """Greet, send the snapshot, and keep the connection open."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(position)
        if peer.wants_snapshot:
            await peer.snapshot(position, *flags)
        await peer.gone()

    return script


# -------------------------------------------------------------------- connecting


@both
async def test_tc_key(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """tc-key: the key is sent in a header, and is in no URL and no log line."""
    caplog.set_level("DEBUG")
    async with connected(transport, serving(), api_key="fla_secret") as (server, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert server.peers[0].headers["x-api-key"] == "fla_secret"
        assert "fla_secret" not in server.peers[0].path + str(server.peers[0].query)
    own = [record.getMessage() for record in caplog.records if record.name.startswith("flagent")]
    assert "fla_secret" not in "".join(own)


@both
async def test_tc_key_function(transport: str) -> None:
    """tc-key-function: a key function is called for each connection, and once more after a 401."""
    keys = iter(["old", "new", "third", "fourth"])

    async def key() -> str:
        return next(keys)

    async def refuse(peer: Peer) -> None:
        await peer.request()
        await peer.answer("401 Unauthorized")

    async def serve_and_reset(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10)
        peer.abort()

    async with connected(transport, refuse, serve_and_reset, refuse, refuse, api_key=key) as (server, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        await eventually(lambda: client.failure is not None)
        assert [peer.headers["x-api-key"] for peer in server.peers] == ["old", "new", "third", "fourth"]
        assert isinstance(client.failure, ConnectionRefused)


async def test_tc_sse_request() -> None:
    """tc-sse-request."""

    async def reset(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10)
        await peer.heartbeat(12)
        peer.abort()

    async with connected("sse", reset, serving()) as (server, client):
        FlagStore(client, flags=["a", "b c"], flag_ids=[3], tags=["t&u"])
        await client.start()
        await eventually(lambda: len(server.peers) == 2 and server.peers[1].headers)
        first, second = server.peers
        assert first.headers["accept"] == "text/event-stream"
        assert first.query == {
            "flag": ["a", "b c"],
            "flagID": ["3"],
            "tag": ["t&u"],
            "envelope": ["true"],
            "snapshot": ["true"],
        }
        assert "last-event-id" not in first.headers
        assert "snapshot" not in second.query
        assert second.headers["last-event-id"] == "12@k"


async def test_tc_ws_subscribe() -> None:
    """tc-ws-subscribe: one message subscribes to the union; differing types narrow on the client."""
    async with connected("ws", serving()) as (server, client):
        client.subscribe_flag("a", lambda flag: None)
        client.subscribe_tags(["t"], lambda flags: None)
        client.subscribe_events(lambda event: None, flags=["b"], types=[EventType.FLAG_DELETED])
        await client.start()
        await eventually(lambda: server.peers and server.peers[0].subscribe)
        message = server.peers[0].subscribe
        assert {name: value for name, value in message.items() if name != "requestId"} == {
            "type": "subscribe",
            "flags": ["a", "b"],
            "tags": ["t"],
        }


async def test_tc_subscribe_live() -> None:
    """tc-subscribe-live: an added selection is subscribed at once, a removed one is unsubscribed."""
    received: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        while True:
            received.append(await peer.receive())

    async with connected("ws", script) as (_, client):
        first = client.subscribe_flag("a", lambda flag: None)
        await client.start()
        await eventually(lambda: client._is_greeted)
        second = client.subscribe_flag("b", lambda flag: None)
        await eventually(lambda: len(received) == 1)
        first.unsubscribe()
        await eventually(lambda: len(received) == 2)
        second.unsubscribe()
        await eventually(lambda: len(received) == 3)
        for message in received:
            message.pop("requestId")
        assert received == [
            {"type": "subscribe", "flags": ["b"]},
            {"type": "unsubscribe", "flags": ["a"]},
            {"type": "unsubscribe"},
        ]


async def test_tc_many_selectors() -> None:
    """tc-many-selectors: parts of 1 000 values and 64 KiB; a resume and a snapshot select everything for a moment."""
    received: list[list[dict[str, Any]]] = [[], []]
    keys = [f"{'k' * 100}{number}" for number in range(2500)]

    async def script(peer: Peer) -> None:
        await peer.open()
        log = received[peer.number]
        log.append(peer.subscribe)
        await peer.greet(10 + peer.number)
        if peer.wants_snapshot:
            await peer.snapshot(10, flag(1, keys[0]), flag(2, "other"))
        while log[-1]["type"] != "unsubscribe":
            log.append(await peer.receive())
        if peer.number == 0:
            peer.abort()
        await peer.send(event("flag_updated", "12-0@k", flag(2, "other", n=1)))
        for position, key in enumerate(keys[::500], 13):
            await peer.send(event("flag_updated", f"{position}-0@k", flag(position, key)))
        while True:
            after.append(await peer.receive())

    after: list[dict[str, Any]] = []
    calls: list[str] = []
    async with connected("ws", script) as (server, client):
        for key in keys:
            client.subscribe_flag(key, lambda flag: calls.append(flag.key))
        store = FlagStore(client, flags=keys[:1500], tags=["t"])
        await client.start()
        await eventually(lambda: len(calls) == 5)
        assert calls == keys[::500]
        assert [each.key for each in store] == sorted([keys[0], keys[500], keys[1000]])
        for number, (first, *parts, last) in enumerate(received):
            start = {"snapshot": True} if number == 0 else {"lastEventId": "10@k"}
            assert first == {"type": "subscribe", "subscribeAll": True, "requestId": first["requestId"]} | start
            assert last == {"type": "unsubscribe", "subscribeAll": True, "requestId": last["requestId"]}
            assert {part["type"] for part in parts} == {"subscribe"}
            assert [key for part in parts for key in part.get("flags", [])] == sorted(keys)
            assert [tag for part in parts for tag in part.get("tags", [])] == ["t"]
            assert max(len(part.get("flags", [])) for part in parts) <= 1000
            assert max(len(json.dumps(part)) for part in parts) <= 66_000
        client.unsubscribe()
        removed = set(keys[1500:])
        await eventually(lambda: {key for each in after for key in each.get("flags", [])} == removed)
        assert [each["type"] for each in after] == ["ping", "unsubscribe", "unsubscribe"]
        assert len(server.peers) == 2


@pytest.mark.parametrize(("transport", "limit"), [("ws", 9_999), ("sse", 1_000)])
async def test_tc_selection_limits(transport: str, limit: int) -> None:
    """tc-selection-limits: what exceeds a limit is refused at once, and what was subscribed before stays."""
    async with connected(transport, serving()) as (_, client):
        for number in range(limit - 1):
            client.subscribe_flag(f"f{number}", lambda flag: None)
        store = FlagStore(client, flags=["last", "f1"])
        client.subscribe_flag("f1", lambda flag: None)
        for refused in (
            lambda: client.subscribe_flag("one more", lambda flag: None),
            lambda: client.subscribe_tags(["t"], lambda flags: None),
            lambda: client.subscribe_segments(lambda event: None),
            lambda: FlagStore(client, flag_ids=[1]),
        ):
            with pytest.raises(ValueError, match=rf"would select {limit + 1} .* limit .* {limit};"):
                refused()
        store.close()
        client.subscribe_flag("one more", lambda flag: None)
        assert client._selection().flags == {f"f{number}" for number in range(limit - 1)} | {"one more"}


@both
@pytest.mark.parametrize("key", ["", "k" * 257])
async def test_a_selector_that_the_server_would_refuse_is_refused_at_once(transport: str, key: str) -> None:
    async with connected(transport, serving()) as (_, client):
        for refused in (
            lambda: client.subscribe_flag(key, lambda flag: None),
            lambda: client.subscribe_tables([key], lambda event: None),
            lambda: FlagStore(client, tags=[key]),
            lambda: FlagStore(client, flag_ids=[2**31]),
        ):
            with pytest.raises(ValueError, match="it must be a"):
                refused()
        assert client._selection().is_empty


async def test_a_query_that_is_too_long_is_refused_at_once() -> None:
    async with connected("sse", serving()) as (_, client):
        for number in range(120):
            client.subscribe_flag(f"{number:04d}" + "é" * 80, lambda flag: None)
        with pytest.raises(ValueError, match=r"a query of .* bytes"):
            client.subscribe_tags([f"{number}" + "é" * 200 for number in range(20)], lambda flags: None)


async def test_a_wider_selection_replaces_the_event_stream_and_resumes() -> None:
    async with connected("sse", serving(), serving()) as (server, client):
        client.subscribe_flag("a", lambda flag: None)
        await client.start()
        await eventually(lambda: client.last_event_id == "10@k")
        client.subscribe_flag("b", lambda flag: None)
        await eventually(lambda: len(server.peers) == 2 and server.peers[1].headers)
        assert server.peers[1].query["flag"] == ["a", "b"]
        assert server.peers[1].last_event_id == "10@k"


@both
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
async def test_tc_401_403(transport: str, status: str) -> None:
    """tc-401, tc-403: fatal, reported once, and the client does not reconnect."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(status)

    errors: list[Exception] = []
    async with connected(transport, script) as (server, client):
        client.on_error(errors.append)
        store = FlagStore(client)
        await client.start()
        with pytest.raises(ConnectionRefused) as refused:
            await store.ready(5)
        assert refused.value.status == int(status[:3])
        assert store.status is StoreStatus.ERROR
        await eventually(lambda: errors)
        assert [type(error) for error in errors] == [ConnectionRefused]
        assert len(server.peers) == 1


@both
async def test_tc_503(transport: str) -> None:
    """tc-503: the wait is Retry-After plus jitter, once."""

    async def unavailable(peer: Peer) -> None:
        await peer.request()
        await peer.answer("503 Service Unavailable", Retry_After="7")

    async def broken(peer: Peer) -> None:
        await peer.request()
        await peer.answer("500 Internal Server Error")

    clock = PlayedClock(1.0, 0.5)
    config = ReconnectConfig(max_attempts=0, initial_delay=2, max_delay=60)
    async with connected(transport, unavailable, broken, serving(), reconnect_config=config, clock=clock) as (
        _,
        client,
    ):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert clock.slept == [9.0, 2.0]


@both
async def test_tc_error_names_cause(transport: str) -> None:
    """tc-error-names-cause: the server's own sentence, DNS and TLS are in the message."""

    async def forbidden(peer: Peer) -> None:
        await peer.request()
        body = json.dumps(
            {"code": "not_allowed", "title": "Forbidden", "detail": "This key may not read the flag \n 'x'."}
        )
        await peer.write(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        peer.writer.close()

    async def no_tls(peer: Peer) -> None:
        await peer.write("this is not TLS\r\n")
        await peer.gone()

    async with connected(transport, forbidden) as (_, client):
        store = FlagStore(client)
        await client.start()
        with pytest.raises(ConnectionRefused, match=r"status 403: This key may not read the flag 'x'\.; api_key"):
            await store.ready(5)
    async with ScriptedServer(no_tls) as server:
        url = server.url(transport)
        for wrong, expected in (
            (url.replace("://", "s://"), "SSL|TLS"),
            (url.replace("127.0.0.1", "nowhere.invalid"), "Errno|not known|resolution|resolve"),
        ):
            errors: asyncio.Queue[Exception] = asyncio.Queue()
            make = FlagentWebSocketClient if transport == "ws" else FlagentSSEClient
            async with make(wrong, reconnect_config=QUICK) as client:
                client.on_error(errors.put_nowait)
                FlagStore(client)
                error = await asyncio.wait_for(errors.get(), 10)
            assert re.search(f"cannot connect: .*({expected})", str(error)), error


@both
async def test_tc_redirect(transport: str) -> None:
    """tc-redirect: the key stays with its origin, a target without a query keeps the selection, and a loop ends."""
    async with ScriptedServer(serving()) as other:

        async def same(peer: Peer) -> None:
            await peer.request()
            await peer.answer("307 Temporary Redirect", Location="/elsewhere")

        async def foreign(peer: Peer) -> None:
            await peer.request()
            await peer.answer("308 Permanent Redirect", Location=f"http://127.0.0.1:{other.port}/there")

        async with connected(transport, same, foreign, api_key="key") as (server, client):
            store = FlagStore(client)
            await client.start()
            await store.ready(5)
            assert server.peers[1].path == "/elsewhere"
            assert server.peers[1].headers["x-api-key"] == "key"
            assert other.peers[0].path == "/there"
            assert "x-api-key" not in other.peers[0].headers
            assert other.peers[0].query == server.peers[0].query
            if transport == "sse":
                assert other.peers[0].query == {"envelope": ["true"], "snapshot": ["true"]}
        async with connected(transport, same) as (server, client):
            store = FlagStore(client)
            await client.start()
            with pytest.raises(ConnectionRefused, match="redirect"):
                await store.ready(5)
            assert len(server.peers) == 6


async def test_a_response_that_is_not_an_event_stream_is_retried() -> None:
    async def html(peer: Peer) -> None:
        await peer.request()
        await peer.answer("200 OK", Content_Type="text/html")

    async with connected("sse", html, serving()) as (_, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)


@pytest.mark.parametrize(
    ("code", "is_fatal"), [(1001, False), (1008, False), (1012, False), (4401, True), (4403, True)]
)
async def test_tc_close_code(code: int, is_fatal: bool) -> None:
    """tc-close-code."""

    async def close(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.close_frame(code, "because")

    errors: list[Any] = []
    async with connected("ws", close, serving()) as (server, client):
        client.on_error(errors.append)
        client.subscribe_all(lambda event: None)
        await client.start()
        await eventually(lambda: errors)
        assert errors[0].close_code == code
        assert "because" in str(errors[0])
        if is_fatal:
            assert client.failure is errors[0]
        else:
            await eventually(lambda: len(server.peers) == 2)


# ----------------------------------------------------------------------- reading


@both
async def test_tc_keep_alive(transport: str) -> None:
    """tc-keep-alive: freshness and the resume id come from heartbeats."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10)
        await peer.heartbeat(20, fresh=False)
        await peer.gone()

    async with connected(transport, script) as (_, client):
        store = FlagStore(client)
        await client.start()
        await eventually(lambda: store.status is StoreStatus.STALE)
        await eventually(lambda: client.last_event_id == "20@k")


@both
async def test_tc_malformed(transport: str) -> None:
    """tc-malformed: reported and skipped; the connection stays open."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10)
        if peer.is_websocket:
            for frame in ("{", "[1]", '{"no":"type"}', "[" * 100_000, '{"type":"flag_updated","id":"11-0@k","flag":5}'):
                await peer.frame(frame)
            await peer.frame(b"\x00\x01", opcode=2)
        else:
            for data in ("{", "[1]", "[" * 100_000, '{"id":"11-0@k","flag":5}'):
                await peer.write(f"event: flag_updated\ndata: {data}\n\n")
        await peer.send({"type": "weather", "id": "12-0@k", "rain": True})
        await peer.send(event("flag_created", "13-0@k", flag(1, "a")))
        await peer.gone()

    errors: list[Exception] = []
    events: list[FlagentEvent] = []
    async with connected(transport, script) as (server, client):
        client.on_error(errors.append)
        client.on_event(events.append)
        store = FlagStore(client)
        await client.start()
        await eventually(lambda: store.get("a") is not None)
        await eventually(lambda: len(events) == 2)
        assert [type(error) for error in errors] == [MalformedMessage] * (6 if transport == "ws" else 4)
        assert [(each.type, each.type_name) for each in events] == [
            (EventType.UNKNOWN, "weather"),
            (EventType.FLAG_CREATED, "flag_created"),
        ]
        assert len(server.peers) == 1


@both
async def test_tc_too_big(transport: str) -> None:
    """tc-too-big: the connection is dropped, reported and made again."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.send(event("flag_updated", "11-0@k", flag(1, "a", notes="x" * 20_000)))
        await peer.gone()

    errors: list[Exception] = []
    async with connected(transport, script, serving(), max_message_bytes=10_000) as (server, client):
        client.on_error(errors.append)
        client.subscribe_all(lambda event: None)
        await client.start()
        await eventually(lambda: len(server.peers) == 2 and errors)
        assert isinstance(errors[0], ConnectionLost)


@both
async def test_tc_duplicate(transport: str) -> None:
    """tc-duplicate: an event at or before the last id reaches no handler."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        for id in ("11-0@k", "11-1@k", "11-0@k", "11-1@k", "9-0@k", "12-0@k"):
            await peer.send(event("flag_updated", id, flag(1, "a", n=id)))
        await peer.gone()

    seen: list[str | None] = []
    async with connected(transport, script) as (_, client):
        client.on_event(lambda event: seen.append(event.id))
        await client.start()
        await eventually(lambda: seen[-1:] == ["12-0@k"])
        assert seen == ["11-0@k", "11-1@k", "12-0@k"]


@both
async def test_a_batch_is_delivered_event_by_event(transport: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        events = [
            event("flag_updated", f"11-{n}@k", flag(n, f"f{n}", tags=[{"id": 1, "value": "t"}])) for n in range(3)
        ]
        await peer.send({"type": "batch", "id": "11-2@k", "events": events})
        await peer.gone()

    seen: list[str | None] = []
    lists: list[list[str]] = []
    async with connected(transport, script) as (_, client):
        client.on_event(lambda event: seen.append(event.flag_key))
        client.subscribe_tags(["t"], lambda flags: lists.append([flag.key for flag in flags]))
        await client.start()
        await eventually(lambda: lists)
        assert (seen, lists) == (["f0", "f1", "f2"], [["f0", "f1", "f2"]])


# ------------------------------------------------------------------ reconnecting


@both
async def test_tc_resume_and_restart(transport: str) -> None:
    """tc-resume, tc-restart: resumed by the last id; no event is lost or repeated; subscriptions survive."""

    async def first(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.send(event("flag_updated", "11-0@k", flag(1, "a", n=1)))
        peer.writer.close()

    async def second(peer: Peer) -> None:
        await peer.open()
        assert peer.last_event_id == "11-0@k"
        await peer.greet(13)
        await peer.send(event("flag_updated", "11-0@k", flag(1, "a", n=1)))
        await peer.send(event("flag_updated", "12-0@k", flag(1, "a", n=2)))
        await peer.heartbeat(15)
        peer.abort()

    async def third(peer: Peer) -> None:
        await peer.open()
        assert peer.last_event_id == "15@k"
        await peer.greet(15)
        await peer.send(event("flag_updated", "16-0@k", flag(1, "a", n=3)))
        await peer.gone()

    seen: list[Any] = []
    async with connected(transport, first, second, third) as (_, client):
        client.subscribe_flag("a", lambda flag: seen.append(flag.raw["n"]))
        await client.start()
        await eventually(lambda: len(seen) == 3)
        assert seen == [1, 2, 3]


@both
async def test_a_new_client_resumes_from_a_given_id(transport: str) -> None:
    async with connected(transport, serving(), last_event_id="7-1@k") as (server, client):
        client.subscribe_all(lambda event: None)
        await client.start()
        await eventually(lambda: server.peers and server.peers[0].last_event_id == "7-1@k")


async def test_tc_retry() -> None:
    """tc-retry: ``retry:`` is the minimum wait from then on."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.write("retry: 3120\n\n")
        await peer.greet(10)
        peer.writer.close()

    async def gone(peer: Peer) -> None:
        peer.abort()

    clock = PlayedClock(0.5, 0.5, 0.5)
    async with connected(
        "sse", script, gone, gone, serving(), clock=clock, reconnect_config=ReconnectConfig(max_attempts=0)
    ) as (server, client):
        client.subscribe_all(lambda event: None)
        await client.start()
        await eventually(lambda: len(server.peers) == 4)
        assert clock.slept == [3.12, 3.12, 3.12]


@both
async def test_the_client_gives_up_after_max_attempts(transport: str) -> None:
    async def gone(peer: Peer) -> None:
        peer.abort()

    clock = PlayedClock(1.0, 1.0, 1.0)
    config = ReconnectConfig(max_attempts=3, initial_delay=1, max_delay=3)
    async with connected(transport, gone, clock=clock, reconnect_config=config) as (server, client):
        store = FlagStore(client)
        await client.start()
        with pytest.raises(ReconnectExhausted) as exhausted:
            await store.ready(5)
        assert isinstance(exhausted.value.__cause__, ConnectionLost)
        assert clock.slept == [1.0, 2.0, 3.0]
        assert len(server.peers) == 4


@both
async def test_tc_unlimited(transport: str) -> None:
    """tc-unlimited: by default a client gives up after ten attempts, and never while it feeds a store."""

    async def gone(peer: Peer) -> None:
        await peer.request()
        peer.abort()

    quick = ReconnectConfig(initial_delay=0.001, max_delay=0.001)
    assert quick.max_attempts == ReconnectConfig().max_attempts == 10
    async with connected(transport, gone, reconnect_config=quick) as (server, client):
        client.subscribe_flag("a", lambda flag: None)
        await client.start()
        await eventually(lambda: client.failure is not None)
        assert len(server.peers) == 11
        assert isinstance(client.failure, ReconnectExhausted)
        assert client.failure.attempts == 10
    async with connected(transport, *[gone] * 20, serving(), reconnect_config=quick) as (server, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert len(server.peers) == 21


@both
async def test_tc_lost_before_snapshot(transport: str) -> None:
    """tc-lost-before-snapshot: the snapshot is requested again."""

    async def reset(peer: Peer) -> None:
        await peer.open()
        assert peer.wants_snapshot
        await peer.greet(10)
        await peer.heartbeat(10)
        peer.abort()

    async def serve(peer: Peer) -> None:
        await peer.open()
        assert peer.wants_snapshot
        assert peer.last_event_id is None
        await peer.greet(11)
        await peer.snapshot(11, flag(1, "a"))
        await peer.gone()

    async with connected(transport, reset, serve) as (_, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert [each.key for each in store] == ["a"]


@both
async def test_tc_resync(transport: str) -> None:
    """tc-resync: the state is replaced, the id may move back, handlers receive the differences."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10, flag(1, "a"), flag(2, "b"), flag(3, "c"))
        await peer.send(event("flag_updated", "11-0@k", flag(1, "a", n=1)))
        await peer.send(event("flag_updated", "11-1@k", flag(2, "b", n=1)))
        snapshot = {"position": "5", "flags": [flag(1, "a", n=1), flag(2, "b", n=2)]}
        await peer.send({"type": "resync", "id": "5@z", "reason": "log_replaced", "snapshot": snapshot})
        await peer.send(event("flag_updated", "6-0@z", flag(1, "a", n=9)))
        await peer.gone()

    events: list[str] = []
    a: list[int] = []
    b: list[int] = []
    async with connected(transport, script) as (_, client):
        client.on_event(lambda event: events.append(event.type_name))
        client.subscribe_flag("a", lambda flag: a.append(flag.raw.get("n")))
        client.subscribe_flag("b", lambda flag: b.append(flag.raw.get("n")))
        store = FlagStore(client)
        await client.start()
        await eventually(lambda: client.last_event_id == "6-0@z")
        await eventually(lambda: len(events) == 4)
        assert events == ["flag_updated", "flag_updated", "resync", "flag_updated"]
        assert (a, b) == ([1, 9], [1, 2])
        assert [each.key for each in store] == ["a", "b"]


@both
async def test_tc_once_per_difference(transport: str) -> None:
    """tc-once-per-difference: two events of one commit with the same flag cause one call of a handler of flags."""
    tags = [{"id": 1, "value": "t"}]

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        for position, enabled, kind in ((11, True, "flag_enabled"), (12, False, "flag_disabled")):
            toggled = flag(1, "a", tags=tags, enabled=enabled)
            await peer.send(event("flag_updated", f"{position}-0@k", toggled))
            await peer.send(event(kind, f"{position}-1@k", toggled))
        await peer.gone()

    flags: list[bool] = []
    lists: list[list[bool]] = []
    events: list[str | None] = []
    async with connected(transport, script) as (_, client):
        client.subscribe_flag("a", lambda flag: flags.append(flag.enabled))
        client.subscribe_tags(["t"], lambda changed: lists.append([flag.enabled for flag in changed]))
        client.on_event(lambda event: events.append(event.id))
        await client.start()
        await eventually(lambda: len(events) == 4)
        assert flags == [True, False]
        assert lists == [[True], [False]]


@both
async def test_tc_half_open(transport: str) -> None:
    """tc-half-open: after 2.5 silent intervals the connection is dropped, the store is STALE, and the stream resumes."""

    async def silent(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10, heartbeatMs=300)
        await peer.snapshot(10)
        await peer.gone()

    async def resumed(peer: Peer) -> None:
        await peer.open()
        assert peer.last_event_id == "10@k"
        await peer.greet(10, heartbeatMs=60_000)
        await peer.gone()

    statuses: list[StoreStatus] = []
    async with connected(transport, silent, resumed) as (server, client):
        store = FlagStore(client)
        store.on_status(statuses.append)
        await client.start()
        await eventually(lambda: len(server.peers) == 2 and store.status is StoreStatus.READY)
        await eventually(lambda: len(statuses) == 3)
        assert statuses == [StoreStatus.READY, StoreStatus.STALE, StoreStatus.READY]


@both
async def test_a_server_that_accepts_and_sends_nothing_is_dropped(transport: str) -> None:
    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with connected(transport, mute, serving(), connect_timeout=0.1) as (_, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)


# --------------------------------------------------------------------- the store


@both
async def test_tc_heal(transport: str) -> None:
    """tc-heal: a digest that differs causes one snapshot request; the stream goes on."""
    truth = [flag(1, "a", n=2), flag(2, "b")]

    async def main(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10, flag(1, "a", n=1), flag(2, "b"))
        await peer.heartbeat(12, digest=digest_of(truth))
        if peer.is_websocket:
            request = await peer.receive()
            assert request["snapshot"] is True
            await peer.send(
                {"type": "subscribed", "requestId": request["requestId"], "position": "12", "id": "12@k", "fresh": True}
            )
            await peer.send(
                {"type": "snapshot", "id": "12@k", "position": "12", "flags": truth, "requestId": request["requestId"]}
            )
        await peer.gone()

    async with connected(transport, main, serving(*truth, position=12)) as (server, client):
        store = FlagStore(client)
        statuses: list[StoreStatus] = []
        store.on_status(statuses.append)
        await client.start()
        await eventually(lambda: store.digest == digest_of(truth))
        await eventually(lambda: len(statuses) == 3)
        assert statuses == [StoreStatus.READY, StoreStatus.STALE, StoreStatus.READY]
        assert not server.peers[0].reader.at_eof()


@both
async def test_a_store_can_join_later(transport: str) -> None:
    """A store made on an open connection gets its snapshot, and the other handlers lose no event."""
    go_on = asyncio.Event()

    async def main(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        if peer.is_websocket:
            request = await peer.receive()
            await peer.send(
                {"type": "subscribed", "requestId": request["requestId"], "position": "11", "id": "11@k", "fresh": True}
            )
            await peer.send(
                {
                    "type": "snapshot",
                    "id": "11@k",
                    "position": "11",
                    "flags": [flag(1, "a")],
                    "requestId": request["requestId"],
                }
            )
        await go_on.wait()
        await peer.send(event("flag_updated", "12-0@k", flag(1, "a", n=2)))
        await peer.gone()

    seen: list[str | None] = []
    async with connected(transport, main, serving(flag(1, "a"), position=11)) as (_, client):
        client.subscribe_all(lambda event: seen.append(event.id))
        await client.start()
        await eventually(lambda: client._is_greeted)
        store = FlagStore(client)
        await store.ready(5)
        go_on.set()
        await eventually(lambda: store.get("a") == Flag.from_json(flag(1, "a", n=2)) and seen)
        assert seen == ["12-0@k"]


@both
async def test_tc_ready(transport: str) -> None:
    """tc-ready: raises on timeout and on close."""

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.gone()

    async with connected(transport, script) as (_, client):
        store = FlagStore(client)
        await client.start()
        with pytest.raises(NotReady):
            await store.ready(0.05)
        waiting = asyncio.create_task(store.ready(5))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ClientClosed):
            await waiting
        with pytest.raises(ClientClosed):
            FlagStore(client)


async def test_ready_reports_the_last_connection_error(caplog: pytest.LogCaptureFixture) -> None:
    """tc-ready: the error and the log contain the reason, here that no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with FlagentWebSocketClient(f"ws://127.0.0.1:{port}/ws") as client:
        with pytest.raises(
            NotReady, match=r"INITIALIZING\); cannot connect: .*(refused|Connect call failed)"
        ) as raised:
            await FlagStore(client).ready(0.5)
    assert isinstance(raised.value.__cause__, ConnectionLost)
    assert any(message.startswith("The connection is lost: cannot connect: ") for message in caplog.messages)


# ---------------------------------------------------------------------- handlers


def stream_of(count: int) -> Script:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        if peer.wants_snapshot:
            await peer.snapshot(10)
        for n in range(count):
            await peer.send(event("flag_updated", f"{11 + n}-0@k", flag(1, "a", n=n)))
        await peer.gone()

    return script


@both
async def test_tc_handler_order(transport: str) -> None:
    """tc-handler-order: one at a time, in order, and the store is never behind the handler."""
    running = 0
    seen: list[int] = []

    async def slow(event: FlagentEvent) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        assert isinstance(event.data, Flag)
        now = store.get("a")
        assert now is not None
        assert now.raw["n"] >= event.data.raw["n"]
        seen.append(event.data.raw["n"])
        running -= 1

    errors: list[Exception] = []
    async with connected(transport, stream_of(50)) as (_, client):
        client.on_error(errors.append)
        store = FlagStore(client)
        client.on_event(slow)
        client.on_event(slow)
        await client.start()
        await eventually(lambda: len(seen) == 100)
        assert seen == sorted([*range(50), *range(50)])
        assert errors == []


@both
async def test_tc_handler_raises(transport: str) -> None:
    """tc-handler-raises: reported, the others are called, the stream goes on."""
    errors: list[Exception] = []
    seen: list[FlagentEvent] = []

    def raising(event: FlagentEvent) -> None:
        raise KeyError("mine")

    async with connected(transport, stream_of(3)) as (server, client):
        client.on_error(lambda error: 1 / 0)
        client.on_error(errors.append)
        client.on_event(raising)
        client.on_event(seen.append)
        await client.start()
        await eventually(lambda: len(seen) == 3 and len(errors) == 3)
        assert all(isinstance(error, HandlerFailed) and isinstance(error.__cause__, KeyError) for error in errors)
        assert len(server.peers) == 1


@both
async def test_tc_slow_handler(transport: str) -> None:
    """tc-slow-handler: at the limit the socket is not read, the server blocks, silence does not count; then all arrive."""
    total, size = 300, 50_000
    written = 0

    async def script(peer: Peer) -> None:
        nonlocal written
        await peer.open()
        await peer.greet(10, heartbeatMs=300)
        for n in range(total):
            await peer.send(event("flag_updated", f"{11 + n}-0@k", flag(1, "a", n=n, notes="x" * size)))
            written = n + 1
        await peer.gone()

    gate = asyncio.Event()
    seen: list[str | None] = []

    async def blocked(event: FlagentEvent) -> None:
        seen.append(event.id)
        await gate.wait()

    async with connected(transport, script, queue_size=5) as (server, client):
        client.on_event(blocked)
        await client.start()
        await eventually(lambda: client.queued_messages == 5)
        await asyncio.sleep(0.9)  # longer than 2.5 announced intervals: nothing may happen now
        assert client.queued_messages == 5
        assert written < total
        assert len(server.peers) == 1
        gate.set()
        await eventually(lambda: len(seen) == total)
        assert seen == [f"{11 + n}-0@k" for n in range(total)]
        assert len(server.peers) == 1


@both
async def test_tc_close_in_handler(transport: str) -> None:
    """tc-close-in-handler: allowed, and no handler is called after it."""
    seen: list[str | None] = []

    async def closing(event: FlagentEvent) -> None:
        seen.append(event.id)
        await client.close()

    async with connected(transport, stream_of(20)) as (_, client):
        client.on_event(closing)
        client.on_event(lambda event: seen.append("late"))
        await client.start()
        await eventually(lambda: client._is_closed)
        await client.close()
        assert seen == ["11-0@k"]


@both
async def test_tc_close_leaves_nothing(transport: str) -> None:
    """tc-close: ends in time even if the peer is silent; no task, socket or thread is left."""
    tasks, threads = len(asyncio.all_tasks()), threading.active_count()

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10)
        await asyncio.sleep(60)

    async with ScriptedServer(script) as server:
        make = FlagentWebSocketClient if transport == "ws" else FlagentSSEClient
        client = make(server.url(transport), reconnect_config=QUICK)
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        started = asyncio.get_running_loop().time()
        await client.close()
        await client.close()
        assert asyncio.get_running_loop().time() - started < 2
        assert store.status is StoreStatus.CLOSED
        await asyncio.wait_for(server.peers[0].gone(), 5)
    assert len(asyncio.all_tasks()) == tasks
    assert threading.active_count() == threads


@both
async def test_tc_close_while_waiting(transport: str) -> None:
    """tc-close-while-waiting."""

    async def gone(peer: Peer) -> None:
        peer.abort()

    config = ReconnectConfig(initial_delay=3600, max_delay=3600)
    async with connected(transport, gone, reconnect_config=config) as (server, client):
        client.subscribe_all(lambda event: None)
        await client.start()
        await eventually(lambda: server.peers and client._supervisor.backoff.attempts == 1)
        await asyncio.wait_for(client.close(), 2)


# -------------------------------------------------------------------- evaluating


async def test_tc_evaluate() -> None:
    """tc-evaluate."""
    received: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        while True:
            request = await peer.receive()
            received.append(request)
            answer = {"requestId": request["requestId"], "position": "12"}
            if request["type"] == "evaluate_batch":
                await peer.send(
                    {"type": "evaluation_result", **answer, "results": [{"flagKey": "a"}, {"flagKey": "b"}]}
                )
            elif request["type"] == "ping":
                await peer.send({"type": "pong", "requestId": request["requestId"]})
            elif request["flagKey"] == "a":
                result = {
                    "flagID": 1,
                    "flagKey": "a",
                    "variantKey": "on",
                    "variantID": 2,
                    "evalContext": {"entityID": "e"},
                }
                await peer.send(
                    {"type": "evaluation_result", "requestId": "other", "position": "12", "result": {"flagKey": "z"}}
                )
                await peer.send({"type": "evaluation_result", **answer, "result": result})
            elif request["flagKey"] == "bad":
                await peer.send(
                    {"type": "error", "code": "invalid_input", "message": "No.", "requestId": request["requestId"]}
                )
            elif request["flagKey"] == "reset":
                peer.abort()

    async with connected("ws", script) as (_, client):
        assert isinstance(client, FlagentWebSocketClient)
        client.subscribe_all(lambda event: None)
        await client.start()
        result = await client.evaluate(
            "a", "e", {"country": "US", "age": 25, "score": 3.0, "none": None}, min_position=12
        )
        assert (result.variant_key, result.variant_id, result.flag_key, result.entity_id) == ("on", 2, "a", "e")
        assert received[0] == {
            "type": "evaluate", "flagKey": "a", "entityID": "e", "entityContext": {"country": "US", "age": 25, "score": "3"}, "minPosition": "12",
            "requestId": received[0]["requestId"],
        }  # fmt: skip
        results = await client.evaluate_batch([{"entityID": 42}], flag_keys=["a", "b"])
        assert [each.flag_key for each in results] == ["a", "b"]
        assert received[1]["entities"] == [{"entityID": "42"}]
        with pytest.raises(ValueError, match="'n' is nan"):
            await client.evaluate("a", "e", {"n": float("nan")})
        with pytest.raises(RequestFailed) as failed:
            await client.evaluate("bad", "e")
        assert failed.value.code == "invalid_input"
        with pytest.raises(ConnectionLost):
            await client.evaluate("reset", "e")
        with pytest.raises(RequestTimeout, match="no response"):
            await client.evaluate("silent", "e", timeout=0.05)
        assert len(client._websocket._requests) == 0
        waiting = asyncio.create_task(client.evaluate("silent", "e"))
        await eventually(lambda: len(client._websocket._requests) == 1)
        await client.close()
        with pytest.raises(ClientClosed):
            await waiting


async def test_a_rejected_subscription_ends_the_connection_with_its_reason() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.send(
            {"type": "error", "code": "forbidden", "message": "Not yours.", "requestId": peer.subscribe["requestId"]}
        )
        await peer.gone()

    clock = PlayedClock()
    async with connected("ws", script, clock=clock, reconnect_config=ReconnectConfig(max_attempts=2)) as (_, client):
        store = FlagStore(client)
        await client.start()
        with pytest.raises(ReconnectExhausted) as exhausted:
            await store.ready(5)
        assert "forbidden" in str(exhausted.value.__cause__)


# ------------------------------------------------------------- the event loop


@pytest.mark.parametrize("transport", ["sse", "ws"])
def test_tc_second_event_loop(transport: str) -> None:
    """tc-second-event-loop: calls that wait raise at once there; closing works when the first loop has ended."""

    async def first() -> tuple[Client, FlagStore]:
        async with ScriptedServer(serving(flag(1, "a"))) as server:
            make = FlagentWebSocketClient if transport == "ws" else FlagentSSEClient
            client = make(server.url(transport), reconnect_config=QUICK)
            store = FlagStore(client)
            await client.start()
            await store.ready(5)
            return client, store

    async def second(client: Client, store: FlagStore) -> None:
        calls: list[Awaitable[Any]] = [client.start(), store.ready(5)]
        if isinstance(client, FlagentWebSocketClient):
            calls.append(client.evaluate("a", "e"))
        for call in calls:
            with pytest.raises(WrongEventLoop, match="belongs to another event loop"):
                await asyncio.wait_for(call, 1)
        assert not client.is_connected
        assert store.get("a") is not None
        await client.close()
        assert store.status is StoreStatus.CLOSED

    client, store = asyncio.run(first())
    asyncio.run(second(client, store))


async def test_closing_in_a_second_event_loop_is_refused_while_the_first_one_runs() -> None:
    async with connected("ws", serving()) as (_, client):
        await client.start()

        async def close() -> None:
            await client.close()

        with pytest.raises(WrongEventLoop):
            await asyncio.get_running_loop().run_in_executor(None, asyncio.run, close())
        assert not client._is_closed


async def test_tc_evaluate_alone() -> None:
    """tc-evaluate-alone: a request starts the client, without any subscription."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        request = await peer.receive()
        await peer.send({"type": "evaluation_result", "requestId": request["requestId"], "result": {"flagKey": "a"}})
        await peer.gone()

    async with connected("ws", script) as (_, client):
        assert isinstance(client, FlagentWebSocketClient)
        assert (await client.evaluate("a", "e")).flag_key == "a"
        await client.close()
        with pytest.raises(ClientClosed):
            await client.evaluate("a", "e")
