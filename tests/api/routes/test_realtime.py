"""Flagent's present clients against us: they receive every kind of change, refetch, and hold the new state."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from cdc.core.log.position import Position
from tests.fixtures.clients import GoStream, go_model, json_http_fetcher, kotlin_event, kotlin_flags
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving


class PresentClient:
    """Reads the stream as Go and Kotlin do, and refetches after each event as they do."""

    def __init__(self, client: httpx.AsyncClient, response: httpx.Response) -> None:
        self._client = client
        self._lines = response.aiter_lines()
        self._go = GoStream()

    async def event_and_state(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        async with asyncio.timeout(DEADLINE_S):
            while not self._go.events:
                self._go.feed_line(await anext(self._lines))
        event = kotlin_event(self._go.events.pop(0))
        export = (await self._client.get("/api/v1/export/eval_cache/json")).json()
        for flag in export["flags"]:
            go_model("flag", flag)
        json_http_fetcher(export)
        return event, kotlin_flags(export)

    async def connected(self) -> None:
        assert await anext(self._lines) is not None
        async with asyncio.timeout(DEADLINE_S):
            while "event: connected" not in await anext(self._lines):
                pass


@asynccontextmanager
async def present_client(server: RunningServer, path: str = "/api/v1/realtime/sse") -> AsyncIterator[PresentClient]:
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client,
        client.stream("GET", path, headers={"accept-encoding": "identity"}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        present = PresentClient(client, response)
        await present.connected()
        yield present


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


async def test_heartbeats_are_comments(database_url: str) -> None:
    async with (
        serving(database_url, sse_keep_alive_s=0.1) as server,
        httpx.AsyncClient() as client,
        client.stream("GET", server.url + "/realtime/sse", headers={"accept-encoding": "identity"}) as response,
    ):
        lines = response.aiter_lines()
        async with asyncio.timeout(DEADLINE_S):
            while not (line := await anext(lines)).startswith(": keep-alive"):
                assert not line.startswith(("id:", "event: heartbeat"))


@pytest.mark.parametrize("path", ["/realtime/sse/health", "/api/v1/realtime/sse/health"])
async def test_health_counts_connections_as_text(server: RunningServer, path: str) -> None:
    async with present_client(server), httpx.AsyncClient() as client:
        answer = (await client.get(server.url + path)).json()
    assert answer == {"status": "healthy", "activeConnections": "1", "protocol": "SSE"}


async def test_it_refuses_with_a_status_and_never_accepts_and_closes(database_url: str) -> None:
    async with serving(database_url, sse_max_clients=1) as server, present_client(server):
        async with httpx.AsyncClient() as client:
            response = await client.get(server.url + "/realtime/sse")
        assert response.status_code == 503
        assert "retry-after" in response.headers


async def test_the_export_has_a_tag_a_revision_and_gzip(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with httpx.AsyncClient(base_url=server.url) as client:
            writer.flag("on", enabled=True)
            writer.flag("off")
            path = "/api/v1/export/eval_cache/json"
            first = await client.get(path)
            assert [flag["key"] for flag in first.json()["flags"]] == ["on"]
            assert first.headers["content-encoding"] == "gzip"
            again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            writer.flag("on2", enabled=True)
            changed = await client.get(path, headers={"if-none-match": first.headers["etag"]})
            plain = await client.get(path, headers={"accept-encoding": "gzip;q=0, identity"})
    assert changed.status_code == 200
    assert "content-encoding" not in plain.headers
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.json() == plain.json()
    assert plain.json()["revision"] == plain.headers["etag"].removeprefix("W/").strip('"')


async def test_the_export_of_one_server_is_never_older_than_an_event_of_another(database_url: str) -> None:
    async with serving(database_url) as one, serving(database_url) as other:
        with Writer(database_url) as writer:
            async with present_client(one) as client, httpx.AsyncClient(base_url=other.url) as refetch:
                for number in range(30):
                    writer.flag(f"f{number}", enabled=True)
                    await client.event_and_state()
                    export = (await refetch.get("/api/v1/export/eval_cache/json")).json()
                    assert len(export["flags"]) == number + 1


async def test_flags_are_listed_newest_first_with_a_total(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        ids = [writer.flag(f"f{n}", enabled=n % 2 == 0, description=f"Number {n}") for n in range(5)]
        writer.segment(ids[0])
        writer.tag(ids[3], "payment")
        writer.run(
            "update flags set environment_id = 8 where key = 'f0'",
            "update flags set environment_id = 7, project_id = 9 where key = 'f4'",
        )
        async with httpx.AsyncClient(base_url=server.url + "/api/v1") as client:
            assert await server.pipeline.hub.reached(Position(9), DEADLINE_S)
            page = await client.get("/flags", params={"limit": 2, "offset": 1})
            assert [flag["key"] for flag in page.json()] == ["f3", "f2"]
            assert page.headers["x-total-count"] == "5"
            for params, keys in (
                ({"enabled": "true"}, ["f4", "f2", "f0"]),
                ({"tags": "other,payment"}, ["f3"]),
                ({"descriptionLike": "number 1"}, ["f1"]),
                ({"key": "f2"}, ["f2"]),
                ({"description": "Number 2"}, ["f2"]),
                ({"description": "number 2"}, []),
                ({"environmentId": "7"}, ["f4", "f3", "f2", "f1"]),
                ({"projectId": "9"}, ["f4"]),
                ({"enabled": "true", "limit": "1", "offset": "1"}, ["f2"]),
                ({"limit": "0"}, []),
                ({"deleted": "true"}, []),
                ({"includeArchived": "true"}, []),
            ):
                assert [flag["key"] for flag in (await client.get("/flags", params=params)).json()] == keys
            assert (await client.get("/flags")).json()[-1]["segments"] == []
            whole = (await client.get("/flags", params={"preload": "true"})).json()[-1]
            assert len(whole["segments"]) == 1
            assert (await client.get(f"/flags/{ids[0]}")).json() == whole
            assert (await client.get("/flags/999")).status_code == 404
            assert (await client.get("/flags/x")).status_code == 400
            assert (await client.get("/health")).json() == {"status": "OK"}
            assert "version" in (await client.get("/info")).json()
