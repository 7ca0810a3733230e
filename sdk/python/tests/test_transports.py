"""The client that chooses its transport, against servers and proxies that let only some of them through."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, event, eventually, flag

from flagent_realtime import (
    ConnectionLost,
    ConnectionRefused,
    FlagentClient,
    FlagentError,
    FlagentEvent,
    FlagStore,
    NotReady,
    ReconnectConfig,
    StoreStatus,
)

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)
A = flag(1, "a")

Answer = Callable[[Peer], Awaitable[None]]


async def serve(peer: Peer) -> None:
    """Stream a snapshot of one flag, and stay open."""
    if peer.is_websocket:
        await peer._switch()
        peer.subscribe = await peer.receive()
        if peer.subscribe["type"] == "ping":  # a probe
            await peer.frame({"type": "pong", "requestId": peer.subscribe["requestId"]})
            await peer.gone()
            return
    else:
        await peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    await peer.greet(10, heartbeatMs=60_000)
    if peer.wants_snapshot:
        await peer.snapshot(10, A)
    await peer.gone()


async def upgrade_and_hold(peer: Peer) -> None:
    """A proxy that buffers: the connection opens, and no byte follows."""
    if peer.is_websocket:
        await peer._switch()
    else:
        await peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    await peer.gone()


def answering(status: str, body: str = "", content_type: str = "text/html") -> Answer:
    async def answer(peer: Peer) -> None:
        await peer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n{body}"
        )
        peer.writer.close()

    return answer


class Snapshots:
    """Answers polls, and records them. With ``hold`` a request that knows the present state waits for the next one."""

    def __init__(self, *flags: dict[str, Any], position: int = 10, hold: bool = True) -> None:
        self.position, self.flags, self.hold = position, list(flags), hold
        self.requests: list[Peer] = []
        self.times: list[float] = []
        self.is_stale = False
        self._changed = asyncio.Event()

    def change(self, position: int, *flags: dict[str, Any]) -> None:
        self.position, self.flags = position, list(flags)
        self._changed.set()
        self._changed = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        self.requests.append(peer)
        self.times.append(asyncio.get_running_loop().time())
        if peer.headers.get("if-none-match") == f'W/"{self.position}"' and self.hold:
            waiting = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(peer.reader.read(1))]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
        state = f'Flagent-Position: {self.position}@k\r\nETag: W/"{self.position}"\r\nConnection: close\r\n'
        state += "Flagent-Stale: 9\r\n" if self.is_stale else ""
        if peer.headers.get("if-none-match") == f'W/"{self.position}"':
            await peer.write(f"HTTP/1.1 304 Not Modified\r\n{state}\r\n")
        else:
            message = {"type": "snapshot", "id": f"{self.position}@k", "position": str(self.position)}
            body = json.dumps({**message, "flags": self.flags})
            await peer.write(
                f"HTTP/1.1 200 OK\r\n{state}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
        peer.writer.close()


@asynccontextmanager
async def network(
    ws: Answer, sse: Answer = serve, polling: Answer = serve, **options: Any
) -> AsyncIterator[tuple[ScriptedServer, FlagentClient]]:
    """A server, or what a network makes of it, and a client that is not started."""
    answers = {"/ws": ws, "/api/v1/events/stream": sse, "/api/v1/snapshot": polling}

    async def play(peer: Peer) -> None:
        await peer.request()
        await answers[peer.path](peer)

    options.setdefault("reconnect_config", QUICK)
    async with ScriptedServer(play) as server:
        client = FlagentClient(server.url("sse", ""), **options)
        try:
            yield server, client
        finally:
            await client.close()


def paths(server: ScriptedServer) -> list[str]:
    names = {"/ws": "ws", "/api/v1/events/stream": "sse", "/api/v1/snapshot": "poll"}
    return [names[peer.path] for peer in server.peers if peer.path]


async def test_the_best_transport_is_the_websocket() -> None:
    async with network(serve) as (server, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert (client.transport, paths(server)) == ("websocket", ["ws"])


@pytest.mark.parametrize(
    "blocked",
    [
        answering("426 Upgrade Required"),
        answering("200 OK", "<html>"),
        answering("400 Bad Request"),
        answering("404 Not Found"),
        answering("302 Found"),
        Peer.gone,
    ],
    ids=["426", "200", "400", "404", "bad redirect", "closed"],
)
async def test_tc_transport_fallback(blocked: Answer) -> None:
    """tc-transport-fallback: a handshake that fails leads to the next transport at once."""

    async def close(peer: Peer) -> None:
        peer.writer.close()

    async with network(close if blocked is Peer.gone else blocked) as (server, client):
        store, seen = FlagStore(client), list[FlagentEvent]()
        client.subscribe_all(seen.append)
        await client.start()
        await store.ready(5)
        assert (client.transport, paths(server)) == ("sse", ["ws", "sse"])
        await server.peers[1].send(event("flag_updated", "11-0@k", flag(1, "a", enabled=True)))
        await eventually(lambda: seen)
        assert store.get("a").enabled  # type: ignore[union-attr]
        assert (store.status, store.last_event_id) == (StoreStatus.READY, "11-0@k")


async def test_tc_transport_silent() -> None:
    """tc-transport-silent: connected, but a proxy holds every byte back."""
    snapshots = Snapshots(A)
    async with network(upgrade_and_hold, upgrade_and_hold, snapshots, connect_timeout=0.3) as (server, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert (client.transport, paths(server)) == ("polling", ["ws", "sse", "poll", "poll"][: len(paths(server))])


async def test_a_snapshot_that_is_held_back_is_silence_too() -> None:
    async def greet_and_hold(peer: Peer) -> None:
        await peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await peer.greet(10)
        await peer.write('event: snapshot\nid: 10@k\ndata: {"position": "10", "flags": [')
        await peer.gone()

    async with network(answering("426 No"), greet_and_hold, Snapshots(A), connect_timeout=0.3) as (_, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        assert client.transport == "polling"


async def test_tc_transport_lost() -> None:
    """tc-transport-lost: three losses within 30 s."""

    async def die(peer: Peer) -> None:
        await peer._switch()
        peer.subscribe = await peer.receive()
        await peer.greet(10)
        if peer.wants_snapshot:
            await peer.snapshot(10, A)
        peer.abort()

    async with network(die) as (server, client):
        store = FlagStore(client)
        await client.start()
        await eventually(lambda: client.transport == "sse" and store.status is StoreStatus.READY)
        assert paths(server) == ["ws", "ws", "ws", "sse"]
        # Nothing is repeated: the event stream resumes.
        assert server.peers[3].last_event_id == "10@k"


async def test_tc_transport_refused() -> None:
    """tc-transport-refused: a server that is down, or asks to come back later, says nothing about the transport."""
    async with network(answering("503 Service Unavailable")) as (server, client):
        await client.start()
        await eventually(lambda: len(server.peers) == 4)
        # The third in a row is for the next transport.
        assert paths(server)[:4] == ["ws", "ws", "ws", "sse"]
        port = server.port
    client = FlagentClient(f"http://127.0.0.1:{port}", reconnect_config=QUICK)
    errors: list[FlagentError] = []
    client.on_error(errors.append)
    FlagStore(client)
    await client.start()
    await eventually(lambda: len(errors) >= 5)
    assert client.transport == "websocket"
    assert all(isinstance(error, ConnectionLost) for error in errors)
    await client.close()


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_tc_401_ends_the_client_on_every_transport(status: str) -> None:
    """tc-401."""
    for refused in range(3):
        answers = [answering("426 No")] * refused + [answering(status)] * (3 - refused)
        async with network(*answers) as (server, client):
            store = FlagStore(client)
            await client.start()
            with pytest.raises(ConnectionRefused, match=status[:3]):
                await store.ready(5)
            assert len(server.peers) == refused + 1


async def test_an_address_that_is_no_server_ends_the_client_after_every_transport() -> None:
    async with network(*[answering("404 Not Found")] * 3) as (server, client):
        store = FlagStore(client)
        await client.start()
        with pytest.raises(ConnectionRefused, match="404"):
            await store.ready(5)
        assert paths(server) == ["ws", "sse", "poll"]


async def test_tc_transport_back() -> None:
    """tc-transport-back: the better transport is tried again, and the working one stays until it has had a message."""
    is_open = False

    async def socket(peer: Peer) -> None:
        await (serve if is_open else answering("426 Upgrade Required"))(peer)

    async with network(socket, retry_better_after=0.2, connect_timeout=0.4) as (server, client):
        store = FlagStore(client)
        statuses: list[StoreStatus] = []
        await client.start()
        await store.ready(5)
        await eventually(lambda: paths(server).count("ws") >= 3, "two probes fail")
        assert (client.transport, store.status) == ("sse", StoreStatus.READY)
        assert paths(server).count("sse") == 1
        store.on_status(statuses.append)
        is_open = True
        await eventually(lambda: client.transport == "websocket" and store.status is StoreStatus.READY)
        resumed = server.peers[-1]
        assert (resumed.path, resumed.last_event_id) == ("/ws", "10@k")


async def test_tc_polling() -> None:
    """tc-polling: a change arrives with the held request, and differences call the handlers."""
    snapshots = Snapshots(A, flag(2, "b"))
    async with network(answering("426 No"), answering("502 Bad Gateway"), snapshots, connect_timeout=0.5) as (
        _,
        client,
    ):
        store, flags, deleted = FlagStore(client, tags=[]), list[Any](), list[str]()
        client.subscribe_flag("a", flags.append, deleted.append)
        await client.start()
        await eventually(lambda: client.transport == "polling" and store.status is StoreStatus.READY)
        await eventually(lambda: len(snapshots.requests) == 2)
        first, held = snapshots.requests
        assert (first.query, first.headers.get("if-none-match")) == ({}, None)
        assert (held.query, held.headers["if-none-match"]) == ({"waitMs": ["8000"]}, 'W/"10"')
        flags.clear()
        snapshots.change(11, flag(1, "a", enabled=True))
        await eventually(lambda: len(flags) == 1)
        assert (store.last_event_id, [each.key for each in store]) == ("11@k", ["a"])
        assert store.status is StoreStatus.READY
        snapshots.is_stale = True
        snapshots.change(12, flag(1, "a", enabled=True))
        await eventually(lambda: store.status is StoreStatus.STALE)
        snapshots.is_stale = False
        snapshots.change(13)
        await eventually(lambda: store.status is StoreStatus.READY and not len(store))
        assert len(flags) == 1


async def test_a_poll_is_bound_to_the_selection_and_follows_it() -> None:
    snapshots = Snapshots(A, flag(2, "b"))
    async with network(answering("426 No"), answering("404 No"), snapshots) as (_, client):
        first = FlagStore(client, flags=["a"])
        await client.start()
        await first.ready(5)
        assert snapshots.requests[0].query == {"flag": ["a"]}
        second = FlagStore(client, flags=["b"])
        await second.ready(5)
        assert snapshots.requests[-1].query["flag"] == ["a", "b"]
        assert ([each.key for each in first], [each.key for each in second]) == (["a"], ["b"])


async def test_a_server_that_does_not_hold_polls_is_polled_at_the_interval() -> None:
    snapshots = Snapshots(A, hold=False)
    options = {"poll_interval": 0.2}
    async with network(answering("426 No"), answering("404 No"), snapshots, **options) as (_, client):
        store = FlagStore(client)
        await client.start()
        await store.ready(5)
        await eventually(lambda: len(snapshots.times) >= 4)
        # The first pause is the shortest one, then comes the interval.
        pauses = [late - early for early, late in itertools.pairwise(snapshots.times)]
        assert min(pauses[1:]) > 0.15


@pytest.mark.parametrize(
    "garbage",
    [
        answering("200 OK", "<html>Log in</html>"),
        answering("200 OK", "{", "application/json"),
        answering("200 OK", "[]", "application/json"),
        answering("200 OK", '{"flags": [{"id": "x"}]}', "application/json"),
        answering("200 OK", "x" * 5000, "application/json"),
    ],
    ids=["html", "broken", "list", "no flags", "too large"],
)
async def test_tc_garbage(garbage: Answer) -> None:
    """tc-garbage: whatever answers, it is reported, and `ready` ends at its time limit with the cause."""
    async with network(garbage, garbage, garbage, max_message_bytes=4096) as (_, client):
        store, errors = FlagStore(client), list[FlagentError]()
        client.on_error(errors.append)
        await client.start()
        with pytest.raises(NotReady) as late:
            await store.ready(1)
        assert errors
        assert len(store) == 0
        assert late.value.__cause__ is not None or any("snapshot" in str(error) for error in errors)


async def test_tc_transport_limits() -> None:
    """tc-transport-limits: a selection that only the WebSocket can carry keeps the client there."""
    async with network(answering("426 Upgrade Required")) as (server, client):
        errors: list[FlagentError] = []
        client.on_error(errors.append)
        FlagStore(client, flags=[f"f{n}" for n in range(1001)])
        await client.start()
        await eventually(lambda: paths(server).count("ws") >= 4 and len(errors) >= 4)
        assert {peer.path for peer in server.peers} <= {"/ws", ""}
        assert sum("too large for the transport sse" in str(error) for error in errors) == 1


@pytest.mark.parametrize("url", ["flags.example", "ftp://x", "", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address of a server"):
        FlagentClient(url)
