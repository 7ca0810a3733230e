"""The same program, without a setting, behind proxies as they are found: a real nginx, a real HAProxy."""

from __future__ import annotations

import asyncio
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.fixtures.flags import Writer
from tests.fixtures.reverse_proxy import nginx
from tests.fixtures.server import serving

from flagent_realtime import FlagentClient, FlagStore, StoreStatus

DEADLINE_S = 60.0

pytestmark = pytest.mark.timeout(240)

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client {idle}
  timeout server {idle}
  timeout tunnel {idle}
listen proxy
  bind 127.0.0.1:{port}
  server flagent {upstream}
"""


async def eventually(condition: Callable[[], object], what: str) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen in {DEADLINE_S:g} s"
        await asyncio.sleep(0.02)


@contextmanager
def haproxy(upstream: str, idle: str, directory: pathlib.Path) -> Iterator[str]:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("no haproxy on the PATH")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(idle=idle, port=port, upstream=upstream.removeprefix("http://")))
    process = subprocess.Popen([program, "-db", "-f", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, "haproxy has exited"
                assert time.monotonic() < end, "haproxy does not listen"
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def is_enabled(store: FlagStore, expected: bool) -> bool:
    flag = store.get("a")
    return flag is not None and flag.enabled is expected


async def follow(url: str, writer: Writer, changes: int = 2) -> str:
    """Follow changes; returns the transport that was found."""
    async with FlagentClient(url) as client:
        store = FlagStore(client)
        await store.ready(DEADLINE_S)
        for _ in range(changes):
            before = store.get("a")
            assert before is not None
            expected = not before.enabled
            writer.toggle(1)
            await eventually(partial(is_enabled, store, expected), "the change arrives")
        assert store.status is StoreStatus.READY
        return client.transport.value


@pytest.mark.parametrize(
    ("directives", "transport"),
    [
        (
            "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
            "websocket",
        ),
        ("", "sse"),
        ("proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;", "polling"),
    ],
    ids=["as it should be", "refuses upgrades", "buffers"],
)
async def test_nginx(directives: str, transport: str, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url) as server:
            with nginx(server.url, directives) as url:
                assert await follow(url, writer) == transport


async def test_haproxy_with_an_idle_limit_of_10_seconds(database_url: str, tmp_path: pathlib.Path) -> None:
    """The server is silent for longer: its keep-alives come every 30 s."""
    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url) as server:
            with haproxy(server.url, "10s", tmp_path) as url:
                async with FlagentClient(url) as client:
                    store = FlagStore(client)
                    await store.ready(DEADLINE_S)
                    losses: list[Exception] = []
                    client.on_error(losses.append)
                    await eventually(lambda: losses, "the proxy ends the idle connection")
                    writer.toggle(1)
                    await eventually(lambda: store.get("a").enabled, "the change arrives")  # type: ignore[union-attr]
                    await eventually(lambda: store.status is StoreStatus.READY, "READY again")
