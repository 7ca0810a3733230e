"""Stream tokens, for clients that cannot send headers."""

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.fixtures.authenticated import EXPORT, SECRET, ask, client, token
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, sse


@pytest.fixture
def server_settings() -> dict[str, Any]:
    return {"auth_jwt_secret": SECRET}


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def test_a_stream_token_opens_one_stream_with_the_rights_behind_it(
    either_server: RunningServer, writer: Writer
) -> None:
    async with client(either_server, token(flags=["a"])) as http:
        given = (await http.post("/api/v1/stream-tokens")).json()["token"]
        other = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with sse(either_server.stream_url, {"token": given}) as stream:
        writer.flag("b")
        writer.flag("a")
        assert (await stream.next()).data["key"] == "a"
    async with client(either_server) as http:
        again = await http.get(either_server.stream_url, params={"token": given})
        assert (again.status_code, again.json()["code"]) == (401, "token_used")
        for path in ("/api/v1/flags", EXPORT):
            assert (await http.get(path, params={"token": other})).status_code == 401
        assert (await http.post("/api/v1/stream-tokens", params={"token": other})).status_code == 401
        lasting = await http.get(either_server.stream_url, params={"token": token()})
        assert (lasting.status_code, lasting.json()["code"]) == (401, "not_a_stream_token")
    async with connect(f"{either_server.websocket_url}?token={other}") as socket:
        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
