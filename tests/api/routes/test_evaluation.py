"""Evaluation over HTTP, on flags that stand in a real database."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving
from tests.fixtures.vectors import VECTORS, differences, load_vectors
from tests.fixtures.websocket import receive


@pytest.fixture
async def vector_server(database_url: str) -> AsyncIterator[RunningServer]:
    load_vectors(database_url)
    async with serving(database_url) as running:
        yield running


async def test_all_vectors_pass_over_rest(vector_server: RunningServer) -> None:
    failed = {}
    async with httpx.AsyncClient(base_url=vector_server.url) as client:
        for vector in VECTORS:
            response = await client.post("/api/v1/evaluation", json=vector["request"])
            assert response.status_code == 200, (vector["name"], response.text)
            if wrong := differences(vector["expected"], response.json()):
                failed[vector["name"]] = wrong
    assert not failed
    assert len(VECTORS) == 45


async def test_a_batch_answers_tags_first_then_ids_then_keys(database_url: str) -> None:
    with Writer(database_url) as writer:
        ids = [writer.flag(key, enabled=True) for key in ("by-key", "by-id", "by-tag")]
        writer.tag(ids[2], "payment")
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url) as client:
        response = await client.post(
            "/api/v1/evaluation/batch",
            json={
                "entities": [{"entityID": "u1"}, {"entityID": "u2"}],
                "flagKeys": ["by-key", "unknown"],
                "flagIDs": [ids[1]],
                "flagTags": ["payment"],
            },
        )
    results = [(r["flagKey"], r["evalContext"]["entityID"]) for r in response.json()["evaluationResults"]]
    assert results == [(key, entity) for key in ("by-tag", "by-id", "by-key", "unknown") for entity in ("u1", "u2")]


async def test_loose_texts_of_the_tables_mean_what_they_mean_to_flagent(database_url: str) -> None:
    loose = [
        """update flags set depends_on = '[1,"base",null]' where key = 'blocked'""",
        """update flags set depends_on = '[base]' where key = 'open'""",
        """update variants set attachment = '{"neg":-0.0,"i":01,"x":''y''}' where key = 'open-variant'""",
    ]
    with Writer(database_url) as writer:
        ids = {key: writer.static_flag(key, f"{key}-variant") for key in ("base", "blocked", "open")}
        writer.run(*loose)
    values = {"neg": "-0.0", "i": "01", "x": "'y'"}
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url + "/api/v1") as client:
        blocked, opened = [
            (await client.post("/evaluation", json={"flagKey": key, "entityID": "u"})).json()
            for key in ("blocked", "open")
        ]
        assert (blocked["variantID"], blocked["segmentID"]) == (None, None)
        assert blocked["evalDebugLog"]["msg"] == 'dependency "1" not found'
        assert (opened["variantKey"], opened["variantAttachment"]) == ("open-variant", values)
        assert (await client.get(f"/flags/{ids['blocked']}")).json()["dependsOn"] == ["1", "base", "null"]
        export = (await client.get("/export/eval_cache/json")).json()["flags"]
        for shown in ((await client.get(f"/flags/{ids['open']}")).json(), export[0]):
            assert (shown["key"], shown["variants"][0]["attachment"]) == ("open", values)


async def test_ids_and_debug_may_be_in_quotes(database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.static_flag("a", "on")
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url + "/api/v1") as client:
        body = {"flagID": str(flag), "entityID": "u", "enableDebug": "true"}
        result = (await client.post("/evaluation", json=body)).json()
        assert (result["flagID"], result["variantKey"]) == (flag, "on")
        assert result["evalDebugLog"]["segmentDebugLogs"]
        batch = {"entities": [{"entityID": "u"}], "flagIDs": [str(flag)], "enableDebug": "FALSE"}
        (result,) = (await client.post("/evaluation/batch", json=batch)).json()["evaluationResults"]
        assert (result["variantKey"], result["evalDebugLog"]) == ("on", None)


async def test_the_timestamp_is_iso_with_a_zone(server: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        result = (await client.post("/api/v1/evaluation", json={"flagKey": "none", "entityID": "u"})).json()
    assert result["timestamp"].endswith("Z")
    assert (result["flagID"], result["flagKey"], result["variantID"]) == (0, "none", None)


async def test_one_reads_ones_own_write_by_position(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with connect(server.websocket_url) as socket:
            flag = writer.flag("mine", enabled=True)
            row = writer.connection.execute("select max(position) from flagent_cdc.commit_log").fetchone()
            assert row is not None
            question = {
                "type": "evaluate",
                "requestId": "q",
                "flagID": flag,
                "entityID": "u",
                "minPosition": str(row[0]),
            }
            await socket.send(json.dumps(question))
            answer = await receive(socket)
    assert answer["result"]["flagKey"] == "mine"
    assert int(answer["position"]) >= row[0]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/api/v1/evaluation", b"{", "JSON"),
        ("/api/v1/evaluation", b"[]", "object"),
        ("/api/v1/evaluation", b'{"flagID":"x"}', "flagID"),
        ("/api/v1/evaluation", b'{"flagKey":"a","entityContext":[1]}', "entityContext"),
        ("/api/v1/evaluation", b'{"flagKey":"a","entityContext":{"a":{}}}', "entityContext.a"),
        ("/api/v1/evaluation/batch", b'{"entities":[{}]}', "flagIDs"),
        ("/api/v1/evaluation/batch", b'{"flagKeys":["a"]}', "entities"),
    ],
)
async def test_bad_requests_name_the_field(memory_server: RunningServer, path: str, body: bytes, word: str) -> None:
    async with httpx.AsyncClient(base_url=memory_server.url) as client:
        response = await client.post(path, content=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert word in response.json()["detail"]


async def test_a_batch_beyond_the_limit_is_refused(memory_server: RunningServer) -> None:
    body = {"entities": [{"entityID": "u"}] * 200, "flagKeys": ["a"] * 100}
    async with httpx.AsyncClient(base_url=memory_server.url) as client:
        response = await client.post("/api/v1/evaluation/batch", json=body)
    assert response.status_code == 400
    assert response.json()["code"] == "batch_too_large"


async def test_an_evil_regular_expression_does_not_hold_up_the_server(database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("evil", enabled=True)
        segment = writer.segment(flag)
        writer.run(
            "insert into constraints (segment_id, property, operator, value, created_at)"
            f" values ({segment}, 'name', 'NEREG', '(a|aa)+b(?=c)', now())"
        )
        writer.share(segment, writer.variant(flag, "on"))
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        # One that the engine breaks off, and one too long for it to begin with: undecided, so that nobody is let in.
        for length in (40, 5_000):
            entities = [{"entityID": "u", "entityContext": {"name": "a" * length}}] * 100
            response = await client.post("/api/v1/evaluation/batch", json={"flagKeys": ["evil"], "entities": entities})
            assert response.status_code == 200
            results = response.json()["evaluationResults"]
            assert {(result["segmentID"], result["variantID"]) for result in results} == {(segment, None)}
