"""Writers that a capture is known to disturb, each by its own test; test_transparency looks for more (promise P6)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.database.queries import flagent_tables
from tests.fixtures.log import ChangeLog, add_flag
from tests.fixtures.postgres import Postgres, embedded
from tests.sql.programs.session import Session

OpenSession = Callable[..., psycopg.Connection]

LANES = [("flags", "commit"), ("at_commit", "commit"), ("when_read", "read")]


def create_watched(
    writer: psycopg.Connection, columns: str, lane: tuple[str, str], *, table: str = "shop.t", options: str = ""
) -> None:
    """A table that is watched in a lane."""
    writer.execute(f"create schema if not exists shop; create table {table} ({columns})".encode())
    writer.execute(f"select flagent_cdc.watch(%s, lane => %s, lane_order => %s {options})".encode(), (table, *lane))


# Values that PostgreSQL stores as json, and cannot take apart.

ODD_JSON = {
    "nul": r'{"a": "x\u0000y"}', "half a pair": r'{"a": "\ud83d"}', "a string alone": r'"\udead"',
    "a huge number": "[1e999]", "deep": "[" * 900 + "]" * 900,
}  # fmt: skip


@pytest.mark.parametrize(
    "columns", ["id int primary key, doc json", "id int, doc json", "id int, doc json, secret text"]
)
@pytest.mark.parametrize("doc", ODD_JSON.values(), ids=ODD_JSON)
def test_json_that_cannot_be_decoded_is_written(writer: psycopg.Connection, columns: str, doc: str) -> None:
    options = ", mask => '{secret}'" if "secret" in columns else ""
    for lane in LANES:
        table = f"shop.{lane[0]}"
        create_watched(writer, columns, lane, table=table, options=options)
        writer.execute(f"insert into {table} (id, doc) values (1, %s::json)".encode(), (doc,))
        writer.execute(f"update {table} set doc = %s::json".encode(), (doc + " ",))
        assert writer.execute(f"select doc::text from {table}".encode()).fetchone() == (doc + " ",)
        writer.execute(f"delete from {table}".encode())


@pytest.mark.parametrize("lane", LANES)
def test_a_cast_to_json_of_a_table_owner_is_never_called(writer: psycopg.Connection, lane: tuple[str, str]) -> None:
    """It would run as the owner of flagent_cdc, and could fail a write."""
    writer.execute("create schema shop")
    writer.execute("create type shop.mood as enum ('fine')")
    writer.execute(
        "create function shop.mood_json(shop.mood) returns json language plpgsql as"
        " $$ begin raise exception 'called as %', current_user; end $$"
    )
    writer.execute("create cast (shop.mood as json) with function shop.mood_json(shop.mood)")
    create_watched(writer, "id int primary key, mood shop.mood, moods shop.mood[]", lane)
    writer.execute("insert into shop.t values (1, 'fine', '{fine}')")
    writer.execute("update shop.t set mood = null")
    writer.execute("update shop.t set mood = 'fine'")
    writer.execute("delete from shop.t")


# Deferred constraints.


@pytest.fixture
def deferring(writer: psycopg.Connection, lane: tuple[str, str]) -> psycopg.Connection:
    """Orders and products are watched; items refer to products by a deferred key, as Django's do."""
    writer.execute(
        "create schema shop; create table shop.products (id int primary key, stock int);"
        "insert into shop.products values (1, 10); create table shop.orders (id int primary key);"
        "create table shop.items (id int primary key,"
        " product_id int references shop.products deferrable initially deferred)"
    )
    for table in ("orders", "products"):
        writer.execute("select flagent_cdc.watch('shop.' || %s, lane => %s, lane_order => %s)", (table, *lane))
    return writer


@pytest.fixture
def committing(deferring: psycopg.Connection, database_url: str) -> Iterator[Callable[[], Session]]:
    """Gives a session whose COMMIT checks a deferred key, and waits for the session that has locked the product."""
    session = Session(database_url)

    def start() -> Session:
        for statement in ("begin", "insert into shop.orders values (1)", "insert into shop.items values (1, 1)"):
            assert not session.run(statement).is_error
        session.start("commit")
        blocked = "select pg_blocking_pids(%s) <> '{}'"
        deadline = time.monotonic() + 20
        while deferring.execute(blocked, (session.pid,)).fetchone() != (True,):
            assert session.receive() is None, "the session does not wait"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return session

    yield start
    session.close()


