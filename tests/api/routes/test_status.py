"""The status of one process."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest

from cdc.admin.api_keys import create_key
from cdc.core.subscription.grant import Grant
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, until


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


@asynccontextmanager
async def guarded(database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, auth_enabled=True) as server:
        yield server


async def test_the_status_is_for_those_who_run_the_server(database_url: str, writer: Writer) -> None:
    reader = create_key(database_url, "reader", Grant())
    admin = create_key(database_url, "admin", Grant(admin=True))
    writer.flag("one")
    async with guarded(database_url) as server, httpx.AsyncClient(base_url=server.url) as http:
        refused = await http.get("/api/v1/status", headers={"x-api-key": reader})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")

        async def knows_the_flag() -> bool:
            status = (await http.get("/api/v1/status", headers={"x-api-key": admin})).json()
            return bool(status["catalog"]["flags"] == 1 and status["log"]["newest"] == status["position"])

        await until(knows_the_flag, "the status of the newest position")
        status = (await http.get("/api/v1/status", headers={"x-api-key": admin})).json()
        assert status["listener"]["mode"] == "listening"
        assert status["log"]["lag"] == 0
        assert status["log"]["sizeBytes"] > 8192
        assert status["connections"]["sse"] == {"open": 0, "limit": 10_000, "refused": 0}


async def test_the_status_does_not_wait_for_a_database_that_is_silent(server: RunningServer, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("lock table flagent_cdc.commit_log in access exclusive mode")
        async with httpx.AsyncClient(base_url=server.url, timeout=5) as http:
            status = (await http.get("/api/v1/status")).json()
    assert status["log"]["newest"] is None
    assert status["log"]["sizeBytes"] is None
