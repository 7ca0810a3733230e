"""What the shipped configuration of each proxy passes on: every event at once, however long it was quiet before."""

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from websockets.asyncio.client import connect

from cdc.settings import Settings
from tests.fixtures.ports import lasting_port
from tests.fixtures.postgres import throwaway_directory
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse, until
from tests.proxies.proxy import PROXIES, SHIPPED, Proxy, running

pytestmark = [pytest.mark.parametrize("proxy", PROXIES, ids=[proxy.name for proxy in PROXIES])]

# So short that a test can wait for it; the shipped files say 75s, against keep-alives of 30s.
PATIENCE_S = 2


@dataclass(frozen=True)
class Passage:
    """A server, and the address of the proxy in front of it."""

    url: str
    server: RunningServer
    database_url: str

    @property
    def stream_url(self) -> str:
        return self.url + "/api/v1/events/stream"

    async def make_flag(self, key: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            await connection.execute(
                "insert into flags (key, description, enabled, created_at) values (%s, '', true, now())", (key,)
            )


@asynccontextmanager
async def through(
    proxy: Proxy, database_url: str, *, patience_s: int | None = None, **settings: Any
) -> AsyncIterator[Passage]:
    with throwaway_directory() as directory:
        async with serving(database_url, **settings) as server:
            backend = int(server.url.rpartition(":")[2])
            passage = running(proxy, directory, lasting_port(), backend, patience_s)
            # What waits in there waits for a process, and the server runs on this loop.
            url = await asyncio.to_thread(passage.__enter__)
            try:
                yield Passage(url, server, database_url)
            finally:
                await asyncio.to_thread(passage.__exit__, None, None, None)


async def test_each_event_arrives_before_anything_follows_it(proxy: Proxy, database_url: str) -> None:
    async with through(proxy, database_url) as passage, sse(passage.stream_url) as stream:
        for key in ("one", "two", "three"):
            await passage.make_flag(key)
            event = await stream.next()
            assert (event.type, event.data["key"]) == ("flag_created", key)


async def test_a_compressed_event_arrives_before_anything_follows_it(proxy: Proxy, database_url: str) -> None:
    async with (
        through(proxy, database_url) as passage,
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream("GET", passage.stream_url, headers={"accept-encoding": "gzip"}) as response,
    ):
        assert response.headers["content-encoding"] == "gzip"
        chunks, decoder, text = response.aiter_raw(), zlib.decompressobj(wbits=31), ""
        while "event: connected" not in text:
            text += decoder.decompress(await anext(chunks)).decode()
        await passage.make_flag("one")
        while "event: flag_created" not in text:
            text += decoder.decompress(await anext(chunks)).decode()


async def test_a_client_resumes_by_its_last_event_id(proxy: Proxy, database_url: str) -> None:
    async with through(proxy, database_url) as passage:
        async with sse(passage.stream_url) as stream:
            await passage.make_flag("one")
            await stream.next()
            seen = stream.last_id
        await passage.make_flag("two")
        async with sse(passage.stream_url, last_event_id=seen) as stream:
            assert (await stream.next()).data["key"] == "two"


async def test_a_client_that_goes_is_noticed(proxy: Proxy, database_url: str) -> None:
    async with through(proxy, database_url, sse_keep_alive_s=0.2) as passage:
        hub = passage.server.feed.hub
        async with sse(passage.stream_url):
            assert hub.subscriber_count == 1
        await until(lambda: hub.subscriber_count == 0, "the end of the subscription")


async def test_quiet_connections_outlive_the_proxys_patience(proxy: Proxy, database_url: str) -> None:
    settings = {"sse_keep_alive_s": 0.5, "ws_ping_interval_s": 0.5}
    async with (
        through(proxy, database_url, patience_s=PATIENCE_S, **settings) as passage,
        sse(passage.stream_url) as stream,
        connect(passage.url.replace("http", "ws") + "/ws") as socket,
        asyncio.timeout(DEADLINE_S + 2 * PATIENCE_S),
    ):
        await socket.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
        assert json.loads(await socket.recv())["type"] == "subscribed"
        loop = asyncio.get_running_loop()
        end = loop.time() + 2 * PATIENCE_S
        while loop.time() < end:
            assert (await stream.next_block()).comment.startswith("keep-alive ")
            assert json.loads(await socket.recv())["type"] == "heartbeat"
        await passage.make_flag("one")
        assert (await stream.next()).data["key"] == "one"
        while (message := json.loads(await socket.recv()))["type"] == "heartbeat":
            pass
        assert (message["type"], message["flagKey"]) == ("flag_created", "one")


async def test_a_silent_server_is_given_up(proxy: Proxy, database_url: str) -> None:
    """So it was the keep-alives that kept it open."""
    if proxy.patience is None:
        pytest.skip(f"{proxy.name} waits for ever")
    async with (
        through(proxy, database_url, patience_s=PATIENCE_S, sse_keep_alive_s=3600.0) as passage,
        sse(passage.stream_url) as stream,
    ):
        with pytest.raises((httpx.RemoteProtocolError, StopAsyncIteration)):
            await stream.next()


def test_the_shipped_patience_is_more_than_two_keep_alives(proxy: Proxy) -> None:
    if proxy.patience is None:
        pytest.skip(f"{proxy.name} waits for ever")
    defaults = Settings.from_environment({})
    written = proxy.patience[0]
    assert written in (SHIPPED / proxy.file).read_text(encoding="utf-8")
    assert int(re.findall(r"\d+", written)[0]) > 2 * max(defaults.sse_keep_alive_s, defaults.ws_ping_interval_s)
