"""Stream tokens, for clients that cannot send headers."""

from collections.abc import AsyncIterator, Iterator

import pytest
from websockets.asyncio.client import connect

from tests.fixtures.authenticated import EXPORT, SECRET, ask, client, token
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse


@pytest.fixture(params=[True, False], ids=["handed over", "through ASGI"])
async def server(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[RunningServer]:
    """One that asks for credentials, on both ways that a stream can take through it."""
    async with serving(database_url, with_handover=request.param, auth_jwt_secret=SECRET) as running:
        yield running


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def test_a_stream_token_opens_one_stream_with_the_rights_behind_it(server: RunningServer, writer: Writer) -> None:
    async with client(server, token(flags=["a"])) as http:
        given = (await http.post("/api/v1/stream-tokens")).json()["token"]
        other = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with sse(server.stream_url, {"token": given}) as stream:
        writer.flag("b")
        writer.flag("a")
        assert (await stream.next()).data["key"] == "a"
    async with client(server) as http:
        again = await http.get(server.stream_url, params={"token": given})
        assert (again.status_code, again.json()["code"]) == (401, "token_used")
        for path in ("/api/v1/flags", EXPORT):
            assert (await http.get(path, params={"token": other})).status_code == 401
        assert (await http.post("/api/v1/stream-tokens", params={"token": other})).status_code == 401
        lasting = await http.get(server.stream_url, params={"token": token()})
        assert (lasting.status_code, lasting.json()["code"]) == (401, "not_a_stream_token")
    async with connect(f"{server.websocket_url}?token={other}") as socket:
        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
