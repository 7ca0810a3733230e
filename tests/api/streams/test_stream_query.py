"""What a query string selects, and how a wrong one is refused."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fixtures.server import RunningServer, serving


@pytest.fixture(params=[True, False], ids=["handed over", "through ASGI"])
async def server(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, with_handover=request.param) as running:
        yield running


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("flog=a", ("flog", "flag, flagID")),
        ("batchMs=soon", ("batchMs", '"soon"', "0 to 10000")),
        ("type=flag_changed", ("type", "flag_changed", "flag_updated")),
        ("flagID=x", ("flagID", '"x"')),
        ("snapshot=maybe", ("snapshot", "maybe", "true")),
        ("overflow=explode", ("overflow", "explode", "resync")),
        ("flag=%ff", ("query string", "UTF-8")),
    ],
)
async def test_bad_parameters_get_one_clear_sentence(server: RunningServer, query: str, words: tuple[str, ...]) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{server.stream_url}?{query}")
    problem = response.json()
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 400
    assert problem["code"]
    for word in words:
        assert word in problem["detail"]
