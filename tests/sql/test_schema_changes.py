"""A change of a watched table's columns is in the log, in order, and whoever makes it notices nothing of that."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc.admin.installation import migrate
from cdc.admin.watched_tables import WatchOptions, watch
from cdc.core.log.row_text import RowText
from cdc.core.log.schema_change import SchemaChange
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import Postgres

LANES = [
    WatchOptions(),
    WatchOptions(lane="own", order="commit"),
    WatchOptions(lane="own", order="read"),
]
LANE_NAMES = ["flags' lane", "ordered at commit", "ordered when read"]

TRIGGERS = ("flagent_cdc_900_note_rewrite", "flagent_cdc_910_log_ddl")


class Table:
    """The watched table `orders`, whose every row changed the log already, and what its log says."""

    def __init__(self, url: str, writer: Writer) -> None:
        self.url = url
        self.writer = writer

    def logged(self) -> list[tuple[str, Any]]:
        """Operations, with the changes of columns read."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            rows = connection.execute(
                "select op, before::text, after::text from ("
                " select table_name, transaction_group, id, op, before, after from flagent_cdc.change_log"
                " union all"
                " select table_name, transaction_group, id, op, before, after from flagent_cdc.lane_change_log"
                " union all"
                " select table_name, id, 1, op, before, after from flagent_cdc.read_order_log"
                ") c where table_name = 'orders' order by transaction_group, id"
            ).fetchall()
        return [(op, SchemaChange.read(*map(RowText, images)) if op == "schema" else None) for op, *images in rows]

    def changes(self, *statements: str) -> list[SchemaChange]:
        """What these statements in one transaction add."""
        before = len(self.logged())
        self.writer.run(*statements)
        return [change for op, change in self.logged()[before:] if op == "schema"]


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key, total numeric(10,2), note varchar(10))")
        yield writer


@pytest.fixture(params=LANES, ids=LANE_NAMES)
def table(request: pytest.FixtureRequest, database_url: str, writer: Writer) -> Table:
    watch(database_url, "orders", request.param)
    writer.run("insert into orders select g, g, g from generate_series(1, 3) g")
    return Table(database_url, writer)


def named(change: SchemaChange) -> tuple[list[str], list[str]]:
    """The columns that went, and those that came, with their types."""
    gone, came = ([f"{c.name} {c.type}" for c in side] for side in (change.before, change.after))
    return [text for text in gone if text not in came], [text for text in came if text not in gone]


NOTE = "note character varying(10)"

# the command, what went, what came, whether rows hold something else
COMMANDS = {
    "an empty column": ("add a integer", [], ["a integer"], False),
    "a constant default": ("add a integer default 5", [], ["a integer"], True),
    "a volatile default": ("add a float default random()", [], ["a double precision"], True),
    "a longer varchar": ("alter note type varchar(20)", [NOTE], ["note character varying(20)"], False),
    "text": ("alter note type text", [NOTE], ["note text"], False),
    "another type": ("alter total type text", ["total numeric(10,2)"], ["total text"], True),
    "the same type, other values": ("alter total type numeric(10,2) using total + 1", [], [], True),
    "another name": ("rename note to remark", [NOTE], ["remark character varying(10)"], True),
    "a column less": ("drop note", [NOTE], [], True),
    "the same column again": ("drop note, add note varchar(10)", [], [], True),
}  # fmt: skip


