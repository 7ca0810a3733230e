"""The flags as they were, over every surface that can be asked about the past."""

import asyncio
import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect

from cdc.admin.installation import migrate
from cdc.core.log.position import Position
from cdc.database.queries import flagent_tables
from tests.fixtures.flags import Writer
from tests.fixtures.history import history, newest
from tests.fixtures.random_writer import writing
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, until
from tests.fixtures.websocket import receive

SECRET = "a secret of more than thirty-two bytes"


def client(server: RunningServer, **scopes: Any) -> httpx.AsyncClient:
    token = jwt.encode({"sub": "u", "exp": time.time() + 300, "flagent_cdc": scopes}, SECRET, "HS256")
    return httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=DEADLINE_S)


def clock(writer: Writer) -> str:
    """A time of the database that no commit shares with it."""
    row = writer.connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    found: datetime = row[0]
    return (found.astimezone(UTC) + timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")


async def flags_at(http: httpx.AsyncClient, at: object, **parameters: Any) -> list[dict[str, Any]]:
    response = await http.get("/api/v1/flags", params={"at": str(at), "preload": "true", **parameters})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


async def refused(http: httpx.AsyncClient, at: object, path: str = "/api/v1/flags") -> dict[str, Any]:
    response = await http.get(path, params={"at": str(at)})
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    return problem


async def test_the_flags_of_any_moment_are_what_they_were_then(server: RunningServer, database_url: str) -> None:
    hub = server.pipeline.hub
    states: dict[int, list[dict[str, Any]]] = {}
    with writing(database_url, seed=7, count=2) as writers:
        for _ in range(15):
            # Nothing is awaited in between: this is the catalog as of its position.
            position = int(hub.catalog.position)
            states[position] = [dict(flag) for _, flag in hub.catalog.flags("public")][::-1]
            assert await hub.reached(Position(position + 8), DEADLINE_S)
    assert not [failure for each in writers for failure in each.failures]
    assert len({json.dumps(state) for state in states.values()}) > 8
    with Writer(database_url) as writer:
        times: dict[int, datetime] = dict(
            writer.connection.execute("select position, committed_at from flagent_cdc.commit_log").fetchall()
        )
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        for position, state in random.Random(8).sample(list(states.items()), len(states)):
            for at in (str(position), f"{position}@{hub.catalog.log}", times[position].isoformat()):
                assert await flags_at(http, at) == state, at


async def test_a_flag_and_what_a_user_got_yesterday(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.static_flag("checkout", "new", "old")
        before = newest(writer)
        at = clock(writer)
        writer.run("update distributions set variant_id = 2, variant_key = 'old'")
        writer.run(f"update flags set description = 'changed' where id = {flag}")
        deleted = newest(writer) + 1
        writer.run(f"delete from flags where id = {flag}")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        was = await http.get(f"/api/v1/flags/{flag}", params={"at": at})
        assert (was.status_code, was.json()["description"]) == (200, "")
        assert was.headers["flagent-position"] == f"{before}@{server.pipeline.hub.catalog.log}"
        assert (await http.get(f"/api/v1/flags/{flag}", params={"at": deleted})).status_code == 404
        question = {"flagKey": "checkout", "entityID": "u"}
        for moment, variant in ((at, "new"), (before, "new"), (deleted - 1, "old"), (deleted, None)):
            answer = await http.post("/api/v1/evaluation", json={**question, "at": moment})
            assert (answer.status_code, answer.json()["variantKey"]) == (200, variant), moment
            batch = {"entities": [{"entityID": "u"}], "flagKeys": ["checkout"], "at": moment}
            (result,) = (await http.post("/api/v1/evaluation/batch", json=batch)).json()["evaluationResults"]
            assert result["variantKey"] == variant
        async with connect(server.websocket_url) as socket:
            for moment, variant in ((at, "new"), (str(before), "new"), (deleted - 1, "old")):
                await socket.send(json.dumps({"type": "evaluate", **question, "at": moment}))
                told = await receive(socket)
                assert told["result"]["variantKey"] == variant
                assert int(told["position"]) in (before, deleted - 1)
            batch = {"type": "evaluate_batch", "entities": [{"entityID": "u"}], "flagKeys": ["checkout"], "at": before}
            await socket.send(json.dumps(batch))
            told = await receive(socket)
            assert [result["variantKey"] for result in told["results"]] == ["new"]


async def test_what_the_log_no_longer_holds_is_gone_and_says_where_it_begins(
    server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        early = clock(writer)
        for number in range(6):
            writer.flag(f"f{number}")
        cut = newest(writer) - 2
        writer.run(
            "delete from flagent_cdc.change_log where transaction_group in"
            f" (select transaction_group from flagent_cdc.commit_log where position < {cut})",
            f"delete from flagent_cdc.commit_log where position < {cut}",
        )
        row = writer.connection.execute("select min(position) from flagent_cdc.commit_log").fetchone()
    assert row == (cut,)
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        assert len(await flags_at(http, cut - 1)) == 3
        for at in (cut - 2, 0, early, "2001-01-01T00:00:00Z"):
            problem = await refused(http, at)
            assert (problem["status"], problem["code"], problem["oldestPosition"]) == (410, "pruned", str(cut)), at
            assert len(await flags_at(http, problem["oldestTime"])) == 4
        problem = await refused(http, "1@zzzzzz")
        assert (problem["status"], problem["code"], problem["oldestPosition"]) == (410, "log_replaced", str(cut))


async def test_behind_an_attach_nothing_is_known(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        row = writer.connection.execute("select min(position) from flagent_cdc.commit_log").fetchone()
        assert row is not None
        writer.flag("a")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        assert await flags_at(http, row[0]) == []
        problem = await refused(http, row[0] - 1)
        assert (problem["status"], problem["code"], problem["oldestPosition"]) == (410, "pruned", str(row[0]))


async def test_an_attachment_ends_the_past_of_its_schema_alone(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        before = newest(writer)
        writer.run("create schema tenant", "set local search_path = tenant", flagent_tables())
        await asyncio.to_thread(migrate, database_url, ["tenant"])
        attached = newest(writer)
        writer.run(
            "set local search_path = tenant", "insert into flags (key, description, created_at) values ('t', '', now())"
        )
        writer.run("update flags set description = 'later' where key = 'a'")
        await until(lambda: server.pipeline.hub.catalog.position == newest(writer), "the last commit")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        assert [flag["description"] for flag in await flags_at(http, before)] == [""]
        assert await flags_at(http, attached, schema="tenant") == []
        response = await http.get("/api/v1/flags", params={"at": str(before), "schema": "tenant"})
        assert (response.status_code, response.json()["code"]) == (410, "pruned")
        assert response.json()["oldestPosition"] == str(attached)
        assert "schema tenant" in response.json()["detail"]
        question = {"flagKey": "t", "entityID": "u", "at": str(before)}
        answer = await http.post("/api/v1/evaluation", params={"schema": "tenant"}, json=question)
        assert (answer.status_code, answer.json()["code"]) == (410, "pruned")
        assert (await http.post("/api/v1/evaluation", json=question | {"flagKey": "a"})).status_code == 200
        # The history of a flag goes on behind it; that of the schema's own flags ends there.
        assert [entry["after"]["description"] for entry in await history(http, "a")] == ["later", ""]
        own = (await http.get("/api/v1/flags/t/history", params={"schema": "tenant"})).json()
        assert (len(own["changes"]), own["next"]) == (1, None)
        assert f"tenant was attached at position {attached}" in own["endsBecause"]


async def test_the_future_and_nonsense_are_refused_by_name(
    server: RunningServer, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        ahead = newest(writer) + 1
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        for at, code in (
            (ahead, "in_the_future"),
            ("2999-01-01T00:00:00Z", "in_the_future"),
            ("yesterday", "invalid_moment"),
        ):
            problem = await refused(http, at)
            assert (problem["status"], problem["code"], problem["parameter"]) == (400, code, "at")
            assert not caplog.records, "what a client did wrong is no error of the server"
            answer = await http.post("/api/v1/evaluation", json={"flagKey": "a", "entityID": "u", "at": at})
            assert (answer.status_code, answer.json()["code"]) == (400, code)
        async with connect(server.websocket_url) as socket:
            for fields, code in (
                ({"at": ahead}, "in_the_future"),
                ({"at": "0@zzzzzz"}, "log_replaced"),
                ({"at": 1, "minPosition": 1}, "invalid_parameter"),
            ):
                await socket.send(json.dumps({"type": "evaluate", "requestId": "q", "flagKey": "a", **fields}))
                told = await receive(socket)
                assert (told["type"], told["code"], told["requestId"]) == ("error", code, "q")


async def test_the_way_back_is_bounded(database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = newest(writer)
        for number in range(30):
            writer.flag(f"f{number}")
    async with (
        serving(database_url, pipeline_replay_limit=10) as server,
        httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http,
    ):
        assert len(await flags_at(http, begin + 22)) == 22
        # What was reached is kept, and the next one goes on from there.
        assert len(await flags_at(http, begin + 14)) == 14
        server.pipeline.past._drop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cdc.history.rewind._PAGE_CHANGES", 5)
            problem = await refused(http, begin + 14)
        assert (problem["status"], problem["code"]) == (422, "too_far_back")
        assert "FLAGENT_CDC_REPLAY_LIMIT" in problem["detail"]


async def test_too_many_questions_at_once_are_sent_away(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = newest(writer)
        for number in range(40):
            writer.flag(f"f{number}")
        with writer.connection.transaction():
            # Whoever is asked now must wait.
            writer.connection.execute("lock table flagent_cdc.commit_log in access exclusive mode")
            async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
                asked = [asyncio.create_task(http.get(f"/api/v1/flags?at={begin + n}")) for n in range(40)]
                done, waiting = await asyncio.wait(asked, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
                refused = next(iter(done)).result()
                assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")
                assert refused.headers["retry-after"] == "1"
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)


async def test_without_the_database_the_past_cannot_be_asked_about(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        position = newest(writer)
        writer.run("alter table flagent_cdc.commit_log rename to elsewhere")
        async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
            problem = await refused(http, position)
        assert (problem["status"], problem["code"]) == (503, "database_unavailable")
        assert "commit_log" not in json.dumps(problem)


async def test_a_scope_holds_in_the_past_as_it_stood_then(database_url: str) -> None:
    with Writer(database_url) as writer:
        shown, hidden = writer.static_flag("web-a", "on"), writer.static_flag("api-a", "on")
        tagged = writer.flag("api-b", enabled=True)
        writer.tag(tagged, "web")
        then = newest(writer)
        writer.run("delete from flags_tags")
        async with serving(database_url, auth_jwt_secret=SECRET) as server:
            async with client(server, flags=["web-*"]) as http:
                assert [flag["id"] for flag in await flags_at(http, then)] == [shown]
                assert (await http.get(f"/api/v1/flags/{hidden}?at={then}")).status_code == 404
                for key, variant in (("web-a", "on"), ("api-a", None)):
                    question = {"flagKey": key, "entityID": "u", "at": then}
                    assert (await http.post("/api/v1/evaluation", json=question)).json()["variantKey"] == variant
            async with client(server, tags=["web"]) as http:
                assert [flag["id"] for flag in await flags_at(http, then)] == [tagged]
                assert (await http.get("/api/v1/flags")).json() == []
                left, came = await history(http, "api-b")
                assert (left["events"], left["after"]) == (["flag_deleted"], None)
                assert (came["events"], came["before"]) == (["flag_created"], None)
                assert left["before"]["id"] == came["after"]["id"] == tagged
                assert await history(http, "web-a") == []
            async with client(server, schemas=["tenant"]) as http:
                assert await history(http, "web-a") == []
                assert await flags_at(http, then) == []
