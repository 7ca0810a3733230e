"""Readers in use read compressed streams of the real server, each with its own decompression.

Between server and reader lies a tap, so that it is the wire that tells whether anything was compressed: each event is
readable before another one follows, all arrive in order and unchanged, and none of the large texts passed as it is.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.fixtures.browser import browsing, needs_chromium
from tests.fixtures.flags import Writer
from tests.fixtures.node import installed_packages
from tests.fixtures.server import DEADLINE_S, RunningServer, SseReader
from tests.fixtures.tap import Tap, tapping
from tests.fixtures.websocket import receive

_PARAMS = "?envelope=true"
_SUBSCRIBE = json.dumps({"type": "subscribe", "subscribeAll": True})

# Above what a socket takes at once, too; and one that stays plain in a WebSocket.
_REPEATS = (1, 200, 3_000, 1, 20_000, 50, 400, 1_000)

_LIMIT_BYTES = 2**24

Next = Callable[[], Awaitable[dict[str, Any]]]
"""The next event as the reader understood it, decoded from JSON."""


@pytest.fixture
async def tap(server: RunningServer) -> AsyncIterator[Tap]:
    async with tapping(server.url) as tap:
        yield tap


def text_of(number: int) -> str:
    """Of many bytes per character, so that the ends of blocks and reads fall within some; different for each event."""
    return f"Ereignis {number} größer ✓ 🙂 " * _REPEATS[number % len(_REPEATS)]


async def follow(next: Next, database_url: str, tap: Tap) -> None:
    """Change flags while the reader is connected; fails unless it understood all, and the wire was compressed."""

    async def read(number: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            event = await next()
            while event["type"] == "heartbeat":
                event = await next()
        assert (event["type"], event["flagKey"]) == ("flag_created", f"f{number}")
        assert event["flag"]["description"] == text_of(number)

    alone, all = range(8), range(24)
    with Writer(database_url) as writer:
        for number in alone:
            writer.flag(f"f{number}", description=text_of(number))
            await read(number)
        for number in all[len(alone) :]:
            writer.flag(f"f{number}", description=text_of(number))
        for number in all[len(alone) :]:
            await read(number)
    told = sum(len(text_of(number).encode()) for number in all)
    assert len(tap.received) < told / 10
    assert (text_of(1)[:100]).encode() not in tap.received


def head_of(tap: Tap) -> str:
    """The head of the first response that passed the tap."""
    return tap.received.partition(b"\r\n\r\n")[0].decode().lower()


@asynccontextmanager
async def printing(*command: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A program that is read line by line, and ended at last."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, limit=_LIMIT_BYTES)

    async def line() -> str:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await process.stdout.readline()
        assert line.endswith(b"\n"), f"{command[0]} ended after {line!r}"
        return line.decode().removesuffix("\n")

    try:
        yield line
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# -- SSE ---------------------------------------------------------------------------------------------------------------


async def test_curl_reads_it(tap: Tap, database_url: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    async with printing(curl, "--compressed", "-sSN", tap.stream_url + _PARAMS) as line:

        async def next() -> Any:
            while not (text := await line()).startswith("data: "):
                pass
            return json.loads(text.removeprefix("data: "))

        await next()  # connected
        await follow(next, database_url, tap)
    assert "\r\ncontent-encoding: gzip" in head_of(tap)


async def test_httpx_reads_it(tap: Tap, database_url: str) -> None:
    async with (
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream("GET", tap.stream_url + _PARAMS) as response,
    ):
        assert response.headers["content-encoding"] == "gzip"
        reader = SseReader(response)

        async def next() -> Any:
            return (await reader.next()).data

        await next()  # connected
        await follow(next, database_url, tap)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_packages(Path(__file__).parents[2] / "readers", tmp_path_factory.mktemp("npm"))


async def test_nodes_fetch_reads_it(readers: Path, tap: Tap, database_url: str) -> None:
    async with printing("node", str(readers / "sse.js"), tap.stream_url + _PARAMS) as line:
        assert await line() == "gzip"

        async def next() -> Any:
            return json.loads(await line())

        await next()  # connected
        await follow(next, database_url, tap)


# Both keep what they are told until it is asked for; the address is one of the server's that opens no stream itself.
_IN_A_BROWSER = """(start) => {
    const told = [], asking = [];
    const tell = (text) => asking.length ? asking.shift()(text) : told.push(text);
    window.next = () => told.length ? told.shift() : new Promise((resolve) => asking.push(resolve));
    return eval(start)(tell);
}"""

_EVENT_SOURCE = """(tell) => new Promise((resolve, reject) => {
    window.source = new EventSource("/api/v1/events/stream?envelope=true");
    source.addEventListener("flag_created", (event) => tell(event.data));
    source.addEventListener("connected", () => resolve("connected"));
    source.addEventListener("error", () => reject("error"));
})"""

_WEBSOCKET = """(tell) => new Promise((resolve, reject) => {
    window.socket = new WebSocket(`ws://${location.host}/ws`);
    socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", subscribeAll: true }));
    socket.onmessage = () => {
        socket.onmessage = (message) => tell(message.data);
        resolve(socket.extensions);
    };
    socket.onerror = () => reject("error");
})"""


@asynccontextmanager
async def in_a_browser(tap: Tap, start: str) -> AsyncIterator[tuple[Any, Next]]:
    """What starting came to, and the reader; the tap has then heard only from the stream on."""
    async with browsing() as browser:
        # What answers at this address is no page: its policy forbids to connect to anything.
        page = await browser.new_page(bypass_csp=True)
        await page.goto(tap.url + "/healthz")
        tap.received.clear()
        came_to = await page.evaluate(_IN_A_BROWSER, start)

        async def next() -> Any:
            return json.loads(await page.evaluate("() => next()"))

        yield came_to, next


@needs_chromium
async def test_a_browsers_event_source_reads_it(tap: Tap, database_url: str) -> None:
    async with in_a_browser(tap, _EVENT_SOURCE) as (_, next):
        await follow(next, database_url, tap)
    assert b"\r\ncontent-encoding: gzip\r\n" in tap.received


# -- WebSocket ---------------------------------------------------------------------------------------------------------


@needs_chromium
async def test_a_browsers_websocket_reads_it(tap: Tap, database_url: str) -> None:
    async with in_a_browser(tap, _WEBSOCKET) as (extensions, next):
        assert "permessage-deflate" in extensions
        await follow(next, database_url, tap)


async def test_the_package_ws_reads_it(readers: Path, tap: Tap, database_url: str) -> None:
    async with printing("node", str(readers / "websocket.js"), tap.websocket_url, _SUBSCRIBE) as line:
        assert await line() == "permessage-deflate"

        async def next() -> Any:
            return json.loads(await line())

        assert (await next())["type"] == "subscribed"
        await follow(next, database_url, tap)
    assert "\r\nsec-websocket-extensions: permessage-deflate" in head_of(tap)


async def test_websockets_reads_it(tap: Tap, database_url: str) -> None:
    async with connect(tap.websocket_url, max_size=None) as connection:
        assert connection.response is not None
        assert "permessage-deflate" in connection.response.headers["sec-websocket-extensions"]

        async def next() -> Any:
            return await receive(connection)

        await connection.send(_SUBSCRIBE)
        assert (await next())["type"] == "subscribed"
        await follow(next, database_url, tap)