@pytest.mark.parametrize(("command", "gone", "came", "rewritten"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_change_of_columns_is_logged_with_what_it_did_to_the_rows(
    table: Table, command: str, gone: list[str], came: list[str], rewritten: bool
) -> None:
    changes = table.changes(f"alter table orders {command}")
    assert [(*named(change), change.rewritten) for change in changes] == [(gone, came, rewritten)]


@pytest.mark.parametrize(
    "command",
    [
        "alter table orders add unique (id, total)",
        "alter table orders alter note set not null",
        "alter table orders alter note set default 'x'",
        "alter table orders rename to bills",
        "alter table orders set unlogged",
        "alter table orders disable trigger user",
        "alter table flags add note text",
        "create table other as select * from orders",
        "truncate orders",
        "drop table orders",
    ],
)
def test_what_leaves_the_columns_as_they_are_is_not_logged(table: Table, command: str) -> None:
    assert table.changes(command) == []


@pytest.mark.parametrize("options", LANES, ids=LANE_NAMES)
def test_other_columns_of_a_watch_are_logged_in_its_transaction(
    database_url: str, writer: Writer, options: WatchOptions
) -> None:
    watch(database_url, "orders", options)
    writer.run("insert into orders values (1, 1, 'a')")
    table = Table(database_url, writer)
    operations = ["insert", "update", "delete"]
    without_note = replace(options, exclude=["note"])
    masking = replace(options, mask=["total"])
    narrowed = replace(options, predicate="total > 1")
    seen: list[list[tuple[list[str], list[str], bool]]] = []
    for wanted in (
        without_note,
        without_note,
        replace(without_note, operations=operations),
        options,
        masking,
        narrowed,
        replace(options, key=["note"]),
    ):
        before = len(table.logged())
        watch(database_url, "orders", wanted)
        added = [change for op, change in table.logged()[before:] if op == "schema"]
        seen.append([(*named(change), change.rewritten) for change in added])
    assert seen == [[([NOTE], [], True)], [], [], [([], [NOTE], True)], *[[([], [], True)]] * 3]


def test_a_table_that_moves_to_another_lane_logs_no_change_of_columns(database_url: str, writer: Writer) -> None:
    watch(database_url, "orders", WatchOptions())
    table = Table(database_url, writer)
    watch(database_url, "orders", WatchOptions(lane="own", exclude=["note"]))
    assert [op for op, _ in table.logged()] == []
    [change] = table.changes("alter table orders add a integer, drop total")
    assert named(change) == (["total numeric(10,2)"], [])


def test_it_has_its_place_among_the_changes_of_its_transaction(table: Table) -> None:
    before = len(table.logged())
    table.writer.run(
        "insert into orders values (7)", "alter table orders add a integer", "update orders set a = 1 where id = 7"
    )
    assert [op for op, _ in table.logged()[before:]] == ["insert", "schema", "update"]


def test_what_is_rolled_back_is_not_logged(table: Table) -> None:
    changes = table.changes(
        "savepoint s",
        "alter table orders alter total type numeric(10,2) using 1",
        "rollback to savepoint s",
        "alter table orders add a integer",
    )
    assert [(*named(change), change.rewritten) for change in changes] == [([], ["a integer"], False)]


def test_a_column_that_goes_with_its_type_is_noticed(table: Table) -> None:
    table.writer.run("create type mood as enum ('good')", "alter table orders add mood mood")
    changes = table.changes("drop type mood cascade")
    assert [named(change) for change in changes] == [(["mood public.mood"], [])]


def test_partitions_and_heirs_follow_their_parents(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run(
            "create table orders (id integer, region text, n integer) partition by list (region)",
            "create table orders_eu partition of orders for values in ('eu')",
            "create table base (id integer)",
            "create table heir () inherits (base)",
        )
        for name in ("orders", "heir"):
            watch(database_url, name, WatchOptions())
        writer.run("insert into orders values (1, 'eu', 1)")
        table = Table(database_url, writer)
        assert [change.rewritten for change in table.changes("alter table orders add a integer default 1")] == [True]
        assert [change.rewritten for change in table.changes("alter table orders alter n type integer using 2")] == [
            True
        ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table base add a integer")
        row = connection.execute(
            "select count(*) from flagent_cdc.change_log where table_name = 'heir' and op = 'schema'"
        ).fetchone()
    assert row == (1,)


def test_columns_that_are_not_published_are_not_named(database_url: str, writer: Writer) -> None:
    watch(database_url, "orders", WatchOptions(exclude=["note"], mask=["total"]))
    table = Table(database_url, writer)
    assert table.changes("alter table orders add secret text", "alter table orders rename note to remark") == []
    [change] = table.changes("alter table orders drop total")
    assert named(change) == (["total numeric(10,2)"], [])


def test_a_role_without_any_right_on_the_log_may_change_its_table(database_url: str) -> None:
    role = f"owner_of_{conninfo_to_dict(database_url)['dbname']}"
    with Writer(database_url) as writer:
        writer.run(
            f"create role {role}",
            "create table orders (id integer primary key)",
            "select flagent_cdc.watch('orders')",
            f"alter table orders owner to {role}",
            f"grant usage, create on schema public to {role}",
        )
        try:
            table = Table(database_url, writer)
            changes = table.changes(f"set local role {role}", "alter table orders add a integer default 1")
            assert [named(change) for change in changes] == [([], ["a integer"])]
        finally:
            writer.run("drop table orders", f"drop owned by {role}", f"drop role {role}")


def test_a_log_that_cannot_be_written_does_not_fail_the_command(database_url: str, writer: Writer) -> None:
    watch(database_url, "orders", WatchOptions())
    writer.run("insert into orders values (1)", "alter function flagent_cdc.published_columns rename to gone")
    table = Table(database_url, writer)
    assert table.changes("alter table orders add a integer") == []
    writer.run("alter function flagent_cdc.gone rename to published_columns")
    [change] = table.changes("select flagent_cdc.log_schema_changes()")
    assert named(change) == ([], ["a integer"])
    assert table.changes("select flagent_cdc.log_schema_changes()") == []


def test_a_command_does_not_wait_for_the_row_of_its_table(database_url: str, writer: Writer) -> None:
    watch(database_url, "orders", WatchOptions())
    table = Table(database_url, writer)
    with psycopg.connect(database_url) as other:
        other.execute("select from flagent_cdc.watched_table for update")
        assert table.changes("set local statement_timeout = '20s'", "alter table orders add a integer") == []
    assert len(table.changes("select flagent_cdc.log_schema_changes()")) == 1


def test_without_event_triggers_the_change_is_logged_a_moment_later(table: Table) -> None:
    for name in TRIGGERS:
        table.writer.run(f"drop event trigger {name}")
    assert table.changes("alter table orders add a integer default 1, drop note") == []
    [change] = table.changes("select flagent_cdc.log_schema_changes()")
    assert (*named(change), change.rewritten) == ([NOTE], ["a integer"], True)


def test_who_is_no_superuser_installs_without_event_triggers(postgres: Postgres, empty_url: str) -> None:
    name = str(conninfo_to_dict(empty_url)["dbname"])
    with postgres.admin() as admin:
        admin.execute(sql.SQL("create role {} login password 'x'").format(sql.Identifier(name)))
        admin.execute(sql.SQL("alter database {0} owner to {0}").format(sql.Identifier(name)))
        try:
            url = postgres.url_of(name, user=name, password="x")
            migrate(url)
            with psycopg.connect(url, autocommit=True) as plain:
                assert plain.execute("select count(*) from pg_event_trigger").fetchone() == (0,)
                assert plain.execute("select flagent_cdc.log_schema_changes()").fetchone() == ([],)
        finally:
            postgres.drop(name)
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
