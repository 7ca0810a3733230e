"""The stream endpoints of the application."""

import httpx

from tests.fixtures.server import RunningServer


async def test_other_methods_are_refused(either_memory_server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.post(either_memory_server.stream_url)
    assert response.status_code == 405
    assert response.json()["code"] == "method_not_allowed"
