"""Keep-alives and heartbeats: what they say to which subscriber, and which peers they give up."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg.conninfo import conninfo_to_dict
from websockets.asyncio.client import connect

from cdc.cli.torture.port import lasting_port
from cdc.core.freshness import Freshness
from cdc.core.log.position import EventId
from cdc.core.subscription.resume import ResyncReason
from cdc.core.subscription.selection import Selections
from cdc.fanout.encode_ahead import FEW_FLAGS
from cdc.fanout.keepalive import Keepalive
from cdc.fanout.limits import HubLimits
from cdc.fanout.subscriber import CloseReason
from tests.cdc.fanout.memory import SSE, MemoryHub, MemorySink, select
from tests.fixtures.proxy import proxy_to
from tests.fixtures.server import DEADLINE_S, ServerProcess, serving, sse, until
from tests.fixtures.websocket import receive_any


async def test_before_a_subscription_no_heartbeat_gives_an_id_to_resume_from(
    database_url: str, with_handover: bool
) -> None:
    """A client that reconnects is not heard at once: an id that it is sent meanwhile would skip what it missed."""
    async with (
        serving(database_url, with_handover=with_handover, websocket_ping_interval_s=0.1) as server,
        connect(server.websocket_url) as connection,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.recv(), 1)
        await connection.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
        heard = [(await receive_any(connection))["type"] for _ in range(3)]
    assert heard == ["subscribed", "heartbeat", "heartbeat"]


async def test_a_client_that_waits_for_a_replay_is_not_taken_for_silent(database_url: str) -> None:
    """It is pinged meanwhile: without a ping there is no pong."""
    async with serving(database_url, websocket_ping_interval_s=0.1) as server:
        hub = server.pipeline.hub
        may_answer = asyncio.Event()

        async def slow(id: EventId) -> ResyncReason:
            await may_answer.wait()
            return ResyncReason.PRUNED

        server.pipeline.replay = slow
        async with connect(server.websocket_url) as connection:
            await connection.send(
                json.dumps({"type": "subscribe", "subscribeAll": True, "lastEventId": f"0-0@{hub.catalog.log}"})
            )
            assert (await receive_any(connection))["type"] == "subscribed"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.recv(), 1)
            may_answer.set()
            assert (await receive_any(connection))["type"] == "resync"


async def test_a_peer_that_was_pinged_by_a_suspended_server_has_time_to_answer(database_url: str) -> None:
    """As after a suspended machine: the heartbeats that it missed must not come all at once."""
    server = ServerProcess(database_url, FLAGENT_WS_PING_INTERVAL="500ms")
    server.start()
    try:
        await server.ready()
        async with connect(server.url.replace("http:", "ws:") + "/ws") as socket:
            await socket.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
            server.send(signal.SIGSTOP)
            await asyncio.sleep(3)
            server.send(signal.SIGCONT)
            async with asyncio.timeout(DEADLINE_S):
                kinds = [(await receive_any(socket))["type"] for _ in range(8)]
            assert kinds.count("heartbeat") >= 7
    finally:
        server.send(signal.SIGCONT)
        server.kill()


async def test_a_change_of_freshness_is_sent_long_before_the_next_heartbeat_is_due(database_url: str) -> None:
    """A client that a starting server greets would otherwise believe its first answer for a whole interval."""
    async with (
        proxy_to(database_url) as proxy,
        serving(
            proxy.url, listener_probe_interval_s=0.3, websocket_ping_interval_s=120, sse_keep_alive_s=120
        ) as server,
        connect(server.websocket_url) as socket,
        sse(server.stream_url) as stream,
    ):
        await socket.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
        for port, is_fresh in ((lasting_port(), False), (int(str(conninfo_to_dict(database_url)["port"])), True)):
            proxy.lead_to(port)
            async with asyncio.timeout(DEADLINE_S):
                while (await receive_any(socket))["fresh"] is not is_fresh:
                    pass
                while f"fresh={str(is_fresh).lower()}" not in (await stream.next_block()).comment:
                    pass


# -- without a server ------------------------------------------------------------------------------------------


@asynccontextmanager
async def keeping_alive(memory: MemoryHub, interval_s: float = 0.05) -> AsyncIterator[Keepalive]:
    keepalive = Keepalive(memory.hub, interval_s)
    keepalive.start()
    try:
        yield keepalive
    finally:
        await keepalive.stop()


def kinds(sink: MemorySink) -> list[str]:
    return [message["type"] for message in sink.messages]


async def test_a_keep_alive_has_position_and_freshness_and_for_all_flags_their_digest() -> None:
    memory = MemoryHub()
    everything, sink = memory.subscribed()
    filtered, filtered_sink = memory.subscribed(select(flag_keys=["b"]))
    memory.flag("a")
    keepalive = Keepalive(memory.hub, 30)
    for subscriber in (everything, filtered):
        keepalive.send_now(subscriber)
    heartbeat, moved_on = sink.messages[-1], filtered_sink.messages[-1]
    assert (heartbeat["position"], heartbeat["fresh"], heartbeat["ageMs"]) == ("1", True, 0)
    assert heartbeat["digest"] == memory.hub.catalog.digest
    assert moved_on["id"] == memory.here
    assert "digest" not in moved_on


async def test_the_digest_is_left_out_while_many_flags_wait_to_be_hashed() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed()
    for number in range(FEW_FLAGS + 1):
        memory.flagent.flag(f"k{number}")
    memory.commit()
    keepalive = Keepalive(memory.hub, 30)
    keepalive.send_now(subscriber)
    assert "digest" not in sink.messages[-1]
    for _ in memory.hub.catalog.hash_in_turns():
        pass
    keepalive.send_now(subscriber)
    assert sink.messages[-1]["digest"] == memory.flagent.catalog().digest


async def test_no_id_is_sent_while_something_waits_to_be_sent() -> None:
    memory = MemoryHub()
    keepalive = Keepalive(memory.hub, 30)
    waiting, waiting_sink = memory.subscribed(last_event_id=memory.ahead(5))
    batching, batching_sink = memory.subscribed(batch_s=5)
    nothing, nothing_sink = memory.subscribed(Selections())
    full, full_sink = memory.subscribed()
    full_sink.fill()
    memory.flag("a")
    for subscriber in (waiting, batching, nothing, full):
        keepalive.send_now(subscriber)
    assert [sink.writes for sink in (waiting_sink, batching_sink, nothing_sink, full_sink)] == [[]] * 4
    memory.hub.remove(waiting)


async def test_each_subscriber_has_its_turn_within_an_interval() -> None:
    memory = MemoryHub()
    async with keeping_alive(memory, 0.6) as keepalive:
        sinks = []
        for _ in range(4):
            subscriber, sink = memory.subscribed()
            keepalive.add(subscriber)
            sinks.append(sink)
        gone, gone_sink = memory.subscribed()
        keepalive.add(gone)
        keepalive.remove(gone)
        keepalive.remove(gone)
        assert keepalive.subscriber_count == 4
        await until(lambda: all(sink.writes for sink in sinks), "the keep-alives", deadline_s=5)
        assert gone_sink.writes == []


async def test_a_peer_that_answers_no_pings_is_disconnected() -> None:
    memory = MemoryHub()
    async with keeping_alive(memory) as keepalive:
        silent, silent_sink = memory.subscribed()
        heard, heard_sink = memory.subscribed()
        silent_sink.has_heard = False
        for subscriber in (silent, heard):
            keepalive.add(subscriber)
        await until(lambda: silent_sink.closed is not None, "the close", deadline_s=5)
        assert silent_sink.closed == (CloseReason.SILENT, "no answer to pings")
        assert kinds(silent_sink) == ["heartbeat", "heartbeat"]
        assert heard_sink.closed is None


async def test_an_event_stream_owes_no_answer() -> None:
    memory = MemoryHub()
    async with keeping_alive(memory) as keepalive:
        subscriber, sink = memory.subscribed(format=SSE)
        sink.has_heard = False
        keepalive.add(subscriber)
        await until(lambda: len(sink.writes) >= 5, "the keep-alives", deadline_s=5)
        assert sink.closed is None


async def test_a_subscriber_that_reads_nothing_is_disconnected_after_a_while() -> None:
    memory = MemoryHub(HubLimits(stall_s=0.1))
    async with keeping_alive(memory) as keepalive:
        subscriber, sink = memory.subscribed()
        keepalive.add(subscriber)
        sink.fill()
        await until(lambda: sink.closed is not None, "the close", deadline_s=5)
        assert sink.closed == (
            CloseReason.TOO_SLOW,
            "client read nothing for too long; reconnect with the last event id received",
        )
        assert sink.writes == []


async def test_a_change_of_freshness_hurries_the_next_round() -> None:
    memory = MemoryHub()
    async with keeping_alive(memory, 60.0) as keepalive:
        sinks = []
        for _ in range(240):  # one for each bucket
            subscriber, sink = memory.subscribed()
            sink.has_heard = False
            keepalive.add(subscriber)
            sinks.append(sink)
        await asyncio.sleep(0)
        memory.freshness = Freshness(False, 1000)
        await until(lambda: all(sink.writes for sink in sinks), "the hurried round", deadline_s=10)
        assert [sink.messages[0]["fresh"] for sink in sinks] == [False] * 240
        # Nothing was held against a peer that had no time to answer.
        assert [subscriber.missed_pings for subscriber in memory.hub._subscribers] == [0] * 240


async def test_freshness_that_was_shown_and_lost_again_between_two_rounds_is_corrected() -> None:
    memory = MemoryHub()
    memory.freshness = Freshness(False, 1000)
    async with keeping_alive(memory, 60.0) as keepalive:
        await asyncio.sleep(0)
        subscriber, sink = memory.subscribed()
        keepalive.add(subscriber)
        memory.freshness = Freshness(True, 0)
        assert memory.hub.freshness().fresh  # what a greeting says
        memory.freshness = Freshness(False, 1000)
        await until(lambda: sink.writes, "the correction", deadline_s=10)
        assert sink.messages[0]["fresh"] is False
