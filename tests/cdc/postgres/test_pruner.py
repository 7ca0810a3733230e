"""What pruning deletes, what it leaves, and who may do it."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.admin.installation import migrate
from cdc.errors import DatabaseRefused
from cdc.postgres.pruner import BATCH_CHANGES, Pruned, Pruner, Retention, keep_at_least
from tests.fixtures.flags import Writer
from tests.fixtures.follower import flags_in
from tests.fixtures.logged import actions
from tests.fixtures.postgres import Postgres
from tests.fixtures.server import serving, sse, until

pytestmark = pytest.mark.timeout(60)

ALL = Retention(0.001, None)


def positions(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select position from flagent_cdc.commit_log order by position").fetchall()
    return [position for (position,) in rows]


def changes(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from flagent_cdc.change_log").fetchone()
    assert row is not None
    return int(row[0])


def grow_old(url: str, age: str, *, up_to: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            # Counted from now, whenever they were made.
            "update flagent_cdc.commit_log set committed_at = now() - %s::interval where position <= %s",
            (age, up_to),
        )


@pytest.fixture
def ten(database_url: str) -> list[int]:
    """The positions of ten commits, of 1, 2, … 10 changes; these and all before them made just now."""
    with Writer(database_url) as writer:
        for count in range(1, 11):
            writer.run(
                "insert into flags (key, description, created_at)"
                f" select 'f{count}-' || n, '', now() from generate_series(1, {count}) n"
            )
    made = positions(database_url)
    # The first commits came with the template of all test databases, in a long run longer ago than the owner's floor.
    grow_old(database_url, "0 seconds", up_to=made[-1])
    return made[-10:]


@pytest.fixture
def no_floor(database_url: str) -> None:
    keep_at_least(database_url, 0.0)


async def prune(url: str, retention: Retention) -> Pruned:
    return await Pruner(url, retention).prune()


async def test_what_is_older_goes_and_what_is_younger_stays(database_url: str, ten: list[int]) -> None:
    grow_old(database_url, "2 hours", up_to=ten[3])
    before = positions(database_url)
    pruned = await prune(database_url, Retention(3600.0, None))
    assert pruned.changes >= 1 + 2 + 3 + 4
    assert positions(database_url) == ten[4:]
    assert pruned.commits == len(before) - 6
    assert changes(database_url) == sum(range(5, 11))
    assert await prune(database_url, Retention(3600.0, None)) == Pruned()


async def test_whatever_is_asked_the_owners_floor_holds(database_url: str, ten: list[int]) -> None:
    grow_old(database_url, "9 minutes", up_to=ten[-1])
    before = positions(database_url)
    assert replace(await prune(database_url, Retention(0.001, 1)), kept=0) == Pruned()
    assert positions(database_url) == before
    keep_at_least(database_url, 60.0)
    assert (await prune(database_url, ALL)).commits == len(before) - 1
    assert positions(database_url) == ten[-1:]


async def test_the_newest_commit_always_stays(database_url: str, ten: list[int], no_floor: None) -> None:
    await prune(database_url, ALL)
    assert positions(database_url) == ten[-1:]
    assert changes(database_url) == 10


async def test_a_commit_that_is_young_keeps_all_that_come_after_it(
    database_url: str, ten: list[int], no_floor: None
) -> None:
    """After the clock was set back the times do not grow with the positions; only a beginning of the log may go."""
    grow_old(database_url, "2 hours", up_to=ten[-1])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update flagent_cdc.commit_log set committed_at = now() + interval '1 day' where position = %s", (ten[2],)
        )
    await prune(database_url, Retention(3600.0, None))
    assert positions(database_url) == ten[2:]


async def test_a_log_that_is_too_large_loses_its_oldest(database_url: str, no_floor: None) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a")
        for number in range(400):
            writer.connection.execute(
                "update flags set description = %s where id = %s", (f"{number}" + "x" * 800, flag)
            )
    with psycopg.connect(database_url, autocommit=True) as connection:
        # So that the statistics count them now.
        connection.execute("vacuum flagent_cdc.change_log, flagent_cdc.change_log_first, flagent_cdc.commit_log")
    held = changes(database_url)
    assert await prune(database_url, Retention(None, 64 * 2**20)) == Pruned()
    half = await prune(database_url, Retention(None, 150_000))
    assert 0 < half.changes < held
    left = positions(database_url)
    assert left == list(range(left[0], left[-1] + 1))
    assert len(left) > 1


async def test_pruning_goes_in_batches_and_a_huge_commit_is_one(database_url: str, no_floor: None) -> None:
    with Writer(database_url) as writer:
        for count in (BATCH_CHANGES * 3, 1, BATCH_CHANGES // 2, BATCH_CHANGES, 1):
            writer.run(
                "insert into flags (key, description, created_at)"
                f" select gen_random_uuid()::text, '', now() from generate_series(1, {count})"
            )
    with psycopg.connect(database_url, autocommit=True) as connection:
        # The first commit is the attachment's.
        sizes = []
        while (row := connection.execute("select * from flagent_cdc.prune('0', 0, %s)", (BATCH_CHANGES,)).fetchone())[
            0
        ]:  # type: ignore[index]
            assert row is not None
            sizes.append(row[1])
    assert max(sizes) == BATCH_CHANGES * 3
    assert sorted(sizes)[:-1] == sorted(size for size in sizes if size <= BATCH_CHANGES)
    assert sum(sizes) >= BATCH_CHANGES * 4.5
    assert changes(database_url) == 1


async def test_only_one_prunes_and_the_others_leave_it(database_url: str, ten: list[int], no_floor: None) -> None:
    with psycopg.connect(database_url) as first:
        first.execute("select * from flagent_cdc.prune('0', 0, 1)")
        assert await prune(database_url, ALL) == Pruned(is_busy=True)
        first.commit()
    assert (await prune(database_url, ALL)).is_busy is False
    assert positions(database_url) == ten[-1:]


@pytest.fixture
def serializable(database_url: str) -> None:
    """Who does not say otherwise is SERIALIZABLE."""
    name = sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]))
    with psycopg.connect(database_url, autocommit=True) as connection:
        statement = sql.SQL("alter database {} set default_transaction_isolation = 'serializable'")
        connection.execute(statement.format(name))


async def test_pruning_is_no_part_of_anybodys_serialization(
    database_url: str, ten: list[int], no_floor: None, serializable: None
) -> None:
    """One has read what goes, another writes what is looked at: between them a pruner would fail, or make one fail."""
    with (
        psycopg.connect(database_url) as reader,
        psycopg.connect(database_url) as blocker,
        psycopg.connect(database_url) as writer,
        psycopg.connect(database_url, autocommit=True) as observer,
    ):
        reader.execute("select count(*) from flagent_cdc.commit_log")
        blocker.execute("select from flagent_cdc.retention for update")
        pruning = asyncio.create_task(prune(database_url, ALL))
        await until(
            lambda: (
                observer.execute(
                    "select from pg_stat_activity where application_name = 'flagent-cdc pruner'"
                    " and datname = current_database() and wait_event_type = 'Lock'"
                ).rowcount
            ),
            "the pruner before its end",
        )
        writer.execute("update flags set enabled = not enabled where key = 'f1-1'")
        writer.commit()
        blocker.rollback()
        assert (await pruning).commits >= len(ten)
        reader.execute("update flags set enabled = not enabled where key = 'f2-1'")
        reader.commit()


async def test_writers_go_on_meanwhile(database_url: str, no_floor: None, serializable: None) -> None:
    """They have a table each: of one table they fail each other, now and then, without anything of ours."""
    failures: list[str] = []
    stop = threading.Event()

    def write(insert: LiteralString, update: LiteralString) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(insert)
            connection.commit()
            while not stop.is_set():
                try:
                    connection.execute(update)
                    connection.commit()
                except psycopg.Error as error:
                    failures.append(str(error))
                    return

    statements: list[tuple[LiteralString, LiteralString]] = [
        (
            "insert into flags (key, description, created_at) values ('k', '', now())",
            "update flags set enabled = not enabled",
        ),
        ("insert into tags (value, created_at) values ('t', now())", "update tags set updated_at = clock_timestamp()"),
    ]
    writers = [threading.Thread(target=write, args=each) for each in statements]
    for writer in writers:
        writer.start()
    # Without rests: what they write while it rests would be the next one's to delete, and more each time.
    pruner = Pruner(database_url, ALL, rest=0.0)
    pruned = 0
    while pruned < 2000 and not failures:
        pruned += (await pruner.prune()).commits
    stop.set()
    for writer in writers:
        await asyncio.to_thread(writer.join)
    assert failures == []


@pytest.fixture
def runtime_url(postgres: Postgres, database_url: str) -> Iterator[str]:
    """The database as a role sees it that was only ever granted to run a server."""
    role = str(conninfo_to_dict(database_url)["dbname"]) + "_runtime"
    name = sql.Identifier(role)
    with postgres.admin() as admin:
        admin.execute(sql.SQL("create role {} login password 'p'").format(name))
    try:
        migrate(database_url, grant_to=role)
        yield make_conninfo(database_url, user=role, password="p")
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop owned by {}").format(name))
        with postgres.admin() as admin:
            admin.execute(sql.SQL("drop role {}").format(name))


async def test_a_server_prunes_by_itself_and_its_subscribers_notice_nothing(
    database_url: str, runtime_url: str, no_floor: None
) -> None:
    """As the run-time role, which can delete nothing itself; who comes back too late is told."""
    async with serving(
        runtime_url,
        retention_max_age_s=0.5,
        retention_prune_interval_s=0.2,
        pipeline_ring_events=1,
        listener_probe_interval_s=0.3,
    ) as server:
        with Writer(database_url) as writer:
            async with sse(server.stream_url) as stream:
                for number in range(20):
                    writer.flag(f"f{number}")
                for number in range(20):
                    assert (await stream.next()).data["key"] == f"f{number}"
                first = positions(database_url)[0]
                last_id = stream.last_id.replace(stream.last_id.partition("-")[0], str(first))
                await until(lambda: len(positions(database_url)) == 1, "the pruning")
                writer.flag("after")
                assert (await stream.next()).data["key"] == "after"
            pruner = server.pipeline.maintenance
            assert isinstance(pruner, Pruner)
            await until(lambda: pruner.pruned_commits >= 19, "the count")
            assert server.pipeline.hub.counters.resyncs.total() == 0
            async with sse(server.stream_url, last_event_id=last_id) as late:
                resync = await late.next()
                assert (resync.type, resync.data["reason"]) == ("resync", "pruned")
                assert {flag["key"] for flag in resync.data["snapshot"]["flags"]} == set(flags_in(database_url)[1])


async def test_the_runtime_role_cannot_shorten_what_the_owner_keeps(runtime_url: str, ten: list[int]) -> None:
    assert await prune(runtime_url, ALL) == Pruned()
    with pytest.raises(DatabaseRefused):
        keep_at_least(runtime_url, 0.0)
    with psycopg.connect(runtime_url, autocommit=True) as connection:
        for forbidden in (
            "delete from flagent_cdc.commit_log",
            "update flagent_cdc.retention set min_age = '0'",
            "update flagent_cdc.commit_log set committed_at = '2000-01-01'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


async def test_what_stays_because_the_owner_keeps_it_is_logged_when_it_begins(
    database_url: str, ten: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    before = positions(database_url)
    pruner = Pruner(database_url, Retention(None, 1), interval_s=0.05)
    running = asyncio.create_task(pruner.run())
    await until(lambda: "prune_limited" in actions(caplog), "the line")
    await asyncio.sleep(0.3)  # several more runs
    pruner.stop()
    await running
    assert actions(caplog).count("prune_limited") == 1
    assert positions(database_url) == before


async def test_a_role_that_may_not_prune_is_said_once(
    database_url: str, runtime_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        role = sql.Identifier(str(conninfo_to_dict(runtime_url)["user"]))
        statement = sql.SQL("revoke execute on function flagent_cdc.prune(interval, bigint, integer) from {}")
        connection.execute(statement.format(role))
    pruner = Pruner(runtime_url, ALL, 0.05)
    running = asyncio.create_task(pruner.run())
    try:
        await until(lambda: "prune_refused" in [vars(r).get("action") for r in caplog.records], "the warning")
        await asyncio.sleep(0.3)
    finally:
        pruner.stop()
        await running
    assert [vars(record).get("action") for record in caplog.records].count("prune_refused") == 1
