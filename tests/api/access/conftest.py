"""Servers that require credentials."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fixtures.authenticated import SECRET
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving


@pytest.fixture(params=[True, False], ids=["handed over", "through ASGI"])
async def server(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[RunningServer]:
    """One that asks for credentials, on both ways that a stream can take through it."""
    async with serving(database_url, with_handover=request.param, auth_jwt_secret=SECRET) as running:
        yield running


@pytest.fixture
async def one_server(database_url: str) -> AsyncIterator[RunningServer]:
    """The same where the way of the streams does not matter."""
    async with serving(database_url, auth_jwt_secret=SECRET) as running:
        yield running


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer
