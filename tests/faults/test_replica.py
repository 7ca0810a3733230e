"""A lagging standby is promoted: subscribers get a resync, because commits were lost and positions are used again."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from cdc.cli import main
from cdc.core.log.position import EventId
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.flags import Writer
from tests.fixtures.logged import actions
from tests.fixtures.proxy import proxy_to
from tests.fixtures.server import serving, sse, until
from tests.fixtures.standby import ask, promote

pytestmark = pytest.mark.timeout(90)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5, "sse_keep_alive_s": 0.3}


async def test_whatever_would_change_a_standby_is_refused_in_one_sentence(
    standby: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (
        ["migrate"], ["uninstall"], ["migrate", "--to", "0007"], ["watch", "flags"], ["keys", "create", "a"],
    ):  # fmt: skip
        code = await asyncio.to_thread(main, [*command, "--database-url", standby.url], {})
        said = capsys.readouterr().err.strip()
        assert (code, said.count("\n")) == (2, 0), said
        assert "standby" in said or "read-only" in said


async def test_an_old_primary_that_comes_back_is_refused_and_the_last_known_state_kept(
    own_postgres: EmbeddedPostgres, standby: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Split brain: the address leads to the unfenced old primary again, which has gone on by itself."""
    async with proxy_to(own_postgres.url) as proxy, serving(proxy.url, **QUICK) as server:
        with Writer(own_postgres.url) as writer:
            writer.flag("kept")
        caught_up = "select count(*) > 0 from flags"
        await until(lambda: ask(standby.url, caught_up), "the standby's catch-up")
        promote(standby)
        proxy.lead_to(standby.port)
        with Writer(standby.url) as writer:
            writer.flag("new")
        async with (
            httpx.AsyncClient(base_url=server.url) as client,
            sse(server.stream_url, {"snapshot": "true"}) as stream,
        ):

            async def keys() -> list[str]:
                return [flag["key"] for flag in (await client.get("/api/v1/flags")).json()]

            async def is_current() -> bool:
                return server.pipeline.is_ready and await keys() == ["new", "kept"]

            await until(is_current, "the failover")
            cursor = (await client.get("/api/v1/changes")).json()["next"]
            resyncs = server.pipeline.hub.counters.resyncs.total()
            with Writer(own_postgres.url) as writer:
                writer.flag("split")
            proxy.lead_to(own_postgres.port)

            async def refused() -> bool:
                ready = await client.get("/readyz")
                return ready.status_code == 503 and "old primary" in ready.json()["reason"]

            await until(refused, "the refusal")
            reconnects = server.pipeline.listener.reconnects
            await until(lambda: server.pipeline.listener.reconnects >= reconnects + 3, "some more attempts")
            assert await keys() == ["new", "kept"]
            assert "flagent-stale" in (await client.get("/api/v1/flags")).headers
            for after in ({}, {"after": cursor}):
                assert (await client.get("/api/v1/changes", params=after)).status_code == 503
            assert actions(caplog).count("listener_earlier_timeline") == 1
            proxy.lead_to(standby.port)
            await until(is_current, "the new primary")
            with Writer(standby.url) as writer:
                writer.flag("newest")
            while (event := await stream.next()).data.get("key") != "newest":
                assert event.data.get("key") != "split"
        assert server.pipeline.hub.counters.resyncs.total() == resyncs


async def test_a_server_that_starts_at_an_old_primary_says_so_once_a_client_has_seen_the_new_one(
    own_postgres: EmbeddedPostgres, standby: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    """It has seen no later timeline itself. A client has, and its id names it: not to be made up by another one."""
    with Writer(own_postgres.url) as writer:
        writer.flag("kept")
    await until(lambda: ask(standby.url, "select count(*) > 0 from flags"), "the standby's catch-up")
    promote(standby)
    async with serving(standby.url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(standby.url) as writer:
            writer.flag("new")
        while (await stream.next()).data.get("key") != "new":
            pass
    later = EventId.parse(stream.last_id)
    async with (
        proxy_to(own_postgres.url) as proxy,
        serving(proxy.url, **QUICK) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):

        async def reason() -> str:
            ready = await client.get("/readyz")
            return str(ready.json()["reason"]) if ready.status_code == 200 else "not ready"

        made_up = "zzzzzz" if later.log != "zzzzzz" else "yyyyyy"
        async with sse(server.stream_url, last_event_id=f"{later.position}-0@{made_up}") as another:
            assert (await another.next()).data["reason"] == "log_replaced"
        notifications = server.pipeline.listener.notifications
        await until(lambda: server.pipeline.listener.notifications >= notifications + 2, "two probes")
        assert await reason() == ""
        for _ in range(2):
            async with sse(server.stream_url, last_event_id=stream.last_id) as back:
                resync = await back.next()
            assert (resync.type, resync.data["reason"]) == ("resync", "log_replaced")
            assert [flag["key"] for flag in resync.data["snapshot"]["flags"]] == ["kept"]

            async def is_suspected() -> bool:
                return "it may be an old primary" in await reason()

            await until(is_suspected, "the suspicion")
        assert actions(caplog).count("listener_later_timeline") == 1
        proxy.lead_to(standby.port)

        async def is_cleared() -> bool:
            return server.pipeline.hub.catalog.log == later.log and await reason() == ""

        await until(is_cleared, "the new primary")


async def test_a_failover_to_a_replica_that_lags_is_another_log(
    own_postgres: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    async with (
        proxy_to(own_postgres.url) as proxy,
        serving(proxy.url, **QUICK) as server,
        sse(server.stream_url) as stream,
    ):
        with Writer(own_postgres.url) as writer:
            writer.flag("kept")
            assert (await stream.next()).data["key"] == "kept"
            reached = ask(own_postgres.url, "select pg_current_wal_lsn()::text")
            caught_up = f"select pg_last_wal_replay_lsn() >= '{reached}'"
            await until(lambda: ask(standby.url, caught_up), "the standby's catch-up")
            with psycopg.connect(standby.url, autocommit=True) as admin:
                admin.execute("alter system set primary_conninfo = ''")
                admin.execute("select pg_reload_conf()")
            await until(lambda: ask(standby.url, "select count(*) from pg_stat_wal_receiver") == 0, "the lag")
            for key in ("lost1", "lost2"):
                writer.flag(key)
                assert (await stream.next()).data["key"] == key
        last_id = stream.last_id
        await asyncio.to_thread(own_postgres.kill)
        # A standby accepts sessions, but no LISTEN: the server reports that it is not fresh, and waits.
        proxy.lead_to(standby.port)
        await until(lambda: not server.pipeline.is_ready, "noticing")
        promote(standby)
        resync = await stream.next()
        assert (resync.type, resync.data["reason"]) == ("resync", "log_replaced")
        assert [flag["key"] for flag in resync.data["snapshot"]["flags"]] == ["kept"]
        with Writer(standby.url) as writer:
            writer.flag("new")
        assert (await stream.next()).data["key"] == "new"
        assert EventId.parse(stream.last_id).log != EventId.parse(last_id).log
        await until(lambda: server.pipeline.is_ready, "readiness")
        # A client that reconnects later must not resume from a position that now belongs to another commit.
        async with sse(server.stream_url, last_event_id=last_id) as late:
            resync = await late.next()
            assert (resync.type, resync.data["reason"]) == ("resync", "log_replaced")
            assert sorted(flag["key"] for flag in resync.data["snapshot"]["flags"]) == ["kept", "new"]
