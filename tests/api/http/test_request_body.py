"""Request bodies of limited size."""

import httpx

from tests.fixtures.server import RunningServer


async def test_a_body_beyond_the_limit_is_refused(server: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        response = await client.post("/api/v1/evaluation", content=b" " * 2_000_000)
    assert response.status_code == 413
