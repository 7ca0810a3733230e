"""The streams over TLS: the same bytes, on the hand-over path too."""

import asyncio
import json
import shlex
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, SseReader, serving
from tests.fixtures.websocket import receive

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made with openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
        " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    subprocess.run(shlex.split(command), cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture
async def tls_server(database_url: str, certificate: Path) -> AsyncIterator[RunningServer]:
    cert, key = certificate / "cert.pem", certificate / "key.pem"
    async with serving(database_url, listen_tls_cert=cert, listen_tls_key=key) as running:
        yield running


async def test_both_streams_run_over_tls(tls_server: RunningServer, database_url: str, certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=certificate / "cert.pem")
    url = tls_server.stream_url.replace("http://", "https://")
    with Writer(database_url) as writer:
        async with (
            httpx.AsyncClient(verify=trust, timeout=DEADLINE_S) as client,
            client.stream("GET", url, headers={"accept-encoding": "identity"}) as response,
            connect(tls_server.websocket_url.replace("ws://", "wss://"), ssl=trust, max_size=None) as socket,
        ):
            stream = SseReader(response)
            assert (await stream.next()).type == "connected"
            await socket.send('{"type":"subscribe","subscribeAll":true}')
            assert (await receive(socket))["type"] == "subscribed"
            writer.flag("small")
            writer.flag("large", description="x" * 500_000)
            assert [(await stream.next()).data["key"] for _ in range(2)] == ["small", "large"]
            sizes: list[int] = []
            async with asyncio.timeout(DEADLINE_S):
                while len(sizes) < 2:
                    sizes.append(len(json.dumps(await receive(socket, "flag_created"))))
    assert sizes[0] < 10_000 < 400_000 < sizes[1]


async def test_plain_http_is_not_understood_on_a_tls_port(tls_server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(tls_server.url + "/healthz")
