"""What the shipped configuration of each proxy passes on: every event at once, however long it was quiet before."""

import asyncio
import json
import re
import shutil
import subprocess
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import pytest
from websockets.asyncio.client import connect

from cdc.cli.torture.port import lasting_port
from cdc.settings.settings import Settings
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
    proxy: Proxy, database_url: str, *, patience_s: int | None = None, certificate: Path | None = None, **settings: Any
) -> AsyncIterator[Passage]:
    with throwaway_directory() as directory:
        async with serving(database_url, **settings) as server:
            backend = int(server.url.rpartition(":")[2])
            passage = running(proxy, directory, lasting_port(), backend, patience_s, certificate)
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
        hub = passage.server.pipeline.hub
        async with sse(passage.stream_url):
            assert hub.subscriber_count == 1
        await until(lambda: hub.subscriber_count == 0, "the end of the subscription")


async def test_quiet_connections_outlive_the_proxys_patience(proxy: Proxy, database_url: str) -> None:
    async with (
        through(
            proxy, database_url, patience_s=PATIENCE_S, sse_keep_alive_s=0.5, websocket_ping_interval_s=0.5
        ) as passage,
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
    async with (
        through(proxy, database_url, patience_s=PATIENCE_S, sse_keep_alive_s=3600.0) as passage,
        sse(passage.stream_url) as stream,
    ):
        with pytest.raises((httpx.RemoteProtocolError, StopAsyncIteration)):
            await stream.next()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made with openssl")
    directory = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_text((directory / "cert.pem").read_text() + (directory / "key.pem").read_text())
    return both


class Curl:
    """`curl` as it reads several streams of one address, and all that it has printed."""

    def __init__(self, url: str, streams: int) -> None:
        self._command = ["curl", "--http2", "-skiN", "-Z", *[url] * streams]
        self.text = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(65536):
            self.text += data.decode()

    async def shows(self, words: str, times: int) -> None:
        await until(lambda: self.text.count(words) >= times, f"{words!r} {times} times in {self.text[-2000:]}")


# More than a browser opens to one origin over HTTP/1.1.
STREAMS = 8


async def test_streams_of_one_http2_connection_are_passed_on_at_once(
    proxy: Proxy, database_url: str, certificate: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here, which speaks HTTP/2")
    if proxy.name == "apache":
        pytest.skip("Apache httpd does not begin so many streams of one connection, see docs/how-to/proxies.md")
    # No keep-alive pushes anything out.
    async with (
        through(proxy, database_url, certificate=certificate, sse_keep_alive_s=3600.0) as passage,
        Curl(passage.stream_url, STREAMS) as curl,
    ):
        await curl.shows("event: connected", STREAMS)
        assert curl.text.count("HTTP/2 200") == STREAMS
        assert connections_to(int(passage.url.rpartition(":")[2])) == 1
        for key in ("one", "two"):
            await passage.make_flag(key)
            await curl.shows(f'"key":"{key}"', STREAMS)


async def test_a_quiet_http2_stream_outlives_the_proxys_patience(
    proxy: Proxy, database_url: str, certificate: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here, which speaks HTTP/2")
    async with (
        through(proxy, database_url, patience_s=1, certificate=certificate, sse_keep_alive_s=0.25) as passage,
        Curl(passage.stream_url, 1) as curl,
    ):
        # In twice the patience.
        await curl.shows(": keep-alive", 8)
        await passage.make_flag("one")
        await curl.shows('"key":"one"', 1)


def connections_to(port: int) -> int:
    """How many established connections of this machine lead to a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[2] == f"0100007F:{port:04X}" and line[3] == "01" for line in lines)


def test_the_shipped_patience_is_more_than_two_keep_alives(proxy: Proxy) -> None:
    defaults = Settings.from_environment({})
    written = proxy.patience[0]
    assert written in (SHIPPED / proxy.file).read_text(encoding="utf-8")
    assert int(re.findall(r"\d+", written)[0]) > 2 * max(defaults.sse.keep_alive_s, defaults.websocket.ping_interval_s)
