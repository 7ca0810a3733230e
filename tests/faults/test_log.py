"""The stream when the change log was replaced, pruned or forged."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc.core.log.position import EventId
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.flags import Writer
from tests.fixtures.follower import flags_in
from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import proxy_to
from tests.fixtures.server import RunningServer, SseEvent, SseReader, serving, sse, until

pytestmark = pytest.mark.timeout(60)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5}


async def flag(stream: SseReader) -> str:
    key: str = (await stream.next()).data["key"]
    return key


def resynced(event: SseEvent) -> tuple[str, list[str]]:
    assert event.type == "resync", event
    return event.data["reason"], [flag["key"] for flag in event.data["snapshot"]["flags"]]


async def receives(stream: SseReader, key: str) -> None:
    """Receive a flag in an event or in a resync: with an empty change log, both are correct."""
    while f'"key": "{key}"' not in json.dumps((await stream.next()).data):
        pass


def prune(url: str, *, keep: int) -> None:
    """Delete the oldest commits with their changes, like retention."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "delete from flagent_cdc.commit_log c"
            " where c.position <= (select max(m.position) - %s from flagent_cdc.commit_log m)",
            (keep,),
        )
        connection.execute(
            "delete from flagent_cdc.change_log g"
            " where not exists (select from flagent_cdc.commit_log c where c.transaction_group = g.transaction_group)"
        )


async def test_a_database_restored_from_an_older_dump_is_another_log(postgres: Postgres, database_url: str) -> None:
    name = str(conninfo_to_dict(database_url)["dbname"])
    live, old = sql.Identifier(name), sql.Identifier(name + "_old")
    with Writer(database_url) as writer:
        writer.flag("kept")
    with postgres.admin() as admin:
        admin.execute(sql.SQL("create database {} template {}").format(old, live))
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            for key in ("lost1", "lost2", "lost3"):
                writer.flag(key)
                assert await flag(stream) == key
        last_id = stream.last_id
        with postgres.admin() as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(live))
            admin.execute(sql.SQL("alter database {} rename to {}").format(old, live))
        assert resynced(await stream.next()) == ("log_replaced", ["kept"])
        with Writer(database_url) as writer:
            writer.flag("new")
        assert await flag(stream) == "new"
        assert EventId.parse(stream.last_id).log != EventId.parse(last_id).log
        async with sse(server.stream_url, last_event_id=last_id) as late:
            assert resynced(await late.next()) == ("log_replaced", ["kept", "new"])


@pytest.mark.parametrize("news", [1, 6])
async def test_positions_that_went_back_are_another_log_even_with_the_same_identity(
    own_postgres: EmbeddedPostgres, news: int
) -> None:
    """An older copy of the files, with the same identity. With more new commits than were lost it is even ahead."""
    with Writer(own_postgres.url) as writer:
        writer.flag("kept")
    cluster = own_postgres.cluster
    await asyncio.to_thread(own_postgres.stop)
    subprocess.run(["cp", "-a", str(cluster), str(cluster) + ".old"], check=True)
    await asyncio.to_thread(own_postgres.start)
    async with (
        proxy_to(own_postgres.url) as proxy,
        serving(proxy.url, **QUICK) as server,
        sse(server.stream_url) as stream,
    ):
        with Writer(own_postgres.url) as writer:
            for key in ("lost1", "lost2", "lost3"):
                writer.flag(key)
                assert await flag(stream) == key
        proxy.stall()
        await asyncio.to_thread(own_postgres.stop)
        cluster.rename(cluster.with_name("lost"))
        cluster.with_name(cluster.name + ".old").rename(cluster)
        await asyncio.to_thread(own_postgres.start)
        with Writer(own_postgres.url) as writer:
            new = [f"new{n}" for n in range(news)]
            for key in new:
                writer.flag(key)
        proxy.resume()
        assert resynced(await stream.next()) == ("log_replaced", ["kept", *new])


