"""Watching tables of data teams: which tables may be watched, how, and what is logged of them."""

import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from cdc.admin.installation import attach_pending, migrate, uninstall
from cdc.database.queries import flagent_tables
from tests.fixtures.client_programs import client_program
from tests.fixtures.log import ChangeLog, add_flag
from tests.fixtures.postgres import Postgres

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
    # That a column is masked, and that it is not any more.
    assert [change["op"] for commit in log.commits() for change in commit.changes] == ["schema", "schema"]
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
        "lane": "flags",
        "lane_order": "commit",
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
    assert [commit.logged() for commit in log.commits()[start:]] == [[("tags", "insert")]]
    assert attach_pending(database_url) == ()


# What may be watched.


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("analytics.nothing", "there is no table analytics.nothing"),
        ("analytics.report", "analytics.report is a view"),
        ("analytics.stored", "analytics.stored is a materialized view"),
        ("analytics.elsewhere", "analytics.elsewhere is a foreign table"),
        ("analytics.numbers", "analytics.numbers is not a table"),
        ("analytics.orders_pkey", "analytics.orders_pkey is not a table"),
        ("analytics.days_1", "analytics.days_1 is a partition: watch analytics.days"),
        ("pg_catalog.pg_class", "pg_catalog.pg_class is a table of the system"),
        ("information_schema.sql_features", "information_schema.sql_features is a table of the system"),
        ("flagent_cdc.api_key", "flagent_cdc.api_key belongs to flagent-cdc itself"),
        ("public.flags", "public.flags is one of Flagent's tables"),
        ("pg_temp.mine", "is temporary"),
        # Before PostgreSQL 16 such names are errors of its own.
        ("a.b.c.d", "improper|there is no table"),
        ('"', "invalid name syntax|there is no table"),
    ],
)
def test_what_cannot_be_watched_is_refused_by_name(orders: psycopg.Connection, table: str, sentence: str) -> None:
    orders.execute("create view analytics.report as select 1 as one")
    orders.execute("create materialized view analytics.stored as select 1 as one")
    orders.execute("create foreign data wrapper none; create server none foreign data wrapper none")
    orders.execute("create foreign table analytics.elsewhere (id integer) server none")
    orders.execute("create sequence analytics.numbers")
    orders.execute("create table analytics.days (day date) partition by list (day)")
    orders.execute("create table analytics.days_1 partition of analytics.days default")
    orders.execute("create temporary table mine (id integer)")
    with pytest.raises(psycopg.Error, match=sentence):
        watch(orders, table)
    assert watched(orders) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mask": ["e-mail", "email"]}, "analytics.orders has no column e-mail; it has id, email, total, note"),
        ({"include": ["nope"]}, "has no column nope"),
        ({"exclude": ["nope"]}, "has no column nope"),
        ({"key": ["nope"]}, "has no column nope"),
        ({"mask": [None]}, "has no column null"),
        ({"mask": ["ctid"]}, "has no column ctid"),
        ({"include": ["id"], "exclude": ["note"]}, "to include or those to exclude, not both"),
        ({"mask": ["id"], "key": ["id"]}, "the key cannot have the column id"),
        ({"exclude": ["id"], "key": ["id"]}, "the key cannot have the column id"),
        ({"operations": ["insert", "select"]}, "operations must be some of insert, update, delete, truncate; .*select"),
        ({"operations": []}, "operations must be some of"),
        ({"predicate": "amount > 1"}, 'the predicate does not compile: column "amount" does not exist'),
        ({"predicate": "total"}, "the predicate does not compile: .* must be type boolean"),
        ({"predicate": "sum(total) > 1"}, "the predicate does not compile: aggregate functions are not allowed"),
        ({"predicate": "total > "}, "the predicate does not compile: syntax error"),
        ({"predicate": "true); drop table analytics.orders; --"}, "the predicate does not compile"),
    ],
)
def test_wrong_options_are_refused_by_name(orders: psycopg.Connection, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(psycopg.Error, match=sentence):
        watch(orders, **options)
    assert watched(orders) == []


def test_only_an_owner_may_watch(
    orders: psycopg.Connection, database_url: str, open_session: OpenSession, postgres: Postgres
) -> None:
    role = f"cdc_team_{uuid.uuid4().hex[:8]}"
    orders.execute(
        f"create role {role} login password 'p'; grant all on all tables in schema analytics to {role}".encode()
    )
    try:
        session = open_session(make_conninfo(database_url, user=role, password="p"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            watch(session)
        # Even with all rights on flagent_cdc a table of somebody else is closed.
        for kind in ("all functions", "all tables", "all sequences"):
            orders.execute(f"grant all on {kind} in schema flagent_cdc to {role}".encode())
        orders.execute(f"grant usage on schema flagent_cdc, analytics to {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"{role} must be an owner of analytics.orders"):
            watch(session)
    finally:
        orders.execute(f"drop owned by {role}; drop role {role}".encode())


def test_a_snapshot_that_is_older_than_its_lock_is_refused(orders: psycopg.Connection) -> None:
    orders.execute("set default_transaction_isolation = 'repeatable read'")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="READ COMMITTED"):
        watch(orders)


# Keys.


@pytest.mark.parametrize(
    ("definition", "options", "key"),
    [
        ("(a integer, b integer, primary key (b, a))", {}, ["b", "a"]),
        ("(a integer primary key, b integer not null unique)", {"mask": ["a"]}, ["b"]),
        ("(a integer, b integer not null unique, c integer unique)", {}, ["b"]),
        ("(a integer, b integer unique)", {}, []),
        ("(a integer primary key, b integer)", {"key": []}, []),
        ("(a integer primary key, b integer)", {"key": ["b"]}, ["b"]),
        ("(a integer, b text)", {}, []),
    ],
)
def test_the_key_is_the_tables_own_unless_another_is_named(
    writer: psycopg.Connection, log: ChangeLog, definition: str, options: dict[str, Any], key: list[str]
) -> None:
    writer.execute(f"create table things {definition}".encode())
    watch(writer, "things", **options)
    assert [one["key_columns"] for one in watched(writer)] == [key]
    writer.execute("insert into things values (1, 2)")
    (change,) = log.only_commit().changes
    assert change["key"] == ({name: change["after"][name] for name in key} or None)


def test_the_replica_identity_is_a_key(writer: psycopg.Connection) -> None:
    writer.execute("create table things (a integer not null, b integer not null, c integer not null unique)")
    writer.execute("create unique index things_ab on things (b, a)")
    writer.execute("alter table things replica identity using index things_ab")
    watch(writer, "things")
    assert [one["key_columns"] for one in watched(writer)] == [["b", "a"]]


# What is logged.


def images(log: ChangeLog, start: int = 0) -> list[tuple[str, Any, Any]]:
    return [(c["op"], c["before"], c["after"]) for commit in log.commits()[start:] for c in commit.changes]


def test_hidden_columns_are_left_out_and_masked_ones_are_null(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders, exclude=["note"], mask=["email"])
    orders.execute("insert into analytics.orders values (1, 'a@x', 5, 'secret')")
    orders.execute("update analytics.orders set note = 'other'")  # not logged at all
    orders.execute("update analytics.orders set email = 'b@x'")  # logged without saying what
    one = {"id": 1, "email": None, "total": 5}
    assert images(log) == [("insert", None, one), ("update", one, one)]
    assert "@x" not in str(log.heard(2))
    watch(orders, include=["total"])
    orders.execute("delete from analytics.orders")
    assert images(log)[-1] == ("delete", {"total": 5}, None)


@pytest.mark.parametrize("hide", ["mask", "exclude"])
@pytest.mark.parametrize(
    "statements",
    [
        ["rename email to mail"],
        ["rename email to mail", "add email text"],
        ["drop note", "rename email to note"],
        ["rename email to swap", "rename note to email", "rename swap to note"],
        ["rename total to amount", "rename email to total"],
        ["drop id", "rename email to id", "add email text"],
    ],
)
def test_a_hidden_column_stays_hidden_whatever_it_is_called(
    orders: psycopg.Connection, log: ChangeLog, statements: list[str], hide: str
) -> None:
    options: dict[str, Any] = {hide: ["email"]}
    watch(orders, **options)
    orders.execute("insert into analytics.orders values (1, 'secret@x', 5, null)")
    for statement in statements:
        action = statement.replace("rename ", "rename column ")
        orders.execute(f"alter table analytics.orders {action}".encode())
    called = orders.execute(
        "select attname from pg_attribute where attrelid = 'analytics.orders'::regclass and attnum = 2"
    ).fetchone()
    assert called is not None
    orders.execute(f"update analytics.orders set {called[0]} = 'more secret@x'".encode())
    orders.execute("delete from analytics.orders")
    text = orders.execute(
        "select string_agg(concat(key::text, before::text, after::text), ' ') from flagent_cdc.change_log"
        " where table_name = 'orders'"
    ).fetchone()
    assert text is not None
    assert "@x" not in text[0]
    assert [op for op, _, _ in images(log)][-1] == "delete"
    assert problems(orders) != []


def test_a_column_that_came_later_is_told_unless_columns_were_chosen(
    orders: psycopg.Connection, log: ChangeLog
) -> None:
    watch(orders)
    orders.execute("alter table analytics.orders add colour text")
    orders.execute("insert into analytics.orders values (1, 'a@x', 5, null, 'red')")
    assert images(log)[-1][2]["colour"] == "red"
    watch(orders, mask=["email"])
    orders.execute("alter table analytics.orders add size text")
    orders.execute("update analytics.orders set size = 'xl', colour = 'blue'")
    assert images(log)[-1][2] == {"id": 1, "email": None, "total": 5, "note": None, "colour": "blue"}
    assert problems(orders) == ["the column size was added later and is not published: watch it again"]
    watch(orders, mask=["email"])
    assert problems(orders) == []


def test_a_row_is_told_while_it_satisfies_the_predicate(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders, predicate="total > 10 -- only the large ones")
    orders.execute(
        "insert into analytics.orders values (1, 'a@x', 5, null), (2, 'b@x', 20, null), (3, 'c@x', null, null)"
    )
    orders.execute("update analytics.orders set note = 'n'")
    orders.execute("update analytics.orders set total = total + 10 where id = 1")
    orders.execute("update analytics.orders set total = 1 where id = 2")
    orders.execute("delete from analytics.orders")
    logged = [(op, (after or before)["id"], before is None, after is None) for op, before, after in images(log)]
    assert logged == [
        ("insert", 2, True, False),
        ("update", 2, False, False),
        ("insert", 1, True, False),
        ("delete", 2, False, True),
        ("delete", 1, False, True),
    ]


def test_a_predicate_that_fails_hides_the_row_and_never_hurts_the_writer(
    orders: psycopg.Connection, log: ChangeLog
) -> None:
    watch(orders, predicate="10 / total > 1")
    orders.execute("insert into analytics.orders values (1, 'a@x', 0, null), (2, 'b@x', 5, null)")
    assert [after["id"] for _, _, after in images(log)] == [2]
    orders.execute("alter table analytics.orders drop column total")
    orders.execute("insert into analytics.orders values (3, 'c@x', null)")
    assert [op for op, _, _ in images(log)] == ["insert", "schema"]
    assert problems(orders) == ['the predicate does not compile: column "total" does not exist']


def test_only_the_chosen_operations_are_told(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders, operations=["update", "truncate"])
    orders.execute("insert into analytics.orders values (1, 'a@x', 5, null)")
    orders.execute("update analytics.orders set total = 6")
    orders.execute("delete from analytics.orders")
    orders.execute("truncate analytics.orders")
    assert [op for op, _, _ in images(log)] == ["update", "truncate"]
    watch(orders, operations=["truncate"])
    orders.execute("insert into analytics.orders values (1, 'a@x', 5, null)")
    orders.execute("truncate analytics.orders")
    assert [op for op, _, _ in images(log)] == ["update", "truncate", "truncate"]
    watch(orders, operations=["delete"])
    assert problems(orders) == []
    orders.execute("truncate analytics.orders")
    assert len(images(log)) == 3


# Every kind of writer.


def test_every_kind_of_statement_is_captured_row_by_row(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders)
    with orders.cursor().copy("copy analytics.orders (id, email) from stdin") as copy:
        copy.write("1\ta@x\n2\tb@x\n")
    orders.execute(
        "insert into analytics.orders (id, email) values (2, 'c@x'), (3, 'd@x')"
        " on conflict (id) do update set email = excluded.email"
    )
    orders.execute("insert into analytics.orders (id, email) values (1, 'x') on conflict do nothing")
    orders.execute("with gone as (delete from analytics.orders where id = 1 returning *)"
                   " insert into analytics.orders (id, email) select 9, email from gone")  # fmt: skip
    orders.execute("update analytics.orders set total = 1 where false")
    assert [[(c["op"], c["key"]["id"]) for c in commit.changes] for commit in log.commits()] == [
        [("insert", 1), ("insert", 2)],
        [("update", 2), ("insert", 3)],
        [("delete", 1), ("insert", 9)],
    ]
    assert log.unpositioned() == 0


def test_what_is_rolled_back_is_not_told(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders, mask=["note"], predicate="id > 0")
    with orders.transaction():
        orders.execute("insert into analytics.orders (id, email) values (1, 'a')")
        with orders.transaction():
            orders.execute("insert into analytics.orders (id, email) values (2, 'b')")
            raise psycopg.Rollback
        orders.execute("insert into analytics.orders (id, email) values (3, 'c')")
    assert [after["id"] for _, _, after in images(log)] == [1, 3]


def test_a_writer_needs_no_right_of_ours_and_its_settings_do_not_matter(
    orders: psycopg.Connection, database_url: str, log: ChangeLog, open_session: OpenSession
) -> None:
    role = f"cdc_shop_{uuid.uuid4().hex[:8]}"
    orders.execute(f"create role {role} login password 'p'".encode())
    orders.execute(f"grant usage on schema analytics to {role}; grant insert on analytics.orders to {role}".encode())
    watch(orders, mask=["note"], predicate="id > 0")
    try:
        session = open_session(make_conninfo(database_url, user=role, password="p", application_name="shop"))
        session.execute("set search_path = pg_temp; create temporary table pg_class (oid integer)")
        session.execute("set row_security = off; set datestyle = 'German'; set lock_timeout = 1")
        session.execute("insert into analytics.orders (id, email) values (1, 'a')")
        session.close()
        commit = log.only_commit()
        assert (commit.user, commit.application, commit.logged()) == (role, "shop", [("orders", "insert")])
    finally:
        orders.execute(f"drop owned by {role}; drop role {role}".encode())


def test_a_replica_is_watched_too(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders)
    orders.execute("set session_replication_role = replica")
    orders.execute("insert into analytics.orders (id, email) values (1, 'a')")
    orders.execute("update analytics.orders set email = 'b'")
    orders.execute("truncate analytics.orders")
    assert [op for op, _, _ in images(log)] == ["insert", "update", "truncate"]


def test_a_table_and_flags_changed_together_are_one_commit(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders)
    with orders.transaction():
        add_flag(orders, "a")
        orders.execute("insert into analytics.orders (id, email) values (1, 'a')")
    assert log.only_commit().logged() == [("flags", "insert"), ("orders", "insert")]


def test_hostile_names_are_only_names(writer: psycopg.Connection, log: ChangeLog) -> None:
    schema, table = "a.b'\"; drop table flags; --", "t \\ é\u200b%s {}"
    columns = ['"; --', "na'me", "zwölf", "{,}", "\\000"]
    name = sql.Identifier(schema, table)
    writer.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    definition = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns)
    writer.execute(sql.SQL("create table {} ({}, primary key ({}))").format(
        name, definition, sql.Identifier(columns[3])
    ))  # fmt: skip
    text = name.as_string(writer)
    predicate = sql.SQL("{} <> 'x'").format(sql.Identifier(columns[0])).as_string(writer)
    assert watch(writer, text, mask=[columns[1]], exclude=[columns[2]], predicate=predicate) == "watched"
    assert watch(writer, text, mask=[columns[1]], exclude=[columns[2]], predicate=predicate) == "unchanged"
    writer.execute(sql.SQL("insert into {} values ('1', '2', '3', '4', '5')").format(name))
    (change,) = log.only_commit().changes
    assert (change["schema"], change["table"], change["key"]) == (schema, table, {"{,}": "4"})
    assert change["after"] == {'"; --': "1", "na'me": None, "{,}": "4", "\\000": "5"}
    (one,) = watched(writer)
    assert (one["schema_name"], one["table_name"], one["problems"]) == (schema, table, [])
    assert unwatch(writer, text) == "unwatched"
    assert writer.execute("select count(*) from flags").fetchone() == (0,)


# What becomes of the table.


def test_a_table_that_is_renamed_and_moved_is_told_under_its_new_name(
    orders: psycopg.Connection, log: ChangeLog
) -> None:
    watch(orders)
    orders.execute("alter table analytics.orders rename to purchases")
    orders.execute("create schema shop; alter table analytics.purchases set schema shop")
    orders.execute("insert into shop.purchases (id, email) values (1, 'a')")
    (change,) = log.only_commit().changes
    assert (change["schema"], change["table"]) == ("shop", "purchases")
    (one,) = watched(orders)
    assert (one["schema_name"], one["table_name"], one["problems"]) == ("shop", "purchases", [])
    assert watch(orders, "shop.purchases") == "changed"
    assert watch(orders, "shop.purchases") == "unchanged"
    # A new one of the old name is another table.
    orders.execute("create table analytics.orders (id integer)")
    assert watch(orders) == "watched"
    assert len(watched(orders)) == 2


def test_columns_may_be_dropped_renamed_and_change_their_type(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders)
    orders.execute("insert into analytics.orders values (1, 'a', 5, 'n')")
    orders.execute("alter table analytics.orders alter total type text, drop note")
    orders.execute("alter table analytics.orders rename id to number")
    orders.execute("update analytics.orders set total = 'much'")
    change = log.commits()[-1].changes[-1]
    assert (change["key"], change["after"]) == (None, {"number": 1, "email": "a", "total": "much"})
    assert problems(orders) == ["the column id of the key is gone, so that changes carry no key: watch it again"]
    watch(orders)
    assert [one["key_columns"] for one in watched(orders)] == [["number"]]


def test_a_table_that_is_dropped_is_shown_and_its_successor_takes_its_place(
    orders: psycopg.Connection, log: ChangeLog
) -> None:
    watch(orders)
    orders.execute("drop table analytics.orders")
    assert problems(orders) == ["the table is gone"]
    orders.execute("create table analytics.orders (id integer primary key)")
    assert problems(orders) == ["the triggers are gone: watch it again"]
    assert watch(orders) == "watched"
    assert problems(orders) == []
    orders.execute("insert into analytics.orders values (1)")
    assert log.changes() == [("orders", "insert")]
    orders.execute("drop schema analytics cascade")
    assert unwatch(orders) == "unwatched"
    assert watched(orders) == []


def test_a_trigger_that_was_tampered_with_is_shown_and_put_right(orders: psycopg.Connection, log: ChangeLog) -> None:
    watch(orders)
    orders.execute("alter table analytics.orders disable trigger flagent_cdc_200_watch")
    assert problems(orders) == ["the trigger flagent_cdc_200_watch is disabled: watch it again"]
    orders.execute("drop trigger flagent_cdc_230_watch on analytics.orders")
    assert watch(orders) == "changed"
    orders.execute("insert into analytics.orders (id, email) values (1, 'a'); truncate analytics.orders")
    assert log.changes() == [("orders", "insert"), ("orders", "truncate")]
    assert problems(orders) == []


# Partitions.


@pytest.fixture
def days(writer: psycopg.Connection) -> psycopg.Connection:
    """The writer, with a table `days` whose partitions differ in their columns' order; one is partitioned again."""
    writer.execute("create table days (day integer, what text, primary key (day, what)) partition by range (day)")
    writer.execute("create table days_1 (gone integer, what text not null, day integer not null)")
    writer.execute("alter table days_1 drop gone; alter table days attach partition days_1 for values from (0) to (10)")
    writer.execute("create table days_2 partition of days for values from (10) to (20) partition by range (day)")
    writer.execute("create table days_21 partition of days_2 for values from (10) to (20)")
    return writer


@pytest.mark.parametrize("options", [{}, {"mask": ["what"], "key": ["day"]}])
def test_rows_of_partitions_are_the_partitioned_tables(
    days: psycopg.Connection, log: ChangeLog, options: dict[str, Any]
) -> None:
    assert watch(days, "days", **options) == "watched"
    assert watch(days, "days", **options) == "unchanged"
    days.execute("create table days_3 partition of days for values from (20) to (30)")
    what = None if options else "a"
    days.execute("insert into days values (1, 'a'), (11, 'a'), (21, 'a')")
    days.execute("insert into days_21 values (12, 'a')")  # directly into a partition
    days.execute("update days set day = 13 where day = 1")  # moves
    changes = [change for commit in log.commits() for change in commit.changes]
    assert {(change["schema"], change["table"]) for change in changes} == {("public", "days")}
    assert [(change["op"], change["before"] or change["after"]) for change in changes] == [
        ("insert", {"day": 1, "what": what}),
        ("insert", {"day": 11, "what": what}),
        ("insert", {"day": 21, "what": what}),
        ("insert", {"day": 12, "what": what}),
        ("delete", {"day": 1, "what": what}),
        ("insert", {"day": 13, "what": what}),
    ]
    assert [change["key"]["day"] for change in changes] == [1, 11, 21, 12, 1, 13]


def test_a_partition_that_is_emptied_is_told_row_by_row_and_the_whole_table_as_one(
    days: psycopg.Connection, log: ChangeLog
) -> None:
    watch(days, "days", predicate="what <> 'hidden'")
    days.execute("insert into days values (1, 'a'), (2, 'hidden'), (11, 'a')")
    start = len(log.commits())
    days.execute("truncate days_1")
    assert images(log, start) == [("delete", {"what": "a", "day": 1}, None)]
    days.execute("insert into days values (1, 'a')")
    with days.transaction():
        days.execute("truncate days")
        days.execute("insert into days values (3, 'a')")
        days.execute("truncate days_1")
    assert [op for op, _, _ in images(log, start + 2)] == ["truncate", "insert", "delete"]


def test_partitions_come_and_go_and_no_writer_is_hurt(days: psycopg.Connection, log: ChangeLog) -> None:
    watch(days, "days")
    days.execute("create table days_3 (day integer not null, what text not null)")
    watch(days, "days_3")  # by itself, then as a partition of a watched table
    days.execute("alter table days attach partition days_3 for values from (20) to (30)")
    days.execute("alter table days detach partition days_1")
    days.execute("insert into days values (21, 'a'); insert into days_1 (day, what) values (1, 'a')")
    days.execute("truncate days_1; truncate days_3; truncate days")
    days.execute("drop table days_1; drop table days_21")
    assert ("days", "insert") in log.changes()
    assert "days_1" not in {table for table, _ in log.changes()}
    assert unwatch(days, "days") == "unwatched"
    assert unwatch(days, "days_3") == "unwatched"
    assert days.execute("select count(*) from pg_trigger where tgname like 'flagent_cdc%watch'").fetchone() == (0,)


def test_a_partition_without_its_trigger_is_shown(days: psycopg.Connection) -> None:
    watch(days, "days")
    days.execute("create table days_3 partition of days for values from (20) to (30)")
    assert problems(days) == ["truncating the partition public.days_3 would not be captured: watch it again"]
    assert watch(days, "days") == "changed"
    assert problems(days) == []


# Dump, restore, uninstall.


def test_watched_tables_survive_a_dump_and_its_restore(
    orders: psycopg.Connection, database_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    orders.execute("create table analytics.days (day integer, what text) partition by range (day)")
    orders.execute("create table analytics.days_1 partition of analytics.days for values from (0) to (10)")
    orders.execute("alter table analytics.orders drop note, add note text")  # numbers differ in the restored table
    watch(orders, mask=["email"], predicate="total > 1")
    watch(orders, "analytics.days")
    orders.execute("insert into analytics.orders values (1, 'secret', 5, 'n')")
    dump = tmp_path / "dump"
    pg_dump, pg_restore = (client_program(name, database_url) for name in ("pg_dump", "pg_restore"))
    subprocess.run([pg_dump, "--format=custom", f"--file={dump}", database_url], check=True, timeout=60)
    with postgres.database("empty") as url:
        subprocess.run([pg_restore, f"--dbname={url}", dump], check=True, timeout=60)
        with psycopg.connect(url, autocommit=True) as session:
            restored, log = watched(session), ChangeLog(url)
            assert [(one["table_name"], one["problems"]) for one in restored] == [("days", []), ("orders", [])]
            session.execute("insert into analytics.orders values (2, 'secret', 7, 'n'), (3, 'secret', 0, 'n')")
            session.execute("insert into analytics.days values (1, 'a')")
            session.execute("truncate analytics.days_1")
            assert [
                [(c["table"], c["op"], c["before"] or c["after"]) for c in commit.changes] for commit in log.commits()
            ] == [
                [("orders", "insert", {"id": 2, "email": None, "total": 7, "note": "n"})],
                [("days", "insert", {"day": 1, "what": "a"})],
                [("days", "delete", {"day": 1, "what": "a"})],
            ]
            # Renamed after the restore it is hidden as well, and all others with it.
            session.execute("alter table analytics.orders rename email to mail")
            session.execute("insert into analytics.orders values (4, 'secret', 7, 'n')")
            assert log.commits()[-1].changes[0]["after"] == {}
            log.close()
            assert migrate(url).changed is False
            assert watch(session, mask=["mail"], predicate="total > 1") == "changed"
            assert watched(session)[1]["problems"] == []


def test_uninstalling_takes_the_triggers_of_watched_tables_with_it(
    orders: psycopg.Connection, database_url: str
) -> None:
    orders.execute("create table analytics.days (day integer) partition by range (day)")
    orders.execute("create table analytics.days_1 partition of analytics.days for values from (0) to (10)")
    watch(orders)
    watch(orders, "analytics.days")
    assert uninstall(database_url) is True
    assert orders.execute("select count(*) from pg_trigger where tgname like 'flagent_cdc%'").fetchone() == (0,)
    orders.execute("insert into analytics.orders (id, email) values (1, 'a'); truncate analytics.days")


def test_a_runtime_role_sees_what_is_watched_and_nothing_of_the_table(
    orders: psycopg.Connection, database_url: str, open_session: OpenSession
) -> None:
    role = f"cdc_run_{uuid.uuid4().hex[:8]}"
    orders.execute(f"create role {role} login password 'p'".encode())
    try:
        migrate(database_url, grant_to=role)
        watch(orders, mask=["email"], predicate="total > 1")
        session = open_session(make_conninfo(database_url, user=role, password="p"))
        assert [(one["table_name"], one["problems"]) for one in watched(session)] == [("orders", [])]
        for forbidden in (
            "select * from analytics.orders",
            "select flagent_cdc.watch('analytics.orders')",
            "select flagent_cdc.unwatch('analytics.orders')",
            "select flagent_cdc.predicate_error(1, 'true')",
            "update flagent_cdc.watched_table set predicate = 'false'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(forbidden.encode())
    finally:
        uninstall(database_url)
        orders.execute(f"drop role {role}".encode())
