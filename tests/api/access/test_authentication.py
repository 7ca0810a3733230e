"""Who is let in, what each may see, and when that ends: a real server, a real database, a real socket."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from cdc.admin.api_keys import create_key, revoke_key
from cdc.core.subscription.grant import Grant
from cdc.database.queries import flagent_tables
from cdc.observe import log_format as logs
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse, until

SECRET = "a secret of more than thirty-two bytes"

EVALUATION = "/api/v1/evaluation"
EXPORT = "/api/v1/export/eval_cache/json"


def token(**scopes: Any) -> str:
    """What an identity provider would issue."""
    return token_for(300, scopes)


def token_for(lives_s: float, scopes: dict[str, Any]) -> str:
    return jwt.encode({"sub": "u", "exp": time.time() + lives_s, "flagent_cdc": scopes}, SECRET, "HS256")


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


def client(server: RunningServer, credential: str | None = None) -> httpx.AsyncClient:
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=DEADLINE_S)


async def hear(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["type"] != "heartbeat":
                return message


async def ask(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    await socket.send(json.dumps(message))
    return await hear(socket)


@asynccontextmanager
async def talking(server: RunningServer, credential: str) -> AsyncIterator[ClientConnection]:
    headers = {"authorization": f"Bearer {credential}"}
    url = server.websocket_url
    async with connect(url, additional_headers=headers, max_size=None, open_timeout=DEADLINE_S) as socket:
        yield socket


# -- ways to come in -------------------------------------------------------------------------------------------------


async def test_without_a_credential_nothing_is_open_but_health(server: RunningServer) -> None:
    async with client(server) as http:
        for path in (
            "/api/v1/events/stream",
            "/realtime/sse",
            "/ofrep/v1/events",
            "/api/v1/flags",
            "/api/v1/flags/1",
            EXPORT,
            "/no/such/path",
        ):
            refused = await http.get(path)
            assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json"), path
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert refused.json()["code"] == "credential_missing"
        for path in (EVALUATION, "/api/v1/evaluation/batch", "/ofrep/v1/evaluate/flags", "/api/v1/stream-tokens"):
            assert (await http.post(path, json={})).status_code == 401, path
        for path in ("/healthz", "/api/v1/health", "/api/v1/info", "/realtime/sse/health", "/openapi.json"):
            assert (await http.get(path)).status_code == 200, path
        assert (await http.get("/readyz")).json().keys() == {"ready", "loaded", "fresh"}
    async with client(server, token(admin=True)) as http:
        assert "listener" in (await http.get("/readyz")).json()


async def test_a_wrong_credential_is_refused_everywhere(server: RunningServer) -> None:
    wrong = jwt.encode({"exp": time.time() + 60, "flagent_cdc": {}}, SECRET + "!", "HS256")
    for credential in (wrong, token_for(-60, {}), "fla_cdc_aaaaaaaa_" + "x" * 43, "nonsense"):
        async with client(server) as http:
            for path in ("/api/v1/events/stream", "/realtime/sse", "/api/v1/flags"):
                for headers in ({"authorization": f"Bearer {credential}"}, {"x-api-key": credential}):
                    refused = await http.get(path, headers=headers)
                    assert refused.status_code == 401, (path, headers)
                    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
                    assert credential not in refused.text
        with pytest.raises(InvalidStatus) as caught:
            async with connect(server.websocket_url, additional_headers={"x-api-key": credential}):
                pass
        assert caught.value.response.status_code == 401


@pytest.mark.parametrize("kind", ["api key", "token"])
async def test_every_way_to_send_a_credential_opens_a_stream(
    server: RunningServer, database_url: str, kind: str
) -> None:
    credential = token() if kind == "token" else create_key(database_url, "k", Grant())
    if kind == "api key":
        await until_known(server, credential)
    for name, value in (
        ("authorization", f"Bearer {credential}"),
        ("x-api-key", credential),
        ("cookie", f"other=1; access_token={credential}"),
    ):
        async with sse(server.stream_url, **{name: value}):
            pass
        async with connect(server.websocket_url, additional_headers={name: value}) as socket:
            assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
        async with client(server) as http:
            assert (await http.get("/api/v1/flags", headers={name: value})).status_code == 200


async def until_known(server: RunningServer, credential: str) -> None:
    async def is_known() -> bool:
        async with client(server, credential) as http:
            return (await http.get("/api/v1/flags")).status_code != 401

    await until(is_known, "the key's being read")


async def test_a_browser_sends_its_key_as_a_subprotocol_that_is_not_sent_back(server: RunningServer) -> None:
    encoded = base64.urlsafe_b64encode(token().encode()).decode().rstrip("=")
    offers = [Subprotocol("flagent.v1"), Subprotocol(f"flagent.key.{encoded}")]
    async with connect(server.websocket_url, subprotocols=offers) as socket:
        assert socket.subprotocol == "flagent.v1"
        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
    with pytest.raises(InvalidStatus):
        async with connect(server.websocket_url, subprotocols=[offers[0], Subprotocol("flagent.key.bm9uZQ")]):
            pass


async def test_a_first_message_may_bring_the_credential(server: RunningServer, writer: Writer) -> None:
    async with connect(server.websocket_url) as socket:
        told = await ask(socket, type="auth", token=token(flags=["a"]), requestId="r1")
        assert told == {"type": "authenticated", "requestId": "r1"}
        await ask(socket, type="subscribe", requestId="r2")
        writer.flag("b")
        writer.flag("a")
        assert (await hear(socket))["flagKey"] == "a"
        assert (await ask(socket, type="auth", token=token()))["code"] == "already_authenticated"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscribe"},
        {"type": "evaluate", "flagKey": "a", "entityID": "u"},
        {"type": "ping"},
        {"type": "auth", "token": "nonsense"},
    ],
)
async def test_another_first_message_ends_the_connection(server: RunningServer, message: dict[str, Any]) -> None:
    async with connect(server.websocket_url) as socket:
        told = await ask(socket, **message)
        assert told["type"] == "error"
        assert told["code"] in ("credential_missing", "invalid_credential")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4401


async def test_a_connection_that_brings_no_credential_is_closed(server: RunningServer) -> None:
    async with connect(server.websocket_url) as socket:
        async with asyncio.timeout(10):
            assert (await hear(socket))["code"] == "credential_missing"
            await socket.wait_closed()
        assert socket.close_code == 4401
    await until(lambda: server.pipeline.hub.subscriber_count == 0, "its leaving")


async def test_a_stream_token_opens_one_stream_with_the_rights_behind_it(server: RunningServer, writer: Writer) -> None:
    async with client(server, token(flags=["a"])) as http:
        given = (await http.post("/api/v1/stream-tokens")).json()["token"]
        other = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with sse(server.stream_url, {"token": given}) as stream:
        writer.flag("b")
        writer.flag("a")
        assert (await stream.next()).data["key"] == "a"
    async with client(server) as http:
        again = await http.get(server.stream_url, params={"token": given})
        assert (again.status_code, again.json()["code"]) == (401, "token_used")
        for path in ("/api/v1/flags", EXPORT):
            assert (await http.get(path, params={"token": other})).status_code == 401
        assert (await http.post("/api/v1/stream-tokens", params={"token": other})).status_code == 401
        lasting = await http.get(server.stream_url, params={"token": token()})
        assert (lasting.status_code, lasting.json()["code"]) == (401, "not_a_stream_token")
    async with connect(f"{server.websocket_url}?token={other}") as socket:
        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"


async def test_where_nobody_is_asked_credentials_do_no_harm(database_url: str) -> None:
    async with serving(database_url) as server, client(server, "whatever") as http:
        assert (await http.get("/api/v1/flags")).status_code == 200
        given = (await http.post("/api/v1/stream-tokens")).json()["token"]
        async with sse(server.stream_url, {"token": given}), connect(server.websocket_url) as socket:
            assert (await ask(socket, type="auth", token="whatever"))["type"] == "authenticated"
            assert (await ask(socket, type="subscribe"))["type"] == "subscribed"


async def test_present_clients_find_only_their_own_paths_open(database_url: str) -> None:
    async with serving(database_url, auth_jwt_secret=SECRET, auth_open_realtime=True) as server, client(server) as http:
        assert (await http.get(EXPORT)).status_code == 200
        async with sse(server.url + "/realtime/sse"), sse(server.url + "/api/v1/realtime/sse"):
            pass
        for path in ("/api/v1/flags", "/api/v1/events/stream", "/ofrep/v1/events"):
            assert (await http.get(path)).status_code == 401


# -- scopes ----------------------------------------------------------------------------------------------------------

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
    one_server: RunningServer, writer: Writer, scopes: dict[str, Any]
) -> None:
    mine, secret = seed(writer)
    async with client(one_server, token(**scopes)) as http:
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
    async with client(one_server, token()) as http:
        whole = await http.get(EXPORT)
        assert [flag["key"] for flag in whole.json()["flags"]] == ["mine", "secret"]
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


async def test_a_dependency_that_is_hidden_counts_and_is_not_told(one_server: RunningServer, writer: Writer) -> None:
    mine, secret = seed(writer)
    writer.run(f"""update flags set depends_on = '["secret"]' where id = {mine}""")
    async with client(one_server, token(flags=["mine"])) as http:
        question = {"flagKey": "mine", "entityID": "u", "enableDebug": True}

        async def variant() -> Any:
            return (await http.post(EVALUATION, json=question)).json()["variantKey"]

        await one_server.pipeline.hub.reached(await one_server.pipeline.newest_position(), DEADLINE_S)
        assert await variant() == "mine-variant"
        writer.toggle(secret)
        await one_server.pipeline.hub.reached(await one_server.pipeline.newest_position(), DEADLINE_S)
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


async def test_a_surface_that_does_not_know_restrictions_is_closed_to_them(one_server: RunningServer) -> None:
    cases: tuple[tuple[dict[str, Any], int], ...] = (({"flags": ["a"]}, 403), ({}, 404))
    for scopes, status in cases:
        async with client(one_server, token(**scopes)) as http:
            assert (await http.get("/api/v1/something-new")).status_code == status


async def test_a_restricted_stream_has_no_digest(database_url: str) -> None:
    async with serving(
        database_url, auth_jwt_secret=SECRET, sse_keep_alive_s=0.2, websocket_ping_interval_s=0.2
    ) as server:
        cases: tuple[tuple[dict[str, Any], bool], ...] = (({}, True), ({"flags": ["*"]}, False))
        for scopes, has_digest in cases:
            async with sse(server.stream_url, authorization=f"Bearer {token(**scopes)}") as stream:
                while not any("keep-alive" in comment for comment in stream.comments):
                    await stream.next_block()
                assert any("digest" in comment for comment in stream.comments) is has_digest
            async with talking(server, token(**scopes)) as socket:
                await ask(socket, type="subscribe")
                beat = json.loads(await socket.recv())
                assert ("digest" in beat) is has_digest


# -- the end of a credential -----------------------------------------------------------------------------------------


async def test_a_revoked_key_ends_its_open_streams_within_seconds(server: RunningServer, database_url: str) -> None:
    kept, lost = (create_key(database_url, name, Grant()) for name in ("kept", "lost"))
    await until_known(server, lost)
    async with client(server, lost) as http:
        browser = (await http.post("/api/v1/stream-tokens")).json()["token"]
        unused = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with (
        sse(server.stream_url, x_api_key=lost) as stream,
        sse(server.stream_url, {"token": browser}) as by_token,
        sse(server.stream_url, x_api_key=kept) as other,
        talking(server, lost) as socket,
    ):
        await ask(socket, type="subscribe")
        started = time.monotonic()
        revoke_key(database_url, lost)
        for ending in (stream, by_token):
            told = await ending.next()
            assert (told.type, told.data["code"], told.id) == ("unauthorized", "credential_revoked", None)
            with pytest.raises(StopAsyncIteration):
                await ending.next()
        assert (await hear(socket))["code"] == "credential_revoked"
        async with asyncio.timeout(DEADLINE_S):
            await socket.wait_closed()
        assert socket.close_code == 4401
        assert time.monotonic() - started < 5
        with Writer(database_url) as writer:
            writer.flag("a")
        assert (await other.next()).type == "flag_created"
    async with client(server, lost) as http:
        refused = await http.get("/api/v1/flags")
        assert (refused.status_code, refused.json()["code"]) == (401, "credential_revoked")
        assert (await http.get(server.stream_url, params={"token": unused})).status_code == 401
    async with client(server) as http:
        refused = await http.get(server.stream_url, params={"token": unused})
        assert (refused.status_code, refused.json()["code"]) == (401, "credential_revoked")


async def test_a_key_that_is_narrowed_by_sql_ends_its_open_streams(
    one_server: RunningServer, database_url: str, writer: Writer
) -> None:
    key = create_key(database_url, "k", Grant())
    await until_known(one_server, key)
    async with sse(one_server.stream_url, x_api_key=key) as stream:
        writer.run("""update flagent_cdc.api_key set scopes = '{"flags": ["a"]}'""")
        assert (await stream.next()).data["code"] == "credential_changed"
    async with sse(one_server.stream_url, x_api_key=key) as stream:
        writer.flag("b")
        writer.flag("a")
        assert (await stream.next()).data["key"] == "a"


async def test_a_token_that_expires_ends_its_open_streams(server: RunningServer) -> None:
    # It ends with the leeway for clocks that differ, of five seconds.
    credential = token_for(-3, {})
    async with client(server, credential) as http:
        browser = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with (
        sse(server.stream_url, authorization=f"Bearer {credential}") as stream,
        sse(server.url + "/api/v1/events/stream", {"token": browser}) as by_token,
        talking(server, credential) as socket,
        connect(server.websocket_url) as late,
    ):
        await ask(late, type="auth", token=credential)
        for ending in (stream, by_token):
            assert (await ending.next()).data["code"] == "credential_expired"
        for connection in (socket, late):
            assert (await hear(connection))["code"] == "credential_expired"
            await connection.wait_closed()
            assert connection.close_code == 4401
    await until(lambda: server.pipeline.hub.subscriber_count == 0, "their leaving")


async def test_a_token_of_a_newly_published_key_is_let_in_soon(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.auth.authenticator._JWKS_PAUSE_S", 0.1)
    keys = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("old", "new")}

    def publish(*kids: str) -> None:
        entries = []
        for kid in kids:
            public = jwt.get_algorithm_by_name("ES256").to_jwk(keys[kid].public_key())
            entries.append({**json.loads(public), "kid": kid})
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": entries}))

    publish("old")
    claims = {"exp": time.time() + 300, "flagent_cdc": {}}
    signed = {kid: jwt.encode(claims, keys[kid], "ES256", {"kid": kid}) for kid in keys}
    async with serving(database_url, auth_jwt_jwks=str(tmp_path / "jwks.json")) as server:

        async def status(kid: str) -> int:
            async with client(server, signed[kid]) as http:
                return (await http.get("/api/v1/flags")).status_code

        assert (await status("old"), await status("new")) == (200, 401)
        publish("new")

        async def is_let_in() -> bool:
            return await status("new") == 200

        await until(is_let_in, "the new key's being read")
        assert await status("old") == 401


# -- browsers --------------------------------------------------------------------------------------------------------

PAGE = "https://app.example.com"


async def test_pages_of_the_list_may_read_and_others_may_not(database_url: str) -> None:
    for with_handover in (True, False):
        async with (
            serving(
                database_url, auth_jwt_secret=SECRET, web_cors_origins=(PAGE,), with_handover=with_handover
            ) as server,
            client(server, token()) as http,
        ):
            for path in ("/api/v1/flags", "/api/v1/events/stream", "/realtime/sse"):
                for origin, is_allowed in ((PAGE, True), ("https://evil.example.com", False), ("null", False)):
                    async with http.stream("GET", path, headers={"origin": origin}) as response:
                        assert response.status_code == 200
                        assert response.headers.get("access-control-allow-origin") == (origin if is_allowed else None)
                        assert "origin" in response.headers["vary"]
                        if is_allowed:
                            assert response.headers["access-control-allow-credentials"] == "true"
                            exposed = response.headers["access-control-expose-headers"]
                            assert {"ETag", "Retry-After", "X-Total-Count"} <= set(exposed.split(", "))
                        assert response.headers["x-content-type-options"] == "nosniff"
            refused = await http.get("/api/v1/events/stream", headers={"origin": PAGE, "authorization": "Bearer x"})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_a_preflight_needs_no_credential(one_server: RunningServer, database_url: str) -> None:
    async with (
        serving(database_url, auth_jwt_secret=SECRET, web_cors_origins=(PAGE,)) as server,
        client(server) as http,
    ):
        asked = {"origin": PAGE, "access-control-request-method": "GET"}
        for path in ("/api/v1/events/stream", "/api/v1/flags"):
            answer = await http.options(path, headers=asked)
            assert answer.status_code == 204
            allowed = answer.headers["access-control-allow-headers"].split(", ")
            assert {"X-API-Key", "Authorization", "Last-Event-ID", "Content-Type"} <= set(allowed)
        refused = await http.options("/api/v1/flags", headers={**asked, "origin": "https://evil.example.com"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


async def test_any_page_may_read_without_cookies_where_all_are_allowed(database_url: str) -> None:
    async with serving(database_url, auth_jwt_secret=SECRET, web_cors_origins=("*",)) as server:
        async with client(server, token()) as http:
            answer = await http.get("/api/v1/flags", headers={"origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_elsewhere_may_not_open_a_websocket(database_url: str) -> None:
    for with_handover in (True, False):
        for asks in (True, False):
            settings: dict[str, Any] = {"auth_jwt_secret": SECRET} if asks else {}
            async with serving(
                database_url, with_handover=with_handover, web_cors_origins=(PAGE,), **settings
            ) as server:
                cookie = {"cookie": f"access_token={token()}"}
                local = Origin("http://localhost:5173")
                allowed = [None, Origin(PAGE), Origin(server.url), *([] if asks else [local])]
                for origin in allowed:
                    async with connect(server.websocket_url, origin=origin, additional_headers=cookie) as socket:
                        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
                for origin in (Origin("https://evil.example.com"), Origin("null"), *([local] if asks else [])):
                    with pytest.raises(InvalidStatus) as caught:
                        async with connect(server.websocket_url, origin=origin, additional_headers=cookie):
                            pass
                    assert caught.value.response.status_code == 403


async def test_answers_say_that_they_are_data(one_server: RunningServer) -> None:
    async with client(one_server, token()) as http:
        answer = await http.get("/api/v1/flags")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "content-security-policy" not in (await http.get("/docs")).headers


# -- logs ------------------------------------------------------------------------------------------------------------


class Record(logging.Handler):
    """Every record as it would be written, in both forms."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {vars(record)}")


