"""Without a connection, at a position, and in other event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import trio
import uvloop
from scripted import Peer, ScriptedServer, event, eventually, flag
from test_known_flags import A2, A, B, both, connected, serve
from test_sync import ThreadedServer, lively

from flagent_realtime import (
    ClientClosed,
    ConnectionRefused,
    FilePersistence,
    FlagentClient,
    FlagentSSEClient,
    FlagentWebSocketClient,
    FlagStore,
    NotReady,
    ReconnectConfig,
    StoreSource,
    StoreStatus,
    WrongEventLoop,
    sync,
)
from flagent_realtime.baggage import FlagentBaggage, baggage_headers, current_position, inject

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)


@both
async def test_tc_lazy(transport: str) -> None:
    """tc-lazy: nothing connects before `start`."""
    async with connected(transport, serve, start=False) as (server, client):
        async with client:
            store = FlagStore(client, bootstrap=[A])
            await asyncio.sleep(0)
            assert (client.is_offline, server.peers, store.status) == (True, [], StoreStatus.STALE)
            with pytest.raises(NotReady, match=r"offline; call its start\(\)"):
                await store.ready()
            await client.start()
            await store.ready(5)
            assert (client.is_offline, len(server.peers)) == (False, 1)


@both
async def test_tc_offline(transport: str, tmp_path: Any) -> None:
    """tc-offline: no connection until `start`; the store serves what it has, saved, and resumes later."""
    async with connected(transport, serve) as (server, client):
        store = FlagStore(client, persistence=FilePersistence(tmp_path))
        await client.start()
        await store.ready(5)
        await client.offline()
        await client.offline()
        assert (store.status, len(store), client.is_connected) == (StoreStatus.STALE, 1, False)
        assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
        await store.ready()  # it has been
        await client.start()
        await eventually(lambda: store.status is StoreStatus.READY)
        assert [peer.last_event_id for peer in server.peers] == [None, "12@k"]
        assert store.source is StoreSource.SERVER


async def hang(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def refuse(peer: Peer) -> None:
    await peer.request()
    await peer.answer("401 Unauthorized")


async def redirect_to_itself(peer: Peer) -> None:
    await peer.request()
    await peer.answer("302 Found", Location=peer.path)


async def captive_portal(peer: Peer) -> None:
    await peer.request()
    body = "<html>Please log in</html>"
    await peer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    peer.writer.close()


@pytest.mark.parametrize("kind", ["sse", "ws", "any"])
@pytest.mark.parametrize(
    ("script", "expected", "text"),
    [
        (refuse, ConnectionRefused, "401"),
        (redirect_to_itself, ConnectionRefused, "redirect"),
        (captive_portal, NotReady, "after 0.5 s"),
        (hang, NotReady, "after 0.5 s"),
    ],
    ids=["401", "redirect loop", "captive portal", "hangs"],
)
async def test_tc_ready_never_hangs(kind: str, script: Any, expected: type[Exception], text: str) -> None:
    """tc-ready-never-hangs."""
    make: Any = {"sse": FlagentSSEClient, "ws": FlagentWebSocketClient, "any": FlagentClient}[kind]
    async with ScriptedServer(script) as server:
        url = server.url("ws" if kind == "ws" else "sse", "" if kind == "any" else "/stream")
        async with make(url, reconnect_config=QUICK, connect_timeout=0.3) as client:
            store = FlagStore(client)
            with pytest.raises(expected, match=text):
                await asyncio.wait_for(store.ready(0.5), 10)


@both
async def test_tc_start_twice(transport: str) -> None:
    """tc-start-twice: nothing more happens."""
    async with connected(transport, serve) as (server, client):
        store = FlagStore(client)
        await asyncio.gather(client.start(), client.start())
        await client.start()
        await store.ready(5)
        assert len(server.peers) == 1
        await asyncio.gather(client.close(), client.close())
        await client.close()
        with pytest.raises(ClientClosed):
            await client.start()
        with pytest.raises(ClientClosed):
            await client.offline()


@both
async def test_tc_close_while_connecting(transport: str) -> None:
    """tc-close-while-connecting: at any moment of the handshake."""
    for delay in (0.0, 0.001, 0.01, 0.05):
        async with connected(transport, hang) as (_, client):
            before = asyncio.all_tasks()
            store = FlagStore(client)
            await client.start()
            await asyncio.sleep(delay)
            began = time.monotonic()
            await client.close()
            assert time.monotonic() - began < 2
            assert store.status is StoreStatus.CLOSED
            assert {task for task in asyncio.all_tasks() - before if "flagent" in task.get_name()} == set()


@both
async def test_tc_position(transport: str) -> None:
    """tc-position."""
    async with connected(transport, serve) as (_, client):
        store = FlagStore(client)
        assert store.position is None
        await client.start()
        await store.ready(5)
        assert store.position == 12


@both
async def test_tc_wait_for(transport: str) -> None:
    """tc-wait-for."""
    go = asyncio.Event()

    async def later(peer: Peer) -> None:
        await peer.open()
        await peer.greet(12)
        await peer.snapshot(12, A)
        await go.wait()
        await peer.send(event("flag_updated", "15-0@k", A2))
        await peer.send(event("flag_created", "15-1@k", B))
        await peer.gone()

    async with connected(transport, later) as (_, client):
        store = FlagStore(client)
        await client.start()
        for target in (12, "12", 3, "11-4@k", "12@k.aa"):
            await store.wait_for(target, 5)
        with pytest.raises(NotReady, match="at 12@k"):
            await store.wait_for(13, 0.05)
        for bad in ("", "x", -1, True, None, "9" * 40):
            with pytest.raises(ValueError, match="neither a position nor an event id"):
                await store.wait_for(bad, 1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'other'"):
            await store.wait_for("13@other", 1)
        waiting = [asyncio.create_task(store.wait_for(target, 5)) for target in (13, 15, "15@k", "15-1@k")]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*waiting)
        assert store.last_event_id == "15-1@k"
        unreachable = asyncio.create_task(store.wait_for(99))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ClientClosed):
            await unreachable


async def test_tc_baggage() -> None:
    """tc-baggage: a request waits for its position, and the next service is told the newest one."""
    seen: list[Any] = []

    async with connected("ws", serve) as (_, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append((current_position.get(), baggage_headers(store, "user=7")["baggage"]))

        async def request(value: str | None, timeout: float = 5.0) -> float:
            headers = [] if value is None else [(b"baggage", value.encode())]
            began = time.monotonic()
            scope = {"type": "http", "headers": headers}
            await FlagentBaggage(app, store, timeout)(scope, None, None)
            return time.monotonic() - began

        for value in ("flagent-position=12@k", None, "flagent-position=junk", "flagent-position=12@other"):
            assert await request(value) < 3
        assert await request("flagent-position=99@k", 0.05) >= 0.05
        assert seen == [
            ("12@k", "user=7,flagent-position=12@k"),
            (None, "user=7,flagent-position=12@k"),
            (None, "user=7,flagent-position=12@k"),
            ("12@other", "user=7,flagent-position=12@k"),
            ("99@k", "user=7,flagent-position=99@k"),
        ]
        assert current_position.get() is None
        sent = inject({"Baggage": "a=1", "X": "y"}, store)
        assert sent == {"X": "y", "baggage": "a=1,flagent-position=12@k"}
        lifespan: list[Any] = []

        async def other(scope: Any, receive: Any, send: Any) -> None:
            lifespan.append(scope)

        await FlagentBaggage(other)({"type": "lifespan"}, None, None)
        assert lifespan == [{"type": "lifespan"}]


def test_baggage_of_a_store_without_asyncio() -> None:
    with ThreadedServer(lively) as threaded, sync.FlagentWebSocketClient(threaded.server.url("ws")) as client:
        store = sync.FlagStore(client)
        store.wait_for(11, 10)
        reached: list[int | None] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            reached.append(store.position)

        scope = {"type": "http", "headers": [(b"baggage", b"flagent-position=11")]}
        asyncio.run(FlagentBaggage(app, store)(scope, None, None))
        assert reached == [11]


@pytest.mark.parametrize("transport", ["sse", "ws"])
def test_uvloop(transport: str) -> None:
    async def main() -> None:
        async with connected(transport, serve) as (_, client):
            store = FlagStore(client)
            await client.start()
            await store.ready(10)
            assert [each.key for each in store] == ["a"]

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_trio_is_refused_with_a_way_out_and_the_threaded_client_works_in_it() -> None:
    async def refused() -> None:
        with pytest.raises(WrongEventLoop, match=r"with trio.*use flagent_realtime\.sync"):
            await FlagentWebSocketClient("ws://127.0.0.1:1/ws").start()

    trio.run(refused)

    async def works() -> None:
        with ThreadedServer(lively) as threaded, sync.FlagentWebSocketClient(threaded.server.url("ws")) as client:
            store = sync.FlagStore(client)
            await trio.to_thread.run_sync(store.ready, 10)
            assert len(store) == 1

    trio.run(works)


def test_the_threaded_client_works_inside_of_a_running_loop() -> None:
    """As in Jupyter, whose cells run in a loop that is running already; there `await` works too."""
    with ThreadedServer(lively) as threaded:
        url = threaded.server.url("ws")

        async def cell() -> None:
            client = sync.FlagentWebSocketClient(url)
            client.start()
            store = sync.FlagStore(client)
            store.ready(10)
            assert len(store) == 1
            client.close()
            async with FlagentWebSocketClient(url) as other:
                await FlagStore(other).ready(10)

        asyncio.run(cell())


SHUTDOWN = """
import sys, threading, time
from flagent_realtime import sync
client = sync.FlagentWebSocketClient(sys.argv[1], start=False)
client.on_event(lambda event: time.sleep(0.01))
store = sync.FlagStore(client)
client.start()
store.ready(10)
if sys.argv[2] == "thread":
    threading.Thread(target=time.sleep, args=(0.3,)).start()
print(store.status.value)
"""


@pytest.mark.parametrize("how", ["main", "thread"])
def test_the_end_of_the_interpreter_leaves_no_traceback(how: str) -> None:
    async def busy(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10, A)
        for position in range(11, 400):
            await peer.send(event("flag_updated", f"{position}-0@k", flag(1, "a", n=position)))
            await asyncio.sleep(0.002)
        await peer.gone()

    with ThreadedServer(busy) as threaded:
        command = [sys.executable, "-W", "error", "-c", SHUTDOWN, threaded.server.url("ws"), how]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "READY\n", "")


def test_handlers_of_a_lazy_threaded_client_are_called_after_the_start() -> None:
    called = threading.Event()
    with ThreadedServer(lively) as threaded, sync.FlagentClient("http://127.0.0.1:1", start=False) as lazy:
        assert lazy.is_offline
        with sync.FlagentWebSocketClient(threaded.server.url("ws"), start=False) as client:
            store = sync.FlagStore(client, bootstrap=[])
            client.on_event(lambda event: called.set())
            with pytest.raises(NotReady, match="offline"):
                store.ready(1)
            client.start()
            store.ready(10)
            assert called.wait(10)
