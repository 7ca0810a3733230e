"""What a scope shows, on every surface."""

import asyncio
import json
from typing import Any

import httpx
import psycopg
import pytest

from cdc.database.queries import flagent_tables
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import (
    EVALUATION,
    EXPORT,
    SECRET,
    ask,
    client,
    hear,
    talking,
    token,
)
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse
from tests.fixtures.websocket import receive

SCOPES: dict[str, dict[str, Any]] = {
    "by key": {"flags": ["mine"]},
    "by prefix": {"flags": ["min*"]},
    "by tag": {"tags": ["mine"]},
    "by project": {"projects": [1]},
    "by environment": {"environments": [1]},
    "by schema": {"schemas": ["public"], "flags": ["mine"]},
}


def seed(writer: Writer) -> tuple[int, int]:
    """A flag that each of the scopes allows and one that none does; both can be evaluated."""
    ids = []
    for key, number in (("mine", 1), ("secret", 2)):
        # In one commit: a flag without an environment is in all of them.
        with writer.connection.transaction():
            id = writer.flag(key, enabled=True, description=f"about {key}")
            writer.run(f"update flags set project_id = {number}, environment_id = {number} where id = {id}")
            writer.tag(id, key)
            segment, variant = writer.segment(id), writer.variant(id, f"{key}-variant")
            writer.run(
                "insert into distributions (segment_id, variant_id, variant_key, percent, created_at)"
                f" values ({segment}, {variant}, '{key}-variant', 100, now())"
            )
        ids.append(id)
    return ids[0], ids[1]


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_a_scope_holds_on_every_http_surface(
    server: RunningServer, writer: Writer, scopes: dict[str, Any]
) -> None:
    mine, secret = seed(writer)
    async with client(server, token(**scopes)) as http:
        export = await http.get(EXPORT)
        assert [flag["key"] for flag in export.json()["flags"]] == ["mine"]
        listed = await http.get("/api/v1/flags", params={"preload": "true"})
        assert [flag["key"] for flag in listed.json()] == ["mine"]
        assert listed.headers["x-total-count"] == "1"
        assert (await http.get("/api/v1/flags", params={"tags": "secret"})).json() == []
        assert (await http.get(f"/api/v1/flags/{mine}")).json()["key"] == "mine"
        hidden, absent = await http.get(f"/api/v1/flags/{secret}"), await http.get("/api/v1/flags/999999")
        assert (hidden.status_code, hidden.headers.keys()) == (absent.status_code, absent.headers.keys())
        assert hidden.text.replace(str(secret), "N") == absent.text.replace("999999", "N")

        assert (await http.post(EVALUATION, json={"flagKey": "mine", "entityID": "u"})).json()["variantKey"]
        for question in ({"flagKey": "secret"}, {"flagID": secret}, {"flagKey": str(secret)}):
            answer = (await http.post(EVALUATION, json={**question, "entityID": "u", "enableDebug": True})).json()
            nothing = (await http.post(EVALUATION, json={"flagKey": "none", "flagID": 0, "entityID": "u"})).json()
            for name in ("variantID", "variantKey", "segmentID", "flagSnapshotID", "flagTags", "variantAttachment"):
                assert answer[name] == nothing[name], (question, name)
        batch = await http.post(
            EVALUATION + "/batch",
            json={"entities": [{"entityID": "u"}], "flagTags": ["mine", "secret"], "flagIDs": [mine, secret]},
        )
        assert [result["variantKey"] for result in batch.json()["evaluationResults"]] == [
            "mine-variant",
            "mine-variant",
            None,
        ]
        context = {"context": {"targetingKey": "u"}}
        everything = (await http.post("/ofrep/v1/evaluate/flags", json=context)).json()
        assert [flag["key"] for flag in everything["flags"]] == ["mine"]
        hidden = await http.post("/ofrep/v1/evaluate/flags/secret", json=context)
        absent = await http.post("/ofrep/v1/evaluate/flags/absent", json=context)
        assert hidden.text.replace("secret", "K") == absent.text.replace("absent", "K")
    async with client(server, token()) as http:
        whole = await http.get(EXPORT)
        assert [flag["key"] for flag in whole.json()["flags"]] == ["secret", "mine"]
        assert whole.headers["etag"] != export.headers["etag"]
        assert "private" in whole.headers["cache-control"]


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_a_scope_holds_on_every_stream(server: RunningServer, writer: Writer, scopes: dict[str, Any]) -> None:
    async with sse(server.stream_url, authorization=f"Bearer {token()}") as all_of_it:
        begin = (await _after(all_of_it, writer)).id
    mine, secret = seed(writer)
    await server.pipeline.hub.reached(await server.pipeline.newest_position(), DEADLINE_S)
    credential = {"authorization": f"Bearer {token(**scopes)}"}

    # replay, snapshot and live, each until a change of the flag that is allowed has come
    async with sse(server.stream_url, {"lastEventId": begin, "envelope": "true"}, **credential) as stream:
        writer.toggle(secret)
        writer.toggle(mine)
        keys = await _keys_until(stream, "flag_disabled")
        assert keys == {"mine"}
    async with sse(server.stream_url, {"snapshot": "true"}, **credential) as stream:
        snapshot = await stream.next()
        assert [flag["key"] for flag in snapshot.data["flags"]] == ["mine"]
        writer.toggle(secret)
        writer.toggle(mine)
        assert (await stream.next()).data["key"] == "mine"
    asked_for = {"flag": "secret", "flagID": str(secret), "tag": "secret", "snapshot": "true"}
    async with sse(server.stream_url, {**asked_for, "batchMs": "1"}, **credential) as stream:
        assert (await stream.next()).data["flags"] == []
    for path, wanted in (("/realtime/sse", "flagKey"), ("/ofrep/v1/events", "etag")):
        headers = {**credential, "accept-encoding": "identity"}
        # httpx gives up after 5 s without a byte, which a machine with other work may need for a commit and its event.
        async with (
            httpx.AsyncClient(timeout=DEADLINE_S) as http,
            http.stream("GET", server.url + path, headers=headers) as response,
        ):
            lines = response.aiter_lines()
            while "connected" not in (line := await anext(lines)):
                pass
            writer.toggle(secret)
            writer.run(f"update flags set description = description || '!' where id in ({secret}, {mine})")
            async with asyncio.timeout(DEADLINE_S):
                while wanted not in (line := await anext(lines)):
                    assert "secret" not in line
            assert "secret" not in line

    await server.pipeline.hub.reached(await server.pipeline.newest_position(), DEADLINE_S)
    async with talking(server, token(**scopes)) as socket:
        await ask(socket, type="subscribe", requestId="r", snapshot=True)
        assert [flag["key"] for flag in (await hear(socket))["flags"]] == ["mine"]
        await ask(socket, type="subscribe", flags=["secret"], tags=["secret"], flagIDs=[secret], lastEventId=begin)
        writer.toggle(secret)
        writer.toggle(mine)
        assert (await hear(socket))["flagKey"] == "mine"
        await hear(socket)
        answer = await ask(socket, type="evaluate", flagKey="secret", entityID="u", enableDebug=True)
        assert (answer["result"]["variantKey"], answer["result"]["flagTags"]) == (None, [])
        assert "not found" in answer["result"]["evalDebugLog"]["msg"]
        found = await ask(socket, type="evaluate_batch", flagTags=["secret"], flagKeys=["secret"], entities=[{}])
        assert [result["variantKey"] for result in found["results"]] == [None]


