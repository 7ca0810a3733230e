"""Stream tokens, for clients that cannot send headers."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cdc.admin.api_keys import create_key, revoke_key, rotate_secret
from cdc.core.subscription.grant import Grant
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import EXPORT, SECRET, ask, client, token, until_known
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse, until


@pytest.fixture
def server_settings() -> dict[str, Any]:
    return {"auth_jwt_secret": SECRET}


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def test_a_stream_token_opens_one_stream_with_the_rights_behind_it(
    either_server: RunningServer, writer: Writer
) -> None:
    async with client(either_server, token(flags=["a"])) as http:
        given = (await http.post("/api/v1/stream-tokens")).json()["token"]
        other = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with sse(either_server.stream_url, {"token": given}) as stream:
        writer.flag("b")
        writer.flag("a")
        assert (await stream.next()).data["key"] == "a"
    async with client(either_server) as http:
        again = await http.get(either_server.stream_url, params={"token": given})
        assert (again.status_code, again.json()["code"]) == (401, "token_used")
        for path in ("/api/v1/flags", EXPORT):
            assert (await http.get(path, params={"token": other})).status_code == 401
        assert (await http.post("/api/v1/stream-tokens", params={"token": other})).status_code == 401
        lasting = await http.get(either_server.stream_url, params={"token": token()})
        assert (lasting.status_code, lasting.json()["code"]) == (401, "not_a_stream_token")
    async with connect(f"{either_server.websocket_url}?token={other}") as socket:
        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"


async def made(server: RunningServer, credential: str, body: Any = None) -> str:
    async with client(server, credential) as http:
        answer = await http.post("/api/v1/stream-tokens", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


async def refusal(
    server: RunningServer, given: str, path: str = "/api/v1/events/stream", **headers: str
) -> tuple[int, str | None]:
    async with client(server) as http, http.stream("GET", path, params={"token": given}, headers=headers) as answer:
        return (answer.status_code, None if answer.status_code == 200 else json.loads(await answer.aread())["code"])


async def test_a_token_may_allow_less_than_its_credential_and_never_more(server: RunningServer, writer: Writer) -> None:
    scopes = {"flags": ["web-a", "mobile"], "tables": ["orders"], "admin": True}
    narrow = await made(server, token(flags=["web-*"]), {"scopes": scopes})
    for key in ("web-a", "web-b", "mobile"):
        writer.flag(key)
    await server.pipeline.hub.reached(await server.pipeline.newest_position(), 20)
    async with sse(server.stream_url, {"token": narrow, "snapshot": "true"}) as stream:
        assert [flag["key"] for flag in (await stream.next()).data["flags"]] == ["web-a"]
    nothing = await made(server, token(flags=["web-*"]), {"scopes": {"flags": ["mobile"]}})
    assert await refusal(server, nothing) == (403, "not_allowed")


async def test_a_token_of_a_key_is_narrowed_and_ends_with_the_key(database_url: str, writer: Writer) -> None:
    key = await asyncio.to_thread(create_key, database_url, "web", Grant(flags=frozenset({"web-*"})))
    async with serving(database_url, auth_enabled=True) as server:
        await until_known(server, key)
        narrow = await made(server, key, {"scopes": {"flags": ["web-a", "mobile"]}})
        async with sse(server.stream_url, {"token": narrow}) as stream:
            for name in ("mobile", "web-b", "web-a"):
                writer.flag(name)
            assert (await stream.next()).data["key"] == "web-a"
            await asyncio.to_thread(revoke_key, database_url, key[:16])
            while (event := await stream.next()).type != "unauthorized":
                assert event.data["key"] == "web-a"
            assert event.data["code"] == "credential_revoked"


async def test_a_token_opens_its_path_alone(either_server: RunningServer) -> None:
    given = await made(either_server, token(), {"path": "/api/v1/events/stream"})
    assert await refusal(either_server, given, "/realtime/sse") == (403, "not_allowed")
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{either_server.websocket_url}?token={given}"):
            pass
    assert caught.value.response.status_code == 403
    async with connect(either_server.websocket_url) as socket:
        assert (await ask(socket, type="auth", token=given))["code"] == "not_allowed"
        await socket.wait_closed()
        assert socket.close_code == 4401
    assert await refusal(either_server, given) == (200, None), "being refused elsewhere does not use it up"
    for_socket = await made(either_server, token(), {"path": "/ws"})
    async with connect(either_server.websocket_url) as socket:
        assert (await ask(socket, type="auth", token=for_socket))["type"] == "authenticated"


async def test_a_token_is_for_the_pages_of_its_origin_alone(either_server: RunningServer) -> None:
    given = await made(either_server, token(), {"origin": "https://App.example:443"})
    for origin in ("https://other.example", "http://app.example", "null"):
        assert await refusal(either_server, given, origin=origin) == (403, "not_allowed")
    assert await refusal(either_server, given) == (403, "not_allowed")
    assert await refusal(either_server, given, origin="https://app.example") == (200, None)


async def test_a_page_of_the_server_itself_is_known_without_an_origin(server: RunningServer) -> None:
    given = await made(server, token(), {"origin": server.url})
    assert await refusal(server, given, **{"sec-fetch-site": "cross-site"}) == (403, "not_allowed")
    assert await refusal(server, given, **{"sec-fetch-site": "same-origin"}) == (200, None)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "7",
        "{",
        "[" * 100_000,
        {"scope": {}},
        {"scopes": {"flag": []}},
        {"scopes": None},
        {"scopes": []},
        {"path": "ws"},
        {"path": None},
        {"path": "/" + "x" * 300},
        {"path": "/a b"},
        {"origin": "app.example"},
        {"origin": "https://app.example/"},
        {"origin": "https://app.example/path"},
        {"origin": "null"},
        {"origin": 7},
    ],
    ids=lambda body: str(body)[:30],
)
async def test_what_a_token_cannot_be_narrowed_to_is_refused_and_never_ignored(
    memory_server: RunningServer, body: Any
) -> None:
    async with client(memory_server, token()) as http:
        answer = await http.post("/api/v1/stream-tokens", content=body if isinstance(body, str) else json.dumps(body))
    assert (answer.status_code, answer.json()["code"] in ("invalid_parameter", "invalid_scopes")) == (400, True)


async def test_without_authentication_the_body_is_checked_too(memory_log: MemoryLog) -> None:
    async with serving(memory_log) as server, httpx.AsyncClient() as http:
        refused = await http.post(server.url + "/api/v1/stream-tokens", json={"scope": {}})
        assert refused.status_code == 400


async def test_a_token_never_lives_longer_than_its_minute_whatever_it_says(
    server: RunningServer, writer: Writer
) -> None:
    (secret,) = writer.connection.execute("select secret from flagent_cdc.stream_token_secret").fetchone() or (b"",)

    def signed(ends_at: float) -> str:
        claims = {"i": "x", "e": ends_at, "n": "x", "g": {}, "x": time.time() + 86_400}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        digest = hmac.digest(bytes(secret), f"stream-token:{body}".encode(), hashlib.sha256)
        return f"fla_st_{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    for ends_at in (time.time() + 120, time.time() + 86_400, float("nan")):
        assert await refusal(server, signed(ends_at)) == (401, "invalid_credential")
    assert await refusal(server, signed(time.time() + 60)) == (200, None)


async def test_the_secret_is_rotated_while_servers_run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.auth.stream_token._SPREAD_S", 0.0)
    shared: dict[str, Any] = {"auth_jwt_secret": SECRET}
    async with serving(database_url, **shared) as first, serving(database_url, **shared) as second:
        early = await made(first, token())
        await asyncio.to_thread(rotate_secret, database_url)

        async def both_sign_with_the_new_one() -> bool:
            with psycopg.connect(database_url) as connection:
                rows = connection.execute("select secret from flagent_cdc.stream_token_secret order by id").fetchall()
            return all([_is_signed(await made(server, token()), bytes(rows[-1][0])) for server in (first, second)])

        await until(both_sign_with_the_new_one, "the new secret's arrival")
        late = await made(first, token())
        assert await refusal(second, early) == (200, None), "the previous secret is valid for a minute"
        assert await refusal(second, late) == (200, None)
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "update flagent_cdc.stream_token_secret set created_at = created_at - interval '2 minutes'"
            )
            connection.execute("insert into flagent_cdc.stream_token_secret default values")
        last = await made(first, token())

        async def is_refused() -> bool:
            return await refusal(second, early) == (401, "invalid_credential")

        await until(is_refused, "the end of the first secret")
        assert (await refusal(second, last))[0] == 200


def _is_signed(given: str, secret: bytes) -> bool:
    body, _, signature = given.removeprefix("fla_st_").partition(".")
    digest = hmac.digest(secret, f"stream-token:{body}".encode(), hashlib.sha256)
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return expected == signature.encode()
