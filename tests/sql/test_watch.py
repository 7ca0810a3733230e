"""Watching tables of data teams: who may be watched, how, and what is told of them."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from cdc.install import attach_pending
from cdc.sql import flagent_tables
from tests.fixtures.log import ChangeLog

OpenSession = Callable[..., psycopg.Connection]

ORDERS = """
create schema analytics;
create table analytics.orders (id integer primary key, email text not null, total numeric, note text);
"""


@pytest.fixture
def orders(writer: psycopg.Connection) -> psycopg.Connection:
    """The writer, with a table `analytics.orders`."""
    writer.execute(ORDERS)
    return writer


def watch(session: psycopg.Connection, table: str = "analytics.orders", **options: Any) -> str:
    named = "".join(f", {name} => %({name})s" for name in options)
    row = session.execute(
        f"select flagent_cdc.watch(%(table)s{named})".encode(), {"table": table, **options}
    ).fetchone()
    assert row is not None
    return str(row[0])


def unwatch(session: psycopg.Connection, table: str = "analytics.orders") -> str:
    row = session.execute("select flagent_cdc.unwatch(%s)", (table,)).fetchone()
    assert row is not None
    return str(row[0])


def watched(session: psycopg.Connection) -> list[dict[str, Any]]:
    with session.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from flagent_cdc.watched() order by table_name").fetchall()


def problems(session: psycopg.Connection) -> list[str]:
    (one,) = watched(session)
    found: list[str] = one["problems"]
    return found


# Attaching.


def test_every_kind_of_change_is_logged_with_both_images_and_the_key(
    orders: psycopg.Connection, log: ChangeLog
) -> None:
    assert watch(orders) == "watched"
    orders.execute("insert into analytics.orders values (1, 'a@x', 5, null)")
    orders.execute("update analytics.orders set total = 7.50")
    orders.execute("update analytics.orders set total = total")
    orders.execute("delete from analytics.orders")
    orders.execute("truncate analytics.orders")
    one = {"id": 1, "email": "a@x", "total": 5, "note": None}
    two = {**one, "total": 7.5}
    changes = [commit.changes for commit in log.commits()]
    assert [[(c["op"], c["key"], c["before"], c["after"]) for c in commit] for commit in changes] == [
        [("insert", {"id": 1}, None, one)],
        [("update", {"id": 1}, one, two)],
        [("delete", {"id": 1}, two, None)],
        [("truncate", None, None, None)],
    ]
    assert {(c["schema"], c["table"]) for commit in changes for c in commit} == {("analytics", "orders")}


def test_watching_again_changes_the_options_or_nothing(orders: psycopg.Connection, log: ChangeLog) -> None:
    assert [watch(orders), watch(orders), watch(orders, mask=["email"]), watch(orders, mask=["email"])] == [
        "watched", "unchanged", "changed", "unchanged",
    ]  # fmt: skip
    assert watch(orders, operations=["insert"]) == "changed"
    assert [one["operations"] for one in watched(orders)] == [["insert"]]
    assert [unwatch(orders), unwatch(orders)] == ["unwatched", "unchanged"]
    orders.execute("insert into analytics.orders values (1, 'a@x', 5, null)")
    assert log.commits() == []
    assert watched(orders) == []


def test_watching_again_locks_nothing_where_all_is_in_place(
    orders: psycopg.Connection, database_url: str, open_session: OpenSession
) -> None:
    watch(orders)
    holder = open_session(database_url, autocommit=False)
    holder.execute("lock table analytics.orders in access exclusive mode")
    orders.execute("set lock_timeout = '100ms'")
    assert watch(orders) == "unchanged"
    with pytest.raises(psycopg.errors.LockNotAvailable):
        watch(orders, mask=["email"])


def test_the_list_says_how_each_table_is_watched(orders: psycopg.Connection) -> None:
    watch(orders, exclude=["note"], mask=["email"], predicate="total > 10", operations=["delete", "insert"])
    (one,) = watched(orders)
    del one["id"], one["watched_at"]
    assert one == {
        "schema_name": "analytics",
        "table_name": "orders",
        "key_columns": ["id"],
        "included_columns": ["id", "email", "total"],
        "masked_columns": ["email"],
        "operations": ["insert", "delete"],
        "predicate": "total > 10",
        "stream": "flags",
        "mode": "notify",
        "problems": [],
    }


def test_attaching_flagents_tables_takes_over_what_was_watched(
    empty_url: str, database_url: str, writer: psycopg.Connection, log: ChangeLog
) -> None:
    writer.execute("create schema shop; create table shop.tags (id integer primary key)")
    watch(writer, "shop.tags")
    writer.execute("drop table shop.tags; set search_path = shop")
    writer.execute(flagent_tables())
    watch(writer, "shop.tags")
    writer.execute("select flagent_cdc.attach('shop')")
    assert watched(writer) == []
    start = len(log.commits())
    writer.execute("insert into shop.tags (value, created_at) values ('a', now())")
    assert [commit.told() for commit in log.commits()[start:]] == [[("tags", "insert")]]
    assert attach_pending(database_url) == ()
