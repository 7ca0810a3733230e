"""What the application adds to every response."""

from collections.abc import AsyncIterator

import pytest

from tests.fixtures.authenticated import SECRET, client, token
from tests.fixtures.server import RunningServer, serving


@pytest.fixture
async def one_server(database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, auth_jwt_secret=SECRET) as running:
        yield running


async def test_answers_say_that_they_are_data(one_server: RunningServer) -> None:
    async with client(one_server, token()) as http:
        answer = await http.get("/api/v1/flags")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "content-security-policy" not in (await http.get("/docs")).headers
