"""Streams while the database, or the connection to it, fails."""

import asyncio
import os
import stat
import threading
from contextlib import closing, suppress
from dataclasses import replace
from socket import AF_INET
from socket import socket as Socket
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from cdc.admin.installation import migrate, uninstall
from cdc.database.queries import flagent_tables
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import proxy_to
from tests.fixtures.random_writer import writing
from tests.fixtures.server import DEADLINE_S, RunningServer, ServerProcess, SseReader, serving, sse, until
from tests.fixtures.websocket import request, websocket

pytestmark = pytest.mark.timeout(60)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5, "listener_poll_interval_s": 0.1, "sse_keep_alive_s": 0.3}


async def readiness(server: RunningServer) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        response = await client.get(server.url + "/readyz")
        return response.status_code, response.json()


async def is_ready(server: RunningServer) -> bool:
    return (await readiness(server))[0] == 200


async def keys(stream: SseReader, count: int) -> list[str]:
    return [(await stream.next()).data["key"] for _ in range(count)]


async def test_terminated_sessions_are_replaced_and_nothing_is_lost(database_url: str) -> None:
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        for round in range(3):
            with psycopg.connect(database_url, autocommit=True) as admin:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            with Writer(database_url) as writer:
                writer.flag(f"a{round}")
                writer.flag(f"b{round}")
            assert await keys(stream, 2) == [f"a{round}", f"b{round}"]
        await until(lambda: is_ready(server), "readiness")
        assert server.pipeline.listener.reconnects >= 3


async def test_a_server_is_not_ready_before_it_has_read_the_lanes(database_url: str) -> None:
    """A server that reports readiness accepts every subscriber."""
    server = ServerProcess(database_url)
    status: dict[str, Any] = {"fresh": False}

    async def is_fresh() -> bool:
        with suppress(httpx.TransportError):
            status.update((await client.get("/readyz")).json())
        return bool(status["fresh"])

    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            with psycopg.connect(database_url) as other:
                other.execute("lock table flagent_cdc.watched_table in access exclusive mode")
                server.start()
                await until(is_fresh, "freshness", 3 * DEADLINE_S)
                assert status["loaded"] is status["ready"] is False
                assert status["reason"] == "the lanes have not been read from the database yet"
                assert (await client.get("/api/v1/events/stream")).json()["code"] == "not_ready"
            await server.ready()
            async with websocket(server.websocket_url) as socket:
                assert (await request(socket, type="subscribe", subscribeAll=True))["type"] == "subscribed"
    finally:
        server.kill()


def descriptor_of(local_port: int) -> int | None:
    """The descriptor of this process's socket with that local port."""
    for descriptor in range(3, 1024):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with Socket(fileno=os.dup(descriptor)) as twin:
                    if twin.family == AF_INET and twin.getsockname()[1] == local_port:
                        return descriptor
    return None


