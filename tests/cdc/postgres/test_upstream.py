"""PostgreSQL as a source: the contract of all sources, and what an upstream opens for a process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.core.log.lane import FLAGS, Lane
from cdc.database.queries import flagent_tables
from cdc.postgres.lane_reader import LaneReader
from cdc.postgres.table_reader import TableReader
from cdc.postgres.upstream import PostgresUpstream
from cdc.settings.settings import Settings
from tests.cdc.source.contract import SourceContract
from tests.fixtures.flags import Writer
from tests.fixtures.logged import actions
from tests.fixtures.replica import Recorder, following
from tests.fixtures.server import until

QUICK = {"FLAGENT_CDC_PROBE_INTERVAL": "500ms"}


async def test_the_listener_does_not_wait_for_what_others_ask_of_the_log(database_url: str) -> None:
    """What clients have missed is read over another connection, however long it takes."""
    replica = Recorder()
    source = PostgresUpstream(Settings.from_environment(QUICK), database_url).open(replica)
    running = asyncio.create_task(source.listener.run())
    log: Any = source.log
    try:
        await until(lambda: source.listener.mode == "listening", "the listener")
        async with log._session.use():
            with Writer(database_url) as writer:
                # Too large for a notification, so that it has to be read.
                writer.flag("a", description="x" * 9000)
            await until(lambda: "a" in replica.descriptions(), "the commit")
    finally:
        source.listener.stop()
        await running
        await source.log.close()


async def test_a_schema_that_cannot_be_attached_in_time_does_not_hold_up_the_listener(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cdc.postgres.upstream._ATTACH_WAIT_S", 0.1)
    release = threading.Event()
    monkeypatch.setattr("cdc.postgres.upstream.attach_pending", lambda *_, **__: release.wait(20))
    await asyncio.to_thread(migrate, empty_url)
    try:
        async with following(PostgresUpstream(Settings.from_environment(QUICK), empty_url), Recorder()) as follower:
            await until(lambda: actions(caplog).count("attach_waiting") >= 2, "the line, after two probes")
            assert follower.freshness().fresh
    finally:
        release.set()


class PostgresSubject:
    """The subject of the contract."""

    def __init__(self, url: str, writer: Writer) -> None:
        settings = Settings.from_environment(QUICK)
        self.upstream = PostgresUpstream(settings, url)
        self._writer = writer
        writer.run("create table orders (id integer primary key)", "select flagent_cdc.watch('orders')")

    def flags(self, *keys: str) -> list[int]:
        with self._writer.connection.transaction():
            return [self._writer.flag(key) for key in keys]

    def describe(self, flag_id: int, text: str) -> None:
        self._writer.connection.execute("update flags set description = %s where id = %s", (text, flag_id))

    def delete(self, flag_id: int) -> None:
        self._writer.connection.execute("delete from flags where id = %s", (flag_id,))

    def order(self, number: int) -> None:
        self._writer.connection.execute("insert into orders (id) values (%s)", (number,))

    def hole(self) -> None:
        """It fails at commit, after the commit got its position."""
        with suppress(psycopg.errors.DivisionByZero), self._writer.connection.transaction():
            self._writer.flag("never")
            # Run by COMMIT after all deferred triggers.
            failing = "select 1 / n from generate_series(0, 0) n"
            self._writer.connection.execute(f"declare never cursor with hold for {failing}".encode())

    def prune(self, keep: int) -> None:
        self._writer.run(
            "delete from flagent_cdc.commit_log c"
            f" where c.position <= (select max(m.position) - {keep} from flagent_cdc.commit_log m)",
            "delete from flagent_cdc.change_log g"
            " where not exists (select from flagent_cdc.commit_log c where c.transaction_group = g.transaction_group)",
        )

    def replace_log(self) -> None:
        """As `pg_restore --clean` does it: the tables are made anew."""
        self._writer.run(
            "alter table flagent_cdc.commit_log rename to old",
            "create table flagent_cdc.commit_log (like flagent_cdc.old including all)",
            "insert into flagent_cdc.commit_log select * from flagent_cdc.old",
            "drop table flagent_cdc.old",
        )


class TestPostgres(SourceContract):
    @pytest.fixture
    def subject(self, database_url: str) -> Iterator[PostgresSubject]:
        with Writer(database_url) as writer:
            yield PostgresSubject(database_url, writer)


def test_the_writer_of_the_contract_waits_for_nothing(database_url: str) -> None:
    """What a subject writes is committed when its call returns."""
    with Writer(database_url) as writer, psycopg.connect(database_url) as other:
        (flag,) = PostgresSubject(database_url, writer).flags("a")
        assert other.execute("select id from flags").fetchone() == (flag,)


def upstream_of(url: str) -> PostgresUpstream:
    return PostgresUpstream(Settings.from_environment(QUICK), url)


async def test_nothing_is_connected_before_it_is_used() -> None:
    upstream = upstream_of("postgresql://127.0.0.1:1/nothing")
    source = upstream.open(Recorder())
    history, tables, lanes, keys = (
        upstream.log_history(),
        upstream.table_source(),
        upstream.lanes(),
        upstream.key_store(),
    )
    assert (type(tables), type(lanes)) == (TableReader, LaneReader)
    for opened in (source.log, history, tables, lanes, keys):
        await opened.close()


async def test_the_process_that_follows_the_flags_prunes_and_others_do_not(database_url: str) -> None:
    upstream = upstream_of(database_url)
    assert upstream.open(Recorder(), FLAGS).maintenance is not None
    assert upstream.open(Recorder(), Lane("orders", 1, "commit")).maintenance is None


@pytest.mark.parametrize("order", ["commit", "read"])
async def test_a_lane_is_followed_by_notifications_or_by_polls(database_url: str, order: str) -> None:
    upstream, replica = upstream_of(database_url), Recorder()
    with Writer(database_url) as writer:
        writer.run(
            "create table orders (id integer primary key)",
            f"select flagent_cdc.watch('orders', lane => 'orders', lane_order => '{order}')",
        )
        directory = upstream.lanes()
        (watched,) = await directory.watched_lanes()
        await directory.close()
        source = upstream.open(replica, watched.lane)
        task = asyncio.create_task(source.listener.run())
        await until(lambda: source.listener.freshness().fresh, "the first state")
        assert source.listener.mode == ("polling" if order == "read" else "listening")
        writer.run("insert into orders values (1)")
        await until(lambda: replica.positions, "the commit")
        source.listener.stop()
        await task
        await source.log.close()


async def test_a_pending_schema_is_attached_when_its_tables_appear(empty_url: str) -> None:
    await asyncio.to_thread(migrate, empty_url)
    replica = Recorder()
    async with following(upstream_of(empty_url), replica):
        assert replica.catalog.schemas == ()
        with Writer(empty_url) as writer:
            writer.run(flagent_tables())
            await until(lambda: replica.catalog.schemas == ("public",), "the attachment")
            writer.flag("a")
            await until(lambda: replica.descriptions() == {"a": ""}, "the first flag")


async def test_a_role_that_may_not_attach_logs_it_once(empty_url: str, caplog: pytest.LogCaptureFixture) -> None:
    role = "cdc_" + psycopg.conninfo.conninfo_to_dict(empty_url)["dbname"]  # type: ignore[operator]
    with Writer(empty_url) as writer:
        writer.run(f"create role {role} login password 'p'")
        try:
            await asyncio.to_thread(migrate, empty_url, grant_to=role)
            url = psycopg.conninfo.make_conninfo(empty_url, user=role, password="p")
            async with following(upstream_of(url), Recorder()):
                writer.run(flagent_tables())
                await until(lambda: "attach_refused" in actions(caplog), "the refusal")
                await asyncio.sleep(1.2)  # two more probes
            assert actions(caplog).count("attach_refused") == 1
        finally:
            writer.run(f"drop owned by {role}", f"drop role {role}")
