"""The stream endpoints of the application."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fixtures.server import RunningServer, serving


@pytest.fixture(params=[True, False], ids=["handed over", "through ASGI"])
async def server(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, with_handover=request.param) as running:
        yield running


async def test_other_methods_are_refused(server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.post(server.stream_url)
    assert response.status_code == 405
    assert response.json()["code"] == "method_not_allowed"