@pytest.fixture
def everything_logged() -> Iterator[Record]:
    """All that is logged at the most talkative level that can be chosen."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("uvicorn", "httpx2", "httpcore2", "alembic")}
    logs.configure("debug", "text")
    record = Record()
    root.addHandler(record)
    # The test's own clients are no part of the server.
    for name in ("httpx", "httpcore", "websockets.client"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield record
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize("with_handover", [True, False], ids=["handed over", "through ASGI"])
async def test_no_credential_is_ever_logged(everything_logged: Record, database_url: str, with_handover: bool) -> None:
    key, wrong = create_key(database_url, "k", Grant()), "fla_cdc_aaaaaaaa_" + "x" * 43
    good = token()
    secrets = [key, wrong, good]
    async with serving(
        database_url, with_handover=with_handover, auth_jwt_secret=SECRET, sse_keep_alive_s=0.2
    ) as server:
        async with client(server, key) as http:
            given = (await http.post("/api/v1/stream-tokens")).json()["token"]
            secrets.append(given)
        async with sse(server.stream_url, {"token": given}):
            pass
        for credential in (key, wrong, good, given):
            for headers in (
                {"authorization": f"Bearer {credential}"},
                {"x-api-key": credential},
                {"cookie": f"access_token={credential}"},
            ):
                async with client(server) as http:
                    for path in ("/api/v1/flags", "/api/v1/events/stream"):
                        async with http.stream("GET", path, headers=headers):
                            pass
                try:
                    async with connect(server.websocket_url, additional_headers=headers) as socket:
                        await ask(socket, type="subscribe")
                except InvalidStatus:
                    assert credential in (wrong, given)
            encoded = base64.urlsafe_b64encode(credential.encode()).decode().rstrip("=")
            secrets.append(encoded)
            offers = [Subprotocol("flagent.v1"), Subprotocol(f"flagent.key.{encoded}")]
            try:
                async with connect(server.websocket_url, subprotocols=offers):
                    pass
            except InvalidStatus:
                assert credential in (wrong, given)
            for path in (f"?token={credential}", f"?snapshot=x&token={credential}"):
                async with client(server) as http:
                    await http.get(server.stream_url + path)
                with pytest.raises(InvalidStatus):
                    async with connect(server.websocket_url + path):
                        pass
            async with connect(server.websocket_url) as socket:
                await ask(socket, type="auth", token=credential)
            async with connect(server.websocket_url) as socket:
                await socket.send(json.dumps({"type": "auth", "tokn": credential}))
                await hear(socket)
        revoke_key(database_url, key)
    assert any("keys_read" in line for line in everything_logged.lines)
    for line in everything_logged.lines:
        for secret in (*secrets, SECRET):
            assert secret not in line
            # A random part may have an underscore near its end; what stands behind it then is in many a line.
            assert len(secret.rpartition("_")[2]) < 16 or secret.rpartition("_")[2] not in line
