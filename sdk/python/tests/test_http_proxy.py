"""The proxy of the environment: both clients against a scripted proxy."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, eventually, flag

from flagent_realtime import FlagentSSEClient, FlagentWebSocketClient, FlagStore, ReconnectConfig

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)
CREDENTIALS = "Basic bWU6c2VjcmV0"

both = pytest.mark.parametrize("transport", ["sse", "ws"])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def client_of(transport: str, host: str, **options: Any) -> FlagentSSEClient | FlagentWebSocketClient:
    make, scheme = (FlagentWebSocketClient, "ws") if transport == "ws" else (FlagentSSEClient, "http")
    return make(f"{scheme}://{host}/stream", reconnect_config=QUICK, **options)


async def serve(peer: Peer) -> None:
    await peer.open()
    await peer.greet(10)
    await peer.snapshot(10, flag(1, "a"))
    await peer.gone()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_tc_proxy_of_a_stream(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-proxy: a plain request goes to the proxy, with its credentials."""
    async with ScriptedServer(serve) as proxy:
        monkeypatch.setenv(variable, f"http://me:secret@127.0.0.1:{proxy.port}")
        async with client_of("sse", "flags.invalid", api_key="k") as client:
            await FlagStore(client).ready(30)
        (peer,) = proxy.peers
        assert (peer.path, peer.headers["host"]) == ("/stream", "flags.invalid")
        assert (peer.headers["proxy-authorization"], peer.headers["x-api-key"]) == (CREDENTIALS, "k")


async def test_tc_proxy_of_a_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-proxy: a WebSocket is a tunnel; the key is not for the proxy, nor the proxy's credentials for the server."""
    heads: list[str] = []

    async def tunnel(peer: Peer) -> None:
        heads.append((await peer.reader.readuntil(b"\r\n\r\n")).decode())
        await peer.write("HTTP/1.1 200 Connection established\r\n\r\n")
        await serve(peer)

    async with ScriptedServer(tunnel) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
        async with client_of("ws", "flags.invalid", api_key="k") as client:
            await FlagStore(client).ready(30)
        (peer,) = proxy.peers
        assert heads[0].startswith("CONNECT flags.invalid:80 HTTP/1.1\r\n")
        assert (f"Proxy-Authorization: {CREDENTIALS}\r\n" in heads[0], "x-api-key" in heads[0].lower()) == (True, False)
        assert (peer.headers.get("proxy-authorization"), peer.headers["x-api-key"]) == (None, "k")


@both
async def test_tc_proxy_of_a_secure_server_is_a_tunnel(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-proxy: a secure connection is a tunnel through HTTPS_PROXY."""
    lines: list[bytes] = []

    async def tunnel(peer: Peer) -> None:
        lines.append(await peer.reader.readline())
        await peer.gone()

    async with ScriptedServer(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        make, scheme = (FlagentWebSocketClient, "wss") if transport == "ws" else (FlagentSSEClient, "https")
        async with make(f"{scheme}://flags.invalid/stream", reconnect_config=QUICK) as client:
            FlagStore(client)
            await eventually(lambda: lines)
    assert lines[0] == b"CONNECT flags.invalid:443 HTTP/1.1\r\n"


@both
async def test_tc_proxy_exempts(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-proxy: NO_PROXY."""
    async with ScriptedServer(serve) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with client_of(transport, f"127.0.0.1:{server.port}") as client:
            await FlagStore(client).ready(30)


@both
async def test_tc_proxy_that_refuses_is_named(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-proxy: what the proxy answered is in the error, and so is one that cannot be reached."""

    async def refuse(peer: Peer) -> None:
        await peer.request()
        await peer.answer("407 Proxy Authentication Required")

    async with ScriptedServer(refuse) as proxy:
        for value, expected in ((f"http://127.0.0.1:{proxy.port}", "407"), ("http://127.0.0.1:9", "cannot connect")):
            monkeypatch.setenv("HTTP_PROXY", value)
            errors: asyncio.Queue[Exception] = asyncio.Queue()
            async with client_of(transport, "flags.invalid") as client:
                client.on_error(errors.put_nowait)
                FlagStore(client)
                assert expected in str(await asyncio.wait_for(errors.get(), 30))