async def test_the_descriptor_of_a_broken_session_can_be_reused_by_another_socket(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while line := await reader.readline():
                writer.write(line)

    async with (
        serving(database_url, **QUICK) as server,
        await asyncio.start_server(echo, "127.0.0.1", 0) as echoing,
        sse(server.stream_url) as stream,
    ):
        await until(lambda: is_ready(server), "readiness")
        with psycopg.connect(database_url) as locking, psycopg.connect(database_url, autocommit=True) as admin:
            locking.execute("lock table flagent_cdc.commit_log in access exclusive mode")

            def is_waiting() -> bool:
                row = admin.execute("select count(*) from pg_stat_activity where wait_event_type = 'Lock'").fetchone()
                return row is not None and row[0] > 0

            await until(is_waiting, "the listener's wait for the log")
            row = admin.execute(
                "select pid, client_port from pg_stat_activity where application_name = 'flagent-cdc listener'"
                " and datname = current_database()"
            ).fetchone()
            assert row is not None
            pid, port = row
            descriptor = descriptor_of(port)
            assert descriptor is not None
            admin.execute("select pg_terminate_backend(%s)", (pid,))
            await until(lambda: descriptor_of(port) is None, "the driver's close of the socket")
            others: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
            while not any(writer.get_extra_info("socket").fileno() == descriptor for _, writer in others):
                assert len(others) < 20, "the descriptor was never reused"
                others.append(await asyncio.open_connection(*echoing.sockets[0].getsockname()))
        with Writer(database_url) as writer:
            writer.flag("after")
        assert await keys(stream, 1) == ["after"]
        for reader, other in others:
            other.write(b"still open\n")
            assert await asyncio.wait_for(reader.readline(), 5) == b"still open\n"
            other.close()
    assert "listener_failed" not in [getattr(record, "action", None) for record in caplog.records]


@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_a_restarted_postgres_is_reconnected_and_the_outage_is_reported(
    own_postgres: EmbeddedPostgres, way: str
) -> None:
    async with serving(own_postgres.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(own_postgres.url) as writer:
            writer.flag("before")
        assert await keys(stream, 1) == ["before"]
        await asyncio.to_thread(getattr(own_postgres, way))
        async with asyncio.timeout(10):
            while not any("fresh=false" in comment for comment in stream.comments):
                await stream.next_block()
        status, body = await readiness(server)
        assert (status, body["fresh"], body["listener"]) == (503, False, "disconnected")
        assert body["reason"]
        assert own_postgres.url.rsplit("@")[0].split(":")[-1] not in body["reason"], "the password is shown"
        await asyncio.to_thread(own_postgres.start)
        with Writer(own_postgres.url) as writer:
            writer.flag("after")
        assert await keys(stream, 1) == ["after"]
        await until(lambda: is_ready(server), "readiness")


async def test_a_silent_link_is_noticed_within_about_a_probe_and_replaced(database_url: str) -> None:
    async with proxy_to(database_url) as proxy, serving(proxy.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("before")
            assert await keys(stream, 1) == ["before"]
            proxy.stall()
            loop = asyncio.get_running_loop()
            stalled_at = loop.time()
            await until(lambda: not server.pipeline.is_ready, "noticing")
            assert loop.time() - stalled_at < 4
            assert (await readiness(server))[1]["fresh"] is False
            writer.flag("meanwhile")
            proxy.resume()
            assert await keys(stream, 1) == ["meanwhile"]
            await until(lambda: is_ready(server), "readiness")


async def test_a_link_that_goes_silent_while_the_log_is_read_is_soon_replaced(database_url: str) -> None:
    """A read may take long if it returns many rows; without any data, it times out earlier."""
    async with proxy_to(database_url) as proxy, serving(proxy.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer, psycopg.connect(database_url) as holding:
            proxy.stall()
            writer.flag("meanwhile")
            holding.execute("lock table flagent_cdc.change_log")
            proxy.resume()

            def is_reading() -> bool:
                waits = "select 1 from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
                return bool(writer.connection.execute(waits, ("flagent-cdc reader",)).fetchall())

            await until(is_reading, "reading the log")
            proxy.stall()
            holding.rollback()
            proxy.resume()
            assert await keys(stream, 1) == ["meanwhile"]


async def test_a_lagging_server_never_sends_an_older_state(database_url: str) -> None:
    """A client with newer events from another server waits or is disconnected; its state never goes back in time."""
    async with (
        serving(database_url, **QUICK) as current,
        proxy_to(database_url) as proxy,
        serving(proxy.url, **QUICK) as lagging,
    ):
        lagging.pipeline.hub.limits = replace(lagging.pipeline.hub.limits, ahead_wait_s=0.2, ahead_proof_s=1.5)
        with Writer(database_url) as writer:
            proxy.stall()
            async with sse(current.stream_url) as stream:
                for key in ("a", "b", "c"):
                    writer.flag(key)
                assert await keys(stream, 3) == ["a", "b", "c"]
                last_id = stream.last_id
            async with sse(lagging.stream_url, last_event_id=last_id) as late:
                with pytest.raises(StopAsyncIteration):
                    await late.next()
                assert "server is behind your last event id" in late.comments[-1]
            async with websocket(lagging.websocket_url) as socket:
                subscribed = await request(socket, type="subscribe", subscribeAll=True, lastEventId=last_id)
                assert subscribed["type"] == "subscribed"
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1013
            lagging.pipeline.hub.limits = replace(lagging.pipeline.hub.limits, ahead_proof_s=30.0)
            async with sse(lagging.stream_url, last_event_id=last_id) as late:
                proxy.resume()
                writer.flag("d")
                assert await keys(late, 1) == ["d"]


async def test_a_server_stops_while_its_database_is_silent(database_url: str) -> None:
    async with proxy_to(database_url) as proxy:
        loop = asyncio.get_running_loop()
        async with serving(proxy.url, **QUICK):
            proxy.stall()
            await asyncio.sleep(0.6)  # so that a probe is in progress
            began = loop.time()
        assert loop.time() - began < 3


async def test_a_broken_connection_is_replaced(database_url: str) -> None:
    async with proxy_to(database_url) as proxy, serving(proxy.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            for key in ("a", "b", "c"):
                proxy.disconnect()
                writer.flag(key)
                assert await keys(stream, 1) == [key]


async def test_behind_a_transaction_pool_the_server_polls_and_reports_why(database_url: str, pooled_url: str) -> None:
    async with serving(pooled_url, **QUICK) as server, sse(server.stream_url) as stream:
        status, body = await readiness(server)
        assert (status, body["listener"]) == (200, "polling")
        assert "PgBouncer" in body["reason"]
        with Writer(database_url) as writer:
            for key in ("a", "b"):
                writer.flag(key)
                assert await keys(stream, 1) == [key]


async def test_a_long_transaction_elsewhere_delays_no_other_commit(database_url: str) -> None:
    with Writer(database_url) as writer, psycopg.connect(database_url) as slow:
        async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
            slow.execute("insert into flags (key, description, created_at) values ('slow', '', now())")
            for key in ("a", "b"):
                writer.flag(key)
            assert await keys(stream, 2) == ["a", "b"]
            slow.commit()
            writer.flag("c")
            assert await keys(stream, 2) == ["slow", "c"]


async def test_two_servers_publish_the_same_events_during_migrations(database_url: str) -> None:
    failures: list[BaseException] = []

    def migrate_repeatedly() -> None:
        try:
            for _ in range(3):
                migrate(database_url)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate_repeatedly) for _ in range(2)]
    async with (
        serving(database_url) as first,
        serving(database_url) as second,
        sse(first.stream_url) as one,
        sse(second.stream_url) as other,
    ):
        with writing(database_url, "migrate", count=2):
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        with Writer(database_url) as writer:
            writer.flag("the-end")
        received: list[list[tuple[str | None, str]]] = []
        for stream in (one, other):
            events = []
            while (event := await stream.next()).data.get("key") != "the-end":
                events.append((event.id, event.type))
            received.append(events)
    assert not failures
    assert received[0] == received[1]
    assert received[0]


async def test_a_reinstallation_is_a_new_log(database_url: str) -> None:
    """The old channel gets no more notifications, although it would still deliver every probe."""
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("before")
            assert await keys(stream, 1) == ["before"]
            await asyncio.to_thread(uninstall, database_url)
            writer.flag("unseen")
            await asyncio.to_thread(migrate, database_url)
            resync = await stream.next()
            assert (resync.type, resync.data["reason"]) == ("resync", "log_replaced")
            assert [flag["key"] for flag in resync.data["snapshot"]["flags"]] == ["before", "unseen"]
            writer.flag("after")
            assert await keys(stream, 1) == ["after"]


async def test_tables_that_appear_later_are_attached_while_the_server_runs(postgres: Postgres) -> None:
    with postgres.database("empty") as url:
        assert migrate(url).pending == ("public",)
        async with serving(url, **QUICK) as server, sse(server.stream_url) as stream:
            with psycopg.connect(url, autocommit=True) as flagent:
                flagent.execute(flagent_tables())
                flagent.execute("insert into flags (key, description, created_at) values ('early', '', now())")
                assert await keys(stream, 1) == ["early"]
                flagent.execute("insert into flags (key, description, created_at) values ('late', '', now())")
                assert await keys(stream, 1) == ["late"]
            await until(lambda: is_ready(server), "readiness")


async def test_tables_in_use_at_the_first_attempt_are_attached_later(postgres: Postgres) -> None:
    with postgres.database("empty") as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as flagent, psycopg.connect(url) as busy:
            async with serving(url, **QUICK) as server, sse(server.stream_url) as stream:
                flagent.execute("begin")
                flagent.execute(flagent_tables())
                flagent.execute("insert into flags (key, description, created_at) values ('early', '', now())")
                flagent.execute("commit")
                busy.execute("lock table flags in row exclusive mode")
                await asyncio.sleep(2)  # an attempt, and its deadline
                assert await readiness(server)
                busy.rollback()
                assert await keys(stream, 1) == ["early"]


async def test_a_second_schema_is_attached_while_the_server_runs(database_url: str) -> None:
    async with serving(database_url, **QUICK) as server, sse(server.stream_url, {"envelope": "true"}) as stream:
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("create schema tenant; set search_path = tenant")
            admin.execute(flagent_tables())
            admin.execute("insert into flags (key, description, created_at) values ('theirs', '', now())")
            await asyncio.to_thread(migrate, database_url, ["tenant"])
            first = await stream.next()
            admin.execute("update flags set enabled = true")
            second, third = await stream.next(), await stream.next()
    assert [(event.type, event.data["schema"], event.data["flagKey"]) for event in (first, second, third)] == [
        ("flag_created", "tenant", "theirs"),
        ("flag_updated", "tenant", "theirs"),
        ("flag_enabled", "tenant", "theirs"),
    ]
