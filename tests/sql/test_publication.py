"""A publication FOR ALL TABLES, which other capture systems create by themselves: it forbids changes of a table
without a replica identity, and its subscribers get our tables too."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.admin.watched_tables import WatchOptions, watch
from cdc.cli import main
from cdc.database.queries import flagent_tables
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import Postgres, embedded, throwaway_directory
from tests.fixtures.server import until

pytestmark = pytest.mark.timeout(120)

ORDERS = "create table orders (id integer primary key, total integer)"

LANES = {
    "flags": WatchOptions(),
    "commit": WatchOptions(lane="own", order="commit"),
    "read": WatchOptions(lane="own", order="read"),
}


def test_every_table_of_ours_has_a_replica_identity(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        without = connection.execute(
            "select c.relname from pg_class c"
            " where c.relnamespace = 'flagent_cdc'::regnamespace and c.relkind in ('r', 'p')"
            # Also of the unlogged ones: those of 14 and later are not published, but may become logged by a restore.
            "   and c.relreplident <> 'f'"
            "   and not exists (select from pg_index i where i.indrelid = c.oid and i.indisvalid"
            "        and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident))"
            " order by 1"
        ).fetchall()
    assert without == []


@pytest.fixture(scope="module")
def logical() -> Iterator[Postgres]:
    """A server that can publish."""
    with throwaway_directory() as directory, embedded(directory / "server", 0, wal_level="logical") as server:
        yield Postgres(server.url, "embedded, logical")


@contextmanager
def subscribed(server: Postgres, publisher: str, subscriber: str) -> Iterator[None]:
    """The subscriber applies all that the publisher writes from now on."""
    with (
        psycopg.connect(publisher, autocommit=True) as one,
        psycopg.connect(subscriber, autocommit=True) as other,
    ):
        one.execute("create publication everything for all tables")
        # By hand: on one server, creating a subscription would wait for its own transaction.
        one.execute("select pg_create_logical_replication_slot('everything', 'pgoutput')")
        other.execute(
            f"create subscription everything connection '{publisher}' publication everything"
            " with (create_slot = false, slot_name = 'everything', copy_data = false)".encode()
        )
        try:
            yield
        finally:
            other.execute("alter subscription everything disable")
            other.execute("alter subscription everything set (slot_name = none)")
            other.execute("drop subscription everything")
            with server.admin() as admin:
                admin.execute("select pg_terminate_backend(active_pid) from pg_replication_slots where active")
            one.execute("drop publication everything")


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("options", LANES.values(), ids=LANES.keys())
def test_pruning_works_with_such_a_publication(
    database_url: str, options: WatchOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer(database_url) as writer:
        writer.run(ORDERS)
        watch(database_url, "orders", options)
        writer.run("create publication everything for all tables")
        for number in range(3):
            writer.flag(f"f{number}")
            writer.run(f"insert into orders values ({number}, 1)")
        arguments = ["prune", "--older-than", "1ms", "--keep-at-least", "1ms", "--database-url", database_url]
        assert main(arguments, {}) == 0
        assert count(database_url, "flagent_cdc.commit_log") == 1
        migrate(database_url, repair=True)
    capsys.readouterr()


# All that a lane's readers see, and the tables; groups begin with the id of their transaction.
LOGGED = (
    "select position, transaction_group from flagent_cdc.commit_log order by 1",
    "select transaction_group, id, table_name, op, before::text, after::text from flagent_cdc.change_log order by 1, 2",
    "select lane, position, transaction_group from flagent_cdc.lane_commit_log order by 1, 2",
    "select transaction_group, id, op, before::text, after::text from flagent_cdc.lane_change_log order by 1, 2",
    "select op, before::text, after::text from flagent_cdc.read_order_log order by id",
    "select * from orders order by 1",
    "select * from slow order by 1",
    "select * from loose order by 1",
)


def logged(url: str) -> list[list[tuple[object, ...]]]:
    with psycopg.connect(url) as connection:
        return [connection.execute(statement.encode()).fetchall() for statement in LOGGED]


async def test_a_subscriber_applies_our_tables_and_its_own_capture_stays_quiet(
    logical: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    with logical.database("empty") as publisher, logical.database("empty") as subscriber:
        for url in (publisher, subscriber):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(flagent_tables())
                connection.execute(ORDERS)
                connection.execute("create table slow (id integer primary key)")
                connection.execute("create table loose (id integer primary key)")
            migrate(url)
            watch(url, "orders", WatchOptions())
            watch(url, "slow", WatchOptions(lane="slow", order="commit"))
            watch(url, "loose", WatchOptions(lane="loose", order="read"))
        before_of = {url: logged(url) for url in (publisher, subscriber)}

        def since(url: str) -> list[list[tuple[object, ...]]]:
            """What has come since both were attached."""
            return [
                [row for row in now if row not in before]
                for now, before in zip(logged(url), before_of[url], strict=True)
            ]

        with subscribed(logical, publisher, subscriber), Writer(publisher) as writer:
            for number in range(3):
                writer.toggle(writer.flag(f"f{number}"))
                writer.run(
                    f"insert into orders values ({number}, 1)",
                    f"insert into slow values ({number})",
                    f"insert into loose values ({number})",
                )
            writer.run("update orders set total = 2", "delete from slow where id = 1", "delete from loose where id = 1")
            published = since(publisher)
            assert all(published)
            await until(lambda: logged(subscriber)[5:] == published[5:], "the copy", 30)
            # The same commits at the same positions, and no change that was logged twice.
            assert since(subscriber) == published

            prune = ["prune", "--older-than", "1ms", "--keep-at-least", "1ms", "--database-url", publisher]
            assert await asyncio.to_thread(main, prune, {}) == 0
            # What the subscriber's own migrate has logged has the position of a commit that the publisher prunes.
            await until(lambda: count(subscriber, "flagent_cdc.commit_log") == 1, "the pruning's copy", 30)
    capsys.readouterr()
