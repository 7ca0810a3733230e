"""The shipped configuration of each proxy forwards every event at once, after any quiet period."""

import asyncio
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

from cdc.cli.torture.port import lasting_port
from cdc.settings.settings import Settings
from tests.fixtures.address import ServerAddress
from tests.fixtures.postgres import throwaway_directory
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse, until
from tests.fixtures.websocket import receive, send, websocket
from tests.proxies.proxy import PROXIES, SHIPPED, Proxy, running

pytestmark = [pytest.mark.parametrize("proxy", PROXIES, ids=[proxy.name for proxy in PROXIES])]

# Short enough for a test; the shipped timeout is 75 s, with keep-alives every 30 s.
TIMEOUT_S = 2


@dataclass(frozen=True)
class ProxiedServer(ServerAddress):
    """A server with a proxy in front; `url` is the proxy's."""

    url: str
    server: RunningServer
    database_url: str

    async def make_flag(self, key: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            await connection.execute(
                "insert into flags (key, description, enabled, created_at) values (%s, '', true, now())", (key,)
            )


@asynccontextmanager
async def through(
    proxy: Proxy, database_url: str, *, timeout_s: int | None = None, certificate: Path | None = None, **settings: Any
) -> AsyncIterator[ProxiedServer]:
    with throwaway_directory() as directory:
        async with serving(database_url, **settings) as server:
            backend = int(server.url.rpartition(":")[2])
            front = running(proxy, directory, lasting_port(), [backend], timeout_s, certificate)
            # In a thread: it waits for the proxy, which needs the server in this loop.
            url = await asyncio.to_thread(front.__enter__)
            try:
                yield ProxiedServer(url, server, database_url)
            finally:
                await asyncio.to_thread(front.__exit__, None, None, None)


async def test_each_event_arrives_before_anything_follows_it(proxy: Proxy, database_url: str) -> None:
    async with through(proxy, database_url) as proxied, sse(proxied.stream_url) as stream:
        for key in ("one", "two", "three"):
            await proxied.make_flag(key)
            event = await stream.next()
            assert (event.type, event.data["key"]) == ("flag_created", key)


async def test_a_compressed_event_arrives_before_anything_follows_it(proxy: Proxy, database_url: str) -> None:
    async with (
        through(proxy, database_url) as proxied,
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream("GET", proxied.stream_url, headers={"accept-encoding": "gzip"}) as response,
    ):
        assert response.headers["content-encoding"] == "gzip"
        chunks, decoder, text = response.aiter_raw(), zlib.decompressobj(wbits=31), ""
        while "event: connected" not in text:
            text += decoder.decompress(await anext(chunks)).decode()
        await proxied.make_flag("one")
        while "event: flag_created" not in text:
            text += decoder.decompress(await anext(chunks)).decode()


async def test_a_client_resumes_by_its_last_event_id(proxy: Proxy, database_url: str) -> None:
    async with through(proxy, database_url) as proxied:
        async with sse(proxied.stream_url) as stream:
            await proxied.make_flag("one")
            await stream.next()
            seen = stream.last_id
        await proxied.make_flag("two")
        async with sse(proxied.stream_url, last_event_id=seen) as stream:
            assert (await stream.next()).data["key"] == "two"


async def test_a_disconnected_client_is_noticed(proxy: Proxy, database_url: str) -> None:
    async with through(proxy, database_url, sse_keep_alive_s=0.2) as proxied:
        hub = proxied.server.pipeline.hub
        async with sse(proxied.stream_url):
            assert hub.subscriber_count == 1
        await until(lambda: hub.subscriber_count == 0, "the end of the subscription")


async def test_quiet_connections_outlive_the_proxys_timeout(proxy: Proxy, database_url: str) -> None:
    async with (
        through(
            proxy, database_url, timeout_s=TIMEOUT_S, sse_keep_alive_s=0.5, websocket_ping_interval_s=0.5
        ) as proxied,
        sse(proxied.stream_url) as stream,
        websocket(proxied.websocket_url) as socket,
        asyncio.timeout(DEADLINE_S + 2 * TIMEOUT_S),
    ):
        await send(socket, type="subscribe", subscribeAll=True)
        assert (await receive(socket))["type"] == "subscribed"
        loop = asyncio.get_running_loop()
        end = loop.time() + 2 * TIMEOUT_S
        while loop.time() < end:
            assert (await stream.next_block()).comment.startswith("keep-alive ")
            assert (await receive(socket, "heartbeat"))["fresh"]
        await proxied.make_flag("one")
        assert (await stream.next()).data["key"] == "one"
        message = await receive(socket)
        assert (message["type"], message["flagKey"]) == ("flag_created", "one")


async def test_a_silent_server_runs_into_the_proxys_timeout(proxy: Proxy, database_url: str) -> None:
    """Without keep-alives the proxy closes the stream."""
    async with (
        through(proxy, database_url, timeout_s=TIMEOUT_S, sse_keep_alive_s=3600.0) as proxied,
        sse(proxied.stream_url) as stream,
    ):
        with pytest.raises((httpx.RemoteProtocolError, StopAsyncIteration)):
            await stream.next()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH, which makes the certificate")
    directory = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_text((directory / "cert.pem").read_text() + (directory / "key.pem").read_text())
    return both


class Curl:
    """A `curl` that reads several streams of one address; `text` is its output."""

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


async def test_streams_of_one_http2_connection_are_forwarded_at_once(
    proxy: Proxy, database_url: str, certificate: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH, the HTTP/2 client")
    if proxy.name == "apache":
        pytest.skip("Apache httpd does not start so many streams of one connection, see docs/how-to/proxies.md")
    # Without keep-alives, which could flush an event.
    async with (
        through(proxy, database_url, certificate=certificate, sse_keep_alive_s=3600.0) as proxied,
        Curl(proxied.stream_url, STREAMS) as curl,
    ):
        await curl.shows("event: connected", STREAMS)
        assert curl.text.count("HTTP/2 200") == STREAMS
        assert connections_to(int(proxied.url.rpartition(":")[2])) == 1
        for key in ("one", "two"):
            await proxied.make_flag(key)
            await curl.shows(f'"key":"{key}"', STREAMS)


async def test_a_quiet_http2_stream_outlives_the_proxys_timeout(
    proxy: Proxy, database_url: str, certificate: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH, the HTTP/2 client")
    async with (
        through(proxy, database_url, timeout_s=1, certificate=certificate, sse_keep_alive_s=0.25) as proxied,
        Curl(proxied.stream_url, 1) as curl,
    ):
        # Twice the timeout.
        await curl.shows(": keep-alive", 8)
        await proxied.make_flag("one")
        await curl.shows('"key":"one"', 1)


def connections_to(port: int) -> int:
    """The number of this machine's established connections to a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[2] == f"0100007F:{port:04X}" and line[3] == "01" for line in lines)


def test_the_shipped_timeout_is_longer_than_two_keep_alives(proxy: Proxy) -> None:
    defaults = Settings.from_environment({})
    shipped = proxy.timeout[0]
    assert shipped in (SHIPPED / proxy.file).read_text(encoding="utf-8")
    assert int(re.findall(r"\d+", shipped)[0]) > 2 * max(defaults.sse.keep_alive_s, defaults.websocket.ping_interval_s)
