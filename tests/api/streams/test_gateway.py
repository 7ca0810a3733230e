"""Which streams are admitted, and when."""

import asyncio
import socket
from dataclasses import replace

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from cdc.cli import server as server_of_command
from cdc.cli.server import build_server, upstream_of
from cdc.settings.settings import Settings
from tests.fixtures.server import DEADLINE_S, serving, sse, until
from tests.fixtures.websocket_client import talking


async def test_beyond_the_limit_a_client_is_told_when_to_come_back(database_url: str) -> None:
    async with serving(database_url, sse_max_clients=1) as server, httpx.AsyncClient() as client:
        async with sse(server.stream_url):
            refused = await client.get(server.stream_url)
            assert refused.status_code == 503
            assert refused.json()["code"] == "too_many_connections"
            assert 1 <= int(refused.headers["retry-after"]) <= 5
        await until(lambda: server.pipeline.hub.subscriber_count == 0, "the first client's leaving")
        async with sse(server.stream_url):
            pass


async def test_a_stream_that_is_asked_for_before_the_flags_are_read_waits_for_them(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 would be the end: an EventSource never comes back after a status other than 200."""
    monkeypatch.setattr(server_of_command, "_LOAD_S", DEADLINE_S)
    settings = replace(Settings.from_environment({}), database_url=database_url)
    waits = "select count(*) from pg_locks where not granted and relation = 'public.flags'::regclass"
    with (
        psycopg.connect(database_url) as blocker,
        psycopg.connect(database_url, autocommit=True) as observer,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        blocker.execute("lock table public.flags in access exclusive mode")
        server = build_server(settings, upstream_of(settings))
        serving_task = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1/events/stream?snapshot=true"
        try:
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
                asked = asyncio.create_task(client.send(client.build_request("GET", url), stream=True))
                await until(lambda: observer.execute(waits).fetchone() == (1,), "the server waits for the flags")
                assert not asked.done()
                blocker.rollback()
                response = await asked
                assert response.status_code == 200
                await response.aclose()
        finally:
            server.should_exit = True
            await serving_task


async def test_beyond_the_limit_the_handshake_is_refused(database_url: str) -> None:
    async with serving(database_url, websocket_max_connections=1) as server:
        async with talking(server):
            with pytest.raises(InvalidStatus) as refused:
                async with talking(server):
                    pass
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        await until(lambda: server.pipeline.hub.subscriber_count == 0, "the first client's leaving")
        async with talking(server) as client:
            assert (await client.ask(type="ping"))["type"] == "pong"