@pytest.mark.parametrize("lane", LANES)
def test_a_deferred_check_does_not_make_two_writers_deadlock(
    committing: Callable[[], Session], database_url: str, open_session: OpenSession
) -> None:
    other = open_session(database_url, autocommit=False)
    other.execute("update shop.products set stock = 9 where id = 1")
    other.execute("select from shop.products where id = 1 for update")
    waiting = committing()
    other.commit()
    assert waiting.finish().results[0].tag == "COMMIT"


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("write", ["insert into tags (value, created_at) values ('t', now())",
                                   "insert into shop.orders values (2)"])  # fmt: skip
def test_a_deferred_check_that_waits_delays_no_other_writer(
    committing: Callable[[], Session], database_url: str, open_session: OpenSession, write: str
) -> None:
    holder = open_session(database_url, autocommit=False)
    holder.execute("select from shop.products where id = 1 for update")
    waiting = committing()
    third = Session(database_url)
    third.start(write)
    try:
        assert third.finish(deadline_s=5).results[0].tag == "INSERT 0 1"
    finally:
        holder.rollback()
        third.close()
    assert waiting.finish().results[0].tag == "COMMIT"


# The session's own state.


@pytest.mark.parametrize("lane", LANES)
def test_lastval_is_what_the_writer_drew_last(
    database_url: str, open_session: OpenSession, lane: tuple[str, str]
) -> None:
    create_watched(open_session(database_url), "id serial primary key, n int", lane)
    writer = open_session(database_url)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="lastval is not yet defined"):
        writer.execute("insert into shop.t (id) values (77); select lastval()", prepare=False)
    flag = add_flag(writer, "k")
    assert writer.execute("select lastval()").fetchone() == (flag,)
    row = writer.execute("insert into shop.t (n) values (1) returning id").fetchone()
    assert writer.execute("select lastval()").fetchone() == row
    writer.execute("update flags set enabled = true")
    writer.execute("update shop.t set n = 2")
    writer.execute("delete from shop.t")
    writer.execute("truncate shop.t")
    assert writer.execute("select lastval()").fetchone() == row


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("discarded", ["sequences", "temp", "plans"])
def test_discarding_session_state_between_two_changes_breaks_nothing(
    writer: psycopg.Connection, log: ChangeLog, lane: tuple[str, str], discarded: str
) -> None:
    create_watched(writer, "id int primary key", lane)
    begin = len(log.commits())
    with writer.transaction():
        add_flag(writer, "a")
        writer.execute("insert into shop.t values (1)")
        writer.execute(f"discard {discarded}".encode())
        add_flag(writer, "b")
        writer.execute("insert into shop.t values (2)")
    flags = [
        change["after"]["key"] for commit in log.commits()[begin:] for change in commit.changes
        if change["table"] == "flags"
    ]  # fmt: skip
    assert flags == ["a", "b"]
    assert len(log.commits()) == begin + 1


@pytest.mark.parametrize(
    "setting", ["jit", "enable_nestloop", "enable_seqscan", "search_path", "lock_timeout", "timezone"]
)
def test_settings_come_from_where_they_came_from_before(writer: psycopg.Connection, setting: str) -> None:
    source = "select setting, source from pg_settings where name = lower(%s)"
    create_watched(writer, "id int primary key", ("at_commit", "commit"))
    before = writer.execute(source, (setting,)).fetchone()
    with writer.transaction():
        for key in "abc":
            add_flag(writer, key)
        writer.execute("update flags set enabled = true")
        writer.execute("insert into shop.t select generate_series(1, 5)")
        assert writer.execute(source, (setting,)).fetchone() == before
    assert writer.execute(source, (setting,)).fetchone() == before


@pytest.mark.parametrize("lane", LANES)
def test_an_unnamed_cursor_has_the_name_that_it_would_have(
    writer: psycopg.Connection, database_url: str, lane: tuple[str, str]
) -> None:
    create_watched(writer, "id int primary key", lane)
    writer.execute(
        "create function shop.open() returns refcursor language plpgsql as"
        " $$ declare c refcursor; begin open c for select 1; return c; end $$"
    )
    # A session of its own: watch() opens cursors.
    with psycopg.connect(database_url) as session:
        session.execute("insert into shop.t select generate_series(1, 3)")
        add_flag(session, "a")
        session.execute("update flags set enabled = true")
        assert session.execute("select shop.open()::text").fetchone() == ("<unnamed portal 1>",)