async def _after(stream: Any, writer: Writer) -> Any:
    writer.run(f"delete from flags where id = {writer.flag('first')}")
    await stream.next()
    return await stream.next()


async def _keys_until(stream: Any, type: str) -> set[str]:
    keys = set()
    while True:
        event = await stream.next()
        keys.add(event.data["flagKey"])
        if event.type == type:
            return keys


async def test_a_flag_that_loses_its_tag_is_told_as_deleted(server: RunningServer, writer: Writer) -> None:
    id = writer.flag("a", enabled=True)
    writer.tag(id, "t")
    credential = token(tags=["t"])
    async with (
        sse(server.stream_url, {"snapshot": "true"}, authorization=f"Bearer {credential}") as stream,
        talking(server, credential) as socket,
    ):
        assert len((await stream.next()).data["flags"]) == 1
        await ask(socket, type="subscribe")
        writer.run(f"delete from flags_tags where flag_id = {id}", f"update flags set notes = 'new' where id = {id}")
        left = await stream.next()
        assert (left.type, left.data) == ("flag_deleted", {"key": "a", "id": id})
        assert (await hear(socket)).keys() == {"type", "id", "flagKey", "flagID", "schema", "committedAt"}
        writer.run(f"update flags set notes = 'hidden' where id = {id}")
        writer.tag(id, "t")
        back = await stream.next()
        assert (back.type, back.data["notes"]) == ("flag_updated", "hidden")
    # and the same from the log
    async with sse(server.stream_url, {"lastEventId": left.id}, authorization=f"Bearer {credential}") as stream:
        assert (await stream.next()).id == back.id