@pytest.mark.parametrize("news", [1, 3, 6])
async def test_what_a_restored_disk_has_lost_is_never_continued_by_a_server_that_starts_afterwards(
    own_postgres: EmbeddedPostgres, news: int
) -> None:
    """An older copy of the files on the same timeline, and a server that has never seen what was lost."""
    with Writer(own_postgres.url) as writer:
        writer.flag("kept")
    cluster = own_postgres.cluster
    await asyncio.to_thread(own_postgres.stop)
    subprocess.run(["cp", "-a", str(cluster), str(cluster) + ".old"], check=True)
    await asyncio.to_thread(own_postgres.start)
    async with serving(own_postgres.url, **QUICK) as server, sse(server.stream_url) as stream:
        kept_id = str(server.pipeline.hub.here())
        with Writer(own_postgres.url) as writer:
            for key in ("lost1", "lost2", "lost3"):
                writer.flag(key)
                assert await flag(stream) == key
        async with httpx.AsyncClient(base_url=server.url) as client:
            cursor = (await client.get("/api/v1/changes")).json()["next"]
    await asyncio.to_thread(own_postgres.stop)
    cluster.rename(cluster.with_name("lost"))
    cluster.with_name(cluster.name + ".old").rename(cluster)
    await asyncio.to_thread(own_postgres.start)
    new = [f"new{n}" for n in range(news)]
    with Writer(own_postgres.url) as writer:
        for key in new:
            writer.flag(key)
    # With fewer new commits than were lost, the position does not exist yet.
    expected = "log_replaced" if news >= 3 else "ahead"
    async with serving(own_postgres.url, **QUICK) as server, httpx.AsyncClient(base_url=server.url) as client:
        async with sse(server.stream_url, last_event_id=stream.last_id) as late:
            assert resynced(await late.next(20)) == (expected, ["kept", *new])
        async with sse(server.stream_url, last_event_id=kept_id) as faithful:
            assert [await flag(faithful) for _ in new] == new
        for after in (cursor, stream.last_id.replace("-0@", "@")):
            refused = await client.get("/api/v1/changes", params={"after": after})
            assert (refused.status_code, refused.json()["code"]) == (410, expected)
        past = await client.get("/api/v1/flags", params={"at": stream.last_id})
        assert past.status_code == (410 if expected == "log_replaced" else 400)


async def test_a_dump_restored_into_the_same_database_is_another_log(database_url: str) -> None:
    """Like `pg_restore --clean`: the tables are created again, with the dump's installation."""
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert await flag(stream) == "a"
            log = server.pipeline.hub.catalog.log
            writer.run(
                "alter table flagent_cdc.commit_log rename to old",
                "create table flagent_cdc.commit_log (like flagent_cdc.old including all)",
                "insert into flagent_cdc.commit_log select * from flagent_cdc.old",
                "drop table flagent_cdc.old",
            )
            reason, keys = resynced(await stream.next())
            assert (reason, keys) == ("log_replaced", ["a"])
            assert server.pipeline.hub.catalog.log != log


async def test_commits_pruned_while_the_server_was_disconnected_cause_a_resync(database_url: str) -> None:
    async with proxy_to(database_url) as proxy, serving(proxy.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert await flag(stream) == "a"
            proxy.stall()
            for key in ("b", "c", "d"):
                writer.flag(key)
            prune(database_url, keep=1)
            proxy.resume()
            assert resynced(await stream.next()) == ("pruned", ["a", "b", "c", "d"])
            writer.flag("e")
            assert await flag(stream) == "e"


@pytest.mark.parametrize("keep", [1, 0])
async def test_a_client_whose_id_was_pruned_gets_a_resync(database_url: str, keep: int) -> None:
    """From another process, without the commit in memory; also with an empty change log."""
    with Writer(database_url) as writer:
        async with serving(database_url) as server, sse(server.stream_url) as stream:
            writer.flag("a")
            assert await flag(stream) == "a"
        for key in ("b", "c"):
            writer.flag(key)
        prune(database_url, keep=keep)
        async with serving(database_url) as server, sse(server.stream_url, last_event_id=stream.last_id) as stream:
            reason, keys = resynced(await stream.next(20))
            assert reason in (("pruned",) if keep else ("pruned", "ahead"))
            assert keys == ["a", "b", "c"]
            writer.flag("d")
            await receives(stream, "d")


async def test_a_commit_without_its_changes_causes_a_resync(database_url: str) -> None:
    """For example, after a manual delete from only one of the tables."""
    async with proxy_to(database_url) as proxy, serving(proxy.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            proxy.stall()
            for key in ("a", "b"):
                writer.flag(key)
            with psycopg.connect(database_url) as admin:
                admin.execute("delete from flagent_cdc.change_log where after ->> 'key' = 'a'")
            proxy.resume()
            assert resynced(await stream.next()) == ("pruned", ["a", "b"])


async def test_an_emptied_log_loses_nothing_that_comes_after(database_url: str) -> None:
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert await flag(stream) == "a"
            prune(database_url, keep=0)
            for key in ("b", "c"):
                writer.flag(key)
                await receives(stream, key)


# -- forged notifications ------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(postgres: Postgres, database_url: str) -> Iterator[psycopg.Connection]:
    """A session of a role without rights in the schema `flagent_cdc` that writes flags."""
    role = sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]) + "_stranger")
    with postgres.admin() as admin:
        admin.execute(sql.SQL("create role {}").format(role))
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("grant all on all tables in schema public to {}").format(role))
            connection.execute(sql.SQL("grant all on all sequences in schema public to {}").format(role))
            connection.execute(sql.SQL("set role {}").format(role))
            yield connection
            connection.execute(sql.SQL("reset role; drop owned by {}").format(role))
    finally:
        with postgres.admin() as admin:
            admin.execute(sql.SQL("drop role {}").format(role))


