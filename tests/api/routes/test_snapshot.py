"""The snapshot as an ordinary request: what it selects, where a stream resumes, and the long poll."""

import asyncio
import gzip
import time

import httpx
import pytest

from cdc.change_feed import page_reader
from cdc.core.log.position import Position
from tests.fixtures.authenticated import SECRET, token
from tests.fixtures.authenticated import client as client_of
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving

PATH = "/api/v1/snapshot"


async def test_a_snapshot_is_the_message_of_the_websocket(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        ids = [writer.flag(key) for key in ("a", "b", "c")]
        writer.tag(ids[2], "web")
        writer.segment(ids[0])
        async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
            assert await server.pipeline.hub.reached(Position(6), DEADLINE_S)
            answer = await client.get(PATH)
            message = answer.json()
            assert message["type"] == "snapshot"
            assert message["id"] == answer.headers["flagent-position"] == str(server.pipeline.hub.here())
            assert message["position"] == "6"
            assert [flag["key"] for flag in message["flags"]] == ["a", "b", "c"]
            assert len(message["flags"][0]["segments"]) == 1
            some = await client.get(PATH, params=[("flag", "a"), ("flagID", str(ids[1])), ("tag", "web")])
            assert some.json()["flags"] == message["flags"]
            assert [f["key"] for f in (await client.get(PATH, params={"tag": "web"})).json()["flags"]] == ["c"]
            assert (await client.get(PATH, params={"schema": "other"})).json()["flags"] == []
            assert "flagent-stale" not in answer.headers


async def test_a_long_poll_is_answered_by_the_next_commit(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
            assert await server.pipeline.hub.reached(Position(1), DEADLINE_S)
            first = await client.get(PATH)
            known = {"if-none-match": first.headers["etag"]}
            unchanged = await client.get(PATH, headers=known, params={"waitMs": 50})
            assert (unchanged.status_code, unchanged.content) == (304, b"")
            assert unchanged.headers["flagent-position"] == first.headers["flagent-position"]
            waiting = asyncio.create_task(client.get(PATH, headers=known, params={"waitMs": 60_000}))
            done, _ = await asyncio.wait([waiting], timeout=0.1)
            assert not done
            writer.toggle(1)
            changed = await asyncio.wait_for(waiting, DEADLINE_S)
            assert changed.status_code == 200
            assert changed.json()["flags"][0]["enabled"] is True
            # What is new already is not waited for.
            began = time.monotonic()
            assert (await client.get(PATH, headers=known, params={"waitMs": 60_000})).status_code == 200
            assert time.monotonic() - began < DEADLINE_S / 2


async def test_a_server_that_shuts_down_answers_long_polls(database_url: str) -> None:
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        known = {"if-none-match": (await client.get(PATH)).headers["etag"]}
        waiting = asyncio.create_task(client.get(PATH, headers=known, params={"waitMs": 60_000}))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        server.pipeline.stop_answering()
        assert (await asyncio.wait_for(waiting, DEADLINE_S)).status_code == 304


async def test_beyond_a_thousand_waiting_requests_the_answer_comes_at_once(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_reader, "_MAX_WAITING", 0)
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        known = {"if-none-match": (await client.get(PATH)).headers["etag"]}
        assert (await client.get(PATH, headers=known, params={"waitMs": 60_000})).status_code == 304


@pytest.mark.parametrize(
    ("query", "code", "names"),
    [
        ("table=orders", "unknown_parameter", "table"),
        ("type=flag_updated", "unknown_parameter", "type"),
        ("flagID=x", "invalid_parameter", "flagID"),
        ("waitMs=60001", "invalid_parameter", "waitMs"),
        ("waitMs=-1", "invalid_parameter", "waitMs"),
        ("flag=%FF", "invalid_query", "query"),
    ],
)
async def test_bad_parameters_are_named(server: RunningServer, query: str, code: str, names: str) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        answer = await client.get(f"{PATH}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert names in answer.json()["detail"]


async def test_a_large_snapshot_is_compressed_where_the_client_allows_it(
    server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        writer.flag("a", description="d" * 5000)
        async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
            assert await server.pipeline.hub.reached(Position(1), DEADLINE_S)
            async with client.stream("GET", PATH, headers={"accept-encoding": "gzip"}) as answer:
                assert answer.headers["content-encoding"] == "gzip"
                raw = b"".join([chunk async for chunk in answer.aiter_raw()])
            plain = await client.get(PATH, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert plain.headers["etag"] == answer.headers["etag"]


async def test_a_credential_sees_its_own_flags(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("web-a")
        writer.flag("secret")
    async with (
        serving(database_url, auth_jwt_secret=SECRET) as server,
        client_of(server, token(flags=["web-*"])) as narrow,
        client_of(server, token()) as wide,
        client_of(server) as nobody,
    ):
        few, all_of_them = await narrow.get(PATH), await wide.get(PATH)
        assert [flag["key"] for flag in few.json()["flags"]] == ["web-a"]
        assert [flag["key"] for flag in all_of_them.json()["flags"]] == ["web-a", "secret"]
        assert few.headers["etag"] != all_of_them.headers["etag"]
        assert (await narrow.get(PATH, headers={"if-none-match": all_of_them.headers["etag"]})).status_code == 200
        assert (await nobody.get(PATH)).status_code == 401
