"""Flagent's present clients against us: they receive every kind of change, refetch, and hold the new state."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cdc.source.memory import MemoryLog
from tests.fixtures.flags import Writer
from tests.fixtures.present_client import connecting_client, present_client
from tests.fixtures.server import DEADLINE_S, RunningServer, serving


@pytest.mark.parametrize("path", ["/realtime/sse", "/api/v1/realtime/sse"])
async def test_every_kind_of_change_by_plain_sql_is_received_and_refetched(
    server: RunningServer, database_url: str, path: str
) -> None:
    with Writer(database_url) as writer:
        async with present_client(server, path) as client:

            async def after(change: Callable[[], Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
                change()
                event, state = await client.event_and_state()
                return event["type"], event, state

            flag = 1
            name, event, _ = await after(lambda: writer.flag("a"))
            assert (name, event["flagKey"], event["flagID"]) == ("flag.created", "a", flag)
            name, event, state = await after(lambda: writer.toggle(flag))
            assert (name, event["data"]) == ("flag.toggled", {"enabled": "true"})
            assert state["a"]["enabled"] is True
            name, event, state = await after(lambda: writer.variant(flag, "on"))
            assert (name, event["data"]) == ("variant.updated", {"variantID": "1"})
            assert [variant["key"] for variant in state["a"]["variants"]] == ["on"]
            name, event, state = await after(lambda: writer.segment(flag))
            assert (name, event["data"]) == ("segment.updated", {"segmentID": "1"})
            name, _, state = await after(
                lambda: writer.run(
                    "insert into constraints (segment_id, property, operator, value, created_at)"
                    " values (1, 'country', 'EQ', 'US', now())"
                )
            )
            assert name == "segment.updated"
            assert state["a"]["segments"][0]["constraints"][0]["value"] == "US"
            name, _, state = await after(
                lambda: writer.run(
                    "insert into distributions (segment_id, variant_id, variant_key, percent, created_at)"
                    " values (1, 1, 'on', 100, now())"
                )
            )
            assert name == "segment.updated"
            assert state["a"]["segments"][0]["distributions"][0]["percent"] == 100
            name, _, state = await after(lambda: writer.tag(flag, "payment"))
            assert name == "flag.updated"
            assert state["a"]["tags"][0]["value"] == "payment"
            name, _, state = await after(lambda: writer.run("update flags set description = 'new'"))
            assert (name, state["a"]["description"]) == ("flag.updated", "new")
            name, _, state = await after(lambda: writer.run("update flags set deleted_at = now()"))
            assert (name, state) == ("flag.deleted", {})
            name, _, state = await after(lambda: writer.run("update flags set deleted_at = null"))
            assert (name, list(state)) == ("flag.created", ["a"])
            name, _, state = await after(lambda: writer.run("delete from flags"))
            assert (name, state) == ("flag.deleted", {})


@pytest.mark.parametrize("query", ["", "?flagKey=other", "?flagKey=other&flagID=7"])
@pytest.mark.parametrize(
    "last_event_id",
    [None, "", "1795420800123", "1@another", "not an id"],
    ids=["none", "empty", "of an event", "of another log", "unreadable"],
)
async def test_what_was_committed_before_a_client_connected_is_fetched(
    server: RunningServer, database_url: str, query: str, last_event_id: str | None
) -> None:
    with Writer(database_url) as writer:
        writer.flag("a", enabled=True)
        async with present_client(server):
            pass
        writer.toggle(1)
        await server.pipeline.hub.reached(await server.pipeline.newest_position(), DEADLINE_S)
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        async with connecting_client(server, f"/realtime/sse{query}", **headers) as client:
            assert await client.greeting() == "connected"
            event, state = await client.event_and_state()
            assert (event["type"], event["flagID"]) == ("flag.updated", 0)
            assert state == {}
            # One is enough: the next event is that of a change.
            writer.run("insert into flags (id, key, description, created_at) values (7, 'other', '', now())")
            assert (await client.event_and_state())[0]["flagKey"] == "other"


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("flagKey=a&flagKey=b", ["a", "b"]),
        ("flagID=3", ["c"]),
        ("flagID=nonsense&flagKey=b", ["b"]),
        ("flagKey=a&flagKey=c&flagID=3&flagID=2", ["c"]),
    ],
)
async def test_key_and_id_must_both_pass_where_both_are_given(
    server: RunningServer, database_url: str, query: str, keys: list[str]
) -> None:
    with Writer(database_url) as writer:
        for key in "abc":
            writer.flag(key)
        async with present_client(server, f"/realtime/sse?{query}") as client:
            writer.run("update flags set enabled = true")
            seen = [(await client.event_and_state())[0]["flagKey"] for _ in keys]
            writer.run(f"update flags set enabled = false where key = '{keys[-1]}'")
            last = (await client.event_and_state())[0]
    assert seen == keys
    assert (last["flagKey"], last["data"]) == (keys[-1], {"enabled": "false"})


async def test_a_long_key_and_a_large_flag_keep_the_line_short(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run("alter table flags alter column key type text")
        async with present_client(server) as client:
            writer.flag("k" * 100_000, description="d" * 500_000)
            event, _ = await client.event_and_state()
    assert event["type"] == "flag.created"


async def test_heartbeats_are_comments(memory_log: MemoryLog) -> None:
    async with (
        serving(memory_log, sse_keep_alive_s=0.1) as server,
        httpx.AsyncClient() as client,
        client.stream("GET", server.url + "/realtime/sse", headers={"accept-encoding": "identity"}) as response,
    ):
        lines = response.aiter_lines()
        async with asyncio.timeout(DEADLINE_S):
            while not (line := await anext(lines)).startswith(": keep-alive"):
                assert not line.startswith(("id:", "event: heartbeat"))


@pytest.mark.parametrize("path", ["/realtime/sse/health", "/api/v1/realtime/sse/health"])
async def test_health_counts_connections_as_text(memory_server: RunningServer, path: str) -> None:
    async with present_client(memory_server), httpx.AsyncClient() as client:
        answer = (await client.get(memory_server.url + path)).json()
    assert answer == {"status": "healthy", "activeConnections": "1", "protocol": "SSE"}


async def test_it_refuses_with_a_status_and_never_accepts_and_closes(database_url: str) -> None:
    async with serving(database_url, sse_max_clients=1) as server, present_client(server):
        async with httpx.AsyncClient() as client:
            response = await client.get(server.url + "/realtime/sse")
        assert response.status_code == 503
        assert "retry-after" in response.headers