async def test_tables_and_other_tenants_need_their_own_right(database_url: str, writer: Writer) -> None:
    writer.run("create schema tenant_7")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set search_path = tenant_7")
        connection.execute(flagent_tables())
        connection.execute("select flagent_cdc.attach('tenant_7')")
        connection.execute("insert into flags (key, description, enabled, created_at) values ('t', '', true, now())")
    async with serving(database_url, auth_jwt_secret=SECRET) as server:
        writer.flag("p", enabled=True)
        async with client(server, token(schemas=["tenant_7"])) as http:
            assert [flag["key"] for flag in (await http.get("/api/v1/flags")).json()] == ["t"]
            refused = await http.get("/api/v1/flags", params={"schema": "public"})
            assert refused.status_code == 404
            assert "tenant_7" in refused.json()["detail"]
            assert (await http.get("/api/v1/flags", params={"schema": "nope"})).text == refused.text.replace(
                "'public'", "'nope'"
            )
            hidden = await http.post(EVALUATION, params={"schema": "public"}, json={"flagKey": "p", "entityID": "u"})
            assert "not found" in hidden.json()["evalDebugLog"]["msg"]
        async with client(server, token(schemas=["public"])) as http:
            refused = await http.get("/api/v1/flags", params={"schema": "tenant_7"})
            assert "attached: public" in refused.json()["detail"]
        credential = f"Bearer {token(schemas=['tenant_7'])}"
        async with sse(server.stream_url, {"snapshot": "true"}, authorization=credential) as stream:
            assert [flag["key"] for flag in (await stream.next()).data["flags"]] == ["t"]


async def test_a_dependency_that_is_hidden_counts_and_is_not_told(server: RunningServer, writer: Writer) -> None:
    mine, secret = seed(writer)
    writer.run(f"""update flags set depends_on = '["secret"]' where id = {mine}""")
    async with client(server, token(flags=["mine"])) as http:
        question = {"flagKey": "mine", "entityID": "u", "enableDebug": True}

        async def variant() -> Any:
            return (await http.post(EVALUATION, json=question)).json()["variantKey"]

        await server.pipeline.hub.reached(await server.pipeline.newest_position(), DEADLINE_S)
        assert await variant() == "mine-variant"
        writer.toggle(secret)
        await server.pipeline.hub.reached(await server.pipeline.newest_position(), DEADLINE_S)
        blocked = (await http.post(EVALUATION, json=question)).json()
        assert blocked["variantKey"] is None
        assert "secret" not in json.dumps(blocked)


async def test_evaluation_is_a_right_of_its_own(server: RunningServer, writer: Writer) -> None:
    writer.flag("a", enabled=True)
    credential = token(evaluate=False)
    async with client(server, credential) as http:
        for path in (EVALUATION, EVALUATION + "/batch", "/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/a"):
            refused = await http.post(path, json={})
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed"), path
        assert (await http.get("/api/v1/flags")).status_code == 200
    async with talking(server, credential) as socket:
        for type in ("evaluate", "evaluate_batch"):
            assert (await ask(socket, type=type))["code"] == "not_allowed"


async def test_a_restricted_stream_has_no_digest(memory_log: MemoryLog) -> None:
    async with serving(
        memory_log, auth_jwt_secret=SECRET, sse_keep_alive_s=0.2, websocket_ping_interval_s=0.2
    ) as server:
        cases: tuple[tuple[dict[str, Any], bool], ...] = (({}, True), ({"flags": ["*"]}, False))
        for scopes, has_digest in cases:
            async with sse(server.stream_url, authorization=f"Bearer {token(**scopes)}") as stream:
                while not any("keep-alive" in comment for comment in stream.comments):
                    await stream.next_block()
                assert any("digest" in comment for comment in stream.comments) is has_digest
            async with talking(server, token(**scopes)) as socket:
                await ask(socket, type="subscribe")
                beat = await receive(socket, "heartbeat")
                assert ("digest" in beat) is has_digest