@pytest.mark.parametrize("lane", LANES)
def test_a_writer_with_old_string_literals_gets_no_warning_and_one_position(
    writer: psycopg.Connection, database_url: str, lane: tuple[str, str]
) -> None:
    create_watched(writer, "id int primary key", lane)
    session = Session(database_url)
    session.run("set standard_conforming_strings = off")
    for statement in (
        "begin", "insert into shop.t values (1)", "insert into shop.t values (2)", "insert into shop.t values (3)",
        "insert into flags (key, description, created_at) values ('a', '', '2026-01-01')",
        "update flags set enabled = true", "truncate shop.t", "commit",
    ):  # fmt: skip
        outcome = session.run(statement)
        assert not outcome.is_error
        assert outcome.notices == ()
    session.close()
    if lane[0] == "at_commit":
        assert writer.execute("select count(*) from flagent_cdc.lane_commit_log").fetchone() == (1,)


# Publications.


def test_a_publication_of_all_tables_breaks_none_of_ours(
    postgres: Postgres, writer: psycopg.Connection, database_url: str
) -> None:
    """Such a publication forbids to update and delete rows of tables without a replica identity."""
    with_warning = Session(database_url)
    with_warning.run("create publication every for all tables")
    with_warning.close()
    for lane in LANES:
        table = f"shop.{lane[0]}"
        writer.execute("create schema if not exists shop")
        writer.execute(
            f"create table {table} (id int primary key, v int) partition by range (id);"
            f"create table {table}_1 partition of {table} for values from (0) to (100)".encode()
        )
        writer.execute("select flagent_cdc.watch(%s, lane => %s, lane_order => %s)", (table, *lane))
        with writer.transaction():
            writer.execute(f"insert into {table} values (1, 1), (2, 2)".encode())
            writer.execute("set constraints all immediate")
            writer.execute(f"update {table} set v = v + 1".encode())
        writer.execute(f"truncate {table}_1".encode())
        writer.execute(f"truncate {table}".encode())
    add_flag(writer, "a")
    writer.execute("update flags set enabled = true")
    writer.execute("truncate flags cascade")
    writer.execute("update flagent_cdc.retention set min_age = '0'")
    writer.execute("select * from flagent_cdc.prune('0 s', 100, 1000)")
    writer.execute("select * from flagent_cdc.prune_lanes('0 s', 1000)")
    migrate(database_url)
    for lane in LANES:
        assert writer.execute("select flagent_cdc.unwatch(%s)", (f"shop.{lane[0]}",)).fetchone() == ("unwatched",)
    without_identity = writer.execute(
        "select c.relname from pg_class c"
        " where c.relnamespace = 'flagent_cdc'::regnamespace and c.relkind in ('r', 'p')"
        " and c.relreplident <> 'f' and not exists (select from pg_index i where i.indrelid = c.oid"
        "   and (i.indisreplident or (c.relreplident = 'd' and i.indisprimary)))"
    ).fetchall()
    assert without_identity == []


# Statistics.


def test_until_commit_no_statement_of_ours_counts_as_the_writers(open_directory: Path) -> None:
    """What deferred triggers do at COMMIT counts as statements of the top level in PostgreSQL."""
    with embedded(open_directory / "server", shared_preload_libraries="pg_stat_statements") as server:
        url = server.url
        with psycopg.connect(url, autocommit=True) as writer, psycopg.connect(url, autocommit=True) as look:
            writer.execute(flagent_tables())
            writer.execute("create extension pg_stat_statements")
            migrate(url)
            for lane in LANES:
                create_watched(writer, "id int primary key", lane, table=f"shop.{lane[0]}")
            with writer.transaction():
                look.execute("select pg_stat_statements_reset()")
                add_flag(writer, "a")
                writer.execute("update flags set enabled = true")
                for lane in LANES:
                    writer.execute(f"insert into shop.{lane[0]} select generate_series(1, 3)".encode())
                    writer.execute(f"truncate shop.{lane[0]}".encode())
                counted = look.execute("select query, calls from pg_stat_statements where toplevel").fetchall()
            own = [query for query, _ in counted if not query.startswith("select pg_stat_statements")]
            assert len(own) == 2 + 2 * len(LANES)
            assert not [query for query in own if "flagent_cdc" in query]
