"""The listener on a real server: what it applies from notifications alone, when it reads the log, and its failures."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.core.log.change import Commit
from cdc.core.log.lane import FLAGS, Lane
from cdc.core.log.position import Position
from cdc.core.subscription.resume import ResyncReason
from cdc.database.queries import flagent_tables
from cdc.postgres.lane_reader import LaneReader
from cdc.postgres.listener import Listener, ListenerOptions, ListenerTimes
from cdc.postgres.log_reader import LogReader
from cdc.source.cancellation import stop_and_wait
from tests.fixtures.flags import Writer
from tests.fixtures.logged import actions
from tests.fixtures.proxy import proxy_to
from tests.fixtures.replica import Recorder
from tests.fixtures.server import until

QUICK = ListenerTimes(probe_s=0.3, poll_s=0.05, backoff_s=0.01, backoff_max_s=0.1)

# No probe comes in between.
NO_PROBE = ListenerTimes(probe_s=60, poll_s=0.05, backoff_s=0.01, backoff_max_s=0.1)


class CountedReader(LogReader):
    """Counts the pages that are read from the log."""

    pages = 0

    async def commits_after(self, position: Position, limit: int, *, in_parts: bool = False) -> list[Commit]:
        self.pages += 1
        return await super().commits_after(position, limit, in_parts=in_parts)


class Scene:
    """A listener, the log that it reads and the replica that it keeps current."""

    def __init__(self, listener: Listener, log: CountedReader, replica: Recorder) -> None:
        self.listener = listener
        self.log = log
        self.replica = replica

    async def has(self, **descriptions: str) -> None:
        await until(lambda: self.replica.descriptions() == descriptions, f"the flags {descriptions}")


@asynccontextmanager
async def listening(
    url: str,
    times: ListenerTimes = QUICK,
    *,
    lane: Lane = FLAGS,
    replica: Recorder | None = None,
    while_idle: Callable[[], Awaitable[None]] | None = None,
    **options: Any,
) -> AsyncIterator[Scene]:
    """A listener until the end of the block; it is fresh when the block begins."""
    log, replica = CountedReader(url, lane), replica or Recorder()
    listener = Listener(url, log, replica, times, ListenerOptions(**options), while_idle)
    task = asyncio.create_task(listener.run())
    try:
        await until(lambda: listener.mode in ("listening", "polling") and listener.freshness().fresh, "freshness")
        yield Scene(listener, log, replica)
    finally:
        await stop_and_wait([listener], [task])
        await log.close()


def notify(url: str, payload: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_notify(channel, %s) from flagent_cdc.installation", (payload,))


async def test_a_commit_is_applied_from_its_notification_alone(database_url: str) -> None:
    async with listening(database_url, NO_PROBE) as scene:
        with Writer(database_url) as writer:
            for number in range(5):
                writer.flag(f"f{number}")
        await scene.has(**{f"f{number}": "" for number in range(5)})
        assert scene.log.pages == 0
        assert scene.listener.notifications >= 5


async def test_a_commit_too_large_for_a_notification_is_read_from_the_log(database_url: str) -> None:
    async with listening(database_url, NO_PROBE) as scene:
        with Writer(database_url) as writer:
            writer.flag("large", description="x" * 9000)
            await scene.has(large="x" * 9000)
            assert scene.log.pages == 1
            # Afterwards notifications are enough again; the first ones may come while the end of the log is read.
            flags = {"large": "x" * 9000}
            for number in range(20):
                pages = scene.log.pages
                writer.flag(f"small{number}")
                flags[f"small{number}"] = ""
                await scene.has(**flags)
                if scene.log.pages == pages:
                    return
        raise AssertionError("each notification made the log be read")


async def test_where_a_position_is_missing_the_log_is_read(database_url: str) -> None:
    async with listening(database_url, NO_PROBE) as scene:
        with Writer(database_url) as writer:
            writer.run("select nextval('flagent_cdc.commit_position')")
            writer.flag("a")
        await scene.has(a="")
        assert scene.log.pages == 1
        assert scene.replica.reasons == [ResyncReason.LOG_REPLACED], "the first state, and no other"


async def test_without_changes_in_notifications_every_commit_is_read(database_url: str) -> None:
    async with listening(database_url, NO_PROBE, carries_changes=False) as scene:
        with Writer(database_url) as writer:
            writer.flag("a")
        await scene.has(a="")
        assert scene.log.pages == 1


async def test_a_notification_of_another_program_is_ignored(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "cdc.postgres.listener")
    async with listening(database_url, NO_PROBE) as scene:
        for payload in ("no JSON", '{"probe":"unknown"}', '{"other":1}'):
            notify(database_url, payload)
        with Writer(database_url) as writer:
            writer.flag("a")
        await scene.has(a="")
        assert scene.log.pages == 0
        assert scene.listener.mode == "listening"
    assert actions(caplog).count("foreign_notification") == 2


async def test_a_commit_that_was_not_notified_is_found_by_the_next_probe(database_url: str) -> None:
    async with listening(database_url) as scene:
        with Writer(database_url) as writer:
            row = writer.connection.execute("select channel from flagent_cdc.installation").fetchone()
            assert row is not None
            # As with a full queue of notifications: the writer continues and nothing is sent.
            writer.run("update flagent_cdc.installation set channel = 'other'")
            writer.flag("a")
            writer.run(f"update flagent_cdc.installation set channel = '{row[0]}'")
        await scene.has(a="")
        assert scene.log.pages >= 1


async def test_a_session_that_was_terminated_is_replaced_and_nothing_is_lost(database_url: str) -> None:
    async with listening(database_url) as scene:
        with Writer(database_url) as writer:
            writer.flag("before")
            await scene.has(before="")
            writer.run(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'flagent-cdc listener' and datname = current_database()"
            )
            writer.flag("after")
            await scene.has(before="", after="")
        await until(lambda: scene.listener.mode == "listening", "the new session")
        assert scene.listener.reconnects >= 1
        assert scene.replica.reasons == [ResyncReason.LOG_REPLACED]


class FailingOnce(Recorder):
    """Fails at its first commit, in the middle of an apply."""

    has_failed = False

    def publish(self, commits: Sequence[Commit]) -> None:
        if not self.has_failed:
            self.has_failed = True
            self.catalog.apply(commits[0])
            raise ValueError("a bug")
        super().publish(commits)


async def test_after_an_unknown_failure_everything_is_loaded_again(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(database_url, replica=FailingOnce()) as scene:
        with Writer(database_url) as writer:
            writer.flag("a")
            await until(lambda: len(scene.replica.reasons) == 2, "the second load")
            writer.flag("b")
        await scene.has(a="", b="")
        await until(lambda: scene.listener.mode == "listening", "the new session")
    assert "listener_failed" in actions(caplog)


async def test_a_silent_link_is_reported_and_a_stop_does_not_wait_for_it(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = asyncio.get_running_loop().time
    async with proxy_to(database_url) as proxy:
        async with listening(proxy.url) as scene:
            proxy.stall()
            await until(lambda: not scene.listener.freshness().fresh, "the notice")
            await until(lambda: scene.listener.mode == "disconnected", "the break")
            assert scene.listener.reason
            began = clock()
        assert clock() - began < 3
    assert "listener_disconnected" in actions(caplog)


async def test_a_long_wait_is_logged_and_shown(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another session locks a table that is read: the server answers, and the answer takes its time."""
    monkeypatch.setattr("cdc.postgres.listener._LONG_WAIT_S", 0.2)
    caplog.set_level("INFO")
    with psycopg.connect(database_url) as blocker, Writer(database_url) as writer:
        blocker.execute("lock table flags")

        async def release() -> None:
            await until(lambda: "listener_waiting" in actions(caplog), "the line")
            blocker.rollback()

        releasing = asyncio.create_task(release())
        async with listening(database_url) as scene:
            await releasing
            assert scene.listener.reason == ""
            writer.flag("a", description="1")
            await scene.has(a="1")
    waits = [vars(record)["reason"] for record in caplog.records if vars(record).get("action") == "listener_waiting"]
    assert waits == ["waiting for the database, for all flags"]
    assert actions(caplog).count("listener_waiting") == actions(caplog).count("listener_continues") == 1