def channel_of(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("select channel from flagent_cdc.installation").fetchone()
    assert row is not None
    return str(row[0])


async def test_a_role_without_rights_cannot_learn_the_channel(
    server: RunningServer, database_url: str, stranger: psycopg.Connection
) -> None:
    channel = channel_of(database_url)
    for statement in ("select channel from flagent_cdc.installation", "select * from flagent_cdc.commit_log"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(statement.encode())
    stranger.execute("insert into flags (key, description, created_at) values ('a', '', now())")
    # Not even a superuser, who sees all statements, finds the channel there.
    with psycopg.connect(database_url) as admin:
        shown = admin.execute("select query, application_name from pg_stat_activity").fetchall()
    assert ("select 1", "flagent-cdc listener") in shown
    for row in [
        *shown,
        *stranger.execute("select query from pg_stat_activity").fetchall(),
        *stranger.execute("select name, setting from pg_settings").fetchall(),
        *stranger.execute("select classid, objid from pg_locks").fetchall(),
    ]:
        assert channel not in str(row)


def forged(position: int, change: dict[str, Any]) -> str:
    """As a commit is announced, to the letter: anything else only makes the listener look at the change log."""
    commit = {
        "position": position,
        "xid": 1,
        "committedAt": "2026-01-01T00:00:00.000000Z",
        "user": "u",
        "application": "",
    }
    changes = [{"schema": "public", "table": "flags", **change}]
    return json.dumps({**commit, "changes": changes}, separators=(",", ":"))


async def test_a_forged_commit_is_detected_at_the_next_probe(database_url: str) -> None:
    """A role that knows the channel can forge a commit; the next probe compares it with the change log."""
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("true")
            assert await flag(stream) == "true"
            before = server.pipeline.hub.catalog.position
            row = {"id": 99, "key": "forged", "description": "", "enabled": True, "snapshot_id": 0}
            row |= {"data_records_enabled": False}
            payload = forged(before + 1, {"op": "insert", "key": None, "before": None, "after": row})
            writer.connection.execute("select pg_notify(%s, %s)", (channel_of(database_url), payload))
            assert await flag(stream) == "forged"
            assert resynced(await stream.next()) == ("log_replaced", ["true"])
            writer.flag("after")
            assert await flag(stream) == "after"


async def test_a_forged_commit_in_the_place_of_the_next_one_is_detected(database_url: str) -> None:
    async with serving(database_url, listener_probe_interval_s=30.0) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            before = server.pipeline.hub.catalog.position
            payload = forged(before + 1, {"op": "truncate", "key": None, "before": None, "after": None})
            writer.connection.execute("select pg_notify(%s, %s)", (channel_of(database_url), payload))
            await until(lambda: server.pipeline.hub.catalog.position == before + 1, "the forgery")
            writer.flag("true")
            assert resynced(await stream.next()) == ("log_replaced", ["true"])


async def test_a_forged_notification_on_a_lanes_channel_publishes_nothing(database_url: str) -> None:
    """A lane's notification has only a position: a forged one makes the server read the change log, no more."""
    with Writer(database_url) as writer:
        writer.run(
            "create table orders (id integer primary key)", "select flagent_cdc.watch('orders', lane => 'orders')"
        )
        (channel,) = writer.connection.execute("select channel from flagent_cdc.lane").fetchone() or ("",)
        async with serving(database_url, listener_probe_interval_s=30.0) as server:
            await until(lambda: "orders" in server.pipelines.pipelines, "the stream")
            pipeline = server.pipelines.pipelines["orders"]
            await until(lambda: pipeline.is_loaded and pipeline.listener.mode == "listening", "its listener")
            async with sse(server.stream_url, {"table": "public.orders"}) as stream:
                row = {"id": 666}
                forged = {
                    "schema": "public",
                    "table": "orders",
                    "op": "insert",
                    "before": None,
                    "after": row,
                    "key": row,
                }

                async def notify(payload: str) -> None:
                    """Send one at a time: a doubtful notification causes a read for all that arrive with it."""
                    expected = pipeline.listener.notifications + 1
                    writer.connection.execute("select pg_notify(%s, %s)", (channel, payload))
                    await until(lambda: pipeline.listener.notifications >= expected, "the notification")

                for position in (pipeline.hub.catalog.position + 1, pipeline.hub.catalog.position + 7, 1, -1):
                    commit = {"position": position, "committedAt": "2026-01-01T00:00:00.000000Z", "xid": 1, "user": "u"}
                    await notify(json.dumps({**commit, "application": "", "changes": [forged]}))
                    await notify(json.dumps({"position": position}))
                for noise in ("{", "[]", '{"position": "x"}'):
                    await notify(noise)
                for number in (1, 2):
                    writer.run(f"insert into orders values ({number})")
                    event = await stream.next()
                    assert (event.type, event.data["after"]) == ("row_inserted", {"id": number})
                assert pipeline.hub.counters.resyncs.total() == 0


async def test_a_payload_that_cannot_be_applied_does_not_end_the_stream(database_url: str) -> None:
    """Rows without required columns fail in the middle of an apply."""
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert await flag(stream) == "a"
            change = {"op": "insert", "key": None, "before": None, "after": {"x": 1}}
            payload = forged(server.pipeline.hub.catalog.position + 1, change)
            writer.connection.execute("select pg_notify(%s, %s)", (channel_of(database_url), payload))
            reason, found = resynced(await stream.next())
            assert (reason, found) in (("pruned", ["a"]), ("log_replaced", ["a"]))
            writer.flag("b")
            assert await flag(stream) == "b"
            assert sorted(flags_in(database_url)[1]) == ["a", "b"]


async def test_a_commit_that_was_never_notified_is_found_by_the_next_probe(database_url: str) -> None:
    """As with a full notification queue: the writer continues and nothing is sent."""
    channel = channel_of(database_url)
    async with serving(database_url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.run("update flagent_cdc.installation set channel = 'other'")
            writer.flag("unnotified")
            writer.run(f"update flagent_cdc.installation set channel = '{channel}'")
            assert await flag(stream) == "unnotified"


# -- clocks --------------------------------------------------------------------------------------------------------


async def test_a_database_clock_that_was_set_back_changes_no_order(database_url: str) -> None:
    """The position alone orders commits; their time is only informative."""
    async with proxy_to(database_url) as proxy, serving(proxy.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert await flag(stream) == "a"
            proxy.stall()
            for key in ("b", "c", "d"):
                writer.flag(key)
            with psycopg.connect(database_url) as admin:
                admin.execute(
                    "update flagent_cdc.commit_log c set committed_at = now() - c.position * interval '1 hour'"
                    " where c.position > (select max(m.position) - 3 from flagent_cdc.commit_log m)"
                )
            proxy.resume()
            assert [await flag(stream) for _ in range(3)] == ["b", "c", "d"]
            writer.flag("e")
            assert await flag(stream) == "e"
            assert server.pipeline.hub.counters.resyncs.total() == 0


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0])
async def test_a_server_whose_clock_jumps_keeps_delivering(
    database_url: str, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Waits, probes and timeouts use the monotonic clock."""
    async with serving(database_url, **QUICK, sse_keep_alive_s=0.3) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert await flag(stream) == "a"
            now = time.time
            monkeypatch.setattr(time, "time", lambda: now() + step_s)
            received = server.pipeline.listener.notifications
            for key in ("b", "c"):
                writer.flag(key)
                assert await flag(stream) == key
            await until(lambda: server.pipeline.listener.notifications >= received + 4, "two more probes")
            while not (block := await stream.next_block()).comment.startswith("keep-alive"):
                pass
            assert "fresh=true" in block.comment
            assert server.pipeline.hub.subscriber_count == 1
