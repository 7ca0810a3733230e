"""Signs of life: to whom they say what."""

import asyncio
import json
import signal

import pytest
from psycopg.conninfo import conninfo_to_dict
from websockets.asyncio.client import connect

from cdc.cli.torture.port import lasting_port
from cdc.core.log.position import EventId
from cdc.core.subscription.resume import ResyncReason
from tests.fixtures.proxy import proxy_to
from tests.fixtures.server import DEADLINE_S, ServerProcess, serving, sse


@pytest.mark.parametrize("with_handover", [True, False], ids=["handed over", "through ASGI"])
async def test_before_a_subscription_no_heartbeat_gives_an_id_to_resume_from(
    database_url: str, with_handover: bool
) -> None:
    """A client that comes back is not heard at once: an id that it is sent meanwhile would skip what it missed."""
    async with (
        serving(database_url, with_handover=with_handover, websocket_ping_interval_s=0.1) as server,
        connect(server.websocket_url) as connection,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.recv(), 1)
        await connection.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
        heard = [json.loads(await connection.recv())["type"] for _ in range(3)]
    assert heard == ["subscribed", "heartbeat", "heartbeat"]


async def test_who_waits_for_a_replay_is_not_taken_for_silent(database_url: str) -> None:
    """It is pinged meanwhile: without a question there is no answer."""
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
            assert json.loads(await connection.recv())["type"] == "subscribed"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.recv(), 1)
            may_answer.set()
            assert json.loads(await connection.recv())["type"] == "resync"


async def test_who_was_pinged_by_a_server_that_stood_still_gets_the_time_to_answer(database_url: str) -> None:
    """As after a suspended machine: the beats that it missed must not come all at once."""
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
                kinds = [json.loads(await socket.recv())["type"] for _ in range(8)]
            assert kinds.count("heartbeat") >= 7
    finally:
        server.send(signal.SIGCONT)
        server.kill()


async def test_a_change_of_freshness_is_told_long_before_the_next_heartbeat_is_due(database_url: str) -> None:
    """Else who is greeted by a server that has just started takes its first doubt for true during a whole interval."""
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
                while json.loads(await socket.recv())["fresh"] is not is_fresh:
                    pass
                while f"fresh={str(is_fresh).lower()}" not in (await stream.next_block()).comment:
                    pass
