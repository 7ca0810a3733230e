"""A snapshot of more flags than one chunk holds arrives whole, whichever way a client reads it."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving
from tests.fixtures.websocket import receive, send, websocket

COUNT = 200


@pytest.fixture
async def many(database_url: str) -> AsyncIterator[RunningServer]:
    with Writer(database_url) as writer:
        writer.run(
            "insert into flags (key, description, enabled, created_at)"
            f" select 'k' || n, repeat('ü', 200), true, now() from generate_series(1, {COUNT}) n"
        )
    async with serving(database_url) as server:
        yield server


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_over_a_websocket(many: RunningServer, compression: str | None) -> None:
    async with websocket(many.websocket_url, compression=compression) as socket:
        await send(socket, type="subscribe", subscribeAll=True, snapshot=True)
        snapshot = await receive(socket, "snapshot")
        await send(socket, type="ping", requestId="after")
        assert (await receive(socket, "pong"))["requestId"] == "after"
    assert [flag["key"] for flag in snapshot["flags"]] == [f"k{number}" for number in range(1, COUNT + 1)]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_over_an_event_stream(many: RunningServer, encoding: str) -> None:
    async with (
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream(
            "GET", many.stream_url, params={"snapshot": "true"}, headers={"accept-encoding": encoding}
        ) as response,
    ):
        is_snapshot = False
        async for line in response.aiter_lines():
            if is_snapshot and line.startswith("data: "):
                break
            is_snapshot = is_snapshot or line == "event: snapshot"
        assert [flag["key"] for flag in json.loads(line[6:])["flags"]] == [f"k{n}" for n in range(1, COUNT + 1)]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_over_http_and_in_the_export(many: RunningServer, encoding: str) -> None:
    async with httpx.AsyncClient(base_url=many.url, headers={"accept-encoding": encoding}) as client:
        snapshot = (await client.get("/api/v1/snapshot")).json()
        export = (await client.get("/api/v1/export/eval_cache/json")).json()
    keys = [f"k{number}" for number in range(1, COUNT + 1)]
    assert [flag["key"] for flag in snapshot["flags"]] == keys
    assert [flag["key"] for flag in export["flags"]] == keys[::-1]