async def test_a_lane_that_sends_no_notifications_is_polled(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run(
            "create table orders (id integer primary key)",
            "select flagent_cdc.watch('orders', lane => 'orders', lane_order => 'read')",
        )
        directory = LaneReader(database_url)
        (watched,) = await directory.watched_lanes()
        await directory.close()
        async with listening(database_url, lane=watched.lane, is_polled=True) as scene:
            assert (scene.listener.mode, scene.listener.reason) == ("polling", "this lane sends no notifications")
            writer.run("insert into orders values (1)")
            await until(lambda: scene.replica.positions, "the commit")
            assert scene.listener.notifications == 0


async def test_behind_a_pool_of_transactions_it_polls_and_says_why(database_url: str, pooled_url: str) -> None:
    async with listening(pooled_url) as scene:
        assert scene.listener.mode == "polling"
        assert "PgBouncer" in scene.listener.reason
        with Writer(database_url) as writer:
            writer.flag("a")
        await scene.has(a="")


async def test_a_schema_attached_meanwhile_is_known_before_its_first_commit_is_applied(database_url: str) -> None:
    async with listening(database_url, NO_PROBE) as scene:
        with Writer(database_url) as writer:
            writer.run("create schema tenant", "set local search_path = tenant", flagent_tables())
            await asyncio.to_thread(migrate, database_url, ["tenant"])
            writer.run("insert into tenant.flags (key, description, created_at) values ('t', '', now())")
        await until(lambda: scene.replica.catalog.find("tenant", "t") is not None, "the flag of the new schema")
        assert scene.replica.catalog.schemas == ("public", "tenant")
        assert len(scene.replica.reasons) == 1


@pytest.mark.parametrize(("in_parts", "parts"), [(True, 3), (False, 1)])
async def test_a_large_commit_of_watched_rows_is_published_in_parts_where_allowed(
    database_url: str, monkeypatch: pytest.MonkeyPatch, in_parts: bool, parts: int
) -> None:
    monkeypatch.setattr("cdc.postgres.listener._CATCH_UP_CHANGES", 100)
    with Writer(database_url) as writer:
        writer.run("create table n (id integer primary key)", "select flagent_cdc.watch('n')")
        async with listening(database_url, NO_PROBE, in_parts=in_parts) as scene:
            newest = await scene.log.newest()
            writer.run("insert into n select generate_series(1, 250)")
            writer.flag("after")
            await scene.has(after="")
            assert scene.replica.positions == [newest + 1] * parts + [newest + 2]


async def test_what_is_to_be_done_while_idle_is_done_after_each_probe(database_url: str) -> None:
    times: list[float] = []

    async def note() -> None:
        times.append(asyncio.get_running_loop().time())

    async with listening(database_url, while_idle=note):
        await until(lambda: len(times) >= 3, "three probes")
    assert all(later - earlier >= QUICK.probe_s for earlier, later in pairwise(times))


async def test_a_database_without_an_installation_is_waited_for(flagent_url: str) -> None:
    log, replica = LogReader(flagent_url), Recorder()
    listener = Listener(flagent_url, log, replica, QUICK)
    task = asyncio.create_task(listener.run())
    await until(lambda: listener.mode == "disconnected", "the refusal")
    assert "flagent_cdc" in listener.reason
    assert not listener.freshness().fresh
    await asyncio.to_thread(migrate, flagent_url)
    await until(lambda: listener.mode == "listening", "the installation")
    listener.stop()
    await task
    await log.close()
