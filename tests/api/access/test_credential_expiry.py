"""Streams end with their credential."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from websockets.asyncio.client import connect

from api.access.credential_expiry import CredentialExpiryWatcher
from cdc.admin.api_keys import create_key, revoke_key
from cdc.auth.identity import Identity
from cdc.core.subscription.grant import Grant
from cdc.errors import Unauthorized
from tests.fixtures.authenticated import (
    ask,
    client,
    hear,
    talking,
    token_for,
    until_known,
)
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, sse, until


async def test_a_revoked_key_ends_its_open_streams_within_seconds(
    either_server: RunningServer, database_url: str
) -> None:
    kept, lost = (create_key(database_url, name, Grant()) for name in ("kept", "lost"))
    await until_known(either_server, lost)
    async with client(either_server, lost) as http:
        browser = (await http.post("/api/v1/stream-tokens")).json()["token"]
        unused = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with (
        sse(either_server.stream_url, x_api_key=lost) as stream,
        sse(either_server.stream_url, {"token": browser}) as by_token,
        sse(either_server.stream_url, x_api_key=kept) as other,
        talking(either_server, lost) as socket,
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
    async with client(either_server, lost) as http:
        refused = await http.get("/api/v1/flags")
        assert (refused.status_code, refused.json()["code"]) == (401, "credential_revoked")
        assert (await http.get(either_server.stream_url, params={"token": unused})).status_code == 401
    async with client(either_server) as http:
        refused = await http.get(either_server.stream_url, params={"token": unused})
        assert (refused.status_code, refused.json()["code"]) == (401, "credential_revoked")


async def test_a_key_that_is_narrowed_by_sql_ends_its_open_streams(
    server: RunningServer, database_url: str, writer: Writer
) -> None:
    key = create_key(database_url, "k", Grant())
    await until_known(server, key)
    async with sse(server.stream_url, x_api_key=key) as stream:
        writer.run("""update flagent_cdc.api_key set scopes = '{"flags": ["a"]}'""")
        assert (await stream.next()).data["code"] == "credential_changed"
    async with sse(server.stream_url, x_api_key=key) as stream:
        writer.flag("b")
        writer.flag("a")
        assert (await stream.next()).data["key"] == "a"


async def test_a_token_that_expires_ends_its_open_streams(either_memory_server: RunningServer) -> None:
    # It ends with the leeway for clocks that differ, of five seconds.
    credential = token_for(0, {})
    async with client(either_memory_server, credential) as http:
        browser = (await http.post("/api/v1/stream-tokens")).json()["token"]
    async with (
        sse(either_memory_server.stream_url, authorization=f"Bearer {credential}") as stream,
        sse(either_memory_server.url + "/api/v1/events/stream", {"token": browser}) as by_token,
        talking(either_memory_server, credential) as socket,
        connect(either_memory_server.websocket_url) as late,
    ):
        await ask(late, type="auth", token=credential)
        for ending in (stream, by_token):
            assert (await ending.next()).data["code"] == "credential_expired"
        for connection in (socket, late):
            assert (await hear(connection))["code"] == "credential_expired"
            await connection.wait_closed()
            assert connection.close_code == 4401
    await until(lambda: either_memory_server.pipeline.hub.subscriber_count == 0, "their leaving")


class Closing:
    """An authenticator that knows which identities have ended, and a record of the streams that were closed."""

    def __init__(self) -> None:
        self.ended: dict[Identity, Unauthorized] = {}
        self.asked: list[Identity] = []
        self.closed: list[tuple[str, str]] = []

    def why_ended(self, identity: Identity) -> Unauthorized | None:
        self.asked.append(identity)
        return self.ended.get(identity)


class Fake:
    """A subscriber as far as the watcher knows it."""

    def __init__(self, closing: Closing, name: str) -> None:
        dialect = SimpleNamespace(unauthorized=lambda code, text: code.encode())
        self.format = SimpleNamespace(dialect=dialect, frame=lambda raw: raw)
        self.delivery = SimpleNamespace(
            close=lambda _, reason, text, last: closing.closed.append((name, last.decode()))
        )


def test_an_identity_is_checked_once_for_all_its_streams() -> None:
    closing = Closing()
    watcher = CredentialExpiryWatcher(closing)  # type: ignore[arg-type]
    kept, lost = (Identity(name, Grant(), key_id=number) for number, name in enumerate(("kept", "lost")))
    for identity in (kept, lost):
        for number in range(3):
            watcher.add(Fake(closing, f"{identity.name} {number}"), identity)  # type: ignore[arg-type]
    closing.ended[lost] = Unauthorized("revoked", code="credential_revoked")
    watcher.check()
    assert closing.asked == [kept, lost]
    assert closing.closed == [(f"lost {number}", "credential_revoked") for number in range(3)]
    watcher.check()
    assert closing.asked == [kept, lost, kept]


def test_a_credential_that_cannot_end_and_a_stream_that_left_are_not_checked() -> None:
    closing = Closing()
    watcher = CredentialExpiryWatcher(closing)  # type: ignore[arg-type]
    subscriber = Fake(closing, "a")
    watcher.add(subscriber, Identity("for ever", Grant()))  # type: ignore[arg-type]
    watcher.check()
    watcher.add(subscriber, Identity("brief", Grant(), expires_at=1.0))  # type: ignore[arg-type]
    watcher.remove(subscriber)  # type: ignore[arg-type]
    watcher.remove(subscriber)  # type: ignore[arg-type]
    watcher.check()
    assert closing.asked == []
