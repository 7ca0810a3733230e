"""Which requests and streams are authorized, and what a scope shows: a real server, a real database, a real socket."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import (
    EVALUATION,
    EXPORT,
    SECRET,
    ask,
    client,
    hear,
    token,
    token_for,
)
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse, until


async def test_without_a_credential_nothing_is_open_but_health(either_memory_server: RunningServer) -> None:
    async with client(either_memory_server) as http:
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
    async with client(either_memory_server, token(admin=True)) as http:
        assert "listener" in (await http.get("/readyz")).json()


async def test_a_wrong_credential_is_refused_everywhere(either_memory_server: RunningServer) -> None:
    wrong = jwt.encode({"exp": time.time() + 60, "flagent_cdc": {}}, SECRET + "!", "HS256")
    for credential in (wrong, token_for(-60, {}), "fla_cdc_aaaaaaaa_" + "x" * 43, "nonsense"):
        async with client(either_memory_server) as http:
            for path in ("/api/v1/events/stream", "/realtime/sse", "/api/v1/flags"):
                for headers in ({"authorization": f"Bearer {credential}"}, {"x-api-key": credential}):
                    refused = await http.get(path, headers=headers)
                    assert refused.status_code == 401, (path, headers)
                    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
                    assert credential not in refused.text
        with pytest.raises(InvalidStatus) as caught:
            async with connect(either_memory_server.websocket_url, additional_headers={"x-api-key": credential}):
                pass
        assert caught.value.response.status_code == 401


async def test_a_first_message_may_bring_the_credential(either_server: RunningServer, writer: Writer) -> None:
    async with connect(either_server.websocket_url) as socket:
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
async def test_another_first_message_ends_the_connection(
    either_memory_server: RunningServer, message: dict[str, Any]
) -> None:
    async with connect(either_memory_server.websocket_url) as socket:
        told = await ask(socket, **message)
        assert told["type"] == "error"
        assert told["code"] in ("credential_missing", "invalid_credential")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4401


async def test_a_connection_that_brings_no_credential_is_closed(
    either_memory_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streams.websocket_session._CREDENTIAL_WAIT_S", 1.0)
    async with connect(either_memory_server.websocket_url) as socket:
        async with asyncio.timeout(10):
            assert (await hear(socket))["code"] == "credential_missing"
            await socket.wait_closed()
        assert socket.close_code == 4401
    await until(lambda: either_memory_server.pipeline.hub.subscriber_count == 0, "its leaving")


async def test_where_nobody_is_asked_credentials_do_no_harm(memory_log: MemoryLog) -> None:
    async with serving(memory_log) as server, client(server, "whatever") as http:
        assert (await http.get("/api/v1/flags")).status_code == 200
        given = (await http.post("/api/v1/stream-tokens")).json()["token"]
        async with sse(server.stream_url, {"token": given}), connect(server.websocket_url) as socket:
            assert (await ask(socket, type="auth", token="whatever"))["type"] == "authenticated"
            assert (await ask(socket, type="subscribe"))["type"] == "subscribed"


async def test_present_clients_find_only_their_own_paths_open(memory_log: MemoryLog) -> None:
    async with serving(memory_log, auth_jwt_secret=SECRET, auth_open_realtime=True) as server, client(server) as http:
        assert (await http.get(EXPORT)).status_code == 200
        async with sse(server.url + "/realtime/sse"), sse(server.url + "/api/v1/realtime/sse"):
            pass
        for path in ("/api/v1/flags", "/api/v1/events/stream", "/ofrep/v1/events"):
            assert (await http.get(path)).status_code == 401


async def test_a_surface_that_does_not_know_restrictions_is_closed_to_them(memory_server: RunningServer) -> None:
    cases: tuple[tuple[dict[str, Any], int], ...] = (({"flags": ["a"]}, 403), ({}, 404))
    for scopes, status in cases:
        async with client(memory_server, token(**scopes)) as http:
            assert (await http.get("/api/v1/something-new")).status_code == status


@pytest.mark.parametrize(
    "scopes",
    [{"admin": True, "flags": [], "tables": []}, {"admin": True, "schemas": []}, {"admin": True, "tags": []}],
    ids=str,
)
async def test_the_right_admin_alone_opens_the_inside_and_nothing_else(
    either_memory_server: RunningServer, scopes: dict[str, Any]
) -> None:
    server, credential = either_memory_server, token(**scopes)
    application: Any = server.uvicorn.config.app
    inside, public = {"/metrics", "/api/v1/status"}, {"/readyz", *PUBLIC}
    seen = 0
    async with client(server, credential) as http:
        for path in inside:
            assert (await http.get(path)).status_code == 200, path
        assert "listener" in (await http.get("/readyz")).json()
        for path, methods in application.web.openapi()["paths"].items():
            if path in inside | public:
                continue
            for method in methods:
                filled = re.sub(r"\{\w+\}", "1", path)
                refused = await http.request(method, filled, json={} if method == "post" else None)
                assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed"), (method, path)
                seen += 1
        for path in ("/api/v1/events/stream", "/realtime/sse", "/api/v1/realtime/sse", "/ofrep/v1/events", "/no/such"):
            refused = await http.get(path)
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed"), path
    assert seen > 10
    with pytest.raises(InvalidStatus) as caught:
        async with connect(server.websocket_url, additional_headers={"x-api-key": credential}):
            pass
    assert caught.value.response.status_code == 403
    async with connect(server.websocket_url) as socket:
        assert (await ask(socket, type="auth", token=credential))["code"] == "not_allowed"
        await socket.wait_closed()
        assert socket.close_code == 4401


PUBLIC = (
    "/",
    "/healthz",
    "/api/v1/health",
    "/api/v1/info",
    "/realtime/sse/health",
    "/api/v1/realtime/sse/health",
    "/docs",
    "/docs/oauth2-redirect",
    "/openapi.json",
)


async def test_the_right_admin_beside_scopes_opens_the_inside_too(memory_server: RunningServer) -> None:
    async with client(memory_server, token(admin=True, flags=["a"])) as http:
        for path in ("/metrics", "/api/v1/status", "/api/v1/flags"):
            assert (await http.get(path)).status_code == 200, path
    without: tuple[dict[str, Any], ...] = ({"flags": ["a"]}, {"flags": [], "tables": []}, {})
    for scopes in without:
        async with client(memory_server, token(**scopes)) as http:
            for path in ("/metrics", "/api/v1/status"):
                assert (await http.get(path)).status_code == 403, (scopes, path)


async def test_a_token_of_a_newly_published_key_is_let_in_soon(
    memory_log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    async with serving(memory_log, auth_jwt_jwks=str(tmp_path / "jwks.json")) as server:

        async def status(kid: str) -> int:
            async with client(server, signed[kid]) as http:
                return (await http.get("/api/v1/flags")).status_code

        assert (await status("old"), await status("new")) == (200, 401)
        publish("new")

        async def is_let_in() -> bool:
            return await status("new") == 200

        await until(is_let_in, "the new key's being read")
        assert await status("old") == 401
