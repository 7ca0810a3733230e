"""Captured tables that are unlogged: a crash of PostgreSQL empties them, and no trigger fires."""

import psycopg
import pytest

from cdc.admin.watched_tables import WatchOptions, list_watched, watch
from cdc.embedded.server import EmbeddedPostgres
from cdc.errors import InvalidInput
from tests.fixtures.flags import Writer

Logged = list[tuple[str, object]]

LANES = [
    WatchOptions(),
    WatchOptions(lane="own", order="commit"),
    WatchOptions(lane="own", order="read"),
]
LANE_NAMES = ["flags' lane", "ordered at commit", "ordered when read"]


def relog(url: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("select flagent_cdc.relog_unlogged()").fetchone()
    assert row is not None
    return list(row[0])


def folded(url: str, table: str) -> list[object]:
    """The rows that a reader of the log has: the changes applied in their order."""
    rows: dict[str, object] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for op, key, after in connection.execute(
            "select op, key::text, after from ("
            " select transaction_group, id, table_name, op, key, after from flagent_cdc.change_log union all"
            " select transaction_group, id, table_name, op, key, after from flagent_cdc.lane_change_log union all"
            " select id, 1, table_name, op, key, after from flagent_cdc.read_order_log"
            ") c where table_name = %s order by transaction_group, id",
            (table,),
        ).fetchall():
            if op == "truncate":
                rows = {}
            elif op == "delete":
                rows.pop(key, None)
            else:
                rows[key] = after
    return list(rows.values())


def crash(server: EmbeddedPostgres) -> None:
    """As kill -9 of every process of the server: what was not logged ahead is gone at the next start."""
    server.kill()
    server.start()


def test_an_unlogged_table_is_refused_with_a_sentence(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run("create unlogged table orders (id integer primary key)")
        with pytest.raises(InvalidInput, match=r"public\.orders is unlogged, or a partition of it: a crash empties it"):
            watch(database_url, "orders", WatchOptions())
        writer.run(
            "create table parted (id integer primary key) partition by range (id)",
            "create unlogged table part partition of parted for values from (0) to (10)",
        )
        with pytest.raises(InvalidInput, match=r"public\.parted is unlogged, or a partition of it"):
            watch(database_url, "parted", WatchOptions())


def test_a_table_that_becomes_unlogged_later_is_reported(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key)")
        watch(database_url, "orders", WatchOptions())
        writer.run("alter table orders set unlogged")
        (found,) = list_watched(database_url)
        assert found["problems"] == [
            "public.orders is unlogged: a crash of PostgreSQL empties it; alter table ... set logged"
        ]
        assert relog(database_url) == ["public.orders"]
        assert relog(database_url) == []
        writer.run("alter table orders set logged")
        (found,) = list_watched(database_url)
        assert found["problems"] == []


@pytest.mark.parametrize("options", LANES, ids=LANE_NAMES)
def test_what_a_crash_empties_is_truncated_in_the_log_too(
    own_postgres: EmbeddedPostgres, options: WatchOptions
) -> None:
    url = own_postgres.url
    with Writer(url) as writer:
        writer.run("create table orders (id integer primary key, total integer)")
        watch(url, "orders", options)
        writer.run("alter table orders set unlogged")
        writer.run("insert into orders values (1, 10), (2, 20)")
        assert relog(url) == ["public.orders"]
        writer.run("update orders set total = 30 where id = 2")
    expected = [{"id": 1, "total": 10}, {"id": 2, "total": 30}]
    assert folded(url, "orders") == expected
    crash(own_postgres)
    with Writer(url) as writer:
        assert writer.connection.execute("select from orders").fetchall() == []
        # Before anybody has looked.
        writer.run("insert into orders values (3, 30)")
        assert relog(url) == ["public.orders"]
        assert folded(url, "orders") == [{"id": 3, "total": 30}]
        assert relog(url) == []


def test_a_crash_before_the_first_look_is_noticed_too(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.url
    with Writer(url) as writer:
        writer.run("create table parted (id integer primary key) partition by range (id)")
        writer.run("create table low partition of parted for values from (0) to (10)")
        watch(url, "parted", WatchOptions())
        writer.run("create unlogged table high partition of parted for values from (10) to (20)")
        writer.run("insert into parted values (1), (11)")
    crash(own_postgres)
    assert relog(url) == ["public.parted"]
    assert folded(url, "parted") == [{"id": 1}]


def test_flagents_own_tables_are_no_exception(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.url
    with Writer(url) as writer:
        kept = writer.flag("kept")
        # Foreign keys let a table be unlogged only after those that refer to it.
        writer.run(
            *(f"alter table {name} set unlogged" for name in (
                "flags_tags", "distributions", "constraints", "variants", "segments",
            )),
        )  # fmt: skip
        writer.segment(kept)
    assert relog(url) == ["public"]
    crash(own_postgres)
    assert relog(url) == ["public"]
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute(
            "select op from flagent_cdc.change_log where table_name = 'segments'"
            " order by transaction_group desc, id desc limit 1"
        ).fetchone() == ("truncate",)


def test_a_table_that_is_in_use_is_left_to_the_next_call(database_url: str) -> None:
    with Writer(database_url) as writer, Writer(database_url) as other:
        writer.run("create table orders (id integer primary key)")
        watch(database_url, "orders", WatchOptions())
        writer.run("alter table orders set unlogged")
        with other.connection.transaction():
            other.connection.execute("insert into orders values (1)")
            assert relog(database_url) == []
        assert relog(database_url) == ["public.orders"]
        assert folded(database_url, "orders") == [{"id": 1}]
