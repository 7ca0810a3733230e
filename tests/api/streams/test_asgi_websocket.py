"""The WebSocket path of the application."""

from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.fixtures.server import RunningServer, serving
from tests.fixtures.websocket_client import talking


@pytest.fixture(params=[True, False], ids=["handed over", "through ASGI"])
async def server(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, with_handover=request.param) as running:
        yield running


async def test_a_plain_get_on_the_path_is_refused(server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(server.url + "/ws")
    assert response.status_code in (404, 426)


async def test_it_can_be_switched_off(database_url: str) -> None:
    async with serving(database_url, websocket_enabled=False) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with talking(server):
                pass
    assert refused.value.response.status_code in (403, 404)
